"""Destination of a received tree: a staging folder, whose files are renamed one by one in the end.

The staging folder ``.NAME.HASH.udpft-part`` lies beside the files' destinations. It has the files
that are to come, named by their numbers, and a journal as a part file has. When all have come and
are verified they are synced, and each is renamed to its name, so that every name is at every moment
absent, the old file, or the new one complete. Folders are made as they are needed, and symlinks
below the destination are never followed. What cannot have its name is told, and the rest comes.

Both ends use it: a client for trees that it fetches, a server for trees that clients store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    LocalReadFailed,
    LocalWriteFailed,
    SourceChanged,
)
from udpft.protocol.contract import OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult, whole_chunks
from udpft.protocol.params import MAX_BURST_BYTES
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.hello import MAX_HAVE
from udpft.protocol.wire.listing import Entry
from udpft.storage.destination import guarded, say_how_to_resume
from udpft.storage.journal import Journal, Label, MalformedJournal, hash_chunks
from udpft.storage.leftovers import JOURNAL, Leftovers, Made
from udpft.storage.partfile import write_failure
from udpft.storage.sync import sync_file_system
from udpft.storage.trees.carry_over import carry_over, write_listing
from udpft.storage.trees.files import Layout, StagedTree
from udpft.storage.trees.folders import FOLDER_FLAGS, Folders
from udpft.storage.trees.placement import Placement
from udpft.storage.trees.staging import Staging, make_room, staging_name
from udpft.storage.trees.survey import Link, PlacedEntries, Problem, TreeOptions, survey

if TYPE_CHECKING:
    from udpft.net.stop import Stop

_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DEFAULTS = TreeOptions()

FILES_A_STEP = 8
"""Files, by their mean size, whose bytes are hashed in one go."""


class TreeDestination:
    """Destination of one tree; a context manager, and a `destination.Target`.

    Args:
        folder: the destination; made where it is missing.
        name: the staging folder is named after it.
        placed: entries of the listing, and their places.
        identity: of the listing.
        options: of the tree.
        on_resume: called with the bytes held and the bytes in all, where the transfer resumes.
        stop: breaks off the reading of what is held, from another thread.
        folder_fd: descriptor of the destination where it is open already, taken over; ``folder`` is
            then for messages only.

    Attributes:
        folder: as ``folder``; never changes.
        have: byte ranges of the tree that are held already, at most `MAX_HAVE`, the largest; set
            once, when this is made, as are the next two.
        have_of: identity of the listing.
        is_needed: whether anything has to come over the network, or to be compared with it.
        links: symlinks that `commit` makes. Set by the owner.
        notes: lines that the user should read; grows until this is closed.
        _files: those of the entries that are files; a file's number is its index.
        _survey: finding about the destination; `commit` adds to its problems.
        _journal: the journal; None until `open_sink`, which begins it anew each time.
        _resumable: whether the next transfer can resume this: once hashes are noted, if the
            options say so, until a sync fails.
        _made_folder: whether the destination itself was made.
        _folder_fd: descriptor of the destination; -1 once closed.
        _folders: folders below the destination.
        _leftovers: of others, beside the destination and below it.
        _staging: the staging folder; None until it is open.
        _tree: the staged files; None until the staging folder is open.

    Raises:
        LocalWriteFailed: the folder cannot be made, another process writes the same tree, or the
            disk has no room for it.
    """

    compares = False

    def __init__(
        self,
        folder: Path,
        name: str,
        placed: PlacedEntries,
        identity: int,
        options: TreeOptions = _DEFAULTS,
        *,
        on_resume: Callable[[int, int], None] | None = None,
        stop: Stop | None = None,
        folder_fd: int = -1,
    ) -> None:
        self.folder = folder
        self.have: tuple[tuple[int, int], ...] = ()
        self.have_of = identity
        self.links: Sequence[Link] = ()
        self.notes: list[str] = []
        self._placed = placed
        self._files = placed.files()
        self._options = options
        self._on_resume = on_resume
        self._stop = stop
        self._journal: Journal | None = None
        self._resumable = False
        self._made_folder = False
        if folder_fd < 0:
            with self._reported():
                self._made_folder = not folder.is_dir()
                folder.mkdir(exist_ok=True)
                folder_fd = os.open(folder, FOLDER_FLAGS & ~os.O_NOFOLLOW)
        self._folder_fd = folder_fd
        self._folders = Folders(folder_fd)
        own = staging_name(name, options.key or name)
        self._leftovers = Leftovers((own, options.earlier), options.on_removed)
        self._staging: Staging | None = None
        self._tree: StagedTree | None = None
        try:
            with self._reported():
                staging = self._with_room(partial(Staging, folder_fd, own, self._note))
                self._staging = staging
                granularity_ns = staging.time_granularity_ns()
            self._survey = survey(self._folders, folder, placed, options, granularity_ns)
            self.is_needed = self._decide_need()
            with self._reported():
                if not options.resume:
                    staging.empty(but=JOURNAL)
            self._tree = StagedTree(
                staging.fd,
                placed.entries,
                self._survey.held,
                self._open_held,
                self._survey.skipped,
            )
            self.have = self._find_held_ranges(staging, self._tree)
            with self._reported():
                self._make_room(staging)
        except BaseException:
            if self._staging and not self.have:
                self._remove_staging(self._staging)
            self._close_all()
            raise

    # ------------------------------------------------------------------------- what is held

    @property
    def size(self) -> int:
        """Bytes of the tree."""
        assert self._tree
        return self._tree.layout.size

    @property
    def layout(self) -> Layout:
        """Layout of the tree."""
        assert self._tree
        return self._tree.layout

    @property
    def file_count(self) -> int:
        """Number of files that are there in the end."""
        return len(self.files_here())

    def files_here(self) -> Sequence[Entry]:
        """Files that are there in the end: of the tree, those that come and do not fail."""
        missing = {problem.path for problem in self._survey.problems} | self._options.unwanted
        if not missing:
            return self._files.entries
        return [entry for entry in self._files.entries if entry.path not in missing]

    def new_sizes(self) -> list[int]:
        """Sizes of the files that are not there yet; and of folders, 0, where no file is there."""
        survey = self._survey
        if not self.is_needed:
            return []
        there = survey.held | survey.skipped
        sizes = [one.size for at, one in enumerate(self._files.entries) if at not in there]
        return sizes if there else [*sizes, *(0 for one in self._placed if one.entry.is_folder)]

    @property
    def trusted(self) -> int:
        """Number of files that are taken for the same, by size and time or only by size."""
        return len(self._survey.held)

    @property
    def is_up_to_date(self) -> bool:
        """Whether the destination held every file that it can take."""
        return 0 < len(self._survey.held) == self.file_count

    @property
    def problems(self) -> list[Problem]:
        """Entries that do not come; complete once `commit` has returned."""
        return self._survey.problems

    def _wanted(self) -> list[int]:
        """Numbers of the files that come and are kept."""
        left_out = self._survey.held | self._survey.skipped
        return [number for number in range(len(self._files)) if number not in left_out]

    def _decide_need(self) -> bool:
        files = self._files.entries
        if any(files[number].size for number in self._wanted()):
            return True
        verified = self._options.force or self._options.checksum
        doubted = self._survey.held if verified else self._survey.unproven
        return any(files[number].size for number in doubted)

    def _make_room(self, staging: Staging) -> None:
        """See that the tree fits, and remove leftovers."""
        wanted = self._wanted()
        size = sum(self._files.entries[number].size for number in wanted)
        make_room(staging, size, len(wanted), self._leftovers, self._folders_there)

    def _with_room(self, make: Callable[[], Made]) -> Made:
        """Make something small, and room for it where the disk is full. Raises OSError."""
        return self._leftovers.with_room(self._folders_there, make)

    def _folders_there(self) -> Iterator[tuple[int, str]]:
        """Iterate over the folders that the tree goes to and that exist."""
        yield self._folder_fd, ""
        for number, entry in enumerate(self._placed.entries):
            place = self._placed[number].place if entry.is_folder else ()
            if place:
                try:
                    fd = self._folders.open(place)
                except OSError:
                    continue
                yield fd, "/".join(place)

    def _note(self, line: str) -> None:
        self.notes.append(line)

    def _open_held(self, number: int) -> int:
        place = self._files[number].place
        return os.open(place[-1], _FILE_FLAGS, dir_fd=self._folders.open(place[:-1]))

    def _find_held_ranges(self, staging: Staging, tree: StagedTree) -> tuple[tuple[int, int], ...]:
        """Return the largest ranges held: files taken for the same, and chunks in the journal."""
        held = RangeSet()
        starts = tree.layout.starts
        for number in sorted(self._survey.held):
            if starts[number] < starts[number + 1]:
                held.add(starts[number], starts[number + 1])
        try:
            journal = Journal.read_untrusted(staging.journal_fd)
            label = journal.label
            if (label.identity, label.size) != (self.have_of, self.size):
                raise MalformedJournal("of another tree")
            staging.distrust_cache()
            for first, stop in journal.check(guarded(tree.readv, self._stop)):
                end = min(stop * label.chunk_size, self.size)
                held.add(first * label.chunk_size, end)
                self._resumable = self._options.resume
        except (MalformedJournal, OSError):
            for start, stop in self._carry_over(staging, tree):
                held.add(start, stop)
        if self._options.resume:
            with self._reported():
                self._with_room(partial(write_listing, staging, self.have_of, self._placed.entries))
        largest = sorted(held, key=lambda pair: pair[0] - pair[1])[:MAX_HAVE]
        return tuple(sorted(largest))

    def _carry_over(self, staging: Staging, tree: StagedTree) -> RangeSet:
        """Take over what was staged for an earlier listing of this tree; empty the rest."""
        try:
            wanted = set(self._wanted())
            with self._earlier(staging) as earlier:
                return carry_over(
                    earlier, staging, tree, wanted, lambda read: guarded(read, self._stop)
                )
        except (MalformedJournal, LocalWriteFailed, OSError):
            with self._reported():
                staging.empty(but=JOURNAL)
            return RangeSet()

    @contextmanager
    def _earlier(self, staging: Staging) -> Iterator[Staging]:
        """Context of the staging folder of an earlier listing, which is removed in the end."""
        name = self._options.earlier or staging.name
        if name == staging.name:
            yield staging
            return
        os.stat(name, dir_fd=self._folder_fd, follow_symlinks=False)  # it must be there
        earlier = Staging(self._folder_fd, name, self._note)
        try:
            yield earlier
            earlier.remove()
        finally:
            earlier.close()

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
        assert self._staging
        with self._reported():
            os.ftruncate(self._staging.journal_fd, 0)
            os.ftruncate(self._staging.journal_fd, label.total_bytes)
            self._journal = Journal.begin(self._staging.journal_fd, label)
        held_bytes = sum(stop - start for start, stop in handshake.have)
        if self._on_resume and chunks and held_bytes < accept.size:
            self._on_resume(held_bytes, accept.size)
        return OpenedSink(self, self._rehash(chunks, accept.chunk_size), self.note_hashes)

    def _rehash(self, chunks: RangeSet, chunk_size: int) -> Iterator[tuple[int, bytes]]:
        """Hash chunks that are held, and write the hashes into the journal."""
        assert self._tree
        read = guarded(self._tree.readv, self._stop)
        # Little at a time, where that is many files: a server has others to look after meanwhile.
        mean_bytes = self.size // max(1, len(self._files))
        step = max(1, min(MAX_BURST_BYTES, FILES_A_STEP * mean_bytes) // chunk_size)
        buffer = memoryview(bytearray(step * chunk_size))
        for start, stop in chunks:
            for first in range(start, stop, step):
                count = min(step, stop - first)
                try:
                    hashes = hash_chunks(read, self.size, chunk_size, first, count, buffer)
                except OSError as error:
                    raise LocalReadFailed(f"cannot read what is here: {error.strerror}") from error
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
        self._resumable = self._options.resume

    def is_different(self) -> DestinationExists:
        """Make the error that a file of the same size and time is a different one."""
        return DestinationExists(f"a file in {self.folder} differs", hint="--force replaces it")

    # ----------------------------------------------------------------------------- the places

    def commit(self) -> None:
        """Give every file its name, time and permissions, and every folder. All is verified.

        Files that cannot have their names are added to ``problems``.

        Raises:
            LocalWriteFailed: the disk fails.
        """
        assert self._tree
        assert self._staging
        placement = Placement(
            self._staging.fd,
            self._folders,
            self._files,
            self._survey,
            force=self._options.force,
            note=self._note,
        )
        if self._made_folder:
            placement.note_made(())
        with self._reported():
            wanted = self._wanted()
            for number in wanted:
                self._tree.finish(number, placement)
            self._tree.close()
            if wanted:
                self._sync()  # once for all, before they get their names
            refused = {problem.path for problem in self.problems}
            folders = [at for at, one in enumerate(self._placed.entries) if one.is_folder]
            for at in folders:
                if self._placed.entries[at].path not in refused:
                    placement.make_folder(self._placed[at])
            for number in wanted:
                placement.place_file(number, self._files[number])
            self._retime(placement)
            for number, link in enumerate(self.links):
                placement.place_link(number, link)
            # The deepest first, for whatever is made in a folder changes its time.
            for at in reversed(folders):
                placement.finish_folder(self._placed[at])
            placement.restore_modes()
            if wanted or self.links:
                self._sync()

    def _retime(self, placement: Placement) -> None:
        """Give the files that were here, and are the same, the times of the listing."""
        retimed = self._survey.retimed
        different = {problem.path for problem in self.problems} if retimed else set()
        for number in retimed:
            if self._files.entries[number].path not in different:
                placement.retime_file(self._files[number])

    def _sync(self) -> None:
        """Sync the file system. Where that fails, nothing of what is staged is to be believed."""
        assert self._staging
        try:
            sync_file_system(self._staging.fd)
        except OSError:
            self._resumable = False
            raise

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
        if error and self._resumable and not isinstance(error, DigestMismatch):
            say_how_to_resume(error)
        elif self._staging and self._staging.fd >= 0:
            self._remove_staging(self._staging)
        self._close_all()

    def _remove_staging(self, staging: Staging) -> None:
        """Remove the staging folder; its files are closed first: see `remove_folder`."""
        if self._tree:
            self._tree.close()
        staging.remove()

    def forget(self) -> None:
        """Let go of the entries, for whoever still has this when it is closed."""
        self._placed = self._files = PlacedEntries(())
        self.links = ()
        self._tree = None
        survey = self._survey
        for numbers in (survey.held, survey.compared, survey.skipped, survey.retimed):
            numbers.clear()

    def _close_all(self) -> None:
        if self._tree:
            self._tree.close()
        self._folders.close()
        if self._staging:
            self._staging.close()
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
        self._folder_fd = -1
