"""Contents of a tree as one sequence of bytes: its files, read or written back to back.

See `udpft.protocol.wire.listing`. A burst mostly lies in one file, and costs what a burst of
that file costs; where small files meet in it, each is read or written for itself.
"""

from __future__ import annotations

import errno
import os
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Final, Protocol

from udpft.errors import (
    DigestMismatch,
    LocalReadFailed,
    NoSuchFile,
    SourceChanged,
    UdpftError,
)
from udpft.protocol.contract import NO_HOLES, NotReady
from udpft.protocol.wire.listing import Entry, files_of, starts_of
from udpft.storage.holes import Holes
from udpft.storage.partfile import write_all
from udpft.storage.source_file import SourceFile
from udpft.storage.system_calls.allocate import punch

MAX_OPEN_FILES: Final = 32
"""Files that a tree being written keeps open: a batch rarely touches more, but tiny ones."""

PACKED: Final = -1
"""Number that stands for the file that small files share."""

_HOLE_BYTES: Final = 1024
"""Zeros in one piece that are worth a closer look."""

_FLAGS: Final = os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class Layout:
    """Layout of a tree: the range of its bytes that each file has.

    Args:
        entries: of the listing.

    Attributes:
        files: entries of the files alone, in order; grows with `add` alone, as do the others.
        starts: offset in the tree of each file, and of the end.
        size: bytes of all files.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.files = files_of(entries)
        self.starts = starts_of(self.files)
        self.size = self.starts[-1]

    def add(self, entry: Entry) -> None:
        """Add the next entry of the listing."""
        if not entry.is_folder:
            self.files.append(entry)
            self.size += entry.size
            self.starts.append(self.size)

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
        starts = self.starts
        file = bisect_right(starts, offset) - 1
        if offset + len(slots[0]) * len(slots) <= starts[min(file + 1, len(self.files))]:
            yield file, list(slots), offset - starts[file]
            return
        own: list[memoryview] = []
        begin, end = offset, starts[file + 1]
        for slot in slots:
            at, length = 0, len(slot)
            while at < length:
                if offset == end:
                    yield file, own, begin - starts[file]
                    file += 1
                    while starts[file + 1] == offset:  # an empty one
                        file += 1
                    own, begin, end = [], offset, starts[file + 1]
                step = length - at
                if step > end - offset:
                    step = end - offset
                own.append(slot if step == length else slot[at : at + step])
                at += step
                offset += step
        yield file, own, begin - starts[file]


class TreeSource:
    """Tree being sent; a `udpft.protocol.contract.ChunkSource`. Opens one file at a time.

    Args:
        entries: of the listing; or its layout, where several transfers share it.
        identity: of the listing.
        open_file: opens the file of an entry.
        on_failure: called with an entry that cannot be sent, and the error; None if that failed
            because it has changed.
        open_here: opens a file as ``open_file`` does, or raises NotReady where that may have to
            wait for a disk; None where that does not matter.

    Attributes:
        size: bytes of all files; never changes.
        identity: of the listing; never changes.
        mtime_ns: 0: each file has its own, in the listing.
        sparse_map: `NO_HOLES`: those of its files are sent, as zeros.
        layout: the range of bytes of each file; never changes.
        _file: the file that is open; None before the first read and once closed.
        _number: its number in the layout; -1 without one.
        _suspects: byte ranges of the files that were written to while they were open.
        _comparing: whether `suspects` was asked; what is read then is only compared, and a file
            need not be the version that the listing has.
    """

    mtime_ns = 0
    sparse_map = NO_HOLES

    def __init__(
        self,
        entries: Sequence[Entry] | Layout,
        identity: int,
        open_file: Callable[[Entry], SourceFile],
        on_failure: Callable[[Entry, UdpftError | None], None] = lambda *_: None,
        open_here: Callable[[Entry], SourceFile] | None = None,
    ) -> None:
        self.layout = entries if isinstance(entries, Layout) else Layout(entries)
        self._open_file = open_file
        self._open_here = open_here or open_file
        self._on_failure = on_failure
        self._file: SourceFile | None = None
        self._number = -1
        self._suspects: list[tuple[int, int]] = []
        self._comparing = False
        self.size = self.layout.size
        self.identity = identity

    def readv(self, slots: Sequence[memoryview], offset: int) -> int:
        """Fill the slots, in order, from ``offset`` bytes on; return the bytes read.

        Raises:
            SourceChanged: a file is not what the listing says, or cannot be read.
            ServerBusy: no descriptor is left.
        """
        got = 0
        for number, own, at in self.layout.parts(slots, offset):
            file = self._file_of(number, self._open_file)
            wanted = sum(map(len, own))
            try:
                read = file.readv(own, at)
            except LocalReadFailed as error:
                raise self._failed(number, error) from error
            if read < wanted:  # it has become shorter, and what follows would stand in its place
                raise self._failed(number)
            got += read
        return got

    def readv_now(self, slots: Sequence[memoryview], offset: int) -> int:
        """Read as `readv` does, if that need not wait for a disk; return -1 where it must."""
        got = 0
        for number, own, at in self.layout.parts(slots, offset):
            try:
                read = self._file_of(number, self._open_here).readv_now(own, at)
            except NotReady:
                return -1
            except LocalReadFailed as error:
                raise self._failed(number, error) from error
            if read < 0:
                return -1
            if read < sum(map(len, own)):
                raise self._failed(number)
            got += read
        return got

    def _file_of(self, number: int, open_file: Callable[[Entry], SourceFile]) -> SourceFile:
        if number == self._number and self._file:
            return self._file
        if self._file and not self._is_whole(self._file):
            raise self._failed(self._number)
        self.close()
        entry = self.layout.files[number]
        try:
            self._file = open_file(entry)
        except NoSuchFile as error:
            raise self._failed(number, error) from error
        self._number = number
        grown = self._file.size > entry.size
        # The identity is made of size and time, where the time says anything.
        same = self._file.size == entry.size and (
            self._file.mtime_ns == entry.mtime_ns or self._file.identity == entry.version
        )
        if not (same or grown or self._comparing):
            raise self._failed(number)
        return self._file

    def _is_whole(self, file: SourceFile) -> bool:
        """Tell whether the open file has not become shorter; note its range if written to."""
        shorter, written = file.changed_or_written()
        if written and not self._comparing:
            starts = self.layout.starts
            self._suspects.append((starts[self._number], starts[self._number + 1]))
        return not shorter

    def _failed(self, number: int, error: UdpftError | None = None) -> SourceChanged:
        """Note that a file cannot be sent; make the error that the tree is to be listed again."""
        entry = self.layout.files[number]
        cause = error.__cause__ if error else None
        if isinstance(cause, OSError) and cause.errno != errno.ENOENT:
            self._on_failure(entry, error)
            return SourceChanged(f"cannot read {entry.path!r}: {cause.strerror}", hint="try again")
        self._on_failure(entry, None)
        return SourceChanged(
            f"a file of the tree changed while it was sent: {entry.path!r}", hint="try again"
        )

    def changed(self) -> bool:
        """Tell whether the open file has become shorter. The others had not when closed."""
        return self._file is not None and self._file.changed()

    def suspects(self) -> Sequence[tuple[int, int]]:
        """Return the ranges of files that were written to while they were sent.

        What was appended to a file since it was listed is none of it.
        """
        if self._file:
            self._is_whole(self._file)
        self._comparing = True
        return self._suspects

    def close(self) -> None:
        """Close the file that is open."""
        if self._file:
            self._file.close()
        self._file = None
        self._number = -1


PACKED_BYTES: Final = 32 << 10
"""Bytes up to which a file comes into one that all such files share. A server so makes and opens
no file for each KiB that comes, but in a thread in the end."""

MAX_PACK_BYTES: Final = 1 << 30
"""Bytes of that one; what is beyond comes into files of its own. FAT has none of 4 GiB."""

_PACK: Final = "pack"
_PUNCHED_BYTES: Final = 1 << 20
"""Bytes of it that are given back at once, when their files have been made."""


_AHEAD_BYTES: Final = 256 << 10
"""Bytes of it that are read by one call, when its files are made."""


class Finishing(Protocol):
    """Finishing of files whose contents are there."""

    def mode_of(self, entry: Entry) -> int:
        """Permissions of a file."""

    def give_mode(self, fd: int, entry: Entry) -> None:
        """Give a file its permissions. Raises OSError: the disk fails."""

    def give_time(self, fd: int, entry: Entry) -> None:
        """Give a file its time. Raises OSError: the disk fails."""


class StagedTree:
    """Tree being received: its files in a staging folder, named by their numbers.

    Small files share one file, back to back, until `finish` makes them.

    Args:
        folder_fd: the staging folder, which is not closed.
        entries: of the listing.
        held: numbers of files that the destination holds already. They are read and compared at the
            destination, never written.
        open_held: opens one of them by its number; may raise OSError.
        skipped: numbers of files that are not kept, whatever comes of them.

    Attributes:
        layout: the range of bytes of each file; never changes.
        _open: descriptors of open files by their numbers, the one used last at the end. At most
            `MAX_OPEN_FILES`; the one unused for longest is closed for another.
        _holes: makes holes where zeros are written.
        _packed_at: offset of each small file in the one that they share; never changes.
        _apart: how many of the files before each are not written there; never changes. What lies
            between files of one number there is written by one call.
        _ahead: where in the one that they share a piece begins that was read, and the piece.
        _punched: offset up to which the file that small files share was given back.
    """

    def __init__(
        self,
        folder_fd: int,
        entries: Sequence[Entry],
        held: Container[int],
        open_held: Callable[[int], int],
        skipped: Container[int] = (),
    ) -> None:
        self._held = held
        self._skipped = skipped
        self._open_held = open_held
        self.layout = Layout(entries)
        self._folder_fd = folder_fd
        self._open: OrderedDict[int, int] = OrderedDict()
        self._holes = Holes()
        self._punched = 0
        sizes = (file.size for file in self.layout.files)
        self._packed_at = array(
            "Q", accumulate((size if size <= PACKED_BYTES else 0 for size in sizes), initial=0)
        )
        apart = (
            number in skipped or not self._is_packed(number)
            for number in range(len(self.layout.files))
        )
        self._apart = array("Q", accumulate(apart, initial=0))
        self._ahead: tuple[int, memoryview] = (0, memoryview(b""))

    def writev(self, slots: Sequence[memoryview], offset: int) -> None:
        """Write the slots one after another from ``offset`` bytes on.

        Raises:
            DigestMismatch: a file that is held already differs from what comes.
            OSError: the disk refuses.
        """
        if self._write_packed(slots, offset):
            return
        for number, own, at in self.layout.parts(slots, offset):
            if number in self._skipped:
                continue
            if number in self._held:
                # It comes only because HELLO has no room to name all ranges that are held.
                wanted = b"".join(own)
                if os.pread(self._fd(number), len(wanted), at) != wanted:
                    raise DigestMismatch("a file that is here is not the one that was sent")
                continue
            length = sum(map(len, own))
            if self._is_packed(number):
                write_all(self._fd(PACKED), own, self._packed_at[number] + at, length)
                continue
            fd = self._fd(number)
            zero = length >= _HOLE_BYTES and not own[0][0]
            if not (zero and self._holes.dig(fd, own, at, length, number)):
                write_all(fd, own, at, length)

    def _write_packed(self, slots: Sequence[memoryview], offset: int) -> bool:
        """Write slots that lie in small files alone by one call; return whether they do."""
        starts, apart = self.layout.starts, self._apart
        first = bisect_right(starts, offset) - 1
        if apart[first] != apart[first + 1]:
            return False
        length = sum(map(len, slots))
        if apart[first] != apart[bisect_left(starts, offset + length)]:
            return False
        at = self._packed_at[first] + offset - starts[first]
        write_all(self._fd(PACKED), slots, at, length)
        return True

    def readv(self, slots: Sequence[memoryview], offset: int) -> int:
        """Fill the slots with bytes that are held; return the bytes read. Raises OSError."""
        got = 0
        for number, own, at in self.layout.parts(slots, offset):
            if number in self._skipped:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            if self._is_packed(number):
                got += os.preadv(self._fd(PACKED), own, self._packed_at[number] + at)
            else:
                got += os.preadv(self._fd(number), own, at)
        return got

    def place_of(self, number: int) -> tuple[str, int]:
        """Name in the staging folder of what a file's bytes are in, and where they begin there."""
        return (_PACK, self._packed_at[number]) if self._is_packed(number) else (str(number), 0)

    def read_small(self, number: int) -> bytes:
        """Read a file of those that small files share. Raises OSError."""
        return os.pread(self._fd(PACKED), self.layout.files[number].size, self._packed_at[number])

    def _is_packed(self, number: int) -> bool:
        size = self.layout.files[number].size
        fits = size <= PACKED_BYTES and self._packed_at[number] + size <= MAX_PACK_BYTES
        return fits and number not in self._held

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
            name = _PACK if number == PACKED else str(number)
            fd = os.open(name, flags, 0o600, dir_fd=self._folder_fd)
        self._open[number] = fd
        return fd

    def finish(self, number: int, finishing: Finishing) -> None:
        """Give a file its size, and what else it should have; make an empty one. Raises OSError."""
        entry = self.layout.files[number]
        if self._is_packed(number):
            self._unpack(number, entry, finishing)
            return
        fd = self._fd(number)
        os.ftruncate(fd, entry.size)  # an earlier fetch, of another tree, may have left more
        finishing.give_mode(fd, entry)
        finishing.give_time(fd, entry)

    def _unpack(self, number: int, entry: Entry, finishing: Finishing) -> None:
        """Make a small file out of the one that they share, in the order of their numbers."""
        start = self._packed_at[number]
        content = self._read_ahead(start, entry.size)
        fd, has_mode = self._make(str(number), finishing.mode_of(entry))
        try:
            if content:
                write_all(fd, [content], 0, len(content))
            if len(content) != entry.size:
                os.ftruncate(fd, entry.size)
            if not has_mode:
                finishing.give_mode(fd, entry)
            finishing.give_time(fd, entry)
        finally:
            os.close(fd)
        if start - self._punched >= _PUNCHED_BYTES:
            punch(self._fd(PACKED), self._punched, start - self._punched)
            self._punched = start

    def _read_ahead(self, start: int, size: int) -> memoryview:
        """Read from the file that small files share, with what follows. Raises OSError."""
        at, piece = self._ahead
        if start < at or start + size > at + len(piece):
            piece = memoryview(os.pread(self._fd(PACKED), max(size, _AHEAD_BYTES), start))
            at = start
            self._ahead = at, piece
        return piece[start - at : start - at + size]

    def _make(self, name: str, mode: int) -> tuple[int, bool]:
        """Make an empty staged file; return its descriptor, and whether it has the mode by that.

        Raises:
            OSError: the disk refuses, or a symlink has the name.
        """
        flags = os.O_WRONLY | os.O_CREAT | _FLAGS
        if mode & 0o200:  # some file systems of the network let nobody else write to it
            with suppress(FileExistsError):  # of a commit that was broken off
                return os.open(name, flags | os.O_EXCL, mode, dir_fd=self._folder_fd), True
        return os.open(name, flags | os.O_TRUNC, 0o600, dir_fd=self._folder_fd), False

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])
