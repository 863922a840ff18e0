"""Writing of uploads where the disk is quick, slow, or hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.samples import PATIENCE_S
from udpft.errors import LocalWriteFailed, PartialTransfer
from udpft.protocol.contract import NotReady, OpenedSink
from udpft.server import write_behind as module
from udpft.server.slow_disk import DiskThreads
from udpft.server.write_behind import (
    MAX_BEHIND_BYTES,
    SLOW_FOR_S,
    SLOW_WRITE_S,
    BytesBehind,
    RunsInThread,
    WriteBehind,
)


class Disk:
    """A sink that is as slow as it is told, with a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.takes_s = 0.0
        self.go = threading.Event()
        self.go.set()
        self.reached = threading.Event()
        self.calls: list[tuple[object, ...]] = []
        self.writers: list[str] = []
        self.error: Exception | None = None

    def clock(self) -> float:
        return self.now

    def writev(self, slots: Sequence[memoryview], offset: int) -> None:
        self._call(b"".join(slots), offset)

    def note(self, first: int, hashes: bytes) -> None:
        self._call(first, hashes)

    def _call(self, *call: object) -> None:
        self.reached.set()
        assert self.go.wait(PATIENCE_S)
        self.writers.append(threading.current_thread().name)
        self.now += self.takes_s
        if self.error:
            raise self.error
        self.calls.append(call)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def behind() -> BytesBehind:
    return BytesBehind()


Make = Callable[..., WriteBehind]


@pytest.fixture
def make(disk: Disk, behind: BytesBehind) -> Make:
    def make(threads: DiskThreads | None = None, *, remote: bool = False) -> WriteBehind:
        opened = OpenedSink(disk, note_hashes=disk.note)
        return WriteBehind(
            opened, threads or DiskThreads(), behind, remote=remote, clock=disk.clock
        )

    return make


def write(writer: WriteBehind, *numbers: int) -> None:
    for number in numbers:
        writer.writev([memoryview(b"%d" % number), memoryview(b"!")], number)


def test_a_quick_disk_is_written_to_at_once(disk: Disk, make: Make) -> None:
    writer = make()
    write(writer, 1)
    writer.note_hashes(0, b"hash")
    assert disk.calls == [(b"1!", 1), (0, b"hash")]
    assert set(disk.writers) == {threading.current_thread().name}
    assert writer.room() == MAX_BEHIND_BYTES
    writer.finish()


def test_after_a_slow_write_a_thread_writes_until_they_are_quick_again(
    disk: Disk, make: Make
) -> None:
    writer = make()
    disk.takes_s = 2 * SLOW_WRITE_S
    write(writer, 1)
    write(writer, 2)
    writer.note_hashes(0, b"hash")
    writer.finish()
    assert disk.calls == [(b"1!", 1), (b"2!", 2), (0, b"hash")]
    here = threading.current_thread().name
    assert [name == here for name in disk.writers] == [True, False, False]
    disk.takes_s = 0.0
    disk.now += SLOW_FOR_S / 2
    write(writer, 3)
    writer.finish()
    disk.now += SLOW_FOR_S
    assert not writer.is_behind
    write(writer, 4)
    assert [name == here for name in disk.writers[3:]] == [False, True]


def test_what_hangs_holds_up_nobody_and_has_no_more_than_its_room(
    disk: Disk, make: Make, behind: BytesBehind
) -> None:
    writer, other = make(remote=True), make(remote=True)
    disk.go.clear()
    write(writer, 1, 2)
    assert disk.reached.wait(PATIENCE_S)
    assert (writer.room(), other.room()) == (MAX_BEHIND_BYTES - 4, MAX_BEHIND_BYTES)
    behind.count += module.MAX_BEHIND_BYTES_IN_ALL
    assert other.room() == 0
    behind.count -= module.MAX_BEHIND_BYTES_IN_ALL
    disk.go.set()
    writer.finish()
    assert disk.calls == [(b"1!", 1), (b"2!", 2)]
    assert (writer.room(), behind.count) == (MAX_BEHIND_BYTES, 0)


def test_an_error_is_told_with_the_next_write_and_at_the_end(
    disk: Disk, make: Make, behind: BytesBehind
) -> None:
    writer = make(remote=True)
    disk.error = LocalWriteFailed("full")
    write(writer, 1)
    with pytest.raises(LocalWriteFailed):
        writer.finish()
    with pytest.raises(LocalWriteFailed):
        write(writer, 2)
    assert behind.count == 0


def test_what_is_abandoned_writes_nothing_more(disk: Disk, make: Make, behind: BytesBehind) -> None:
    writer = make(remote=True)
    disk.go.clear()
    write(writer, 1, 2, 3)
    assert disk.reached.wait(PATIENCE_S)
    ending = threading.Thread(target=writer.abandon)
    ending.start()
    while writer._error is None:
        continue
    disk.go.set()
    ending.join()
    assert disk.calls == [(b"1!", 1)]
    assert behind.count == 0
    with pytest.raises(PartialTransfer):
        write(writer, 4)


class NoThreads(DiskThreads):
    """Threads of which none is left."""

    def begin(self, _: object) -> None:  # type: ignore[override]
        return None


def test_where_no_thread_is_left_it_is_written_in_the_end(disk: Disk, make: Make) -> None:
    writer = make(NoThreads(), remote=True)
    write(writer, 1, 2)
    assert disk.calls == []
    writer.finish()
    assert disk.calls == [(b"1!", 1), (b"2!", 2)]


def test_runs_of_what_is_held_are_looked_for_in_threads() -> None:
    go = threading.Event()

    def runs() -> Iterator[tuple[int, bytes]]:
        yield 0, b"first"
        assert go.wait(PATIENCE_S)
        yield 1, b"second"

    found, waited = [], 0
    iterator = RunsInThread(runs(), DiskThreads())
    while len(found) < 2:
        try:
            found.append(next(iterator))
        except NotReady:
            waited += 1
            if found:
                go.set()
    assert found == [(0, b"first"), (1, b"second")]
    assert waited
    while True:
        try:
            assert next(iter(iterator), None) is None
            break
        except NotReady:
            continue
    with pytest.raises(NotReady):
        next(RunsInThread(runs(), NoThreads()))
