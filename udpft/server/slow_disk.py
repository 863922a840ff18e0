"""Disks that may be slow, or hang: read in threads, so that one holds up nobody else.

Theory of operation
-------------------
The loop reads what is in memory (RWF_NOWAIT), which costs what any read costs. Where the bytes are
still on the disk, a thread reads a block of them and the loop goes on; the transfer is asked again
in a millisecond. The next block is read while one is sent.

Network file systems and those in user space know no RWF_NOWAIT, and each call may hang there:
opening, reading, asking for the time of the last change, closing. So all of them are made in
threads. The served folder's own file system is looked up once; whatever lies in another mount
below it is opened in a thread first (RESOLVE_NO_XDEV tells them apart).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final, TypeVar

from udpft.errors import ServerBusy, SourceChanged
from udpft.protocol.contract import NO_HOLES, NotReady, NowSource, SparseMap
from udpft.protocol.wire.accept import NO_PART, Part
from udpft.server.job import Job

BLOCK_BYTES: Final = 256 << 10
"""Bytes that a thread reads at once: at 100 kB/s still one block in three seconds."""

MAX_DISK_THREADS: Final = 64
"""Threads that wait for disks at once; past it, files are not opened, and reads wait."""

_REMOTE: Final = ("fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "gfs", "ocfs", "lustre")
"""Beginnings of the names of file systems on which each call may hang."""

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
"""Spaces and the like in the places of mounts."""

T = TypeVar("T")


def is_remote(fd: int) -> bool:
    """Tell whether a file lies on a file system of the network or of user space.

    Asks the kernel alone, never that file system.
    """
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines:
            mount = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.split(" ", 1)[0] == mount:
                    return line.rpartition(" - ")[2].startswith(_REMOTE)
    except (OSError, StopIteration):
        return False
    return False


def is_remote_below(fd: int) -> bool:
    """Tell whether something below a folder is in such a file system. Asks the kernel alone."""
    try:
        folder = os.readlink(f"/proc/self/fd/{fd}").rstrip("/") + "/"
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                if line.rpartition(" - ")[2].startswith(_REMOTE):
                    place = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), line.split(" ", 5)[4])
                    if place.startswith(folder):
                        return True
    except OSError:
        return False
    return False


class DiskThreads:
    """Set of the threads that wait for disks, at most `MAX_DISK_THREADS`.

    Attributes:
        _jobs: those at work, and some that have ended since another began.
    """

    def __init__(self) -> None:
        self._jobs: list[Job[object]] = []

    def begin(self, work: Callable[[], T]) -> Job[T] | None:
        """Begin a call in a thread; return None where there are too many of them."""
        self._jobs = [job for job in self._jobs if job.ended_at is None]
        if len(self._jobs) >= MAX_DISK_THREADS:
            return None
        try:
            job = Job(work)
        except RuntimeError:  # no task is left
            return None
        self._jobs.append(job)  # type: ignore[arg-type]
        return job

    def begin_or_busy(self, work: Callable[[], T]) -> Job[T]:
        """Begin a call in a thread. Raises ServerBusy where there are too many of them."""
        job = self.begin(work)
        if job is None:
            raise ServerBusy("the server waits for its disks", hint="try again in a moment")
        return job


class ServedSource:
    """File or tree of a server that is sent; an `OpenedSource`, read as the module says.

    Args:
        source: the file or tree, taken over.
        threads: that wait for disks.
        remote: whether each call may hang, so that all are made in threads.
        part: where in its file it lies, if it is a range of one.
        sparse_map: holes of a remote one, which were looked for in a thread.

    Attributes:
        part: as ``part``; never changes.
        size: bytes; never changes, nor do the next two.
        mtime_ns: see `OpenedSource`.
        identity: see `OpenedSource`.
        _sparse_map: as ``sparse_map``.
        _job: the block that is being read; None without one.
        _block: bytes that were read and not sent yet; begins at ``_block_at`` in the file.
        _block_at: where they begin.
        _changed: whether the file had changed when the last block was read.
        _suspects: what may have changed when its end was read by a thread last.
        _lock: held while ``_closed`` and ``_reading`` are looked at together.
        _reading: whether a thread is at the source.
        _closed: whether nobody needs the source any more: the last to leave it closes it.
    """

    def __init__(
        self,
        source: NowSource,
        threads: DiskThreads,
        *,
        remote: bool = False,
        part: Part = NO_PART,
        sparse_map: SparseMap = NO_HOLES,
    ) -> None:
        self._source = source
        self.part = part
        self._threads = threads
        self._remote = remote
        self._sparse_map = sparse_map
        self.size = source.size
        self.mtime_ns = source.mtime_ns
        self.identity = source.identity
        self._job: Job[tuple[int, bytearray, bool]] | None = None
        self._block = bytearray()
        self._block_at = 0
        self._changed = False
        self._suspects: Sequence[tuple[int, int]] = ()
        self._lock = Lock()
        self._reading = False
        self._closed = False

    @property
    def sparse_map(self) -> SparseMap:
        """Holes of the file; of a remote one, as when it was opened."""
        return self._sparse_map if self._remote else self._source.sparse_map

    def readv(self, slots: Sequence[memoryview], offset: int) -> int:
        """Fill the slots, in order, from ``offset`` bytes on; return the bytes read.

        Raises:
            NotReady: they have to be waited for; a thread does.
            UdpftError: they cannot be read.
        """
        if self._job is None and not self._remote:
            got = self._source.readv_now(slots, offset)
            if got >= 0:
                return got
        return self._take_from_block(slots, offset)

    def _take_from_block(self, slots: Sequence[memoryview], offset: int) -> int:
        self._collect()
        wanted = min(sum(map(len, slots)), self.size - offset)
        skip = offset - self._block_at
        if skip < 0 or skip + wanted > len(self._block):
            self._read_on(offset, max(wanted, BLOCK_BYTES))
            raise NotReady
        view = memoryview(self._block)[skip : skip + wanted]
        at = 0
        for slot in slots:
            piece = view[at : at + len(slot)]
            slot[: len(piece)] = piece
            at += len(piece)
        view.release()
        piece.release()
        del self._block[: skip + wanted]
        self._block_at = offset + wanted
        if len(self._block) < BLOCK_BYTES:
            self._read_on(self._block_at + len(self._block), BLOCK_BYTES)
        return wanted

    def _collect(self) -> None:
        """Take in the block that a thread has read."""
        job = self._job
        if job is None or job.ended_at is None:
            return
        self._job = None
        offset, block, self._changed = job.result()
        if offset == self._block_at + len(self._block):
            self._block += block
        else:
            self._block_at, self._block = offset, block

    def _read_on(self, offset: int, length: int) -> None:
        """Begin to read a block, unless a thread is at it."""
        length = min(length, self.size - offset)
        if self._job or length <= 0:
            return
        with self._lock:
            self._reading = True
        self._job = self._threads.begin(lambda: self._read(offset, length))
        if self._job is None:
            self._reading = False

    def _read(self, offset: int, length: int) -> tuple[int, bytearray, bool]:
        """Read a block. Runs in a thread."""
        try:
            block = bytearray(length)
            with memoryview(block) as view:
                got = self._source.readv([view], offset)
            if got != length:
                raise SourceChanged.under_way("became shorter")
            if offset + length == self.size:
                self._suspects = tuple(self._source.suspects())
            return offset, block, self._source.changed()
        finally:
            with self._lock:
                self._reading = False
                closes = self._closed
            if closes:
                self._source.close()

    def changed(self) -> bool:
        """Tell whether it can no longer be read as it was; a remote one, as of the last block."""
        if self._remote or self._job:
            return self._changed
        return self._source.changed()

    def suspects(self) -> Sequence[tuple[int, int]]:
        """Byte ranges that may have changed; of a remote one, as of when its end was read."""
        if self._remote or self._job:
            return self._suspects
        return self._source.suspects()

    def close(self) -> None:
        """Close it, in a thread where that may take its time. May be called twice."""
        with self._lock:
            closed, self._closed = self._closed, True
            if closed or self._reading:
                return
        if not self._remote or self._threads.begin(self._source.close) is None:
            self._source.close()
