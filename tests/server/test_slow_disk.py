"""Sources on slow disks: read in threads, while the loop goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import udpft
from tests.loopback import HeldTransfer
from tests.samples import PATIENCE_S
from udpft.errors import LocalReadFailed, ServerBusy, SourceChanged
from udpft.protocol.contract import NotReady
from udpft.server import slow_disk as module
from udpft.server.slow_disk import (
    BLOCK_BYTES,
    MAX_DISK_THREADS,
    DiskThreads,
    ServedSource,
    is_remote,
)

CONTENT = os.urandom(3 * BLOCK_BYTES + 1000)


class Disk:
    """A file on a disk that answers when it is told to."""

    def __init__(self, *, in_memory: bool = False) -> None:
        self.size = len(CONTENT)
        self.mtime_ns, self.identity = 5, 6
        self.content = CONTENT
        self.in_memory = in_memory
        self.answers = threading.Semaphore(0)
        self.reads: list[int] = []
        self.has_changed = False
        self.was_written = False
        self.closed = threading.Event()
        self.error: Exception | None = None

    def readv(self, slots: Sequence[memoryview], offset: int) -> int:
        assert self.answers.acquire(timeout=PATIENCE_S)
        assert not self.closed.is_set()
        self.reads.append(offset)
        if self.error:
            raise self.error
        return self._fill(slots, offset)

    def _fill(self, slots: Sequence[memoryview], offset: int) -> int:
        got = 0
        for slot in slots:
            piece = self.content[offset + got : offset + got + len(slot)]
            slot[: len(piece)] = piece
            got += len(piece)
        return got

    def readv_now(self, slots: Sequence[memoryview], offset: int) -> int:
        return self._fill(slots, offset) if self.in_memory else -1

    def changed(self) -> bool:
        return self.has_changed

    def suspects(self) -> Sequence[tuple[int, int]]:
        return [(0, self.size)] if self.was_written else []

    def close(self) -> None:
        self.closed.set()


def slots_of(length: int) -> tuple[bytearray, list[memoryview]]:
    buffer = bytearray(length)
    view = memoryview(buffer)
    return buffer, [view[at : at + 1000] for at in range(0, length, 1000)]


def until_ready(source: ServedSource, offset: int, length: int) -> bytes:
    """Ask again until it is read, as the loop does; each wait is for the thread."""
    buffer, slots = slots_of(length)
    while True:
        try:
            got = source.readv(slots, offset)
        except NotReady:
            assert source._job
            assert source._job.wait(PATIENCE_S)
        else:
            return bytes(buffer[:got])


def test_what_is_in_memory_is_read_without_a_thread() -> None:
    disk = Disk(in_memory=True)
    source = ServedSource(disk, DiskThreads())
    assert (source.size, source.mtime_ns, source.identity) == (len(CONTENT), 5, 6)
    assert until_ready(source, 10, 5000) == CONTENT[10:5010]
    assert disk.reads == []
    source.close()
    assert disk.closed.is_set()


def test_what_is_on_the_disk_is_read_in_blocks_while_the_loop_goes_on() -> None:
    disk = Disk()
    source = ServedSource(disk, DiskThreads())
    _, slots = slots_of(5000)
    for _ in range(3):  # the disk does not answer; nobody waits for it
        with pytest.raises(NotReady):
            source.readv(slots, 0)
    disk.answers.release(100)
    read = b""
    while len(read) < len(CONTENT):
        read += until_ready(source, len(read), min(70_000, len(CONTENT) - len(read)))
    assert read == CONTENT
    assert disk.reads == list(range(0, len(CONTENT), BLOCK_BYTES)), "a block was read twice"


def test_an_earlier_place_is_read_again() -> None:
    disk = Disk()
    disk.answers.release(100)
    source = ServedSource(disk, DiskThreads())
    assert until_ready(source, 100_000, 5000) == CONTENT[100_000:105_000]
    assert until_ready(source, 3000, 5000) == CONTENT[3000:8000]
    assert until_ready(source, len(CONTENT) - 10, 10) == CONTENT[-10:]


def test_a_disk_that_fails_says_so_in_the_loop() -> None:
    disk = Disk()
    disk.answers.release(100)
    source = ServedSource(disk, DiskThreads())
    disk.error = LocalReadFailed("cannot read the file: Input/output error")
    with pytest.raises(LocalReadFailed):
        until_ready(source, 0, 1000)
    disk.error, disk.content = None, b"short"
    with pytest.raises(SourceChanged):
        until_ready(source, 0, 1000)


def test_whether_it_has_changed_is_asked_in_the_thread_where_that_may_hang() -> None:
    disk = Disk()
    disk.answers.release(100)
    remote = ServedSource(disk, DiskThreads(), remote=True)
    disk.has_changed = True
    assert not remote.changed()
    until_ready(remote, 0, 1000)
    assert remote.changed()
    assert ServedSource(disk, DiskThreads()).changed()


def test_what_may_have_changed_is_asked_in_the_thread_that_reads_the_end() -> None:
    disk = Disk()
    disk.answers.release(100)
    remote = ServedSource(disk, DiskThreads(), remote=True)
    disk.was_written = True
    assert not remote.suspects()
    until_ready(remote, len(CONTENT) - 1000, 1000)
    assert list(remote.suspects()) == [(0, len(CONTENT))]
    assert ServedSource(disk, DiskThreads()).suspects() == [(0, len(CONTENT))]


def test_a_source_that_is_being_read_is_closed_by_its_thread() -> None:
    disk = Disk()
    source = ServedSource(disk, DiskThreads())
    with pytest.raises(NotReady):
        source.readv(slots_of(1000)[1], 0)
    source.close()
    source.close()
    assert not disk.closed.is_set()
    disk.answers.release()
    assert disk.closed.wait(PATIENCE_S)


def test_a_remote_one_is_closed_in_a_thread() -> None:
    disk = Disk(in_memory=True)
    source = ServedSource(disk, DiskThreads(), remote=True)
    source.close()
    assert disk.closed.wait(PATIENCE_S)


def test_so_many_threads_wait_for_disks_and_no_more() -> None:
    go = threading.Event()
    threads = DiskThreads()
    jobs = [threads.begin(lambda: go.wait(PATIENCE_S)) for _ in range(MAX_DISK_THREADS)]
    assert all(jobs)
    assert threads.begin(go.wait) is None
    with pytest.raises(ServerBusy):
        threads.begin_or_busy(go.wait)
    disk = Disk()
    source = ServedSource(disk, threads)
    with pytest.raises(NotReady):  # it waits for a thread
        source.readv(slots_of(1000)[1], 0)
    go.set()
    for job in jobs:
        assert job
        assert job.wait(PATIENCE_S)
    disk.answers.release(9)
    with pytest.raises(NotReady):  # it has one now
        source.readv(slots_of(1000)[1], 0)
    assert until_ready(source, 0, 1000) == CONTENT[:1000]


def test_no_task_left_is_as_too_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    assert DiskThreads().begin(int) is None


def test_file_systems_of_this_machine_are_not_remote(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    assert not is_remote(fd)
    os.close(fd)
    assert not is_remote(fd)


# ------------------------------------------------------------------- a file system of user space


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Serves a folder with another one in it, bound by a file system of user space."""
    if not shutil.which("bindfs") or os.geteuid() != 0:
        pytest.skip("needs bindfs and root")
    mounted: list[Path] = []

    def bind(*options: str) -> Path:
        real, files = tmp_path / "real", tmp_path / "files"
        real.mkdir()
        (files / "slow").mkdir(parents=True)
        (real / "file").write_bytes(CONTENT)
        (files / "fast").write_bytes(CONTENT)
        done = subprocess.run(
            ["bindfs", *options, str(real), str(files / "slow")], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no bindfs here: {done.stderr.decode()}")
        mounted.append(files / "slow")
        return files

    yield bind
    for one in mounted:
        subprocess.run(["umount", "-l", str(one)], check=True)


def test_a_file_of_user_space_arrives_and_is_read_in_threads(
    mount: Callable[..., Path], tmp_path: Path
) -> None:
    files = mount()
    fd = os.open(files / "slow" / "file", os.O_RDONLY)
    assert is_remote(fd)
    os.close(fd)
    with udpft.serve(files, port=0) as server:
        for mode in ("reliable", "plain"):
            out = tmp_path / mode
            udpft.get("slow/file", server=server.address, output=out, mode=mode)  # type: ignore[arg-type]
            assert out.read_bytes() == CONTENT
        udpft.get("", server=server.address, output=tmp_path / "tree", recursive=True)
        with pytest.raises(udpft.errors.NoSuchFile):
            udpft.get("slow/missing", server=server.address, output=tmp_path / "none")
    assert (tmp_path / "tree/slow/file").read_bytes() == CONTENT
    with udpft.serve(files / "slow", port=0) as server:
        udpft.get("file", server=server.address, output=tmp_path / "top")
    assert (tmp_path / "top").read_bytes() == CONTENT


def test_a_slow_disk_holds_up_nobody_else(
    mount: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = mount("--read-rate=100k")
    monkeypatch.setattr(module, "BLOCK_BYTES", 4096)
    with udpft.serve(files, port=0) as server:
        held = HeldTransfer(server, "slow/file")
        udpft.get("fast", server=server.address, output=tmp_path)
        held.end()
    assert (tmp_path / "fast").read_bytes() == CONTENT


def test_an_upload_to_a_slow_disk_holds_up_nobody_else(
    mount: Callable[..., Path], tmp_path: Path
) -> None:
    files = mount("--write-rate=300k")
    with udpft.serve(files, port=0, writable=True) as server:
        slow = threading.Thread(
            target=udpft.put,
            args=(files / "fast",),
            kwargs={"server": server.address, "as_name": "slow/new"},
        )
        slow.start()
        while not (tmp_path / "real/.new.udpft-part").exists():
            assert slow.is_alive()
        udpft.put(files / "fast", server=server.address, as_name="other")
        assert slow.is_alive(), "the other one waited for it"
        slow.join(PATIENCE_S)
        assert (tmp_path / "real/new").read_bytes() == CONTENT
        udpft.put(files / "other", server=server.address, as_name="slow/new")  # which is compared
    assert (files / "other").read_bytes() == CONTENT
