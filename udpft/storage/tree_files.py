"""A tree at both ends: the files of a listing, read or written as one.

See `udpft.protocol.wire.listing`. A burst mostly lies in one file and costs what it costs there;
where small files meet in it, each is read or written for itself.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import groupby
from typing import Final

from udpft.errors import DigestMismatch, NoSuchFile, SourceChanged
from udpft.protocol.wire.listing import Entry, files_of, pieces, starts_of
from udpft.storage.holes import Holes
from udpft.storage.partfile import write_all
from udpft.storage.served_folder import SourceFile

MAX_OPEN_FILES: Final = 32
"""Files that a tree being written keeps open: a batch rarely touches more, but tiny ones."""

_HOLE_BYTES: Final = 1024
"""Zeros in one piece that are worth a closer look."""

_FLAGS: Final = os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class Layout:
    """Which file of a tree has which bytes. ``size``: bytes of them all."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.files = files_of(entries)
        self.starts = starts_of(self.files)
        self.size = self.starts[-1]

    def parts(
        self, slots: Sequence[memoryview], offset: int
    ) -> Iterator[tuple[int, list[memoryview], int]]:
        """What of slots, laid into the tree from an offset on, lies in which file.

        Yields:
            Of each file in turn: its number, the slots that are its, and the offset in it.
        """
        file = bisect_right(self.starts, offset) - 1
        if offset + len(slots[0]) * len(slots) <= self.starts[min(file + 1, len(self.files))]:
            yield file, list(slots), offset - self.starts[file]
            return
        cuts = pieces(self.starts, file, offset, map(len, slots))
        for at, group in groupby(cuts, key=lambda cut: cut[0]):
            own = [slots[slot][start:stop] for _, slot, start, stop in group]
            yield at, own, offset - self.starts[at]
            offset += sum(map(len, own))


class TreeSource:
    """A tree being sent; a `udpft.protocol.contract.ChunkSource`. Opens one file at a time.

    Args:
        entries: of the listing.
        identity: of the listing.
        open_file: opens the file of an entry.
    """

    mtime_ns = 0

    def __init__(
        self,
        entries: Sequence[Entry],
        identity: int,
        open_file: Callable[[Entry], SourceFile],
    ) -> None:
        self._layout = Layout(entries)
        self._open_file = open_file
        self._file: SourceFile | None = None
        self._number = -1
        self.size = self._layout.size
        self.identity = identity

    def readv(self, slots: Sequence[memoryview], offset: int) -> int:
        """Fill the slots, in order, from ``offset`` bytes on; return the bytes read.

        Raises:
            SourceChanged: a file is not what the listing says.
            LocalReadFailed, ServerBusy: it cannot be read.
        """
        got = 0
        for number, own, at in self._layout.parts(slots, offset):
            got += self._file_of(number).readv(own, at)
        return got

    def _file_of(self, number: int) -> SourceFile:
        if number == self._number and self._file:
            return self._file
        if self.changed():
            raise _changed()
        self.close()
        entry = self._layout.files[number]
        try:
            self._file = self._open_file(entry)
        except NoSuchFile:
            raise _changed() from None
        self._number = number
        if (self._file.size, self._file.identity) != (entry.size, entry.version):
            raise _changed()
        return self._file

    def changed(self) -> bool:
        """Whether the file that is open is no longer what it was; the others were, when left."""
        return self._file is not None and self._file.changed()

    def close(self) -> None:
        """Close the file that is open."""
        if self._file:
            self._file.close()
        self._file, self._number = None, -1


def _changed() -> SourceChanged:
    return SourceChanged("a file of the tree changed while it was sent", hint="try again")


class StagedTree:
    """A tree on its way in: its files in a folder, under their numbers, as far as they are here.

    Args:
        folder_fd: the folder, which is not closed.
        entries: of the listing.
        elsewhere: the numbers of files that lie somewhere else, are read there and never written.
        open_elsewhere: opens one of them by its number; may raise OSError.
    """

    def __init__(
        self,
        folder_fd: int,
        entries: Sequence[Entry],
        elsewhere: Container[int],
        open_elsewhere: Callable[[int], int],
    ) -> None:
        self._elsewhere = elsewhere
        self._open_elsewhere = open_elsewhere
        self.layout = Layout(entries)
        self._folder_fd = folder_fd
        self._open: OrderedDict[int, int] = OrderedDict()
        self._holes = Holes()

    def writev(self, slots: Sequence[memoryview], offset: int) -> None:
        """Write the slots one after another from ``offset`` bytes on.

        Raises:
            DigestMismatch: a file that lies elsewhere is not what comes.
            OSError: the disk refuses.
        """
        for number, own, at in self.layout.parts(slots, offset):
            if number in self._elsewhere:
                # It is here, and came only because not everything could be named.
                wanted = b"".join(own)
                if os.pread(self._fd(number), len(wanted), at) != wanted:
                    raise DigestMismatch("a file that is here is not the one that was sent")
                continue
            fd, length = self._fd(number), sum(map(len, own))
            zero = length >= _HOLE_BYTES and not own[0][0]
            if not (zero and self._holes.dig(fd, own, at, length, number)):
                write_all(fd, own, at, length)

    def readv(self, slots: Sequence[memoryview], offset: int) -> int:
        """Fill the slots with what is here; return the bytes read. Raises OSError."""
        got = 0
        for number, own, at in self.layout.parts(slots, offset):
            got += os.preadv(self._fd(number), own, at)
        return got

    def _fd(self, number: int) -> int:
        fd = self._open.get(number)
        if fd is not None:
            self._open.move_to_end(number)
            return fd
        if len(self._open) >= MAX_OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        if number in self._elsewhere:
            fd = self._open_elsewhere(number)
        else:
            flags = os.O_RDWR | os.O_CREAT | _FLAGS
            fd = os.open(str(number), flags, 0o600, dir_fd=self._folder_fd)
        self._open[number] = fd
        return fd

    def finish(self, number: int) -> None:
        """Give a file its size, time and permissions; one that is empty is made. Raises OSError."""
        entry = self.layout.files[number]
        fd = self._fd(number)
        os.ftruncate(fd, entry.size)  # an earlier fetch, of another tree, may have left more
        os.fchmod(fd, entry.mode & 0o777)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])
