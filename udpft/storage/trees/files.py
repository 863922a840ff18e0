"""Contents of a tree as one sequence of bytes: its files, read or written back to back.

See `udpft.protocol.wire.listing`. A burst mostly lies in one file, and costs what a burst of
that file costs; where small files meet in it, each is read or written for itself.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from udpft.errors import DigestMismatch, NoSuchFile, SourceChanged
from udpft.protocol.wire.listing import Entry, files_of, pieces, starts_of
from udpft.storage.holes import Holes
from udpft.storage.partfile import write_all
from udpft.storage.source_file import SourceFile

MAX_OPEN_FILES: Final = 32
"""Files that a tree being written keeps open: a batch rarely touches more, but tiny ones."""

_HOLE_BYTES: Final = 1024
"""Zeros in one piece that are worth a closer look."""

_FLAGS: Final = os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class Layout:
    """Layout of a tree: the range of its bytes that each file has.

    Args:
        entries: of the listing.

    Attributes:
        files: entries of the files alone, in order; never changes, nor do the others.
        starts: offset in the tree of each file, and of the end.
        size: bytes of all files.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.files = files_of(entries)
        self.starts = starts_of(self.files)
        self.size = self.starts[-1]

    def count_files(self, ranges: Iterable[tuple[int, int]]) -> int:
        """Number of files that lie whole in ranges of bytes, which are in order and apart."""
        count = counted = 0  # files before `counted` are counted, or in no range
        for start, stop in ranges:
            first = max(counted, bisect_left(self.starts, start))
            counted = min(bisect_right(self.starts, stop) - 1, len(self.files))
            count += max(0, counted - first)
        return count

    def parts(
        self, slots: Sequence[memoryview], offset: int
    ) -> Iterator[tuple[int, list[memoryview], int]]:
        """Split slots, laid into the tree from an offset on, by file.

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
    """Tree being sent; a `udpft.protocol.contract.ChunkSource`. Opens one file at a time.

    Attributes:
        layout: which file has which of its bytes.

    Args:
        entries: of the listing.
        identity: of the listing.
        open_file: opens the file of an entry.

    Attributes:
        size: bytes of all files; never changes.
        identity: of the listing; never changes.
        mtime_ns: 0: each file has its own, in the listing.
        _layout: the range of bytes of each file.
        _file: the file that is open; None before the first read and once closed.
        _number: its number in the layout; -1 without one.
        _suspects: byte ranges of the files that were written to while they were open.
        _comparing: whether `suspects` was asked; what is read then is only compared, and a file
            need not be the version that the listing has.
    """

    mtime_ns = 0

    def __init__(
        self,
        entries: Sequence[Entry],
        identity: int,
        open_file: Callable[[Entry], SourceFile],
    ) -> None:
        self.layout = Layout(entries)
        self._open_file = open_file
        self._file: SourceFile | None = None
        self._number = -1
        self._suspects: list[tuple[int, int]] = []
        self._comparing = False
        self.size = self.layout.size
        self.identity = identity

    def readv(self, slots: Sequence[memoryview], offset: int) -> int:
        """Fill the slots, in order, from ``offset`` bytes on; return the bytes read.

        Raises:
            SourceChanged: a file is not what the listing says.
            LocalReadFailed, ServerBusy: it cannot be read.
        """
        got = 0
        for number, own, at in self.layout.parts(slots, offset):
            got += self._file_of(number).readv(own, at)
        return got

    def _file_of(self, number: int) -> SourceFile:
        if number == self._number and self._file:
            return self._file
        if self.changed():
            raise _changed()
        self._note_suspect()
        self.close()
        entry = self.layout.files[number]
        try:
            self._file = self._open_file(entry)
        except NoSuchFile:
            raise _changed() from None
        self._number = number
        grown = self._file.size > entry.size
        same = (self._file.size, self._file.identity) == (entry.size, entry.version)
        if not (same or grown or self._comparing):
            raise _changed()
        return self._file

    def _note_suspect(self) -> None:
        """Note the range of the open file where it was written to."""
        if self._file and not self._comparing and self._file.was_written():
            starts = self.layout.starts
            self._suspects.append((starts[self._number], starts[self._number + 1]))

    def changed(self) -> bool:
        """Tell whether the open file has become shorter. The others had not when closed."""
        return self._file is not None and self._file.changed()

    def suspects(self) -> Sequence[tuple[int, int]]:
        """Return the ranges of files that were written to while they were sent.

        What was appended to a file since it was listed is none of it.
        """
        self._note_suspect()
        self._comparing = True
        return self._suspects

    def close(self) -> None:
        """Close the file that is open."""
        if self._file:
            self._file.close()
        self._file = None
        self._number = -1


def _changed() -> SourceChanged:
    return SourceChanged("a file of the tree changed while it was sent", hint="try again")


class StagedTree:
    """Tree being received: its files in a staging folder, named by their numbers.

    Args:
        folder_fd: the staging folder, which is not closed.
        entries: of the listing.
        held: numbers of files that the destination holds already. They are read and compared at the
            destination, never written.
        open_held: opens one of them by its number; may raise OSError.

    Attributes:
        layout: the range of bytes of each file; never changes.
        _open: descriptors of open files by their numbers, the one used last at the end. At most
            `MAX_OPEN_FILES`; the one unused for longest is closed for another.
        _holes: makes holes where zeros are written.
    """

    def __init__(
        self,
        folder_fd: int,
        entries: Sequence[Entry],
        held: Container[int],
        open_held: Callable[[int], int],
    ) -> None:
        self._held = held
        self._open_held = open_held
        self.layout = Layout(entries)
        self._folder_fd = folder_fd
        self._open: OrderedDict[int, int] = OrderedDict()
        self._holes = Holes()

    def writev(self, slots: Sequence[memoryview], offset: int) -> None:
        """Write the slots one after another from ``offset`` bytes on.

        Raises:
            DigestMismatch: a file that is held already differs from what comes.
            OSError: the disk refuses.
        """
        for number, own, at in self.layout.parts(slots, offset):
            if number in self._held:
                # It comes only because HELLO has no room to name all ranges that are held.
                wanted = b"".join(own)
                if os.pread(self._fd(number), len(wanted), at) != wanted:
                    raise DigestMismatch("a file that is here is not the one that was sent")
                continue
            fd, length = self._fd(number), sum(map(len, own))
            zero = length >= _HOLE_BYTES and not own[0][0]
            if not (zero and self._holes.dig(fd, own, at, length, number)):
                write_all(fd, own, at, length)

    def readv(self, slots: Sequence[memoryview], offset: int) -> int:
        """Fill the slots with bytes that are held; return the bytes read. Raises OSError."""
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
        if number in self._held:
            fd = self._open_held(number)
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
