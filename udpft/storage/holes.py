"""Holes in received files: zeros that take no room, so that a sparse file stays sparse.

Nothing tells a receiver where the holes of the source are, nor need it: what comes as zeros becomes
a hole. To look at the first byte of a burst tells nearly all others apart from it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

_BLOCK: Final = 4096
"""Bytes: no file system makes smaller holes than its blocks, and those are rarely larger."""


class Holes:
    """Holes dug in files instead of writing zeros.

    Remembers the run of zeros that was written last, for runs that come in pieces smaller than a
    block.

    Attributes:
        _file: number of the file that the run is in; -1 before the first.
        _start: offset in bytes at which the run begins.
        _stop: offset in bytes at which it ends so far; a piece that begins there continues it.
        _unsupported: whether the file system has refused to make a hole; no other is tried then.
    """

    __slots__ = ("_file", "_start", "_stop", "_unsupported")

    def __init__(self) -> None:
        self._file = -1
        self._start = 0
        self._stop = 0
        self._unsupported = False

    def dig(
        self, fd: int, slots: Sequence[memoryview], offset: int, length: int, file: int = 0
    ) -> bool:
        """Make a hole instead of a write, where that is all zeros and enough of them.

        Args:
            fd: the file.
            slots: bytes to be written.
            offset: of the first, in the file.
            length: of all slots, in bytes.
            file: a number that tells the file from others: descriptors are used again.

        Returns:
            Whether that is done, and nothing has to be written.

        Raises:
            OSError: the disk refuses.
        """
        if self._unsupported or not _is_zeros(slots):
            return False
        stop = offset + length
        if (self._file, self._stop) != (file, offset):
            self._file = file
            self._start = offset
        self._stop = stop
        # The block that the last piece ended in is all zeros too, as far as this run goes.
        start = max(self._start, offset // _BLOCK * _BLOCK)
        if stop - start < _BLOCK:
            return False
        from udpft.storage.system_calls.allocate import (
            punch,
        )  # most files have no zeros, and do without ctypes

        if not punch(fd, start, stop - start):
            self._unsupported = True
            return False
        if os.fstat(fd).st_size < stop:
            os.ftruncate(fd, stop)
        return True


def clear(fd: int, start: int, stop: int) -> None:
    """Make a byte range of a file zeros: a hole where the file system can.

    Raises:
        OSError: the disk refuses.
    """
    from udpft.storage.system_calls.allocate import punch  # without ctypes otherwise

    if start >= stop or punch(fd, start, stop - start):
        return
    while start < stop:
        start += os.pwrite(fd, bytes(min(_BLOCK * 16, stop - start)), start)


def _is_zeros(slots: Sequence[memoryview]) -> bool:
    first = bytes(slots[0])
    if first.count(0) != len(first):
        return False
    rest = b"".join(slots[1:])
    return rest.count(0) == len(rest)
