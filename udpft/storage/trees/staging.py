"""Staging folder of a tree: its name, its lock, its journal, and the room that the tree needs.

It lies beside the tree's destination and is named after the tree, so that the same transfer finds
it again. Two trees of the same last name have two, and a file's part has another name than either.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from xxhash import xxh3_64_hexdigest

from udpft.errors import LocalWriteFailed
from udpft.storage.claim import ELSEWHERE_HINT, NOTE_NO_LOCKS, lock
from udpft.storage.leftovers import JOURNAL, Leftovers
from udpft.storage.leftovers import Folders as Where
from udpft.storage.part_name import part_name
from udpft.storage.sync import reread_from_disk
from udpft.storage.trees.folders import FOLDER_FLAGS, remove_folder
from udpft.storage.trees.survey import GRANULARITIES
from udpft.units import format_bytes

LISTING: Final = "listing"
"""Name of the copy of the listing there that the files are of."""

_PROBE_NS: Final = 1_000_000_001_123_456_789
"""A time of an odd second, to find out which times a file system has."""


def staging_name(name: str, key: str) -> str:
    """Name the staging folder of a tree: after its last name, and a hash of ``key``."""
    last = name.rstrip("/").rpartition("/")[2] or "tree"
    return part_name(f"{last}.{xxh3_64_hexdigest(key.encode(errors='surrogateescape'))[:8]}")


class Staging:
    """Staging folder, open and locked.

    Args:
        folder_fd: the folder that it is in, which is not closed.
        name: of it; see `staging_name`.
        note: called with each line that the user should read.

    Attributes:
        name: as ``name``; never changes.
        fd: its descriptor, which has the lock; -1 once it is closed, as the next.
        journal_fd: descriptor of the journal's file.

    Raises:
        LocalWriteFailed: another process has it, or it is somebody else's.
        OSError: it cannot be made.
    """

    def __init__(self, folder_fd: int, name: str, note: Callable[[str], None]) -> None:
        self._folder_fd = folder_fd
        self.name = name
        self.journal_fd = -1
        made = True
        try:
            os.mkdir(name, 0o700, dir_fd=folder_fd)
        except FileExistsError:
            made = False
        self.fd = os.open(name, FOLDER_FLAGS, dir_fd=folder_fd)
        try:
            self._claim(note)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self.journal_fd = os.open(JOURNAL, flags, 0o600, dir_fd=self.fd)
        except BaseException:
            if made:
                with suppress(OSError):
                    os.rmdir(name, dir_fd=folder_fd)
            self.close()
            raise

    def _claim(self, note: Callable[[str], None]) -> None:
        status, top = os.fstat(self.fd), os.fstat(self._folder_fd)
        # On a mount that maps owners, everything is the mount's owner's, the folder too.
        if status.st_uid not in (os.geteuid(), top.st_uid):
            raise LocalWriteFailed(f"{self.name} is somebody else's")
        try:
            if not lock(self.fd):
                note(NOTE_NO_LOCKS)
        except BlockingIOError as error:
            raise LocalWriteFailed(
                "another transfer is writing the same tree",
                hint=f"wait for it, or {ELSEWHERE_HINT}",
            ) from error

    def time_granularity_ns(self) -> int:
        """Find out which times the file system keeps: nanoseconds between two; 0 for none.

        A file there has a time of its own making where ours is refused.
        """
        try:
            os.utime(self.journal_fd, ns=(_PROBE_NS, _PROBE_NS))
            found = os.fstat(self.journal_fd).st_mtime_ns
            os.utime(self.journal_fd)
        except OSError:
            return 0
        return next((g for g in reversed(GRANULARITIES) if abs(found - _PROBE_NS) < g), 0)

    def distrust_cache(self) -> None:
        """See that what is read of the staged files from here on is what the disk has.

        After an error of writing back, the page cache may hold what the disk does not.
        """
        for name in os.listdir(self.fd):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            try:
                fd = os.open(name, flags, dir_fd=self.fd)
            except OSError:
                continue
            try:
                reread_from_disk(fd)
            finally:
                os.close(fd)

    def staged_bytes(self) -> int:
        """Count the bytes that staged files occupy already."""
        return _occupied_bytes(self.fd)

    def empty(self, but: str = "") -> None:
        """Remove what is in it. Raises OSError."""
        _empty(self.fd, but)

    def remove(self) -> None:
        """Remove it with what is in it, as far as the disk lets us. The journal is closed first."""
        self._close_journal()
        with suppress(OSError):
            self.empty()
            remove_folder(self.name, self._folder_fd)

    def close(self) -> None:
        """Close and unlock it; what is in it stays."""
        self._close_journal()
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def _close_journal(self) -> None:
        if self.journal_fd >= 0:
            os.close(self.journal_fd)
        self.journal_fd = -1


def _empty(fd: int, but: str = "") -> None:
    for name in os.listdir(fd):
        if name != but:
            os.unlink(name, dir_fd=fd)


def _occupied_bytes(fd: int) -> int:
    total = 0
    for name in set(os.listdir(fd)) - {JOURNAL, LISTING}:
        with suppress(OSError):
            total += os.stat(name, dir_fd=fd, follow_symlinks=False).st_blocks * 512
    return total


def make_room(
    staging: Staging, size: int, files: int, leftovers: Leftovers, folders: Where
) -> None:
    """See that a tree fits, and remove leftovers that are abandoned, or whose room it needs.

    Args:
        staging: of the tree.
        size: bytes that are still to be written, those staged already included.
        files: how many files are to be made.
        leftovers: beside the destination.
        folders: that the tree goes to.

    Raises:
        LocalWriteFailed: it does not fit.
    """
    free = 0
    space = os.fstatvfs(staging.fd)

    def missing() -> int:
        nonlocal free, space
        space = os.fstatvfs(staging.fd)
        free = space.f_bavail * space.f_frsize + staging.staged_bytes()
        if space.f_blocks and free < size:  # one that counts no blocks does not know
            return size - free
        return int(bool(space.f_files) and space.f_favail < files)

    leftovers.remove_abandoned(folders)
    leftovers.make_room(folders, missing)
    if missing():
        what = f"{format_bytes(size)}, and there are {format_bytes(free)}"
        if not space.f_blocks or free >= size:
            what = f"{files} files, and there is room for {space.f_favail}"
        raise LocalWriteFailed(
            f"disk full: the tree needs {what}", hint=f"make room, or {ELSEWHERE_HINT}"
        )
