"""Part file: a file being received, beside its destination, and renamed over it once it is whole.

Theory of operation
-------------------
The bytes go to ``.NAME.udpft-part`` in the destination's folder. `PartFile.commit` syncs them to
the disk, renames the part file over the destination and syncs the folder, so that the destination
is at every moment absent, the old file, or the new one complete; after a power cut too.

A part file with a `journal.Label` can be resumed when its process is gone. Its journal stands
behind the data, in the same file: there is one name to lock, to look for and to remove, and data
and journal cannot come apart. It is cut off at the end, when the data is on the disk.

A destination that exists already:

- A regular file is replaced and passes its permission bits on, but for set-user-ID and the like.
- A symlink is replaced itself, not the file that it leads to: following it would let whoever can
  write to the folder choose which file is overwritten. (curl writes through it, rsync replaces.)
- Anything else, and a symlink to it, is refused: renaming over ``/dev/null`` would remove it.

One that is to be new never replaces what appeared at the destination meanwhile.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from stat import S_ISREG
from typing import TYPE_CHECKING, Final, Self

from udpft.errors import DestinationExists, LocalReadFailed, LocalWriteFailed
from udpft.protocol.params import MAX_BURST_BYTES
from udpft.protocol.ranges import RangeSet
from udpft.storage.claim import (
    ELSEWHERE_HINT,
    claim,
    claim_leftover,
    leads_to,
    refuse_unfit,
    unlock,
)
from udpft.storage.holes import Holes
from udpft.storage.journal import Journal, Label, MalformedJournal, Read, hash_chunks
from udpft.storage.part_name import part_name
from udpft.storage.sync import BackgroundSync, reread_from_disk, sync_data, sync_file
from udpft.storage.system_calls.rename import rename_new_file
from udpft.units import format_bytes

if TYPE_CHECKING:
    from pathlib import Path

_STAT_BLOCK: Final = 512
"""The unit of st_blocks, whatever the file system's own (POSIX.1-2017, sys/stat.h)."""

_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_ALLOCATED_BYTES: Final = 1 << 20
"""Files of this size have their blocks set aside: a full disk shows soon enough in smaller ones."""

_RESERVED_BYTES: Final = 16 << 20
"""Bytes that are set aside at first, beyond as many as have come: whoever sends may say any size,
and take no more of the disk than he brings. With 16 MiB, a GB takes seven steps."""

_NEVER: Final = 1 << 63

_FREE_SPACE: Final = f"free some space, or {ELSEWHERE_HINT}"


StrPath = str | os.PathLike[str]
"""Path as callers may give it. Inside they are strings: pathlib costs a tenth of a short get."""


class PartFile:
    """Part file of one transfer, open and locked; a `udpft.protocol.contract.ChunkSink`.

    Made by `open`; or by `take_over`, to resume an earlier one. Then `writev` as often as something
    comes, and `note_hashes` behind it; at last `commit` (it is whole and verified), `keep` (it may
    be resumed later) or `discard`, as leaving the context does.

    Attributes:
        destination: path of the file once it is committed; never changes.
        size: bytes that it will have; None where only its end will tell. Set by `begin`.
        journal: its journal; None where it cannot be resumed, and once the commit has synced it.
        resumable: whether it has a journal, and chunks in it. Set by `take_over`, by the owner when
            it has checked the chunks, and by each `note_hashes`.
        _fd: descriptor of the part file, which has the lock; -1 once it is closed.
        _folder_fd: descriptor of the folder that both files are in; -1 once it is closed.
        _name: last component of the destination; never changes.
        _part_name: name of the part file in the same folder; never changes.
        _sync: syncs the data while more is written.
        _holes: makes holes where zeros are written.
        _came: bytes written since `begin`.
        _end: end of the last of them in the file.
        _reserved: bytes from the file's start that are set aside; grows ahead of ``_came``.
        _reserve_at: bytes that must have come for more to be set aside.
        _room: bytes that the file has, journal included; set by `begin`.
    """

    __slots__ = (
        "_came",
        "_end",
        "_fd",
        "_folder_fd",
        "_holes",
        "_name",
        "_part_name",
        "_reserve_at",
        "_reserved",
        "_room",
        "_sync",
        "destination",
        "journal",
        "resumable",
        "size",
    )

    def __init__(self, folder_fd: int, fd: int, destination: str, size: int | None) -> None:
        self._folder_fd = folder_fd
        self._fd = fd
        self.destination = destination
        self._name = os.path.basename(destination)
        self._part_name = part_name(self._name)
        self.size = size
        self.journal: Journal | None = None
        self.resumable = False
        self._sync = BackgroundSync(fd)
        self._holes = Holes()
        self._came = self._end = self._reserved = self._room = 0
        self._reserve_at = _NEVER  # nothing for what another process has left

    @property
    def part_path(self) -> Path:
        """Path of the part file, until it is committed."""
        from pathlib import Path  # a get does without

        return Path(self.destination).with_name(self._part_name)

    @classmethod
    def open(
        cls,
        destination: StrPath,
        size: int | None,
        label: Label | None = None,
        data_bytes: int | None = None,
    ) -> PartFile:
        """Create the part file of a destination, locked, of the size in bytes, all zeros.

        One that exists already is emptied. With a label it has a journal. ``data_bytes``: see
        `begin`.

        Raises:
            LocalWriteFailed: the disk has not enough room, another process is writing it, something
                that is no file is in the way, the folder is missing or not to be written to.
        """
        folder = _parent_of(destination)
        try:
            folder_fd = os.open(folder, _FOLDER_FLAGS)
        except (OSError, ValueError) as error:
            raise _folder_failure(folder, error) from error
        return cls.open_in(folder_fd, destination, size, label, data_bytes)

    @classmethod
    def open_in(
        cls,
        folder_fd: int,
        destination: StrPath,
        size: int | None,
        label: Label | None = None,
        data_bytes: int | None = None,
    ) -> PartFile:
        """Do as `open` does, in a folder already opened and whatever its path leads to by now.

        Only the name of ``destination`` is used; the rest of it is for messages. Takes
        ``folder_fd`` over, and closes it where it fails too.

        Raises:
            LocalWriteFailed: as `open` does.
        """
        destination = os.fspath(destination)
        with _reported(destination):
            try:
                refuse_unfit(folder_fd, destination)
                fd = claim(folder_fd, destination)
            except BaseException:
                os.close(folder_fd)
                raise
            part = cls(folder_fd, fd, destination, size)
        part.begin(size, label, data_bytes)
        return part

    @classmethod
    def take_over(cls, destination: StrPath, folder_fd: int = -1) -> PartFile | None:
        """Lock and open the part file that an earlier transfer left; return None without one.

        Reading it shows what the disk has. Where it cannot be synced it has no journal.

        ``folder_fd``: the destination's folder where it is open already, taken over.

        Raises:
            LocalWriteFailed: another process is writing it, something that is no file is in the
                way, it may not be opened.
        """
        try:
            if folder_fd < 0:
                folder_fd = os.open(_parent_of(destination), _FOLDER_FLAGS)
        except (OSError, ValueError):
            return None  # `open` will say why
        destination = os.fspath(destination)
        with _reported(destination):
            try:
                fd = claim_leftover(folder_fd, destination)
            except BaseException:
                os.close(folder_fd)
                raise
            if fd < 0:
                os.close(folder_fd)
                return None
            part = cls(folder_fd, fd, destination, None)
            with suppress(MalformedJournal, OSError):
                # The transfer that left it may have ended because the disk failed.
                reread_from_disk(fd)
                part.journal = Journal.read_untrusted(fd)
                part.size = part.journal.label.size
                part.resumable = True
        return part

    def begin(
        self, size: int | None, label: Label | None = None, data_bytes: int | None = None
    ) -> None:
        """Empty it, and give it its size and its journal.

        ``data_bytes``: of a sparse file, the room that it needs; None for all that it has.

        Raises:
            LocalWriteFailed: as `open` does. It is then closed; a leftover that could not be
                replaced is kept, and all else removed.
        """
        self.size = size
        self.journal = None
        self.resumable = False
        with _reported(self.destination):
            try:
                refuse_unfit(self._folder_fd, self.destination)
                self._take_permissions(at_least=0o600)
                self._make_room(label.total_bytes if label else size or 0, data_bytes)
            except BaseException:
                # A leftover that is still as it was may yet be resumed, once there is room.
                if os.fstat(self._fd).st_size:
                    self.keep()
                self.discard()
                raise
            try:
                self.journal = Journal.begin(self._fd, label) if label else None
            except BaseException:
                self.discard()
                raise

    def relabel(self, label: Label) -> None:
        """Keep the data and begin the journal, if it has one, anew for chunks of another size.

        Raises:
            LocalWriteFailed: the disk refuses.
        """
        if self.journal:
            with _reported(self.destination):
                self.journal = None
                self.resumable = False
                os.ftruncate(self._fd, label.table_at)
                os.ftruncate(self._fd, label.total_bytes)
                self.journal = Journal.begin(self._fd, label)

    def note_hashes(self, first_chunk: int, hashes: bytes) -> None:
        """Note the hashes of written chunks in the journal, if it has one.

        Raises:
            LocalWriteFailed: the journal or an earlier chunk cannot be written.
        """
        if self.journal:
            try:
                self.journal.note(first_chunk, hashes)
                self._sync.poll(self._came)
            except OSError as error:
                raise write_failure(self.destination, error) from error
            self.resumable = True

    def noted_hashes(self, chunks: RangeSet) -> Iterator[tuple[int, bytes]]:
        """Iterate over the journal's hashes of chunks: runs, each with the number of its first.

        Raises:
            LocalReadFailed: it cannot be read.
        """
        assert self.journal
        try:
            yield from self.journal.hashes(chunks)
        except OSError as error:
            raise _unreadable(error) from error

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        """Fill the slots from ``offset`` bytes on; return the bytes read. Raises OSError."""
        return os.preadv(self._fd, slots, offset)

    def writev(self, slots: Sequence[memoryview], offset: int) -> None:
        """Write the slots one after another from ``offset`` bytes on.

        All slots have one length, but for the last. One slot at least, 1,024 at most (IOV_MAX).

        Raises:
            LocalWriteFailed: disk full, over the quota, an I/O error.
        """
        try:
            # Adding the lengths up would cost a quarter of the write itself.
            length = len(slots[0]) * (len(slots) - 1) + len(slots[-1])
            self._came += length
            if offset + length > self._end:
                self._end = offset + length
            if self._came > self._reserve_at:
                self._reserve()
            if length and not slots[0][0] and self._holes.dig(self._fd, slots, offset, length):
                return
            write_all(self._fd, slots, offset, length)
        except OSError as error:
            raise write_failure(self.destination, error) from error

    def clear(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Make byte ranges of it zeros, and holes where the file system can.

        Raises:
            LocalWriteFailed: the disk refuses.
        """
        from udpft.storage.holes import clear  # of sparse files that are resumed only

        with _reported(self.destination):
            for start, stop in ranges:
                clear(self._fd, start, stop)

    def commit(self, mtime_ns: int | None = None, sha256: str = "", *, new: bool = False) -> None:
        """Sync the file and rename it to its destination. It must be whole and verified.

        Where this fails the destination is as it was, unless only the last step failed: syncing
        the folder, after which a power cut may bring the old file back.

        Args:
            mtime_ns: time of the last change to give it, in nanoseconds since the epoch; by
                default the time at which it was written.
            sha256: what its SHA-256 must be, in hex; it is read once more for it.
            new: replace nothing at the destination.

        Raises:
            DestinationExists: ``new``, and something is there by now. The part file is as it was.
            DigestMismatch: its SHA-256 is another one.
            LocalWriteFailed: the disk refuses, or the part file was taken away.
        """
        if sha256:
            from udpft.storage.sha256 import check_sha256

            size = os.fstat(self._fd).st_size if self.size is None else self.size
            check_sha256(self._fd, size, sha256)
        label = self.journal.label if self.journal else None
        with _reported(self.destination):
            self._take_permissions()
            self._sync.finish()
            if new and self._is_there():
                raise self._appeared()
            if self.journal:
                # It takes its time, and whoever is killed meanwhile should not lose everything.
                sync_data(self._fd)
                self.journal = None
                self.resumable = False
            if self.size is not None and os.fstat(self._fd).st_size != self.size:
                os.ftruncate(self._fd, self.size)
            if mtime_ns is not None:
                # From the network, so perhaps a time that this file system has none of.
                with suppress(OSError, OverflowError):
                    os.utime(self._fd, ns=(mtime_ns, mtime_ns))
            sync_file(self._fd)
            if not leads_to(self._folder_fd, self._part_name, self._fd):
                raise LocalWriteFailed(f"{self.part_path} was moved or removed meanwhile")
            try:
                self._rename(new=new)
            except FileExistsError:
                self._restore_journal(label)
                raise self._appeared() from None
            _sync_folder(self._folder_fd)
        self._close()

    def _rename(self, *, new: bool) -> None:
        """Give the part file the destination's name."""
        folder_fd, part = self._folder_fd, self._part_name
        if new:
            rename_new_file(part, self._name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        else:
            os.rename(part, self._name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)

    def _is_there(self) -> bool:
        """Whether anything has the destination's name."""
        try:
            os.lstat(self._name, dir_fd=self._folder_fd)
        except FileNotFoundError:
            return False
        return True

    def _appeared(self) -> DestinationExists:
        """Make the error that something has appeared at the destination."""
        what = "it with what has come" if self.resumable else "it"
        return DestinationExists(
            f"{self.destination} exists by now and is a different file",
            hint=f"--force replaces {what}; --output names another",
        )

    def _restore_journal(self, label: Label | None) -> None:
        """Write the journal, if it had one, that a commit has cut off already."""
        if label:
            os.ftruncate(self._fd, label.total_bytes)
            self.journal = Journal.begin(self._fd, label)
            everything = RangeSet([(0, label.chunk_count)])
            for run in read_hashes(self.readv, label.size, label.chunk_size, everything):
                self.note_hashes(*run)

    def keep(self) -> None:
        """Unlock the part file and leave it, to be resumed later."""
        self._give_back()
        self._close()

    def discard(self) -> None:
        """Remove the part file. Does nothing once it was committed or kept."""
        if self._fd < 0:
            return
        with suppress(OSError):
            if leads_to(self._folder_fd, self._part_name, self._fd):
                os.unlink(self._part_name, dir_fd=self._folder_fd)
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            folder_fd, self._folder_fd = self._folder_fd, -1
            os.close(folder_fd)
            unlock(fd)  # or a sync at work would keep the next transfer out
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def _take_permissions(self, at_least: int = 0) -> None:
        """Copy the permission bits of the file to be replaced, if one exists.

        Done when the part file is opened already, so that a private file is never public meanwhile.
        """
        try:
            old = os.lstat(self._name, dir_fd=self._folder_fd)
        except FileNotFoundError:
            return
        if S_ISREG(old.st_mode):
            # FAT and some network file systems have no such bits and say EPERM.
            with suppress(PermissionError):
                os.fchmod(self._fd, old.st_mode & 0o777 | at_least)

    def _make_room(self, size: int, data_bytes: int | None) -> None:
        """Check that so many bytes fit, then give the file that size.

        A sparse file needs room for its data only. Nothing is set aside for it: where it has its
        holes, nobody knows here.

        Raises:
            LocalWriteFailed: it does not fit.
            OSError: the file system refuses, for the quota for instance.
        """
        space = os.fstatvfs(self._fd)
        occupied = os.fstat(self._fd).st_blocks * _STAT_BLOCK
        free = space.f_bavail * space.f_frsize + occupied
        # A file system that counts no blocks does not know its room.
        needed = size if data_bytes is None else data_bytes
        if space.f_blocks and free < needed:
            raise LocalWriteFailed(
                f"disk full: {self.destination} needs {format_bytes(needed)}, "
                f"{_parent_of(self.destination)} has {format_bytes(free)}",
                hint=_FREE_SPACE,
            )
        os.ftruncate(self._fd, 0)
        os.ftruncate(self._fd, size)
        self._came = self._end = self._reserved = 0
        self._room = size
        self._reserve_at = 0 if size >= _ALLOCATED_BYTES and data_bytes is None else _NEVER

    def _reserve(self) -> None:
        """Set aside as much again as has come, so that a full disk shows before it is reached.

        Raises:
            OSError: the disk is full, or the quota exceeded.
        """
        from udpft.storage.system_calls.allocate import allocate  # small files do without ctypes

        ahead = min(self._room, 2 * self._came + _RESERVED_BYTES)
        self._reserve_at = _NEVER if ahead == self._room else (self._came + ahead) // 2
        if ahead > self._reserved:
            allocate(self._fd, ahead - self._reserved, self._reserved)
            self._reserved = ahead

    def _give_back(self) -> None:
        """Give back what was set aside behind the last byte that has come."""
        start, stop = self._end, min(self._reserved, self.size or 0)  # the journal stands behind
        if start < stop:
            from udpft.storage.system_calls.allocate import punch

            with suppress(OSError):
                punch(self._fd, start, stop - start)


def _parent_of(path: StrPath) -> str:
    """Return the path of the folder that a path is in."""
    return os.path.dirname(path) or "."


def write_all(fd: int, slots: Sequence[memoryview], offset: int, length: int) -> None:
    """Write slots, of ``length`` bytes in all, one after another. Raises OSError."""
    written = os.pwritev(fd, slots, offset)
    if written == length:
        return
    # A disk that fills up, a signal on a network file system.
    rest = memoryview(b"".join(slots))
    while written < len(rest):
        step = os.pwrite(fd, rest[written:], offset + written)
        if not step:
            raise OSError(errno.EIO, "nothing more is taken")
        written += step


def read_hashes(
    read: Read, size: int, chunk_size: int, chunks: RangeSet
) -> Iterator[tuple[int, bytes]]:
    """Hash chunks of a local file: iterate over runs, each with the number of its first.

    Raises:
        LocalReadFailed: it cannot be read, or has become shorter.
    """
    step = MAX_BURST_BYTES // chunk_size
    buffer = memoryview(bytearray(step * chunk_size))
    for start, stop in chunks:
        for first in range(start, stop, step):
            count = min(step, stop - first)
            try:
                yield first, hash_chunks(read, size, chunk_size, first, count, buffer)
            except OSError as error:
                raise _unreadable(error) from error


def _sync_folder(folder_fd: int) -> None:
    """Make a rename in the folder last, where folders can be synced."""
    try:
        sync_file(folder_fd)
    except OSError as error:
        if error.errno != errno.EBADF:  # a network file system's, for a folder opened for reading
            raise


def _folder_failure(folder: StrPath, error: OSError | ValueError) -> LocalWriteFailed:
    """Reword an error of opening the destination's folder."""
    if isinstance(error, FileNotFoundError):
        return LocalWriteFailed(f"there is no folder {folder}", hint="make it first, with mkdir -p")
    return write_failure(folder, error)


@contextmanager
def _reported(destination: str) -> Iterator[None]:
    """Context that turns errors of the system into `LocalWriteFailed`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise write_failure(destination, error) from error


def write_failure(path: StrPath, error: OSError | ValueError) -> LocalWriteFailed:
    """Reword an error of the system for its user, with a hint."""
    if isinstance(error, ValueError):
        return LocalWriteFailed(f"cannot write {path}: {error}")
    reason, hint = error.strerror, ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = "disk full" if error.errno == errno.ENOSPC else "disk quota exceeded"
        hint = _FREE_SPACE
    elif error.errno == errno.ENOENT:
        if (folder := os.path.dirname(os.fspath(path))) and not os.path.exists(folder):
            return _folder_failure(folder, FileNotFoundError())
        hint = "its folder, or the working directory, was removed"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        hint = ELSEWHERE_HINT
    return LocalWriteFailed(f"cannot write {path}: {reason}", hint=hint)


def _unreadable(error: OSError) -> LocalReadFailed:
    return LocalReadFailed(f"cannot read the file that is here: {error.strerror}")
