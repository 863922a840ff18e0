"""Source file: a regular file opened for sending, and the identity of its content."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Self

from udpft.errors import LocalReadFailed

_INT64_MAX: Final = 2**63 - 1


class SourceFile:
    """Regular file opened for sending; a `udpft.protocol.contract.ChunkSource`.

    Args:
        fd: its descriptor, which is taken over.
        status: of the file, when it was opened.

    Attributes:
        size: bytes, when it was opened; never changes, nor do the others.
        mtime_ns: time of the last change in nanoseconds since the epoch, clamped to a signed 64
            bit integer: file systems reach further.
        identity: 64 bits that change when the file is replaced or written to. Two writes within
            one tick of the kernel's clock (4 ms or less; nanoseconds from Linux 6.13 on) that
            leave the size as it is can look like one.
        _fd: its descriptor; -1 once it is closed.
        _version: place, size and times when it was opened, for `changed`.
    """

    __slots__ = ("_fd", "_version", "identity", "mtime_ns", "size")

    def __init__(self, fd: int, status: os.stat_result) -> None:
        self._fd = fd
        self._version = _version(status)
        self.size = status.st_size
        self.mtime_ns = max(-_INT64_MAX, min(status.st_mtime_ns, _INT64_MAX))
        self.identity = file_identity(status)

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

    def _read_rest(self, slots: Sequence[memoryview], offset: int, got: int) -> int:
        """Go on after a short read; return the bytes read in all."""
        wanted = min(sum(map(len, slots)), self.size - offset)
        while got < wanted:
            step = os.preadv(self._fd, _skip(slots, got), offset + got)
            if not step:
                break
            got += step
        return got

    def changed(self) -> bool:
        """Tell whether the file is no longer the one that was opened.

        A change of its permissions or its name counts, for what moves st_ctime moves this.
        """
        try:
            return _version(os.fstat(self._fd)) != self._version
        except OSError:
            return True

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def file_identity(status: os.stat_result) -> int:
    """Compute the ``identity`` of a file; see `SourceFile`."""
    # As text, for a time may pass 64 bits.
    digest = blake2b(repr(_version(status)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _version(status: os.stat_result) -> tuple[int, ...]:
    """Key of one state of one file: its place, size and times."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _skip(slots: Sequence[memoryview], count: int) -> list[memoryview]:
    """Return the slots without their first ``count`` bytes."""
    rest = []
    for slot in slots:
        if count < len(slot):
            rest.append(slot[count:])
        count = max(0, count - len(slot))
    return rest
