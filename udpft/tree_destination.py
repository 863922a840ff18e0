"""Where a fetched tree goes: a hidden folder first, and file by file to their names in the end.

The files that are to come lie under their numbers in ``.NAME.udpft-part``, a folder beside their
destinations, with a journal as a part file has. When all are here and verified they are synced,
and each is renamed to its name, so that every name is at every moment absent, the old file, or
the new one complete. Folders are made as they are needed, and symlinks below the destination are
never followed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from types import TracebackType
from typing import NamedTuple, Self

from udpft.destination import WORTHLESS, say_how_to_resume
from udpft.errors import DestinationExists, LocalWriteFailed, SourceChanged
from udpft.protocol.download import Opened
from udpft.protocol.handshake import Introduction, whole_chunks
from udpft.protocol.listing import Entry
from udpft.protocol.packets import MAX_HAVE
from udpft.protocol.ranges import RangeSet
from udpft.storage.claim import ELSEWHERE, part_name
from udpft.storage.journal import Journal, Label, MalformedJournal
from udpft.storage.partfile import read_hashes, write_failure
from udpft.storage.tree import StagedTree

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_JOURNAL = "journal"


class Placed(NamedTuple):
    """An entry, and the components of its path below the destination; none for that itself."""

    entry: Entry
    place: tuple[str, ...]


class TreeDestination:
    """The place of one fetched tree; a context manager, and a `destination.Target`.

    Args:
        folder: the destination; made where it is missing.
        name: what the part folder is called after.
        placed: the listing's entries and where they go.
        identity: the listing's.
        force: replace different files.
        resume: go on with what an earlier fetch left, and leave what there is to the next one.
        on_resume: told the bytes that are here and the bytes in all, where it goes on.

    Attributes:
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
        resume: bool = True,
        on_resume: Callable[[int, int], None] | None = None,
    ) -> None:
        self.folder = folder
        self.have: tuple[tuple[int, int], ...] = ()
        self.have_of = identity
        self._placed = placed
        self._files = [one for one in placed if not one.entry.is_folder]
        self._resume = resume
        self._on_resume = on_resume
        self._journal: Journal | None = None
        self._done = False
        self._resumable = False
        with self._reported():
            folder.mkdir(exist_ok=True)
            self._folder_fd = os.open(folder, _FOLDER_FLAGS & ~os.O_NOFOLLOW)
        self._staging_fd = self._journal_fd = -1
        try:
            self._here = self._look_at_what_is_there(force)
            self.file_count = len(self._files)
            self._staging = part_name(name.rpartition("/")[2] or "tree")
            with self._reported():
                self._open_staging()
            self._tree = StagedTree(
                self._staging_fd, [one.entry for one in placed], dict(self._here)
            )
            self.size = self._tree.layout.size
            wanted = len(self._files) - len(self._here)
            self.is_up_to_date = bool(self._files) and not wanted
            self.is_needed = any(
                one.entry.size for n, one in enumerate(self._files) if n not in self._here
            )
            if wanted:
                self._find_what_is_here()
        except BaseException:
            self._close_all()
            raise

    # ------------------------------------------------------------------------- what is there

    def _look_at_what_is_there(self, force: bool) -> dict[int, Path]:
        """The numbers of the files that are here, the same by size and time, and where.

        Raises:
            DestinationExists: others have a name that is needed.
        """
        here: dict[int, Path] = {}
        different = []
        for number, (entry, place) in enumerate(self._files):
            path = self.folder.joinpath(*place)
            try:
                status = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise write_failure(path, error) from error
            if S_ISDIR(status.st_mode):
                raise LocalWriteFailed(f"cannot write {path}: it is a folder", hint=ELSEWHERE)
            same = (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)
            if S_ISREG(status.st_mode) and same:
                here[number] = path
            else:
                different.append(path)
        if different and not force:
            more = f", and {len(different) - 1} more" if len(different) > 1 else ""
            raise DestinationExists(
                f"{different[0]} exists and is a different file{more}",
                hint="--force replaces them; --output names another folder",
            )
        return here

    def _open_staging(self) -> None:
        with suppress(FileExistsError):
            os.mkdir(self._staging, 0o700, dir_fd=self._folder_fd)
        self._staging_fd = os.open(self._staging, _FOLDER_FLAGS, dir_fd=self._folder_fd)
        status = os.fstat(self._staging_fd)
        if status.st_uid != os.geteuid():
            raise LocalWriteFailed(f"{self.folder / self._staging} is somebody else's")
        try:
            fcntl.flock(self._staging_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalWriteFailed(
                f"another get is writing {self.folder}", hint=f"wait for it, or {ELSEWHERE}"
            ) from None
        if not self._resume:
            self._empty_staging()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._journal_fd = os.open(_JOURNAL, flags, 0o600, dir_fd=self._staging_fd)

    def _empty_staging(self) -> None:
        for name in os.listdir(self._staging_fd):
            os.unlink(name, dir_fd=self._staging_fd)

    def _find_what_is_here(self) -> None:
        """Set ``have``: the files that are the same, and what the journal's hashes bear out."""
        here = RangeSet()
        starts = self._tree.layout.starts
        for number in self._here:
            if starts[number] < starts[number + 1]:
                here.add(starts[number], starts[number + 1])
        try:
            journal = Journal.read_untrusted(self._journal_fd)
            label = journal.label
            if (label.identity, label.size) == (self.have_of, self.size):
                for first, stop in journal.check(self._tree.readv):
                    end = min(stop * label.chunk_size, self.size)
                    here.add(first * label.chunk_size, end)
        except (MalformedJournal, OSError):
            pass
        largest = sorted(here, key=lambda pair: pair[0] - pair[1])[:MAX_HAVE]
        self.have = tuple(sorted(largest))

    # ------------------------------------------------------------------------------ receiving

    def open_sink(self, introduction: Introduction) -> Opened:
        """Begin the journal, for the chunks that were agreed on, with those that are here.

        Raises:
            SourceChanged: the tree is no longer the one that was listed.
            LocalWriteFailed: the disk refuses.
        """
        accept = introduction.accept
        if (accept.identity, accept.size) != (self.have_of, self.size):
            raise SourceChanged("the tree changed on the server", hint="try again")
        chunks = whole_chunks(introduction.have, accept.chunk_size, accept.size)
        label = Label(accept.size, 0, accept.identity, accept.chunk_size)
        with self._reported():
            os.ftruncate(self._journal_fd, 0)
            os.ftruncate(self._journal_fd, label.total_bytes)
            self._journal = Journal.begin(self._journal_fd, label)
        if self._on_resume and chunks:
            self._on_resume(sum(stop - start for start, stop in introduction.have), accept.size)
        return Opened(self, self._present(chunks, accept.chunk_size), self.note_hashes)

    def _present(self, chunks: RangeSet, chunk_size: int) -> Iterator[tuple[int, bytes]]:
        """The hashes of chunks that are here, written into the journal."""
        for first, hashes in read_hashes(self._tree.readv, self.size, chunk_size, chunks):
            self.note_hashes(first, hashes)
            yield first, hashes

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        """Write the slots one after another from ``offset`` bytes of the tree on.

        Raises:
            LocalWriteFailed: disk full, over the quota, an I/O error.
        """
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
        with self._reported():
            for number in range(len(self._files)):
                if number not in self._here:
                    self._tree.finish(number)
            self._tree.close()
            if self._journal:
                os.sync()  # once for all files, before they get their names
            for entry, place in self._placed:
                if entry.is_folder:
                    os.close(self._folder_of((*place, "")))
            for number, (_, place) in enumerate(self._files):
                if number not in self._here:
                    self._put(number, place)
            # The deepest first, for whatever is made in a folder changes its time.
            for entry, place in reversed(self._placed):
                if entry.is_folder:
                    fd = self._folder_of((*place, ""))
                    try:
                        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
                        os.fchmod(fd, entry.mode)
                    finally:
                        os.close(fd)
        self._done = True

    def _put(self, number: int, place: tuple[str, ...]) -> None:
        fd = self._folder_of(place)
        try:
            os.rename(str(number), place[-1], src_dir_fd=self._staging_fd, dst_dir_fd=fd)
        finally:
            os.close(fd)

    def _folder_of(self, place: Sequence[str]) -> int:
        """Open the folder that a place is in, made where it is missing; the caller closes it."""
        fd = os.dup(self._folder_fd)
        for component in place[:-1]:
            try:
                with suppress(FileExistsError):
                    os.mkdir(component, dir_fd=fd)
                below = os.open(component, _FOLDER_FLAGS, dir_fd=fd)
            except OSError as error:
                raise write_failure(self.folder.joinpath(*place[:-1]), error) from error
            finally:
                os.close(fd)
            fd = below
        return fd

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
        keep = error and self._resumable and not isinstance(error, WORTHLESS)
        if keep and error:
            say_how_to_resume(error)
        elif self._staging_fd >= 0:
            with suppress(OSError):
                self._empty_staging()
                os.rmdir(self._staging, dir_fd=self._folder_fd)
        self._close_all()

    def _close_all(self) -> None:
        if hasattr(self, "_tree"):
            self._tree.close()
        for fd in (self._journal_fd, self._staging_fd, self._folder_fd):
            if fd >= 0:
                os.close(fd)
        self._journal_fd = self._staging_fd = self._folder_fd = -1
