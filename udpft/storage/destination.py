"""Destination of a received file: a part file, or an existing file that is compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from stat import S_ISLNK, S_ISREG
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    LocalError,
    LocalWriteFailed,
    NetworkError,
    PartialTransfer,
    SourceChanged,
    Stopped,
    UdpftError,
)
from udpft.protocol.contract import OpenedSink, SparseMap
from udpft.protocol.handshake.agreement import (
    HandshakeResult,
    byte_ranges,
    hole_chunks,
    whole_chunks,
)
from udpft.protocol.params import MAX_BURST_BYTES
from udpft.protocol.ranges import RangeSet
from udpft.storage.claim import other_parts
from udpft.storage.journal import JOURNAL_MIN_BYTES, Label, Read
from udpft.storage.part_name import part_name
from udpft.storage.partfile import PartFile, StrPath, read_hashes

if TYPE_CHECKING:
    from udpft.net.stop import Stop

RESUME_HINT = "run the same command again to resume"

TEMPORARY_HINT = "TMPDIR names a folder on another disk"
"""What helps where the temporary folder has no room."""


class Target(Protocol):
    """Target of a transfer: a file, a tree or a listing. See `Destination` for its attributes."""

    have: tuple[tuple[int, int], ...]
    have_of: int

    @property
    def compares(self) -> bool:
        """Whether the transfer only compares what is held with what the server has."""
        ...

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Open the sink, now that size and chunks are agreed on."""
        ...

    def commit(self) -> None:
        """Put the bytes, complete and verified, in their place."""
        ...

    def is_different(self) -> DestinationExists:
        """Make the error that what is held is something else."""
        ...


class Destination:
    """Destination of one reliable transfer of a file; a context manager.

    Where a file of that name exists and may not be replaced, the sender is told that all of it is
    held. Its digest then shows whether that is so, and nothing else crosses the network.

    Otherwise, the part file that an earlier transfer left is locked and checked before the sender
    is asked: that may take its time, and a server would have to wait. On leaving with an error,
    what is held of the file is kept for the next transfer, unless the error says that it is
    worthless; and the error says how to resume.

    Args:
        path: of the file at the destination.
        force: replace a different file of that name.
        resume: resume what an earlier transfer left, and leave what is held to the next one.
        sha256: expected SHA-256 of the file, in hex, compared before it gets its name.
        on_resume: called with the bytes held and the bytes in all, where the transfer resumes.
        follow: look through a symlink of that name; else it is a different file.
        stop: breaks off the reading of what is held, from another thread.
        folder_fd: descriptor of the folder that the file is in, where that is open already, not
            closed; only the name of ``path`` counts then.

    Attributes:
        path: as ``path``; never changes.
        have: byte ranges that are held already, as HELLO tells them; set once, when this is made.
        have_of: identity of the source that they are of; 0 for any. Set with ``have``.
        keeps_time: whether the file gets the time of its source, and not that of its arrival. Set
            by the owner.
        makes_room: whether leftovers of others in its folder are removed where they may be, before
            it is begun. Set by the owner.
        appeared: whether the same file was at the destination when the other one was to get its
            name. Set by `commit`.
        _force, _follow, _folder_fd: as the arguments; never change.
        _part: the part file; None where there is none yet, and where an existing file is compared.
        _label: of the part file: source and chunk size. Set from a leftover, then by each
            `open_sink`; None before the first.
        _opened: whether `open_sink` was called, so that ``on_resume`` is called once.
        _existing_fd: descriptor of the existing file that is compared; -1 where none is, and once
            this is closed.

    Raises:
        DestinationExists: a file of that name cannot be read, and so not compared.
        LocalWriteFailed: another process is fetching it.
        Stopped: by ``stop``.
    """

    def __init__(
        self,
        path: StrPath,
        *,
        force: bool,
        resume: bool = True,
        sha256: str = "",
        on_resume: Callable[[int, int], None] | None = None,
        follow: bool = True,
        stop: Stop | None = None,
        folder_fd: int = -1,
    ) -> None:
        self.path = os.fspath(path)
        self.have: tuple[tuple[int, int], ...] = ()
        self.have_of = 0
        self.keeps_time = False
        self.makes_room = False
        self.appeared = False
        self._force = force
        self._follow = follow
        self._folder_fd = folder_fd
        self._on_resume = on_resume
        self._resume = resume
        self._sha256 = sha256
        self._stop = stop
        self._part: PartFile | None = None
        self._label: Label | None = None
        self._opened = False
        self._existing_fd = -1 if force else self._open_existing()
        if self.compares:
            size = os.fstat(self._existing_fd).st_size
            self.have = ((0, size),) if size else ()
        elif resume:
            self._take_over()
        else:
            self._discard_leftover()

    @property
    def compares(self) -> bool:
        """Whether the transfer only compares the existing file with the server's."""
        return self._existing_fd >= 0

    def _take_over(self) -> None:
        """Take over what an earlier transfer left, as far as its hashes bear it out."""
        part = self._leftover()
        self._part = part
        if part and part.journal and part.journal.label.identity:
            label = part.journal.label
            self._label = label
            try:
                checked = part.journal.check(guarded(part.readv, self._stop))
            except BaseException as error:  # interrupted, for it may take its time
                self.close(error)
                raise
            self.have = byte_ranges(checked, label.chunk_size, label.size)
            self.have_of = label.identity
            part.resumable = bool(self.have)

    def _leftover(self) -> PartFile | None:
        """Take over the part file that an earlier transfer left; see `PartFile.take_over`."""
        folder_fd = os.dup(self._folder_fd) if self._folder_fd >= 0 else -1
        return PartFile.take_over(self.path, folder_fd)

    def _discard_leftover(self) -> None:
        """Remove the part file that an earlier transfer left.

        Raises:
            LocalWriteFailed: that transfer is still at work.
        """
        if leftover := self._leftover():
            leftover.discard()

    def _open_existing(self) -> int:
        """Open the file that the destination's path names; -1 where none could be compared.

        Anything but a regular file, and a folder that cannot be searched, are left to `PartFile`.

        Raises:
            DestinationExists: it cannot be read; or it is a symlink that leads nowhere.
        """
        path, follow = self.path, self._follow
        folder_fd = self._folder_fd if self._folder_fd >= 0 else None
        try:
            status = os.stat(path, dir_fd=folder_fd, follow_symlinks=follow)
        except (OSError, ValueError):
            if folder_fd is None and os.path.islink(path):
                raise DestinationExists(
                    f"{path} is a symlink that leads nowhere", hint="--force replaces it"
                ) from None
            return -1
        if S_ISLNK(status.st_mode):
            raise DestinationExists(f"{path} is a symlink", hint="--force replaces it")
        if not S_ISREG(status.st_mode):
            return -1
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        try:
            return os.open(path, flags, dir_fd=folder_fd)
        except OSError as error:
            raise DestinationExists(
                f"{path} exists and cannot be read to compare it: {error.strerror}",
                hint="--force replaces it",
            ) from None

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Open the part file; or the existing file, to compare it.

        Called again where the transfer goes on in chunks of another size.

        Raises:
            DestinationExists: the existing file is a different one, as its size shows.
            LocalReadFailed: what is held cannot be read.
            LocalWriteFailed: the part file cannot be made.
            SourceChanged: what is held is of no file that the server has.
        """
        accept = handshake.accept
        chunks = whole_chunks(handshake.have, accept.chunk_size, accept.size)
        if self.compares:
            if os.fstat(self._existing_fd).st_size != accept.size:
                raise self.is_different()
            held = read_hashes(
                guarded(partial(os.preadv, self._existing_fd), self._stop),
                accept.size,
                accept.chunk_size,
                chunks,
            )
            return OpenedSink(_NoSink(), held)
        old = self._label
        label = Label(accept.size, accept.mtime_ns, accept.identity, accept.chunk_size)
        self._label = label
        first_time = not self._opened
        self._opened = True
        if first_time and self.makes_room:
            make_room_beside(self.path, label.needed_bytes(accept.sparse_map))
        if not old or not self._part or (old.size, old.identity) != (label.size, label.identity):
            if handshake.have:
                raise SourceChanged("the server took a part of another file for one of this")
            part = self._begin(label, accept.sparse_map)
            return OpenedSink(part, note_hashes=part.note_hashes)
        part = self._part
        holes = hole_chunks(accept.sparse_map, label.chunk_size, label.size, chunks)
        part.clear((first * label.chunk_size, stop * label.chunk_size) for first, stop in holes)
        if self._on_resume and first_time and chunks:
            held_bytes = sum(stop - start for start, stop in handshake.have)
            self._on_resume(held_bytes, label.size)
        if old.chunk_size == label.chunk_size and part.journal:
            return OpenedSink(part, part.noted_hashes(chunks), part.note_hashes)
        part.relabel(label)
        return OpenedSink(part, self._rehash(part, chunks, label), part.note_hashes)

    def hashes_of(self, handshake: HandshakeResult) -> Iterator[tuple[int, bytes]]:
        """Hashes of the chunks that a handshake says are held, read anew from the part file.

        Iterates over runs, each with the number of its first chunk.

        Raises:
            LocalReadFailed: it cannot be read.
        """
        assert self._part
        accept = handshake.accept
        chunks = whole_chunks(handshake.have, accept.chunk_size, accept.size)
        read = guarded(self._part.readv, self._stop)
        return read_hashes(read, accept.size, accept.chunk_size, chunks)

    def _rehash(
        self, part: PartFile, chunks: RangeSet, label: Label
    ) -> Iterator[tuple[int, bytes]]:
        """Hash chunks that are held anew, and write the hashes into the journal."""
        read = guarded(part.readv, self._stop)
        for first, hashes in read_hashes(read, label.size, label.chunk_size, chunks):
            part.note_hashes(first, hashes)
            yield first, hashes

    def _begin(self, label: Label, sparse_map: SparseMap) -> PartFile:
        """Begin with an empty part file."""
        size, data_bytes = label.size, None
        if sparse_map.holes:
            data_bytes = label.needed_bytes(sparse_map)
        journal_label = label if self._resume and size >= JOURNAL_MIN_BYTES else None
        if self._part:
            self._part.begin(size, journal_label, data_bytes)
        elif self._folder_fd < 0:
            self._part = PartFile.open(self.path, size, journal_label, data_bytes)
        else:
            folder_fd = os.dup(self._folder_fd)
            self._part = PartFile.open_in(folder_fd, self.path, size, journal_label, data_bytes)
        return self._part

    def commit(self) -> None:
        """Give the file, which is verified, its name, and its time where that is kept.

        Unless forced it replaces nothing: what has appeared there is compared.

        Raises:
            DestinationExists: a different file has appeared there.
            DigestMismatch: its SHA-256 is not the expected one.
            LocalWriteFailed: see `PartFile.commit`.
        """
        if self._sha256 and self.compares:
            from udpft.storage.sha256 import check_sha256

            check_sha256(self._existing_fd, os.fstat(self._existing_fd).st_size, self._sha256)
        if self._part:
            try:
                time_ns = self._label.mtime_ns if self._label and self.keeps_time else None
                self._part.commit(time_ns, self._sha256, new=not self._force)
            except DestinationExists:
                if not self._same_is_there(self._part):
                    raise
                self._part.discard()
                self.appeared = True
        elif self._resume:
            with suppress(LocalWriteFailed):
                self._discard_leftover()  # of a transfer that is not needed any more

    def _same_is_there(self, part: PartFile) -> bool:
        """Tell whether what has appeared at the destination is the file that has come."""
        try:
            fd = self._open_existing()
        except DestinationExists:
            return False
        if fd < 0:
            return False
        try:
            size = os.fstat(fd).st_size
            return size == part.size and _is_same(
                guarded(partial(os.preadv, fd), self._stop), part.readv, size
            )
        except OSError:
            return False
        finally:
            os.close(fd)

    def is_different(self) -> DestinationExists:
        """Make the error that the existing file is not the server's."""
        return DestinationExists(
            f"{self.path} exists and is a different file",
            hint="--force replaces it; --output names another",
        )

    def close(self, error: BaseException | None = None) -> None:
        """Keep or remove the part file, unless it was committed."""
        if self._part:
            if error and self._part.resumable and not isinstance(error, DigestMismatch):
                self._part.keep()
                say_how_to_resume(error)
            self._part.discard()
        if self.compares:
            fd, self._existing_fd = self._existing_fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(error)


class InMemory:
    """Target in memory, for a listing.

    Args:
        max_bytes: more is refused.

    Attributes:
        data: the bytes, as far as the last that has come; zeros where nothing has come yet. Made
            anew by `open_sink`.
        have: empty: nothing of a listing is held already.
        have_of: 0, as ``have`` is empty.
        compares: False: nothing is compared.
    """

    have: tuple[tuple[int, int], ...] = ()
    have_of = 0
    compares = False

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.data = bytearray()

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Begin with nothing: memory is taken as bytes come, whatever size the sender says.

        Raises:
            PartialTransfer: it would be more than anybody wants in memory.
        """
        if handshake.accept.size > self.max_bytes:
            raise PartialTransfer("the listing is too long", hint="ask for less of it")
        self.data = bytearray()
        return OpenedSink(self)

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        """Write the slots one after another."""
        joined = b"".join(slots)
        if offset > len(self.data):
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(joined)] = joined

    def commit(self) -> None:
        """Do nothing: it stays in memory."""

    def is_different(self) -> DestinationExists:
        """Refuse: nothing is compared."""
        raise NotImplementedError

    def close(self, error: BaseException | None = None) -> None:
        """Do nothing: it leaves no trace."""


def make_room_beside(path: str, size: int = 0) -> None:
    """Remove leftovers of others beside a file that is to come, where they may be removed.

    See `leftovers.Leftovers`. ``size``: bytes that the file will have, as far as that is known.
    """
    try:
        own = part_name(os.path.basename(path))
        folder_fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, ValueError):
        return  # the part file will say why
    try:
        if other_parts(folder_fd, own, always=size >= JOURNAL_MIN_BYTES):
            from udpft.storage.leftovers import Leftovers, missing_bytes  # there rarely are any

            leftovers = Leftovers((own,))
            folders = [(folder_fd, os.path.dirname(path))]
            leftovers.remove_abandoned(lambda: folders)
            leftovers.make_room(lambda: folders, lambda: missing_bytes(folder_fd, own, size))
    except OSError:
        return
    finally:
        os.close(folder_fd)


def guarded(read: Read, stop: Stop | None) -> Read:
    """Wrap a read so that ``stop``, if given, breaks it off."""
    return stop.guarded(read) if stop else read


def say_how_to_resume(error: BaseException) -> None:
    """Add how to resume to an error's hint, or to the notes of an interrupt."""
    if isinstance(error, DestinationExists):
        return  # the same command would only compare
    if isinstance(error, (NetworkError, LocalError, Stopped)):
        error.hint = f"{error.hint}; {RESUME_HINT}" if error.hint else RESUME_HINT
    elif not isinstance(error, UdpftError):
        error.add_note(RESUME_HINT)


def _is_same(one: Read, other: Read, size: int) -> bool:
    """Compare the first ``size`` bytes of two files. Raises OSError."""
    blocks = [memoryview(bytearray(MAX_BURST_BYTES)) for _ in range(2)]
    for at in range(0, size, MAX_BURST_BYTES):
        length = min(MAX_BURST_BYTES, size - at)
        slots = [block[:length] for block in blocks]
        if (one(slots[:1], at), other(slots[1:], at)) != (length, length) or slots[0] != slots[1]:
            return False
    return True


class _NoSink:
    """Sink for a file that is held already: only its empty last chunk may come."""

    def writev(self, _slots: object, _offset: int, /) -> None:
        """Refuse: nothing was asked for."""
        raise PartialTransfer("the server sent what it was told not to send")
