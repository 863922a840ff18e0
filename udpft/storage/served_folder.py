"""Served folder: files beneath it can be opened, and nothing else can.

Names come from the network. A name is components joined by single slashes, relative to the
folder. Bytes that are no UTF-8 are surrogates in its text, as `os.fsdecode` has them. There is one
name for each file, so ``./a`` and ``b//a`` are none. The kernel keeps the way of a name beneath the
folder (openat2(2)), so that a symlink swapped in at the worst moment leads nowhere either. Where
that call is missing, the way is walked component by component, each opened relative to the one
before and never through a symlink, which confines as well and costs a few calls more.

Whatever is wrong with a name, the answer is the same as for a missing file, so that the answers
draw no map of what lies outside or is hidden.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from difflib import SequenceMatcher
from heapq import nlargest
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from time import thread_time
from typing import Final, Self

from udpft.errors import LocalReadFailed, NoSuchFile, ServerBusy
from udpft.protocol.contract import NotReady
from udpft.protocol.wire.listing import MAX_PATH_BYTES
from udpft.storage.part_name import NAME_MAX, is_part_name
from udpft.storage.source_file import SourceFile, open_source
from udpft.storage.system_calls.openat2 import NO_CROSSING, openat2
from udpft.storage.trees.folders import remove_folder

MAX_DEPTH: Final = 256
"""Folders within folders that are walked, or that are made for an upload."""

NEAREST_MAX_ENTRIES: Final = 1_000
"""Folder entries looked at for a hint: 10 ms of work, where there is so much time."""

NEAREST_MAX_S: Final = 0.010
"""Seconds of the processor after which no other name is compared: some are made to take long."""

NEAREST_MAX_LENGTH: Final = 100
"""Characters of names compared for a hint: 2 ms of work, which grows with the cube of them."""

NEAREST_MAX_COMPARED: Final = 8
"""Names compared in full for a hint, of those that a cheap upper bound finds most alike."""

NEAREST_CUTOFF: Final = 0.7
"""Names less alike than this, from 0 to 1, are no hint. At 0.6, difflib's default, an extension
in common is nearly enough."""

_FILE_FLAGS: Final = (
    os.O_RDONLY
    | os.O_NONBLOCK  # a FIFO without a writer must not hang the server
    | os.O_NOCTTY
    | os.O_CLOEXEC
)
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STEP_FLAGS: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_NO_OPENAT2: Final = (errno.ENOSYS, errno.EPERM)
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class ServedRoot:
    """Folder whose files are served. A context manager; else `close` it.

    Args:
        path: the folder. It is opened once: renaming it later changes nothing.
        hidden: whether names that begin with a dot are served too.

    Attributes:
        path: as ``path``; for messages.
        hidden: as ``hidden``; never changes.
        _fd: descriptor of the folder; -1 once it is closed.
        _has_openat2: whether the kernel has openat2(2) and lets us call it; found out once.

    Raises:
        LocalReadFailed: it is no folder that can be read.
    """

    def __init__(self, path: str | os.PathLike[str], *, hidden: bool = False) -> None:
        self.path = Path(path)
        self.hidden = hidden
        try:
            self._fd = os.open(self.path, _FOLDER_FLAGS)
        except (OSError, ValueError) as error:
            raise _cannot_serve(self.path, error) from error
        try:
            self._has_openat2 = _probe(self._fd)
        except OSError as error:
            self.close()
            raise _cannot_serve(self.path, error) from error

    def open_file(self, name: str) -> SourceFile:
        """Open a file by its name, which comes from the network.

        Raises:
            NoSuchFile: there is no such file, or it would not be served: not beneath the folder,
                reached through a symlink, hidden, no regular file, not readable. One message for
                all of them.
            LocalReadFailed: it does not know its size, and cannot be read to its end.
            ServerBusy: no descriptor or no memory is left.
        """
        return self.open_at(_components_untrusted(name, self.hidden))

    def open_file_here(self, name: str) -> SourceFile:
        """Open a file as `open_file` does, but only in the mount that the folder is in.

        Raises:
            NotReady: it may be in another one, which may be slow, or hang.
        """
        return self.open_at(_components_untrusted(name, self.hidden), NO_CROSSING)

    def open_at(self, components: Sequence[bytes], resolve: int = 0) -> SourceFile:
        """Open a file by the components of its path. Raises as `open_file` does.

        ``resolve``: as of `openat2`; with `NO_CROSSING` raises as `open_file_here` does.
        """
        fd = self._open(components, _FILE_FLAGS, resolve)
        status = os.fstat(fd)
        if S_ISREG(status.st_mode):
            return open_source(fd, status)
        os.close(fd)
        raise _no_such_file()

    def open_parent(self, name: str) -> tuple[int, str]:
        """Open the folder that a name from the network points into; the caller closes it.

        Returns:
            The folder's descriptor and the name's last component, which need not exist.

        Raises:
            NoSuchFile, ServerBusy: as `open_file` does.
        """
        components = _components_untrusted(name, self.hidden)
        return self.open_folder(components[:-1]), components[-1].decode(errors="surrogateescape")

    def takes(self, _name: str) -> bool:
        """Tell whether an upload may have a name; a subclass may say no."""
        return True

    def make_parent(self, name: str, made: list[str] | None = None) -> tuple[int, str]:
        """Open a name's folder as `open_parent` does, and make folders that are missing.

        ``made``: the names of those are added there, each before what is in it.

        Raises:
            NoSuchFile: it is no name that would be served, it is too long or too deep, or
                something else is in the way.
            OSError: a folder cannot be made.
        """
        components = _components_untrusted(name, self.hidden)
        if len(components) > MAX_DEPTH or any(len(one) > NAME_MAX for one in components):
            raise _no_such_file()
        if not self.takes(name):
            raise _no_such_file()
        fd = os.dup(self._fd)
        for number, component in enumerate(components[:-1], 1):
            try:
                with suppress(FileExistsError):
                    os.mkdir(component, dir_fd=fd)
                    if made is not None:
                        path = b"/".join(components[:number])
                        made.append(path.decode(errors="surrogateescape"))
                below = os.open(component, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=fd)
            except NotADirectoryError as error:  # a symlink is none either
                raise _no_such_file() from error
            finally:
                os.close(fd)
            fd = below
        return fd, components[-1].decode(errors="surrogateescape")

    def remove_empty(self, names: Sequence[str], *, waits: bool = False) -> None:
        """Remove folders that `make_parent` has made, if nothing is in them by now.

        ``waits``: for files in them that were just removed: see `remove_folder`.
        """
        for name in reversed(names):
            try:
                fd, last = self.open_parent(name)
            except (NoSuchFile, ServerBusy):
                return
            try:
                if waits:
                    remove_folder(last, fd)
                else:
                    os.rmdir(last, dir_fd=fd)
            except OSError:
                return
            finally:
                os.close(fd)

    def is_folder(self, name: str) -> bool:
        """Tell whether a name from the network is a folder's, with or without a slash behind it."""
        try:
            os.close(self.open_folder(_components_untrusted(name.rstrip("/"), self.hidden)))
        except (NoSuchFile, ServerBusy):
            return False
        return True

    def open_folder(self, components: Sequence[bytes]) -> int:
        """Open a folder beneath this one, or this one; the caller closes it.

        Raises:
            NoSuchFile, ServerBusy: as `open_file` does.
        """
        return self._open(components or [b"."], _FOLDER_FLAGS)

    def nearest(self, name: str) -> str | None:
        """Find the name most like a missing one that would be served; None if none is close.

        Looks in the folder that the name points into, at a bounded number of entries.
        """
        # A name with a slash too many is not served, and is the easiest to put right.
        tidy = "/".join(part for part in name.split("/") if part not in ("", "."))
        try:
            folder_fd, last = self.open_parent(tidy)
        except (NoSuchFile, ServerBusy):
            return None
        try:
            names = list(self._names_in(folder_fd))
        except OSError:
            return None
        finally:
            os.close(folder_fd)
        folder = tidy[: -len(last)]
        for candidate in _most_alike(last, names):
            full = folder + candidate
            if full != name and self._serves(full):
                return full
        return None

    def _names_in(self, folder_fd: int) -> Iterator[str]:
        """Iterate over the names of regular files in a folder that are valid UTF-8."""
        with os.scandir(folder_fd) as entries:
            for entry in islice(entries, NEAREST_MAX_ENTRIES):
                shown = self.hidden or not entry.name.startswith(".")
                if shown and entry.is_file(follow_symlinks=False):
                    try:
                        yield os.fsencode(entry.name).decode()
                    except UnicodeDecodeError:
                        continue

    def _serves(self, name: str) -> bool:
        try:
            self.open_file(name).close()
        except (LocalReadFailed, NoSuchFile, ServerBusy):
            return False
        return True

    def fileno(self) -> int:
        """Return the folder's descriptor."""
        return self._fd

    def _open(self, components: Sequence[bytes], flags: int, resolve: int = 0) -> int:
        """Open the path of the components, beneath the folder and through no symlink."""
        try:
            if self._has_openat2:
                return openat2(self._fd, b"/".join(components), flags, resolve)
            return _walk(self._fd, components, flags)
        except OSError as error:
            if resolve and error.errno == errno.EXDEV:
                raise NotReady from None
            if error.errno in _EXHAUSTED:
                raise ServerBusy("the server has too many files open") from error
            raise _no_such_file() from error

    def close(self) -> None:
        """Close the folder. May be called twice; files opened from it stay open."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _probe(root_fd: int) -> bool:
    """Find out whether the kernel has openat2, and lets us call it.

    Raises:
        OSError: the folder cannot be searched.
    """
    try:
        os.close(openat2(root_fd, b".", _STEP_FLAGS))
    except OSError as error:
        if error.errno not in _NO_OPENAT2:
            raise
        os.close(os.open(".", _STEP_FLAGS, dir_fd=root_fd))
        return False
    return True


def _walk(root_fd: int, components: Sequence[bytes], flags: int) -> int:
    """Open component by component, as openat2 does, where that cannot be called.

    No component is ``..`` and none is followed if it is a symlink, so each lies in the folder
    that was opened before it, whatever is moved meanwhile.
    """
    fd = root_fd
    try:
        for component in components[:-1]:
            below = os.open(component, _STEP_FLAGS, dir_fd=fd)
            if fd != root_fd:
                os.close(fd)
            fd = below
        return os.open(components[-1], flags | os.O_NOFOLLOW, dir_fd=fd)
    finally:
        if fd != root_fd:
            os.close(fd)


def _components_untrusted(name: str, hidden: bool) -> list[bytes]:
    """Split a name from the network into its components.

    Raises:
        NoSuchFile: it is empty, absolute, too long, no text, has a NUL, has an empty, ``.``
            or ``..`` component, a part file's, or a hidden one where those are not served.
    """
    try:
        path = name.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise _no_such_file() from error
    if len(path) > MAX_PATH_BYTES or b"\0" in path:
        raise _no_such_file()
    components = path.split(b"/")
    for component in components:
        if component in (b"", b".", b"..") or (component.startswith(b".") and not hidden):
            raise _no_such_file()
        if is_part_name(component):
            raise _no_such_file()
    return components


def _no_such_file() -> NoSuchFile:
    return NoSuchFile("no such file on the server")


def _cannot_serve(path: Path, error: OSError | ValueError) -> LocalReadFailed:
    if isinstance(error, NotADirectoryError):
        return LocalReadFailed(
            f"{path} is not a folder", hint=f"serve the folder it lies in: {path.parent}"
        )
    if isinstance(error, FileNotFoundError):
        return LocalReadFailed(
            f"there is no folder {path}", hint="check the path, or make it with mkdir"
        )
    reason = error.strerror if isinstance(error, OSError) else str(error)
    hint = ""
    if isinstance(error, PermissionError):
        hint = "serving takes the permission to read and to search it: chmod u+rx"
    return LocalReadFailed(f"cannot serve {path}: {reason}", hint=hint)


def _most_alike(wanted: str, names: Iterable[str]) -> list[str]:
    """Rank the names most like a given one, in whatever case; a few at most.

    Costs are bounded, for the name comes from the network: a cheap upper bound on all names
    picks those that are compared in full.
    """
    if len(wanted) > NEAREST_MAX_LENGTH:
        return []
    until = thread_time() + NEAREST_MAX_S
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted.casefold())
    bounds = []
    for name in names:
        if thread_time() > until:
            break
        matcher.set_seq1(name.casefold())
        if (
            len(name) <= NEAREST_MAX_LENGTH
            and matcher.real_quick_ratio() >= NEAREST_CUTOFF
            and (bound := matcher.quick_ratio()) >= NEAREST_CUTOFF
        ):
            bounds.append((bound, name))
    scored = []
    for number, (_, name) in enumerate(nlargest(NEAREST_MAX_COMPARED, bounds)):
        if number and thread_time() > until:
            break
        matcher.set_seq1(name.casefold())
        if (ratio := matcher.ratio()) >= NEAREST_CUTOFF:
            scored.append((ratio, name))
    return [name for _, name in sorted(scored, reverse=True)]
