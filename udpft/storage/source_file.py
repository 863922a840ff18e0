"""Source file: a regular file opened for sending, and the identity of its content.

It is sent as it was when it was opened: what is written behind its end later is none of it, and
whatever becomes of its name does not matter. What is written inside it shows in its times, as much
else does; so those only raise a suspicion, and its content decides.

Files of /proc, of /sys and of some FUSE file systems say a size that is not theirs: 0, or a page.
They are read to their end first, into memory, and that is sent.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Self

from udpft.errors import LocalReadFailed
from udpft.protocol.contract import HOLE_BLOCK_BYTES, MAX_HOLES, NO_HOLES, SparseMap
from udpft.protocol.ranges import RangeSet

MAX_UNSIZED_BYTES: Final = 16 << 20
"""Bytes that are read of a file that does not know its size: they are held in memory."""

_MAX_EXTENTS: Final = 4096
"""Pieces of a sparse file that are looked for, some milliseconds; behind them all is data."""

_STAT_BLOCK: Final = 512
"""The unit of st_blocks, whatever the file system's own (POSIX.1-2017, sys/stat.h)."""

_INT64_MAX: Final = 2**63 - 1


_WITHOUT_NOWAIT: Final[set[int]] = set()
"""Devices whose file systems do not know RWF_NOWAIT, as tmpfs: asking each file costs a call."""

_MAX_DEVICES: Final = 1_000


class SourceFile:
    """Regular file opened for sending; a `udpft.protocol.contract.ChunkSource`.

    Args:
        fd: its descriptor, which is taken over.
        status: of the file, when it was opened.

    Attributes:
        size: bytes, when it was opened; never changes, nor do the others.
        mtime_ns: time of the last change in nanoseconds since the epoch, clamped to a signed 64
            bit integer: file systems reach further.
        _identity: as ``identity``, once it was asked for; None before.
        _fd: its descriptor; -1 once it is closed.
        _status: as ``status``, for `changed` and `suspects`.
        _holes: byte ranges that were found to be holes; empty before the first look.
        _nowait: RWF_NOWAIT; 0 once the file system has turned out not to know it.
    """

    __slots__ = ("_fd", "_holes", "_identity", "_nowait", "_status", "mtime_ns", "size")

    def __init__(self, fd: int, status: os.stat_result) -> None:
        self._fd = fd
        self._status = status
        self._holes: tuple[tuple[int, int], ...] = ()
        self._nowait = 0 if status.st_dev in _WITHOUT_NOWAIT else os.RWF_NOWAIT
        self.size = status.st_size
        self.mtime_ns = max(-_INT64_MAX, min(status.st_mtime_ns, _INT64_MAX))
        self._identity: int | None = None

    @property
    def identity(self) -> int:
        """64 bits that change when the file is written to; see `file_identity`."""
        if self._identity is None:
            self._identity = file_identity(self._status)
        return self._identity

    @identity.setter
    def identity(self, identity: int) -> None:
        """Give it one, where its times say nothing of its content."""
        self._identity = identity

    @property
    def sparse_map(self) -> SparseMap:
        """Holes of the file, as it is now; see `OpenedSource`."""
        found = self._look_for_holes()
        self._holes = found.holes
        return found

    def _look_for_holes(self) -> SparseMap:
        if os.fstat(self._fd).st_blocks * _STAT_BLOCK >= self.size:
            return NO_HOLES
        try:
            return _map_of(self._fd, self.size)
        except OSError:  # this file system does not know
            return NO_HOLES

    def readv(self, slots: Sequence[memoryview], offset: int) -> int:
        """Fill the slots, in order, from ``offset`` bytes on; return the bytes read.

        Fewer than the slots hold means that the file ends there, or has become shorter. One slot
        at least, 1,024 at most (IOV_MAX).

        Raises:
            LocalReadFailed: the file cannot be read.
        """
        try:
            got = os.preadv(self._fd, slots, offset)
            # Full, where the slots are all alike but the last one, as in every burst: adding
            # their lengths up would cost a quarter of the read itself.
            if got == len(slots[0]) * (len(slots) - 1) + len(slots[-1]):
                return got
            return self._read_rest(slots, offset, got)
        except OSError as error:
            raise LocalReadFailed(f"cannot read the file: {error.strerror}") from error

    def readv_now(self, slots: Sequence[memoryview], offset: int) -> int:
        """Read as `readv` does, if that need not wait for a disk; return -1 where it must.

        A file system that does not know the difference, as in memory, is read as ever.
        """
        try:
            got = os.preadv(self._fd, slots, offset, self._nowait)
            if got == len(slots[0]) * (len(slots) - 1) + len(slots[-1]):
                return got
        except BlockingIOError:
            return -1
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP or not self._nowait:
                raise LocalReadFailed(f"cannot read the file: {error.strerror}") from error
            self._nowait = 0
            if len(_WITHOUT_NOWAIT) < _MAX_DEVICES:
                _WITHOUT_NOWAIT.add(self._status.st_dev)
            return self.readv(slots, offset)
        # Part of it is in memory, or the file has become shorter; `readv` finds out which.
        return got if got >= min(sum(map(len, slots)), self.size - offset) else -1

    def _read_rest(self, slots: Sequence[memoryview], offset: int, got: int) -> int:
        """Go on after a short read; return the bytes read in all."""
        wanted = min(sum(map(len, slots)), self.size - offset)
        while got < wanted:
            step = os.preadv(self._fd, _skip(slots, got), offset + got)
            if not step:
                break
            got += step
        return got

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._fd

    def changed(self) -> bool:
        """Tell whether the file can no longer be read as it was: it has become shorter."""
        try:
            return os.fstat(self._fd).st_size < self.size
        except OSError:
            return True

    def suspects(self) -> Sequence[tuple[int, int]]:
        """Return all of the file where its size or a time has moved since it was opened.

        A change of its permissions or its name moves one too, and its content then clears it. What
        was a hole and still is one is as it was.
        """
        now, then = os.fstat(self._fd), self._status
        if (now.st_ctime_ns, *_version(now)) == (then.st_ctime_ns, *_version(then)):
            return ()
        if not self._holes:
            return ((0, self.size),)
        parts = RangeSet([(0, self.size)])
        for start, stop in set(self._holes).intersection(self._look_for_holes().holes):
            parts.remove(start, stop)
        return tuple(parts)

    def changed_or_written(self) -> tuple[bool, bool]:
        """Tell whether it has become shorter, and whether it may have been written to."""
        try:
            now = os.fstat(self._fd)
        except OSError:
            return True, True
        then = self._status
        same = now.st_size == then.st_size and now.st_mtime_ns == then.st_mtime_ns
        return now.st_size < self.size, not same

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_source(fd: int, status: os.stat_result) -> SourceFile:
    """Make a source of a regular file, or of its content where it does not know its size.

    Args:
        fd: its descriptor, which is taken over.
        status: of the file.

    Raises:
        LocalReadFailed: it does not know its size, and cannot be read or is too long.
    """
    try:
        if _knows_its_size(fd, status):
            return SourceFile(fd, status)
        with os.fdopen(os.dup(fd), "rb", buffering=0) as file:
            content = b""
            while len(content) <= MAX_UNSIZED_BYTES and (block := file.read(1 << 20)):
                content += block
    except OSError as error:
        os.close(fd)
        raise LocalReadFailed(f"cannot read the file: {error.strerror}") from error
    os.close(fd)
    if len(content) > MAX_UNSIZED_BYTES:
        raise LocalReadFailed(
            "the file does not know its size, and is too long to be read before it is sent",
            hint="udpft put - sends what a program writes",
        )
    return _source_of(content)


def _knows_its_size(fd: int, status: os.stat_result) -> bool:
    """Tell whether a file ends where its status says.

    Looks at files only that say to be empty or to take no room: others are on a disk.
    """
    try:
        if not status.st_size:
            return not os.pread(fd, 1, 0)
        return bool(status.st_blocks or os.pread(fd, 1, status.st_size - 1))
    except OSError:
        return True  # whoever reads it will say why


def _source_of(content: bytes) -> SourceFile:
    """Make a source of bytes, in an anonymous file."""
    copy = os.memfd_create("udpft-source")
    try:
        with os.fdopen(os.dup(copy), "wb") as file:
            file.write(content)
        source = SourceFile(copy, os.fstat(copy))
    except OSError:
        os.close(copy)
        raise
    # Its time is that of the copy, and says nothing.
    source.identity = int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
    return source


def file_identity(status: os.stat_result) -> int:
    """Compute the ``identity`` of a file: of its size and the time of its last change.

    Nothing else outlasts a remount, a container or a copy: device numbers change with each, and
    some file systems number their files anew (FAT, FUSE). Two writes within one tick of the
    kernel's clock (4 ms or less; nanoseconds from Linux 6.13 on) that leave the size as it is can
    look like one, and so can files that were given the same time. The digest tells them apart.
    """
    # As text, for a time may pass 64 bits.
    digest = blake2b(repr(_version(status)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _map_of(fd: int, size: int) -> SparseMap:
    """Look for the holes of a file. Raises OSError where its file system does not know them."""
    holes: list[tuple[int, int]] = []
    at = data_bytes = 0
    for _ in range(_MAX_EXTENTS):
        try:
            start = min(os.lseek(fd, at, os.SEEK_DATA), size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            start = size  # no data behind it
        # In whole blocks; the last one of the file ends with it.
        first, last = -(-at // HOLE_BLOCK_BYTES), start // HOLE_BLOCK_BYTES
        if start == size:
            last = -(-size // HOLE_BLOCK_BYTES)
        if first < last < 1 << 32:
            holes.append((first * HOLE_BLOCK_BYTES, last * HOLE_BLOCK_BYTES))
        if start == size:
            break
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        data_bytes += at - start
        if at == size:
            break
    else:
        data_bytes += size - at
    holes.sort(key=lambda hole: hole[0] - hole[1])
    return SparseMap(data_bytes, tuple(holes[:MAX_HOLES])) if holes else NO_HOLES


def _version(status: os.stat_result) -> tuple[int, int]:
    """Key of one state of a file: its size and the time of its last change."""
    return status.st_size, status.st_mtime_ns


def _skip(slots: Sequence[memoryview], count: int) -> list[memoryview]:
    """Return the slots without their first ``count`` bytes."""
    rest = []
    for slot in slots:
        if count < len(slot):
            rest.append(slot[count:])
        count = max(0, count - len(slot))
    return rest
