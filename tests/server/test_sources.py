"""Sources of a server: files, listings made in slices, trees, and the cost of hints."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.samples import PATIENCE_S
from udpft.errors import NoSuchFile, RangeNotThere, ServerBusy
from udpft.outcome.served import Refused
from udpft.protocol.contract import OpenedSource
from udpft.protocol.server.session_creation import Asker
from udpft.protocol.wire.hello import RECURSIVE, Hello, Role
from udpft.protocol.wire.listing import decode_listing_untrusted, identity_of
from udpft.server.memory import AFTER_S, RUSH
from udpft.server.slow_disk import ServedSource
from udpft.server.sources import (
    HINT_SHARE,
    MAX_OPENING_FILES_A_HOST,
    Sources,
)
from udpft.storage.served_folder import ServedRoot


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sources(tmp_path: Path, clock: Clock) -> Iterator[Sources]:
    for n in range(200):
        (tmp_path / f"{n:03}").write_bytes(bytes([n]))
    with ServedRoot(tmp_path) as root:
        sources = Sources(root, clock)
        yield sources
        sources.close()


def hello(role: Role, flags: int = RECURSIVE) -> Hello:
    return Hello(1, 2, b"", 2048, flags, role=role)


def content(source: OpenedSource) -> bytes:
    buffer = bytearray(source.size)
    assert source.readv([memoryview(buffer)], 0) == source.size
    source.close()
    return bytes(buffer)


def test_a_file_is_opened(sources: Sources) -> None:
    assert content(sources.open(hello(Role.GET), "007")) == bytes([7])


def test_a_listing_is_a_file_with_its_own_identity(sources: Sources) -> None:
    source = sources.open(hello(Role.LIST), "")
    assert not sources.listings.at_work
    identity, data = source.identity, content(source)
    assert identity == identity_of(data)
    entries = decode_listing_untrusted(data)
    assert [entry.path for entry in entries] == [f"{n:03}" for n in range(200)]


def test_a_tree_is_all_contents_in_a_row(sources: Sources) -> None:
    assert content(sources.open(hello(Role.TREE), "00*")) == bytes(range(10))


@pytest.mark.parametrize("role", [Role.GET, Role.LIST, Role.TREE])
def test_a_missing_name_has_a_hint(sources: Sources, tmp_path: Path, role: Role) -> None:
    (tmp_path / "hello.txt").touch()
    with pytest.raises(NoSuchFile) as caught:
        sources.open(hello(role), "helo.txt")
    assert caught.value.hint == "did you mean 'hello.txt'?"


class CostlyRoot(ServedRoot):
    """A folder in which each look for the nearest name takes 10 ms, of a time of its own."""

    now = 100.0
    looks = 0

    def nearest(self, name: str) -> str | None:
        self.looks += 1
        self.now += 0.010
        return super().nearest(name)


def test_hints_take_a_small_part_of_the_servers_time(tmp_path: Path) -> None:
    (tmp_path / "hello.txt").touch()
    with CostlyRoot(tmp_path) as root:
        hints = Sources(root, lambda: root.now)
        assert hints.hint("helo.txt") == "did you mean 'hello.txt'?"
        assert hints.hint("helo.txt") == ""
        began = root.now
        while root.now < began + 10:
            hints.hint("helo.txt")
            root.now += 0.001
    assert 40 < root.looks <= 10 * HINT_SHARE / 0.010 * 1.05


STRANGER, OTHER = Asker(("10.0.0.1", 1), "10.0.0.1"), Asker(("10.0.0.2", 1), "10.0.0.2")


def test_one_host_has_a_few_files_opened_by_threads_and_leaves_room_for_others(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    monkeypatch.setattr(sources, "_remote", True)
    real = sources._open_there

    def hanging(name: str, wanted: Any) -> ServedSource:
        assert go.wait(PATIENCE_S)
        return real(name, wanted)

    monkeypatch.setattr(sources, "_open_there", hanging)
    for n in range(MAX_OPENING_FILES_A_HOST):
        with pytest.raises(ServerBusy, match="still opens"):
            sources.open(hello(Role.GET), f"{n:03}", STRANGER)
    with pytest.raises(ServerBusy, match="too many"):
        sources.open(hello(Role.GET), "100", STRANGER)
    with pytest.raises(ServerBusy, match="still opens"):
        sources.open(hello(Role.GET), "100", OTHER)
    go.set()


def test_a_server_is_woken_after_a_rush_to_give_memory_back(
    sources: Sources, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    trims: list[bool] = []
    monkeypatch.setattr("udpft.server.memory.trim", lambda: trims.append(True))
    sources.work(RUSH)
    sources.work(0)
    assert sources.next_timeout() == clock.now + AFTER_S
    clock.now += AFTER_S
    sources.work(0)
    assert trims == [True]


@pytest.mark.parametrize("remote", [False, True])
def test_a_range_is_opened_alone_also_by_a_thread(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: bool
) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    monkeypatch.setattr(sources, "_remote", remote)
    monkeypatch.setattr("udpft.server.sources.OPENING_WAIT_S", PATIENCE_S)
    asked = hello(Role.RANGE, 0)._replace(wanted=(3, 7))
    source = sources.open(asked, "file")
    assert isinstance(source, ServedSource)
    assert (source.size, source.part.first, source.part.file_size) == (4, 3, 10)
    source.close()
    with pytest.raises(RangeNotThere):
        sources.open(asked._replace(wanted=(10, 11)), "file")


def test_the_server_knows_why_a_file_cannot_be_read_and_the_client_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_bytes(b"x")
    refused: list[Refused] = []

    def deny(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    with udpft.serve(tmp_path, port=0, on_refused=refused.append) as server:
        monkeypatch.setattr("udpft.storage.served_folder.openat2", deny)
        monkeypatch.setattr("udpft.storage.served_folder._walk", deny)
        with pytest.raises(NoSuchFile, match=r"^no such file on the server: 'mine'$"):
            udpft.get("mine", server=server, output=tmp_path / "here")
    [one] = refused
    assert isinstance(one.error.__cause__, PermissionError)
