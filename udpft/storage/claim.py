"""Claim on a part file: the lock that one process holds on it.

A lock (flock(2)) on the part file keeps a second download of the same name out. It ends with the
process, so a part file without a lock is a leftover of one that was killed or gave up, and is taken
over. Between opening a part file and locking it, its owner may have renamed or removed it; so after
locking, the name must still lead to what was locked, or it all begins again.

Some file systems have no such locks. There it goes on without one, and warns.
"""

from __future__ import annotations

import errno
import fcntl
import os
import warnings
from contextlib import suppress
from stat import S_ISDIR, S_ISLNK, S_ISREG
from time import monotonic
from typing import Final

from udpft.errors import LocalWriteFailed
from udpft.storage.part_name import is_part_name, part_name

_CLAIM_ATTEMPTS: Final = 16
"""How often the part file may be taken away between opening and locking it."""

_NO_LOCKS: Final = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of flock(2) on Lustre and some FUSE file systems, on NFS without its lock daemon."""

NOTE_NO_LOCKS: Final = "this file system has no locks: let no two transfers write the same file"

PART_FLAGS: Final = (
    os.O_RDWR
    | os.O_NOFOLLOW
    | os.O_NONBLOCK  # no waiting for whatever else might have that name
    | os.O_NOCTTY
    | os.O_CLOEXEC
)

_MANY_NAMES: Final = 1_000
_LOOK_SHARE: Final = 0.01
"""Share of the time that may go into looking through one folder of so many names."""

_due_at: dict[tuple[int, int], float] = {}
"""When such folders are due again, by device and inode, by the monotonic clock."""

ELSEWHERE_HINT: Final = "choose another place with --output"


def other_parts(folder_fd: int, own: str = "", *, always: bool = False) -> list[str]:
    """Names of part files and staging folders in a folder, but for one's own.

    None where the folder is too large to be looked through again already, unless ``always``.

    Raises:
        OSError: it cannot be read.
    """
    status, began = os.fstat(folder_fd), monotonic()
    key = status.st_dev, status.st_ino
    if not always and began < _due_at.get(key, began):
        return []
    names = os.listdir(folder_fd)
    if len(names) > _MANY_NAMES:
        if len(_due_at) > _MANY_NAMES:
            _due_at.clear()
        ended = monotonic()
        _due_at[key] = ended + (ended - began) / _LOOK_SHARE
    hidden = (name for name in names if name.startswith(".") and name != own)
    return [name for name in hidden if is_part_name(os.fsencode(name))]


def refuse_unfit(folder_fd: int, destination: str) -> None:
    """Refuse a destination that exists and cannot be replaced by a file.

    Raises:
        LocalWriteFailed: it is a folder, a device, a FIFO, or a symlink to one.
        OSError: the name is too long, the folder may not be searched.
    """
    name = os.path.basename(destination)
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


def claim(folder_fd: int, destination: str) -> int:
    """Create or take over the part file, and lock it; return its descriptor.

    Raises:
        LocalWriteFailed: another process has it, or what has its name is no regular file.
        OSError: the folder may not be written to.
    """
    name = part_name(os.path.basename(destination))
    for _ in range(_CLAIM_ATTEMPTS):
        try:
            created = True
            fd = os.open(name, PART_FLAGS | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder_fd)
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


def claim_leftover(folder_fd: int, destination: str) -> int:
    """Take over the part file if one exists, and lock it; return its descriptor, or -1.

    Raises: as `claim` does.
    """
    name = part_name(os.path.basename(destination))
    for _ in range(_CLAIM_ATTEMPTS):
        fd = _open_leftover(folder_fd, name, destination)
        if fd < 0:
            return -1
        try:
            if _lock(folder_fd, name, fd, destination, created=False):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise _is_being_written(destination)


def _open_leftover(folder_fd: int, name: str, destination: str) -> int:
    """Open a part file that exists; return -1 where it has just gone."""
    try:
        return os.open(name, PART_FLAGS, dir_fd=folder_fd)
    except FileNotFoundError:
        return -1
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a symlink, a folder, a socket
            raise _in_the_way(destination, name) from error
        raise


def _lock(folder_fd: int, name: str, fd: int, destination: str, created: bool) -> bool:
    """Lock the part file; return False where another has to be opened."""
    status = os.fstat(fd)
    if not S_ISREG(status.st_mode):
        raise _in_the_way(destination, name)
    try:
        lock_or_warn(fd)
    except BlockingIOError as error:
        raise _is_being_written(destination) from error
    if not leads_to(folder_fd, name, fd):
        return False
    # In a folder open to all, one that somebody else made or linked to could be written to by
    # them after it was verified. (Where root is mapped to nobody, even a new one looks so.)
    if not created and (status.st_uid != os.geteuid() or status.st_nlink > 1):
        os.unlink(name, dir_fd=folder_fd)
        return False
    return True


def lock(fd: int) -> bool:
    """Lock a file or folder; return False where its file system has no locks.

    Raises:
        BlockingIOError: another process has the lock.
        OSError: the disk fails.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def lock_or_warn(fd: int) -> None:
    """Lock a file; where its file system has no locks, warn, once, and go on. Raises as `lock`."""
    if not lock(fd):
        # The same words each time, which are said once.
        warnings.warn(NOTE_NO_LOCKS, RuntimeWarning, stacklevel=1)


def unlock(fd: int) -> None:
    """Unlock a file, though another descriptor of it is still open, as that of a sync is."""
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)


def leads_to(folder_fd: int, name: str, fd: int) -> bool:
    """Tell whether a name in a folder leads to the open file."""
    try:
        found = os.lstat(name, dir_fd=folder_fd)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(fd))


def _is_a_folder(destination: str) -> LocalWriteFailed:
    return LocalWriteFailed(
        f"cannot write {destination}: it is a folder", hint="name a file in it with --output"
    )


def _in_the_way(destination: str, name: str) -> LocalWriteFailed:
    return LocalWriteFailed(
        f"cannot write {destination}: {name} beside it is no regular file", hint="remove it"
    )


def _is_being_written(destination: str) -> LocalWriteFailed:
    return LocalWriteFailed(
        f"another get is writing {destination}", hint=f"wait for it, or {ELSEWHERE_HINT}"
    )
