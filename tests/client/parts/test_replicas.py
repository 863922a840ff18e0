"""Replicas over loopback: several servers of one file, some of which are slow or dead."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import udpft
from tests.cli.processes import Server
from tests.loopback import closed_port
from tests.samples import sample
from udpft.api import RunningServer
from udpft.client.client import Client
from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    NoSuchFile,
    PortClosed,
    SourceChanged,
    Stopped,
    TooLarge,
    UsageError,
)
from udpft.keys import new_key_file

SIZE = 8_000_001
CONTENT = sample(SIZE)
MOMENT = 1_700_000_000

Serve = Callable[..., RunningServer]


def folder_of(path: Path, content: bytes = CONTENT) -> Path:
    """Folder with the file ``big``, as it is on each replica."""
    path.mkdir()
    (path / "big").write_bytes(content)
    os.utime(path / "big", (MOMENT, MOMENT))
    return path


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A function that serves another replica of the file."""
    with ExitStack() as stack:
        count = iter(range(9))

        def begin(content: bytes = CONTENT, **options: object) -> RunningServer:
            folder = folder_of(tmp_path / f"replica{next(count)}", content)
            return stack.enter_context(udpft.serve(folder, port=0, **options))  # type: ignore[arg-type]

        yield begin


def names_of(servers: list[RunningServer]) -> list[str]:
    return [server.address for server in servers]


def test_all_of_them_send_a_part(serve: Serve, tmp_path: Path) -> None:
    servers = [serve(max_rate=40_000_000) for _ in range(3)]
    told: list[tuple[int, int]] = []
    with Client(names_of(servers)) as client:
        result = client.fetch("big", tmp_path / "out", progress=lambda *pair: told.append(pair))
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert (tmp_path / "out").stat().st_mtime == MOMENT
    assert result.verified
    assert [one.address for one in result.servers] == names_of(servers)
    assert min(one.bytes for one in result.servers) > 0
    assert sum(one.bytes for one in result.servers) >= SIZE
    assert told[-1] == (SIZE, SIZE)
    assert list(tmp_path.glob(".*udpft*")) == []


def test_a_slow_one_holds_up_nobody(serve: Serve, tmp_path: Path) -> None:
    fast, slow = serve(max_rate=40_000_000), serve(max_rate=400_000)
    with Client(names_of([slow, fast])) as client:
        result = client.fetch("big", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == CONTENT
    shares = {one.address: one.bytes for one in result.servers}
    assert shares[slow.address] < SIZE / 4 < shares[fast.address]


@pytest.mark.parametrize("size", [0, 1, 2048, 4096, 300_000])
def test_small_files_come_too(serve: Serve, tmp_path: Path, size: int) -> None:
    servers = [serve(CONTENT[:size]) for _ in range(2)]
    with Client(names_of(servers)) as client:
        result = client.fetch("big", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == CONTENT[:size]
    assert result.verified


def test_one_that_is_not_there_is_done_without(serve: Serve, tmp_path: Path) -> None:
    with Client([closed_port(), serve().address]) as client:
        result = client.fetch("big", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert [one.bytes > 0 for one in result.servers] == [False, True]


def test_one_that_is_killed_is_done_without(serve: Serve, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "dying")
    with (
        Server("serve", str(folder), "--max-rate", "2M") as dying,
        Client([dying.address, serve(max_rate=3_000_000).address]) as client,
    ):

        def kill(done: int, total: int) -> None:
            if done > total // 4:
                dying.process.send_signal(signal.SIGKILL)

        result = client.fetch("big", tmp_path / "out", progress=kill)
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert min(one.bytes for one in result.servers) > 0


def test_what_is_not_the_same_everywhere_gets_no_name(serve: Serve, tmp_path: Path) -> None:
    other = bytearray(CONTENT)
    other[-5] ^= 1
    servers = [serve(max_rate=20_000_000), serve(bytes(other), max_rate=20_000_000)]
    with Client(names_of(servers)) as client, pytest.raises(SourceChanged) as caught:
        client.fetch("big", tmp_path / "out")
    assert all(name in str(caught.value) for name in names_of(servers))
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".*udpft*")) == []


def test_nor_does_what_has_another_size(serve: Serve, tmp_path: Path) -> None:
    servers = [serve(), serve(CONTENT[:-1])]
    with Client(names_of(servers)) as client, pytest.raises(SourceChanged, match="not the same"):
        client.fetch("big", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_left_is_gone_on_with(serve: Serve, tmp_path: Path) -> None:
    first, second = serve(max_rate=4_000_000), serve(max_rate=4_000_000)
    stop = udpft.Stop()
    with Client([first.address], stop=stop) as client, pytest.raises(Stopped):
        client.fetch(
            "big",
            tmp_path / "out",
            progress=lambda done, total: stop.set() if done > total // 3 else None,
        )
    resumed: list[tuple[int, int]] = []
    with Client(names_of([second, first])) as client:
        result = client.fetch("big", tmp_path / "out", on_resume=lambda *pair: resumed.append(pair))
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert result.resumed_bytes > SIZE // 3
    assert resumed == [(result.resumed_bytes, SIZE)]


def test_what_is_there_is_compared(serve: Serve, tmp_path: Path) -> None:
    names = [closed_port(), *names_of([serve(), serve()])]
    (tmp_path / "same").write_bytes(CONTENT)
    (tmp_path / "other").write_bytes(CONTENT[1:] + b"x")
    with Client(names) as client:
        assert client.fetch("big", tmp_path / "same").up_to_date
        with pytest.raises(DestinationExists):
            client.fetch("big", tmp_path / "other")
        client.fetch("big", tmp_path / "other", force=True)
    assert (tmp_path / "other").read_bytes() == CONTENT


def test_what_nobody_has_is_told_as_of_one(serve: Serve, tmp_path: Path) -> None:
    with Client(names_of([serve(), serve()])) as client:
        with pytest.raises(NoSuchFile):
            client.fetch("missing", tmp_path / "out")
        with pytest.raises(DigestMismatch, match="SHA-256"):
            client.fetch("big", tmp_path / "out", sha256="0" * 64)
    with Client(names_of([serve(), serve()]), max_size=1000) as client, pytest.raises(TooLarge):
        client.fetch("big", tmp_path / "out")
    with Client([closed_port(), closed_port()]) as client, pytest.raises(PortClosed):
        client.fetch("big", tmp_path / "out")
    with pytest.raises(UsageError, match="no server"):
        Client([])


def test_a_key_is_for_each_of_them(serve: Serve, tmp_path: Path) -> None:
    key = tmp_path / "key"
    new_key_file(key)
    options = {"key_file": key, "plain": "never"}
    with Client(names_of([serve(**options), serve(**options)]), key_file=key) as client:
        result = client.fetch("big", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert min(one.bytes for one in result.servers) > 0


def test_it_is_broken_off(serve: Serve, tmp_path: Path) -> None:
    servers = [serve(max_rate=1_000_000) for _ in range(2)]
    stop = udpft.Stop()
    with Client(names_of(servers), stop=stop) as client, pytest.raises(Stopped):
        client.fetch("big", tmp_path / "out", progress=lambda done, _: stop.set() if done else None)
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.glob(".*udpft*"))) == 1  # to be gone on with
