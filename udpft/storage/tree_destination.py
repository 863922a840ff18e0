"""Where a fetched tree goes: a hidden folder first, and file by file to their names in the end.

The files that are to come lie under their numbers in ``.NAME.udpft-part``, a folder beside their
destinations, with a journal as a part file has. When all are here and verified they are synced,
and each is renamed to its name, so that every name is at every moment absent, the old file, or
the new one complete. Folders are made as they are needed, and symlinks below the destination are
never followed.

Both ends use it: a client for what it fetches, a server for what is brought to it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
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
from udpft.storage.claim import ELSEWHERE, part_name
from udpft.storage.destination import WORTHLESS, guarded, say_how_to_resume
from udpft.storage.folders import Folders
from udpft.storage.journal import Journal, Label, MalformedJournal
from udpft.storage.partfile import read_hashes, write_failure
from udpft.storage.sync import sync_file_system
from udpft.storage.tree_files import StagedTree

if TYPE_CHECKING:
    from udpft.net.stop import Stop

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_JOURNAL = "journal"


class Placed(NamedTuple):
    """An entry, and the components of its path below the destination; none for that itself."""

    entry: Entry
    place: tuple[str, ...]


class TreeDestination:
    """The place of one tree; a context manager, and a `destination.Target`.

    Args:
        folder: the destination; made where it is missing.
        folder_fd: it is open already, and is taken over: ``folder`` is what messages call it.
        name: what the part folder is called after.
        placed: the listing's entries and where they go.
        identity: the listing's.
        force: replace different files.
        trust: take a file of the same size and time for the same; else it is a different one.
        resume: go on with what an earlier fetch left, and leave what there is to the next one.
        on_resume: told the bytes that are here and the bytes in all, where it goes on.
        stop: breaks off the reading of what is here, from another thread.

    Attributes:
        trusted: how many files are taken for the same.
        have: the byte ranges of the tree that are here, at most `MAX_HAVE`, the largest.
        is_needed: whether anything has to come over the network.
        is_up_to_date: whether every file is here already.
        size: bytes of the tree.
        file_count: files in it.

    Raises:
        DestinationExists: different files are there, and no ``force``.
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
                folder_fd = os.open(folder, _FOLDER_FLAGS & ~os.O_NOFOLLOW)
        self._folder_fd = folder_fd
        self._folders = Folders(folder_fd)
        self._staging_fd = self._journal_fd = -1
        self._tree: StagedTree | None = None
        try:
            self._here = self._look_at_what_is_there(force=force, trust=trust)
            self.trusted = len(self._here)
            self.file_count = len(self._files)
            self._staging = part_name(name.rpartition("/")[2] or "tree")
            with self._reported():
                self._open_staging()
            self._tree = tree = StagedTree(
                self._staging_fd, [one.entry for one in placed], self._here, self._open_here
            )
            self.size = tree.layout.size
            wanted = len(self._files) - len(self._here)
            self.is_up_to_date = bool(self._files) and not wanted
            self.is_needed = any(
                one.entry.size for n, one in enumerate(self._files) if n not in self._here
            )
            self._find_what_is_here(tree)
        except BaseException:
            self._close_all()
            raise

    # ------------------------------------------------------------------------- what is there

    def _look_at_what_is_there(self, *, force: bool, trust: bool) -> set[int]:
        """The numbers of the files that are here, the same by size and time.

        Raises:
            DestinationExists: others have a name that is needed.
            LocalWriteFailed: a folder has it, or something else that of a folder.
        """
        here: set[int] = set()
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
                raise LocalWriteFailed(f"cannot write {path}: it is {what}", hint=ELSEWHERE)
            if entry.is_folder:
                continue
            same = (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)
            if S_ISREG(status.st_mode) and same and trust:
                here.add(number)
            else:
                different.append(path)
        if different and not force:
            more = f", and {len(different) - 1} more" if len(different) > 1 else ""
            raise DestinationExists(
                f"{different[0]} exists and is a different file{more}",
                hint="--force replaces them; --output names another folder",
            )
        return here

    def _status(self, place: Sequence[str]) -> os.stat_result | None:
        """What is at a place; None where nothing is, or no way leads there but a symlink's."""
        try:
            return os.lstat(place[-1], dir_fd=self._folders.open(place[:-1]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise write_failure(self.folder.joinpath(*place), error) from error

    def _open_here(self, number: int) -> int:
        place = self._files[number].place
        return os.open(place[-1], _FILE_FLAGS, dir_fd=self._folders.open(place[:-1]))

    def _open_staging(self) -> None:
        with suppress(FileExistsError):
            os.mkdir(self._staging, 0o700, dir_fd=self._folder_fd)
        self._staging_fd = os.open(self._staging, _FOLDER_FLAGS, dir_fd=self._folder_fd)
        status = os.fstat(self._staging_fd)
        if status.st_uid != os.geteuid():
            raise LocalWriteFailed(f"{self.folder / self._staging} is somebody else's")
        try:
            fcntl.flock(self._staging_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LocalWriteFailed(
                f"another transfer is writing {self.folder}", hint=f"wait for it, or {ELSEWHERE}"
            ) from error
        if not self._resume:
            self._empty_staging()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._journal_fd = os.open(_JOURNAL, flags, 0o600, dir_fd=self._staging_fd)

    def _empty_staging(self, but: str = "") -> None:
        for name in os.listdir(self._staging_fd):
            if name != but:
                os.unlink(name, dir_fd=self._staging_fd)

    def _find_what_is_here(self, tree: StagedTree) -> None:
        """Set ``have``: the files that are the same, and what the journal's hashes bear out."""
        here = RangeSet()
        starts = tree.layout.starts
        for number in sorted(self._here):
            if starts[number] < starts[number + 1]:
                here.add(starts[number], starts[number + 1])
        try:
            journal = Journal.read_untrusted(self._journal_fd)
            label = journal.label
            if (label.identity, label.size) != (self.have_of, self.size):
                raise MalformedJournal("of another tree")
            for first, stop in journal.check(guarded(tree.readv, self._stop)):
                end = min(stop * label.chunk_size, self.size)
                here.add(first * label.chunk_size, end)
        except (MalformedJournal, OSError):
            with self._reported():
                self._empty_staging(but=_JOURNAL)
        largest = sorted(here, key=lambda pair: pair[0] - pair[1])[:MAX_HAVE]
        self.have = tuple(sorted(largest))

    # ------------------------------------------------------------------------------ receiving

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Begin the journal, for the chunks that were agreed on, with those that are here.

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
        return OpenedSink(self, self._present(chunks, accept.chunk_size), self.note_hashes)

    def _present(self, chunks: RangeSet, chunk_size: int) -> Iterator[tuple[int, bytes]]:
        """The hashes of chunks that are here, written into the journal."""
        assert self._tree
        read = guarded(self._tree.readv, self._stop)
        for first, hashes in read_hashes(read, self.size, chunk_size, chunks):
            self.note_hashes(first, hashes)
            yield first, hashes

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
        """Write into the journal that chunks were written. Raises LocalWriteFailed."""
        assert self._journal
        try:
            self._journal.note(first_chunk, hashes)
        except OSError as error:
            raise write_failure(self.folder, error) from error
        self._resumable = self._resume

    def is_different(self) -> DestinationExists:
        """The error that a file of the same size and time is another one all the same."""
        return DestinationExists(f"a file in {self.folder} differs", hint="--force replaces it")

    # ----------------------------------------------------------------------------- the places

    def commit(self) -> None:
        """Give every file its name, time and permissions, and every folder. All is verified.

        Raises:
            LocalWriteFailed: the disk refuses, or a symlink or a file stands where a folder must.
        """
        assert self._tree
        folders = self._folders
        with self._reported():
            new = [number for number in range(len(self._files)) if number not in self._here]
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
        """Keep what has come, where it can be gone on with, or remove it."""
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
        self._journal_fd = self._staging_fd = self._folder_fd = -1
