"""Place of one upload: opened beforehand, and given back, where calls may hang."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.samples import PATIENCE_S
from udpft.errors import DestinationExists, LocalWriteFailed, PartialTransfer, ServerBusy
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.wire.accept import Accept
from udpft.protocol.wire.hello import Hello, Role
from udpft.server.slow_disk import DiskThreads
from udpft.server.upload_place import Disk, UploadPlace, told
from udpft.server.write_behind import BytesBehind
from udpft.storage.destination import Destination

CHUNK = 1024
SIZE = 3 * CHUNK
HELLO = Hello(1, 2, b"file", CHUNK, 0, role=Role.PUT, size=SIZE, identity=7)


@pytest.fixture
def folder_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def place_in(folder_fd: int, *, remote: bool = True) -> UploadPlace:
    target = Destination("file", force=False, folder_fd=folder_fd)
    disk = Disk(DiskThreads(), BytesBehind())
    return UploadPlace(HELLO, "file", target, os.dup(folder_fd), disk, remote=remote)


def handshake(chunk_size: int = CHUNK) -> HandshakeResult:
    return HandshakeResult(Accept(1, 2, chunk_size, SIZE, 0, 7), 0, b"", 0.0)


@pytest.mark.parametrize("prepared", [0, CHUNK, CHUNK // 2])
def test_a_remote_place_is_written_to_in_threads_and_committed(
    tmp_path: Path, folder_fd: int, prepared: int
) -> None:
    place = place_in(folder_fd)
    if prepared:
        place.prepare(prepared)
    opened = place.open_sink(handshake())
    assert opened.room
    for number in range(3):
        opened.sink.writev([memoryview(bytes([number]) * CHUNK)], number * CHUNK)
    while not place.commit():
        continue
    assert (tmp_path / "file").read_bytes() == b"".join(bytes([n]) * CHUNK for n in range(3))
    place.close()


def test_only_where_calls_may_hang_it_is_opened_beforehand(tmp_path: Path, folder_fd: int) -> None:
    place = place_in(folder_fd, remote=False)
    place.prepare(CHUNK)
    assert os.listdir(tmp_path) == []
    place.open_sink(handshake())
    assert os.listdir(tmp_path) == [".file.udpft-part"]
    place.close(PartialTransfer("gone"))
    assert os.listdir(tmp_path) == []


def test_a_remote_place_is_given_back_in_a_thread(
    tmp_path: Path, folder_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, real = threading.Event(), Destination.close

    def hanging(target: Destination, error: BaseException | None = None) -> None:
        assert go.wait(PATIENCE_S)
        real(target, error)

    monkeypatch.setattr(Destination, "close", hanging)
    place = place_in(folder_fd)
    closed: list[int] = []
    place.on_closed = closed.append
    place.prepare(CHUNK)
    place.close(PartialTransfer("gone"), 5)
    assert closed == [5]
    assert os.listdir(tmp_path) == [".file.udpft-part"]
    go.set()
    [job] = place._disk.threads._jobs if place._disk else []
    assert job.wait(PATIENCE_S)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("remote", [False, True])
def test_a_commit_that_hangs_is_not_waited_for_when_its_place_is_closed(
    tmp_path: Path, folder_fd: int, monkeypatch: pytest.MonkeyPatch, remote: bool
) -> None:
    go, real = threading.Event(), Destination.commit

    def hanging(target: Destination) -> None:
        assert go.wait(PATIENCE_S)
        real(target)

    left = threading.Event()
    monkeypatch.setattr(Destination, "commit", hanging)
    monkeypatch.setattr(os, "close", lambda fd, close=os.close: (close(fd), left.set()))
    place = place_in(folder_fd, remote=remote)
    opened = place.open_sink(handshake())
    for number in range(3):
        opened.sink.writev([memoryview(bytes([number]) * CHUNK)], number * CHUNK)
    assert not place.commit()
    closed: list[int] = []
    place.on_closed = closed.append
    place.close(PartialTransfer("gone"), SIZE)
    assert closed == [SIZE]
    assert place._folder_fd >= 0
    left.clear()
    go.set()
    while place._folder_fd >= 0:
        assert left.wait(PATIENCE_S)
        left.clear()
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"".join(bytes([n]) * CHUNK for n in range(3))


def test_a_listing_whose_comparison_hangs_is_not_waited_for() -> None:
    go, closed = threading.Event(), threading.Event()

    class Hanging:
        have: tuple[tuple[int, int], ...] = ()
        have_of = 0

        def commit(self) -> None:
            assert go.wait(PATIENCE_S)

        def close(self, _: BaseException | None = None) -> None:
            if go.is_set():
                closed.set()

    place = UploadPlace(HELLO._replace(role=Role.PUT_LIST), "", cast(Any, Hanging()))
    assert not place.commit()
    place.close(PartialTransfer("gone"))
    assert not closed.is_set()
    go.set()
    assert closed.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (DestinationExists("/srv/file exists"), DestinationExists, "on the server"),
        (BlockingIOError(11, "locked"), ServerBusy, "another upload"),
        (OSError(28, "No space left"), LocalWriteFailed, "disk is full"),
        (PermissionError(13, "no"), LocalWriteFailed, "may not write"),
        (OSError(5, "EIO"), LocalWriteFailed, "cannot write"),
    ],
)
def test_no_path_of_the_server_is_told(error: BaseException, kind: type, words: str) -> None:
    said = told(error, "name", of_a_file=True)
    assert isinstance(said, kind)
    assert words in str(said)
    assert "/srv" not in str(said)


def test_what_is_given_back_leaves_nothing_for_the_garbage_collector(folder_fd: int) -> None:
    gc.collect()
    place = place_in(folder_fd, remote=False)
    place.open_sink(handshake())
    writer = weakref.ref(place._writer)  # type: ignore[arg-type]
    place.close(PartialTransfer("gone"))
    del place
    assert writer() is None
