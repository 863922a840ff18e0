"""Zeros that take no room: a sparse file stays sparse on its way.

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
    """Makes holes of zeros that would be written. Remembers the run of zeros that it is in, for
    those that come in pieces smaller than a block."""

    __slots__ = ("_file", "_off", "_start", "_stop")

    def __init__(self) -> None:
        self._file = -1
        self._start = self._stop = 0
        self._off = False

    def dig(
        self, fd: int, slots: Sequence[memoryview], offset: int, length: int, file: int = 0
    ) -> bool:
        """Make a hole of what is to be written, where it is all zeros and enough of them.

        Args:
            fd: the file.
            slots: what is to be written.
            offset: where.
            length: of it all, in bytes.
            file: a number that tells the file from others: descriptors are used again.

        Returns:
            Whether that is done, and nothing has to be written.

        Raises:
            OSError: the disk refuses.
        """
        if self._off or not _is_zeros(slots):
            return False
        stop = offset + length
        if (self._file, self._stop) != (file, offset):
            self._file, self._start = file, offset
        self._stop = stop
        # The block that the last piece ended in is all zeros too, as far as this run goes.
        start = max(self._start, offset // _BLOCK * _BLOCK)
        if stop - start < _BLOCK:
            return False
        from udpft.storage.allocate import punch  # most files have no zeros, and do without ctypes

        if not punch(fd, start, stop - start):
            self._off = True
            return False
        if os.fstat(fd).st_size < stop:
            os.ftruncate(fd, stop)
        return True


def _is_zeros(slots: Sequence[memoryview]) -> bool:
    first = bytes(slots[0])
    if first.count(0) != len(first):
        return False
    rest = b"".join(slots[1:])
    return rest.count(0) == len(rest)
