"""A file on its way in: written beside its destination, renamed over it once it is whole.

Theory of operation
-------------------
The bytes go to ``.NAME.udpft-part`` in the destination's folder. `PartFile.commit` syncs them to
the disk, renames the part file over the destination and syncs the folder, so that the destination
is at every moment absent, the old file, or the new one complete; after a power cut too.

A lock (flock(2)) on the part file keeps a second download of the same name out. It ends with the
process, so a part file without a lock is a leftover of one that was killed, and is taken over.
Between opening a part file and locking it, its owner may have renamed or removed it; so after
locking, the name must still lead to what was locked, or it all begins again.

What stands at the destination:

- A regular file is replaced and passes its permission bits on, but for set-user-ID and the like.
- A symlink is replaced itself, not the file that it leads to: following it would let whoever can
  write to the folder choose which file is overwritten. (curl writes through it, rsync replaces.)
- Anything else, and a symlink to it, is refused: renaming over ``/dev/null`` would remove it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Final, Self

from udpft.errors import LocalWriteFailed
from udpft.units import format_bytes

_SUFFIX: Final = b".udpft-part"

_NAME_MAX: Final = 255
"""Bytes in one component of a path (NAME_MAX of Linux)."""

_CLAIM_ATTEMPTS: Final = 16
"""How often the part file may be taken away between opening and locking it."""

_STAT_BLOCK: Final = 512
"""The unit of st_blocks, whatever the file system's own (POSIX.1-2017, sys/stat.h)."""

_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PART_FLAGS: Final = (
    os.O_RDWR
    | os.O_NOFOLLOW
    | os.O_NONBLOCK  # no waiting for whatever else might have that name
    | os.O_NOCTTY
    | os.O_CLOEXEC
)

_FALLOC_FL_KEEP_SIZE: Final = 0x01

_IN_MEMORY: Final = (0x0102_1994, 0x8584_58F6)
"""File system types: tmpfs, ramfs (linux/magic.h)."""

_ELSEWHERE: Final = "choose another place with --output"
_FREE_SPACE: Final = f"free some space, or {_ELSEWHERE}"

_libc = ctypes.CDLL(None, use_errno=True)
# fallocate64 where the C library has it: there, fallocate may take 32-bit lengths.
_libc_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_libc_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_libc_fstatfs = _libc.fstatfs
_libc_fstatfs.argtypes = (ctypes.c_int, ctypes.c_char_p)


class PartFile:
    """A download on its way to its name; a `udpft.protocol.endpoint.ChunkSink`.

    Made by `open`. Then `writev` as often as there is something; at last `commit` (it is whole and
    verified), `keep` (it may be gone on with later) or `discard`, as leaving the context does.

    Attributes:
        destination: where the file will be.
        part_path: where it is meanwhile.
        size: bytes that it will have; None where only its end will tell.
    """

    __slots__ = ("_fd", "_folder_fd", "destination", "part_path", "size")

    def __init__(self, folder_fd: int, fd: int, destination: Path, size: int | None) -> None:
        self._folder_fd = folder_fd
        self._fd = fd
        self.destination = destination
        self.part_path = destination.with_name(part_name(destination.name))
        self.size = size

    @classmethod
    def open(cls, destination: Path, size: int | None) -> PartFile:
        """Create or take over the part file of a destination, locked, of the size in bytes.

        Raises:
            LocalWriteFailed: there is not enough room, another process is writing it, something
                that is no file is in the way, the folder is missing or not to be written to.
        """
        try:
            folder_fd = os.open(destination.parent, _FOLDER_FLAGS)
        except (OSError, ValueError) as error:
            raise _folder_failure(destination.parent, error) from error
        return cls.open_in(folder_fd, destination, size)

    @classmethod
    def open_in(cls, folder_fd: int, destination: Path, size: int | None) -> PartFile:
        """As `open`, in a folder already opened and whatever its path leads to by now.

        Only the name of ``destination`` is used; the rest of it is for messages. Takes
        ``folder_fd`` over, and closes it where it fails too.

        Raises:
            LocalWriteFailed: as `open` does.
        """
        with _reported(destination):
            try:
                _refuse_unfit(folder_fd, destination)
                fd = _claim(folder_fd, destination)
            except BaseException:
                os.close(folder_fd)
                raise
            part = cls(folder_fd, fd, destination, size)
            try:
                part._take_permissions(at_least=0o600)
                part._make_room()
            except BaseException:
                # A leftover that is still as it was may yet be gone on with, once there is room.
                if os.fstat(fd).st_size:
                    part.keep()
                part.discard()
                raise
        return part

    def writev(self, slots: Sequence[memoryview], offset: int) -> None:
        """Write the slots one after another from ``offset`` bytes on.

        All slots have one length, but for the last. One slot at least, 1,024 at most (IOV_MAX).

        Raises:
            LocalWriteFailed: disk full, over the quota, an I/O error.
        """
        try:
            written = os.pwritev(self._fd, slots, offset)
            # Adding the lengths up would cost a quarter of the write itself.
            if written != len(slots[0]) * (len(slots) - 1) + len(slots[-1]):
                self._write_rest(slots, offset, written)
        except OSError as error:
            raise _failure(self.destination, error) from error

    def _write_rest(self, slots: Sequence[memoryview], offset: int, written: int) -> None:
        """Go on after a short write: a disk that fills up, a signal on a network file system."""
        rest = memoryview(b"".join(slots))
        while written < len(rest):
            step = os.pwrite(self._fd, rest[written:], offset + written)
            if not step:
                raise OSError(errno.EIO, "nothing more is taken")
            written += step

    def commit(self, mtime_ns: int | None = None) -> None:
        """Put the file in its place, on the disk. It must be whole and verified.

        Where this fails the destination is as it was, unless only the last step failed: syncing
        the folder, after which a power cut may bring the old file back.

        Args:
            mtime_ns: time of the last change to give it, in nanoseconds since the epoch; by
                default the time at which it was written.

        Raises:
            LocalWriteFailed: the disk refuses, or the part file was taken away.
        """
        with _reported(self.destination):
            self._take_permissions()
            if self.size is not None and os.fstat(self._fd).st_size != self.size:
                os.ftruncate(self._fd, self.size)
            if mtime_ns is not None:
                # From the network, so perhaps a time that this file system has none of.
                with suppress(OSError, OverflowError):
                    os.utime(self._fd, ns=(mtime_ns, mtime_ns))
            os.fsync(self._fd)
            folder_fd, part = self._folder_fd, self.part_path.name
            if not _leads_to(folder_fd, part, self._fd):
                raise LocalWriteFailed(f"{self.part_path} was moved or removed meanwhile")
            os.rename(part, self.destination.name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            _sync_folder(folder_fd)
        self._close()

    def keep(self) -> None:
        """Leave the part file where it is, unlocked, to be gone on with later."""
        self._close()

    def discard(self) -> None:
        """Remove the part file. Does nothing once it was committed or kept."""
        if self._fd < 0:
            return
        with suppress(OSError):
            if _leads_to(self._folder_fd, self.part_path.name, self._fd):
                os.unlink(self.part_path.name, dir_fd=self._folder_fd)
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            folder_fd, self._folder_fd = self._folder_fd, -1
            os.close(folder_fd)
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def _take_permissions(self, at_least: int = 0) -> None:
        """Take the permission bits of the file to be replaced, if there is one.

        When it is opened already, so that what is to be private is never public in between.
        """
        try:
            old = os.lstat(self.destination.name, dir_fd=self._folder_fd)
        except FileNotFoundError:
            return
        if S_ISREG(old.st_mode):
            # FAT and some network file systems have no such bits and say EPERM.
            with suppress(PermissionError):
                os.fchmod(self._fd, old.st_mode & 0o777 | at_least)

    def _make_room(self) -> None:
        """See that the file fits, then give it its size.

        Raises:
            LocalWriteFailed: it does not fit.
            OSError: the file system refuses, for the quota for instance.
        """
        size = self.size or 0
        space = os.fstatvfs(self._fd)
        held = os.fstat(self._fd).st_blocks * _STAT_BLOCK
        free = space.f_bavail * space.f_frsize + held
        # A file system that counts no blocks does not know its room.
        if space.f_blocks and free < size:
            raise LocalWriteFailed(
                f"disk full: {self.destination} needs {format_bytes(size)}, "
                f"{self.destination.parent} has {format_bytes(free)}",
                hint=_FREE_SPACE,
            )
        os.ftruncate(self._fd, 0)
        _allocate(self._fd, size)
        os.ftruncate(self._fd, size)


def part_name(name: str) -> str:
    """The name of the part file for a file's name: ``.NAME.udpft-part``.

    Where that passes 255 bytes, the end of NAME gives way to a digest of it all.
    """
    encoded = os.fsencode(name)
    if 1 + len(encoded) + len(_SUFFIX) > _NAME_MAX:
        digest = blake2b(encoded, digest_size=8).hexdigest().encode()
        room = _NAME_MAX - 2 - len(digest) - len(_SUFFIX)
        # No half characters: some file systems take only UTF-8.
        start = encoded[:room].decode(errors="ignore").encode()
        encoded = start + b"-" + digest
    return os.fsdecode(b"." + encoded + _SUFFIX)


def _refuse_unfit(folder_fd: int, destination: Path) -> None:
    """Refuse a destination that is there and cannot be replaced by a file.

    Raises:
        LocalWriteFailed: it is a folder, a device, a FIFO, or a symlink to one.
        OSError: the name is too long, the folder may not be searched.
    """
    name = destination.name
    if name in ("", ".."):
        raise _is_a_folder(destination)
    try:
        status = os.lstat(name, dir_fd=folder_fd)
    except FileNotFoundError:
        return
    if S_ISLNK(status.st_mode):
        try:
            status = os.stat(name, dir_fd=folder_fd)
        except OSError:
            return  # it leads nowhere, and is replaced as any other symlink
    if S_ISDIR(status.st_mode):
        raise _is_a_folder(destination)
    if not S_ISREG(status.st_mode):
        raise LocalWriteFailed(
            f"cannot write {destination}: it is no regular file",
            hint="to write to standard output: --output -",
        )


def _claim(folder_fd: int, destination: Path) -> int:
    """Create or take over the part file, and lock it; return its descriptor.

    Raises:
        LocalWriteFailed: another process has it, or what has its name is no regular file.
        OSError: the folder may not be written to.
    """
    name = part_name(destination.name)
    for _ in range(_CLAIM_ATTEMPTS):
        try:
            created = True
            fd = os.open(name, _PART_FLAGS | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder_fd)
        except FileExistsError:
            created = False
            fd = _open_leftover(folder_fd, name, destination)
        if fd < 0:
            continue
        try:
            if _lock(folder_fd, name, fd, destination, created):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise _is_being_written(destination)


def _open_leftover(folder_fd: int, name: str, destination: Path) -> int:
    """Open a part file that is there already; -1 where it has just gone."""
    try:
        return os.open(name, _PART_FLAGS, dir_fd=folder_fd)
    except FileNotFoundError:
        return -1
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a symlink, a folder, a socket
            raise _in_the_way(destination, name) from error
        raise


def _lock(folder_fd: int, name: str, fd: int, destination: Path, created: bool) -> bool:
    """Lock the part file; False where another has to be opened."""
    status = os.fstat(fd)
    if not S_ISREG(status.st_mode):
        raise _in_the_way(destination, name)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _is_being_written(destination) from error
    if not _leads_to(folder_fd, name, fd):
        return False
    # In a folder open to all, one that somebody else made or linked to could be written to by
    # them after it was verified. (Where root is mapped to nobody, even a new one looks so.)
    if not created and (status.st_uid != os.geteuid() or status.st_nlink > 1):
        os.unlink(name, dir_fd=folder_fd)
        return False
    return True


def _leads_to(folder_fd: int, name: str, fd: int) -> bool:
    """Whether a name in a folder leads to the open file."""
    try:
        found = os.lstat(name, dir_fd=folder_fd)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(fd))


def _allocate(fd: int, size: int) -> None:
    """Set disk blocks aside for an empty file, where that is cheap.

    It tells a full disk and an exceeded quota now, not after hours. On ext4 a GiB takes 2 ms, and
    writing it afterwards is no slower; on tmpfs it takes 300 ms, for every page is cleared, and
    would hold the whole transfer up at its start, so there a full file system shows only when it
    is written to. By fallocate(2) itself: posix_fallocate of glibc writes to every block where
    the file system has no better way.

    Raises:
        OSError: ENOSPC, EDQUOT. That the file system cannot do it is no error.
    """
    if not size or _is_in_memory(fd):
        return
    if _libc_fallocate(fd, _FALLOC_FL_KEEP_SIZE, 0, size):
        code = ctypes.get_errno()
        if code in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(code, os.strerror(code))


def _is_in_memory(fd: int) -> bool:
    """Whether the file's pages live in memory only (tmpfs, ramfs)."""
    # struct statfs begins with the type, a long; 256 bytes hold it all on every architecture.
    # Where the call fails they stay zero, which is no file system's type.
    status = ctypes.create_string_buffer(256)
    _libc_fstatfs(fd, status)
    width = ctypes.sizeof(ctypes.c_long)
    return int.from_bytes(status.raw[:width], sys.byteorder) in _IN_MEMORY


def _sync_folder(folder_fd: int) -> None:
    """Make a rename in the folder last, where folders can be synced."""
    try:
        os.fsync(folder_fd)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.EINVAL):  # some network file systems'
            raise


def _is_a_folder(destination: Path) -> LocalWriteFailed:
    return LocalWriteFailed(
        f"cannot write {destination}: it is a folder", hint="name a file in it with --output"
    )


def _in_the_way(destination: Path, name: str) -> LocalWriteFailed:
    return LocalWriteFailed(
        f"cannot write {destination}: {name} beside it is no regular file", hint="remove it"
    )


def _is_being_written(destination: Path) -> LocalWriteFailed:
    return LocalWriteFailed(
        f"another get is writing {destination}", hint=f"wait for it, or {_ELSEWHERE}"
    )


def _folder_failure(folder: Path, error: OSError | ValueError) -> LocalWriteFailed:
    """What it means that the destination's folder cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return LocalWriteFailed(f"there is no folder {folder}", hint="make it first, with mkdir -p")
    return _failure(folder, error)


@contextmanager
def _reported(destination: Path) -> Iterator[None]:
    """Turn errors of the system into words."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise _failure(destination, error) from error


def _failure(path: Path, error: OSError | ValueError) -> LocalWriteFailed:
    """An error of the system, in words."""
    if isinstance(error, ValueError):
        return LocalWriteFailed(f"cannot write {path}: {error}")
    reason, hint = error.strerror, ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = "disk full" if error.errno == errno.ENOSPC else "disk quota exceeded"
        hint = _FREE_SPACE
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        hint = _ELSEWHERE
    return LocalWriteFailed(f"cannot write {path}: {reason}", hint=hint)
