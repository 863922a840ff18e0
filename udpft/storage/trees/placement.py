"""Placement of a received tree: its staged files get their names, one by one.

A name that something got meanwhile is not taken from it, unless that was asked for. Times and
permissions are given to what this transfer makes, and to nothing else; the umask counts.
"""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from stat import S_ISDIR, S_ISREG

from udpft.protocol.wire.listing import Entry, Reason
from udpft.storage.system_calls.rename import rename_new
from udpft.storage.trees.folders import Folders
from udpft.storage.trees.survey import (
    DIFFERENT_CONTENT,
    REFUSALS,
    Link,
    Placed,
    Problem,
    Survey,
    is_spelled_so,
)
from udpft.storage.trees.walk import leads_within

_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_COMPARED_BYTES = 1 << 20

_NO_SYMLINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of symlink(2) on a file system that has none: FAT, exFAT, and many in user space."""

WORDS_NO_SYMLINKS = "the file system there has no symlinks"

NOTE_NO_TIMES = "the file system takes no times: files there have those of their arrival"


class Placement:
    """Placement of one tree.

    Args:
        staging_fd: the staging folder.
        folders: of the destination.
        files: of the tree, by their numbers.
        found: by the survey; what fails is added to its problems.
        force: replace different files.
        note: called with each line that the user should read.

    Attributes:
        _made: folders that this has made, by their places.
        _touched: folders that something was put into.
        _opened_up: folders that had to be made writable for that, with their modes before.
        _renamed: numbers of the files that have got their names, until `_is_ours` is asked for the
            first time; None from then on.
        _inodes: inode of each of them, from then on, and of each link. All are of one file system,
            for they were renamed.
        _told_of_times: whether it was noted that times are refused.
        _mask: bits of permissions that nothing gets; never changes.
    """

    def __init__(
        self,
        staging_fd: int,
        folders: Folders,
        files: Sequence[Placed],
        found: Survey,
        *,
        force: bool,
        note: Callable[[str], None],
    ) -> None:
        self._staging_fd = staging_fd
        self._folders = folders
        self._files = files
        self._found = found
        self._force = force
        self._note = note
        self._made: set[tuple[str, ...]] = set()
        self._touched: set[tuple[str, ...]] = set()
        self._opened_up: dict[tuple[str, ...], int] = {}
        self._renamed: array[int] | None = array("I")
        self._inodes: set[int] = set()
        self._told_of_times = False
        self._mask = umask()

    def note_made(self, place: tuple[str, ...]) -> None:
        """Note that a folder was made for this tree, so that it gets times and permissions."""
        self._made.add(place)
        self._touched.add(place)

    def make_folder(self, placed: Placed) -> None:
        """Make a folder where it is missing. Raises OSError: the disk fails."""
        try:
            self._open(placed.place)
        except OSError as error:
            self._fail(placed.entry.path, error)

    def place_file(self, number: int, placed: Placed) -> None:
        """Give a staged file its name, or say why not. Raises OSError: the disk fails."""
        entry, place = placed
        try:
            fd = self._open(place[:-1])
            try:
                status = self._rename(number, place, fd)
            except PermissionError:
                if not self._open_up(place[:-1], fd):
                    raise
                status = self._rename(number, place, fd)
        except OSError as error:
            self._fail(entry.path, error)
            return
        if status is not None:
            words = ""
            if status is Reason.DIFFERENT and number in self._found.compared:
                words = DIFFERENT_CONTENT
            self._found.problems.append(Problem(entry.path, status, words))

    def mode_of(self, entry: Entry) -> int:
        """Permissions of a staged file."""
        return entry.mode & 0o777 & ~self._mask

    def give_mode(self, fd: int, entry: Entry) -> None:
        """Give a staged file its permissions. Raises OSError: the disk fails."""
        try:
            os.fchmod(fd, self.mode_of(entry))
        except OSError as error:  # FAT and mounts that map owners have none to give
            if error.errno not in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS):
                raise

    def retime_file(self, placed: Placed) -> None:
        """Give a file that was here, and is the same, the time of the listing, if it is ours."""
        try:
            fd = os.open(placed.place[-1], _FILE_FLAGS, dir_fd=self._open(placed.place[:-1]))
        except OSError:
            return
        try:
            status = os.fstat(fd)
            if S_ISREG(status.st_mode) and status.st_size == placed.entry.size:
                with suppress(OSError, OverflowError):
                    os.utime(fd, ns=(placed.entry.mtime_ns, placed.entry.mtime_ns))
        finally:
            os.close(fd)

    def place_link(self, number: int, link: Link) -> None:
        """Make a symlink, or say why not. Raises OSError: the disk fails."""
        if not leads_within(link.target, len(link.place) - 1):
            self._found.problems.append(Problem(link.path, Reason.SYMLINK))
            return
        staged = f"link-{number}"
        try:
            fd = self._open(link.place[:-1])
            with suppress(OSError):
                if os.readlink(link.place[-1], dir_fd=fd) == link.target:
                    return
            with suppress(FileNotFoundError):
                os.unlink(staged, dir_fd=self._staging_fd)
            try:
                os.symlink(link.target, staged, dir_fd=self._staging_fd)
            except OSError as error:
                if error.errno not in _NO_SYMLINKS:
                    raise
                problem = Problem(link.path, Reason.REFUSED, WORDS_NO_SYMLINKS)
                self._found.problems.append(problem)
                return
            status = self._rename(-1, link.place, fd, staged)
        except OSError as error:
            self._fail(link.path, error)
            return
        if status is not None:
            self._found.problems.append(Problem(link.path, status))

    def _fail(self, path: str, error: OSError) -> None:
        if error.errno not in REFUSALS:
            raise error
        self._found.problems.append(Problem(path, Reason.REFUSED, REFUSALS[error.errno]))

    def _open(self, place: tuple[str, ...]) -> int:
        """Open a folder; make it where it is missing, and what leads to it."""
        try:
            return self._folders.open(place)
        except FileNotFoundError:
            pass
        for depth in range(1, len(place) + 1):
            above_fd = self._folders.open(place[: depth - 1])
            try:
                self._make(place[:depth], above_fd)
            except PermissionError:
                if not self._open_up(place[: depth - 1], above_fd):
                    raise
                self._make(place[:depth], above_fd)
        return self._folders.open(place)

    def _make(self, place: tuple[str, ...], above_fd: int) -> None:
        try:
            os.mkdir(place[-1], dir_fd=above_fd)
        except FileExistsError:
            return
        self.note_made(place)
        self._touched.add(place[:-1])

    def _open_up(self, place: tuple[str, ...], fd: int) -> bool:
        """Make a folder of ours writable for the moment; return whether that helps."""
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o300 == 0o300:
            return False
        os.fchmod(fd, status.st_mode & 0o7777 | 0o300)
        self._opened_up.setdefault(place, status.st_mode & 0o7777)
        return True

    def _rename(
        self, number: int, place: tuple[str, ...], folder_fd: int, staged: str = ""
    ) -> Reason | None:
        """Rename a staged file; return the reason why not, None where it is in its place.

        ``number``: of the file; -1 for a link. ``staged``: the name of a link.
        """
        staged, compare = staged or str(number), number in self._found.compared
        try:
            rename_new(staged, place[-1], src_dir_fd=self._staging_fd, dst_dir_fd=folder_fd)
        except FileExistsError:
            there = os.lstat(place[-1], dir_fd=folder_fd)
            # A link has no place in the listing's order: another entry may have its name.
            if self._is_ours(there):
                return Reason.FOLDED
            folder_fd = self._folders.open(place[:-1])  # which others were opened after
            if place in self._found.twins and not is_spelled_so(self._folders, place):
                return Reason.FOLDED
            if S_ISDIR(there.st_mode):
                return Reason.DIFFERENT
            if (compare or not self._force) and self._is_same(staged, place[-1], folder_fd):
                os.unlink(staged, dir_fd=self._staging_fd)
                return None
            if not self._force:
                return Reason.DIFFERENT
            os.rename(staged, place[-1], src_dir_fd=self._staging_fd, dst_dir_fd=folder_fd)
        self._touched.add(place[:-1])
        self._note_renamed(place, number)
        return None

    def _note_renamed(self, place: tuple[str, ...], number: int) -> None:
        """Note that a file or a link has got its name."""
        if number >= 0 and self._renamed is not None:
            self._renamed.append(number)
        else:
            self._note_inode(place)

    def _note_inode(self, place: tuple[str, ...]) -> None:
        with suppress(OSError):  # it is gone again
            status = os.lstat(place[-1], dir_fd=self._folders.open(place[:-1]))
            self._inodes.add(status.st_ino)

    def _is_ours(self, there: os.stat_result) -> bool:
        """Tell whether something is a file or link that this has given its name."""
        renamed, self._renamed = self._renamed or (), None
        for number in renamed:
            self._note_inode(self._files[number].place)
        own_device = os.fstat(self._staging_fd).st_dev
        return there.st_dev == own_device and there.st_ino in self._inodes

    def _is_same(self, staged: str, name: str, folder_fd: int) -> bool:
        """Tell whether what has the name is the staged file, byte for byte."""
        try:
            there = os.open(name, _FILE_FLAGS, dir_fd=folder_fd)
        except OSError:
            return False
        here = -1
        try:
            here = os.open(staged, _FILE_FLAGS, dir_fd=self._staging_fd)
            sizes = [os.fstat(fd).st_size for fd in (here, there) if S_ISREG(os.fstat(fd).st_mode)]
            if len(sizes) != 2 or sizes[0] != sizes[1]:
                return False
            for at in range(0, sizes[0], _COMPARED_BYTES):
                if os.pread(here, _COMPARED_BYTES, at) != os.pread(there, _COMPARED_BYTES, at):
                    return False
        except OSError:
            return False
        finally:
            os.close(there)
            if here >= 0:
                os.close(here)
        return True

    def finish_folder(self, placed: Placed) -> None:
        """Give a folder its time, and its permissions where this has made it."""
        entry, place = placed
        mode = self._opened_up.pop(place, None)
        if place not in self._touched or (not place and place not in self._made):
            if mode is not None:
                os.fchmod(self._folders.open(place), mode)
            return
        try:
            fd = self._folders.open(place)
        except OSError:  # it was refused, and that is told
            return
        self.give_time(fd, entry)
        if place in self._made:
            mode = entry.mode & 0o777 & ~self._mask
        if mode is not None:
            with suppress(PermissionError):
                os.fchmod(fd, mode)

    def restore_modes(self) -> None:
        """Give back their permissions to folders that no entry is of."""
        for place, mode in self._opened_up.items():
            with suppress(OSError):
                os.fchmod(self._folders.open(place), mode)
        self._opened_up.clear()

    def give_time(self, fd: int, entry: Entry) -> None:
        """Give a file or folder its time, where the file system takes it."""
        try:
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        except OverflowError:
            return
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            if not self._told_of_times and error.errno != errno.EINVAL:
                self._told_of_times = True
                self._note(NOTE_NO_TIMES)


def umask() -> int:
    """Bits that new files and folders of this process do not get.

    Read from /proc, for to ask the system for it is to change it, under the eyes of other threads.
    """
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
