"""Destination of a received tree: a staging folder, whose files are renamed one by one in the end.

The staging folder ``.NAME.udpft-part`` lies beside the files' destinations. It has the files that
are to come, named by their numbers, and a journal as a part file has. When all have come and are
verified they are synced, and each is renamed to its name, so that every name is at every moment
absent, the old file, or the new one complete. Folders are made as they are needed, and symlinks
below the destination are never followed.

Both ends use it: a client for trees that it fetches, a server for trees that clients store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from udpft.errors import DestinationExists, LocalWriteFailed, SourceChanged
from udpft.protocol.contract import OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult, whole_chunks
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.hello import MAX_HAVE
from udpft.protocol.wire.listing import Entry
from udpft.storage.claim import ELSEWHERE_HINT, lock_or_warn, part_name
from udpft.storage.destination import WORTHLESS, guarded, say_how_to_resume
from udpft.storage.journal import Journal, Label, MalformedJournal
from udpft.storage.partfile import read_hashes, write_failure
from udpft.storage.sync import sync_file_system
from udpft.storage.trees.files import StagedTree
from udpft.storage.trees.folders import FOLDER_FLAGS, Folders

if TYPE_CHECKING:
    from udpft.net.stop import Stop

_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_JOURNAL = "journal"
"""Name of the journal in the staging folder, whose other files are named by numbers."""


class Placed(NamedTuple):
    """Entry of a listing, and its place.

    ``place``: components of its path below the destination; none for the destination itself.
    """

    entry: Entry
    place: tuple[str, ...]


class TreeDestination:
    """Destination of one tree; a context manager, and a `destination.Target`.

    Args:
        folder: the destination; made where it is missing.
        folder_fd: descriptor of the destination where it is open already, taken over; ``folder`` is
            then for messages only.
        name: the staging folder is named after it.
        placed: entries of the listing, and their places.
        identity: of the listing.
        force: replace different files.
        trust: take a file of the same size and time for the same; else it is a different one.
        resume: resume what an earlier transfer left, and leave what is held to the next one.
        on_resume: called with the bytes held and the bytes in all, where the transfer resumes.
        stop: breaks off the reading of what is held, from another thread.

    Attributes:
        folder: as ``folder``; never changes.
        have: byte ranges of the tree that are held already, at most `MAX_HAVE`, the largest; set
            once, when this is made, as are those up to ``file_count``.
        have_of: identity of the listing.
        trusted: number of files that are taken for the same by size and time.
        is_needed: whether anything has to come over the network.
        is_up_to_date: whether the destination holds every file already.
        size: bytes of the tree.
        file_count: number of files in it.
        _files: those of the entries that are files; a file's number is its index.
        _held: numbers of the files that the destination holds already, by size and time.
        _journal: the journal; None until `open_sink`, which begins it anew each time.
        _resumable: whether the next transfer can resume this: once hashes are noted, if
            ``resume``.
        _folder_fd: descriptor of the destination; -1 once closed, as the next two.
        _staging_fd: descriptor of the staging folder, which has the lock; -1 until it is open.
        _journal_fd: descriptor of the journal's file; -1 until it is open.
        _staging: name of the staging folder.
        _folders: folders below the destination.
        _tree: the staged files; None until the staging folder is open.

    Raises:
        DestinationExists: different files have the names, and no ``force``.
        LocalWriteFailed: the folder cannot be made, or another process writes the same tree.
    """

    compares = False

    def __init__(
        self,
        folder: Path,
        name: str,
        placed: Sequence[Placed],
        identity: int,
        *,
        force: bool,
        trust: bool = True,
        resume: bool = True,
        on_resume: Callable[[int, int], None] | None = None,
        stop: Stop | None = None,
        folder_fd: int = -1,
    ) -> None:
        self.folder = folder
        self.have: tuple[tuple[int, int], ...] = ()
        self.have_of = identity
        self._placed = placed
        self._files = [one for one in placed if not one.entry.is_folder]
        self._resume = resume
        self._on_resume = on_resume
        self._stop = stop
        self._journal: Journal | None = None
        self._resumable = False
        if folder_fd < 0:
            with self._reported():
                folder.mkdir(exist_ok=True)
                folder_fd = os.open(folder, FOLDER_FLAGS & ~os.O_NOFOLLOW)
        self._folder_fd = folder_fd
        self._folders = Folders(folder_fd)
        self._staging_fd = -1
        self._journal_fd = -1
        self._tree: StagedTree | None = None
        try:
            self._held = self._find_held_files(force=force, trust=trust)
            self.trusted = len(self._held)
            self.file_count = len(self._files)
            self._staging = part_name(name.rpartition("/")[2] or "tree")
            with self._reported():
                self._open_staging()
            tree = StagedTree(
                self._staging_fd, [one.entry for one in placed], self._held, self._open_held
            )
            self._tree = tree
            self.size = tree.layout.size
            wanted = len(self._files) - len(self._held)
            self.is_up_to_date = bool(self._files) and not wanted
            self.is_needed = any(
                one.entry.size for n, one in enumerate(self._files) if n not in self._held
            )
            self.have = self._find_held_ranges(tree)
        except BaseException:
            self._close_all()
            raise

    # ------------------------------------------------------------------------- what is held

    def _find_held_files(self, *, force: bool, trust: bool) -> set[int]:
        """Return the numbers of files that the destination holds, by size and time.

        Raises:
            DestinationExists: different files have names that are needed.
            LocalWriteFailed: a folder has a file's name, or something else has a folder's.
        """
        held: set[int] = set()
        different = []
        number = -1
        for entry, place in self._placed:
            number += not entry.is_folder
            status = self._status(place) if place else None
            if status is None:
                continue
            path = self.folder.joinpath(*place)
            if S_ISDIR(status.st_mode) != entry.is_folder:
                what = "no folder" if entry.is_folder else "a folder"
                raise LocalWriteFailed(f"cannot write {path}: it is {what}", hint=ELSEWHERE_HINT)
            if entry.is_folder:
                continue
            same = (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)
            if S_ISREG(status.st_mode) and same and trust:
                held.add(number)
            else:
                different.append(path)
        if different and not force:
            more = f", and {len(different) - 1} more" if len(different) > 1 else ""
            raise DestinationExists(
                f"{different[0]} exists and is a different file{more}",
                hint="--force replaces them; --output names another folder",
            )
        return held

    def _status(self, place: Sequence[str]) -> os.stat_result | None:
        """Read the status of a place; None where it is missing, or behind a symlink."""
        try:
            return os.lstat(place[-1], dir_fd=self._folders.open(place[:-1]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise write_failure(self.folder.joinpath(*place), error) from error

    def _open_held(self, number: int) -> int:
        place = self._files[number].place
        return os.open(place[-1], _FILE_FLAGS, dir_fd=self._folders.open(place[:-1]))

    def _open_staging(self) -> None:
        with suppress(FileExistsError):
            os.mkdir(self._staging, 0o700, dir_fd=self._folder_fd)
        self._staging_fd = os.open(self._staging, FOLDER_FLAGS, dir_fd=self._folder_fd)
        status = os.fstat(self._staging_fd)
        if status.st_uid != os.geteuid():
            raise LocalWriteFailed(f"{self.folder / self._staging} is somebody else's")
        try:
            lock_or_warn(self._staging_fd)
        except BlockingIOError as error:
            raise LocalWriteFailed(
                f"another transfer is writing {self.folder}",
                hint=f"wait for it, or {ELSEWHERE_HINT}",
            ) from error
        if not self._resume:
            self._empty_staging()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._journal_fd = os.open(_JOURNAL, flags, 0o600, dir_fd=self._staging_fd)

    def _empty_staging(self, but: str = "") -> None:
        for name in os.listdir(self._staging_fd):
            if name != but:
                os.unlink(name, dir_fd=self._staging_fd)

    def _find_held_ranges(self, tree: StagedTree) -> tuple[tuple[int, int], ...]:
        """Return the largest ranges held: files taken for the same, and chunks in the journal."""
        held = RangeSet()
        starts = tree.layout.starts
        for number in sorted(self._held):
            if starts[number] < starts[number + 1]:
                held.add(starts[number], starts[number + 1])
        try:
            journal = Journal.read_untrusted(self._journal_fd)
            label = journal.label
            if (label.identity, label.size) != (self.have_of, self.size):
                raise MalformedJournal("of another tree")
            for first, stop in journal.check(guarded(tree.readv, self._stop)):
                end = min(stop * label.chunk_size, self.size)
                held.add(first * label.chunk_size, end)
        except (MalformedJournal, OSError):
            with self._reported():
                self._empty_staging(but=_JOURNAL)
        largest = sorted(held, key=lambda pair: pair[0] - pair[1])[:MAX_HAVE]
        return tuple(sorted(largest))

    # ------------------------------------------------------------------------------ receiving

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Begin the journal for the chunks that were agreed on, with those that are held.

        Raises:
            SourceChanged: the tree is no longer the one that was listed.
            LocalWriteFailed: the disk refuses.
        """
        accept = handshake.accept
        if (accept.identity, accept.size) != (self.have_of, self.size):
            raise SourceChanged("the tree changed on the server", hint="try again")
        chunks = whole_chunks(handshake.have, accept.chunk_size, accept.size)
        label = Label(accept.size, 0, accept.identity, accept.chunk_size)
        with self._reported():
            os.ftruncate(self._journal_fd, 0)
            os.ftruncate(self._journal_fd, label.total_bytes)
            self._journal = Journal.begin(self._journal_fd, label)
        if self._on_resume and chunks:
            self._on_resume(sum(stop - start for start, stop in handshake.have), accept.size)
        return OpenedSink(self, self._rehash(chunks, accept.chunk_size), self.note_hashes)

    def _rehash(self, chunks: RangeSet, chunk_size: int) -> Iterator[tuple[int, bytes]]:
        """Hash chunks that are held, and write the hashes into the journal."""
        assert self._tree
        read = guarded(self._tree.readv, self._stop)
        for first, hashes in read_hashes(read, self.size, chunk_size, chunks):
            self.note_hashes(first, hashes)
            yield first, hashes

    def count_files(self, ranges: Iterable[tuple[int, int]]) -> int:
        """Number of files that lie whole in ranges of the tree's bytes."""
        return self._tree.layout.count_files(ranges) if self._tree else 0

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        """Write the slots one after another from ``offset`` bytes of the tree on.

        Raises:
            LocalWriteFailed: disk full, over the quota, an I/O error.
        """
        assert self._tree
        try:
            self._tree.writev(slots, offset)
        except OSError as error:
            raise write_failure(self.folder, error) from error

    def note_hashes(self, first_chunk: int, hashes: bytes) -> None:
        """Note the hashes of written chunks in the journal. Raises LocalWriteFailed."""
        assert self._journal
        try:
            self._journal.note(first_chunk, hashes)
        except OSError as error:
            raise write_failure(self.folder, error) from error
        self._resumable = self._resume

    def is_different(self) -> DestinationExists:
        """Make the error that a file of the same size and time is a different one."""
        return DestinationExists(f"a file in {self.folder} differs", hint="--force replaces it")

    # ----------------------------------------------------------------------------- the places

    def commit(self) -> None:
        """Give every file its name, time and permissions, and every folder. All is verified.

        Raises:
            LocalWriteFailed: the disk refuses, or a symlink or a file has the name of a folder.
        """
        assert self._tree
        folders = self._folders
        with self._reported():
            new = [number for number in range(len(self._files)) if number not in self._held]
            for number in new:
                self._tree.finish(number)
            self._tree.close()
            if new:
                sync_file_system(self._staging_fd)  # once for all, before they get their names
            for entry, place in self._placed:
                if entry.is_folder:
                    folders.open(place, make=True)
            for number in new:
                place = self._files[number].place
                fd = folders.open(place[:-1], make=True)
                os.rename(str(number), place[-1], src_dir_fd=self._staging_fd, dst_dir_fd=fd)
            # The deepest first, for whatever is made in a folder changes its time.
            for entry, place in reversed(self._placed):
                if entry.is_folder:
                    fd = folders.open(place)
                    os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
                    os.fchmod(fd, entry.mode)
            if new:
                sync_file_system(self._staging_fd)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Context that turns errors of the system into `LocalWriteFailed`."""
        try:
            yield
        except OSError as error:
            raise write_failure(self.folder, error) from error

    # ------------------------------------------------------------------------------------ end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(error)

    def close(self, error: BaseException | None = None) -> None:
        """Keep what is held, where it can be resumed, or remove it."""
        if error and self._resumable and not isinstance(error, WORTHLESS):
            say_how_to_resume(error)
        elif self._staging_fd >= 0:
            with suppress(OSError):
                self._empty_staging()
                os.rmdir(self._staging, dir_fd=self._folder_fd)
        self._close_all()

    def _close_all(self) -> None:
        if self._tree:
            self._tree.close()
        self._folders.close()
        for fd in (self._journal_fd, self._staging_fd, self._folder_fd):
            if fd >= 0:
                os.close(fd)
        self._journal_fd = -1
        self._staging_fd = -1
        self._folder_fd = -1
