"""Leftovers: part files and staging folders that ended transfers have left, and their removal.

Who runs the same command again goes on with them. One that nobody comes back for is removed a week
after it was written to; after ten minutes, where its room is needed and is enough, the oldest
first. It must be ours to see, and unlocked: what is at work is left alone, and so is everything
where the file system has no locks.
"""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from stat import S_ISDIR, S_ISREG
from time import time
from typing import Final, NamedTuple, TypeVar

from udpft.storage.claim import PART_FLAGS, leads_to, lock, other_parts
from udpft.storage.journal import Journal, MalformedJournal
from udpft.storage.trees.folders import FOLDER_FLAGS, remove_folder

JOURNAL: Final = "journal"
"""Name of the journal in a staging folder, most of whose other files are named by numbers."""

ABANDONED_S: Final = 7 * 24 * 3600
"""Seconds after which a leftover that nobody writes to is removed."""

IDLE_S: Final = 600
"""Seconds after which it is removed where its room is needed."""

_STAGED: Final = re.compile(rf"[0-9]+|{JOURNAL}|listing|pack|(link|carried)-.*", re.DOTALL)
"""Names of what may be in a staging folder."""

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)

_STAT_BLOCK: Final = 512

Made = TypeVar("Made")

Folders = Callable[[], Iterable[tuple[int, str]]]
"""Folders that are looked through: of each in turn its descriptor, and its path for messages. An
earlier descriptor need not be valid any more."""


class _Leftover(NamedTuple):
    """Leftover that nobody has locked, open and locked.

    ``written_at``: when it was last written to, in seconds since the epoch. ``bytes``: that it
    occupies, and one.
    """

    fd: int
    is_folder: bool
    written_at: float
    bytes: int


class Leftovers:
    """Leftovers beside the destination of one transfer.

    Args:
        spared: names that stay, the transfer's own for one.
        on_removed: called with a line for each that is removed, on a server, where all names of
            parts are the server's; None on a client, which says it in a warning, and removes no
            file that has no journal.

    Attributes:
        _owns_names: whether a file's name is enough to know it by; never changes.
    """

    def __init__(
        self, spared: Container[str], on_removed: Callable[[str], None] | None = None
    ) -> None:
        self._spared = spared
        self._owns_names = on_removed is not None
        self._on_removed = on_removed or _warn

    def remove_abandoned(self, folders: Folders) -> None:
        """Remove what nobody has written to for `ABANDONED_S`."""
        for folder_fd, path in folders():
            for name in self._names(folder_fd):
                self._remove(folder_fd, path, name, ABANDONED_S)

    def make_room(self, folders: Folders, missing: Callable[[], int]) -> None:
        """Remove what nobody has written to for `IDLE_S`, until there is room; or nothing.

        ``missing``: how many bytes are missing; 0 once there is room.
        """
        wanted = missing()
        if not wanted or self._idle_bytes(folders) < wanted:
            return
        for folder_fd, path in folders():
            ages = [
                (found.written_at, name)
                for name in self._names(folder_fd, always=True)
                for found in self._found(folder_fd, name, IDLE_S)
            ]
            for _, name in sorted(ages):
                if self._remove(folder_fd, path, name, IDLE_S) and not missing():
                    return

    def with_room(self, folders: Folders, make: Callable[[], Made]) -> Made:
        """Make something, and room for it where the disk is full. Raises as ``make`` does."""
        made: list[Made] = []
        error: OSError | None = None

        def missing() -> int:
            nonlocal error
            try:
                made.append(make())
            except OSError as caught:
                if caught.errno not in _NO_ROOM:
                    raise
                error = caught
                return 1
            return 0

        self.make_room(folders, missing)
        if made:
            return made[0]
        assert error
        raise error

    def _idle_bytes(self, folders: Folders) -> int:
        return sum(
            found.bytes
            for folder_fd, _ in folders()
            for name in self._names(folder_fd, always=True)
            for found in self._found(folder_fd, name, IDLE_S)
        )

    def _names(self, folder_fd: int, *, always: bool = False) -> list[str]:
        try:
            names = other_parts(folder_fd, always=always)
        except OSError:
            return []
        return [name for name in names if name not in self._spared]

    def _found(self, folder_fd: int, name: str, idle_s: float) -> Iterator[_Leftover]:
        """Iterate over the one leftover of a name, open and locked meanwhile; or over none."""
        with suppress(OSError, MalformedJournal), _opened(folder_fd, name) as fd:
            status = os.fstat(fd)
            if status.st_uid not in (os.geteuid(), os.fstat(folder_fd).st_uid):
                return
            is_folder = S_ISDIR(status.st_mode)
            occupied = status.st_blocks * _STAT_BLOCK
            if is_folder:
                for one in os.listdir(fd):
                    status = os.stat(one, dir_fd=fd, follow_symlinks=False)
                    if S_ISDIR(status.st_mode) or not _STAGED.fullmatch(one):
                        return
                    occupied += status.st_blocks * _STAT_BLOCK
            elif not S_ISREG(status.st_mode):
                return
            written_at = _written_at(fd)
            if written_at + idle_s > time() or not lock(fd):
                return
            # Its owner may have come back in between.
            if _written_at(fd) != written_at or not leads_to(folder_fd, name, fd):
                return
            if not (is_folder or self._owns_names):
                Journal.read_untrusted(fd)
            yield _Leftover(fd, is_folder, written_at, occupied + 1)

    def _remove(self, folder_fd: int, path: str, name: str, idle_s: float) -> bool:
        """Remove a leftover, if it is one; return whether it is gone."""
        for found in self._found(folder_fd, name, idle_s):
            try:
                if found.is_folder:
                    for one in os.listdir(found.fd):
                        os.unlink(one, dir_fd=found.fd)
                    remove_folder(name, folder_fd)
                else:
                    os.unlink(name, dir_fd=folder_fd)
            except OSError:
                return False
            self._on_removed(f"{os.path.join(path, name)}: removed, for nobody came back for it")
            return True
        return False


def _written_at(fd: int) -> float:
    """When a part, or the journal of a staging folder, was written to. Raises OSError."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.stat(JOURNAL, dir_fd=fd, follow_symlinks=False).st_mtime
    return os.fstat(fd).st_mtime


@contextmanager
def _opened(folder_fd: int, name: str) -> Iterator[int]:
    """Context of a file or folder, open for locking. Raises OSError."""
    try:
        fd = os.open(name, FOLDER_FLAGS, dir_fd=folder_fd)
    except NotADirectoryError:
        fd = os.open(name, PART_FLAGS, dir_fd=folder_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _warn(line: str) -> None:
    warnings.warn(line, RuntimeWarning, stacklevel=1)


def missing_bytes(folder_fd: int, own: str, size: int) -> int:
    """Count the bytes that a folder's file system has not for a file; 1 for want of an inode.

    ``own``: name of the file's part, whose blocks are there for it. Where nobody knows, none are
    missing.
    """
    try:
        space = os.fstatvfs(folder_fd)
    except OSError:
        return 0
    free = space.f_bavail * space.f_frsize
    with suppress(OSError):
        free += os.stat(own, dir_fd=folder_fd, follow_symlinks=False).st_blocks * _STAT_BLOCK
    if space.f_blocks and free < size:  # one that counts no blocks does not know
        return size - free
    return int(bool(space.f_files) and not space.f_favail)
