"""Walk of a served folder: files and folders that a pattern names, as entries of a listing.

Folders are walked by their descriptors and never through a symlink, which is no entry itself; nor
is a hidden file, a part file, or anything but files and folders. A report says what is not sent.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from stat import S_IMODE, S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISLNK, S_ISREG
from typing import Final

from udpft.errors import Denied, NoSuchFile
from udpft.protocol.params import WILDCARDS
from udpft.protocol.wire.listing import MAX_PATH_BYTES, Entry, NotSent, Reason, encode_path
from udpft.storage.claim import is_part_name
from udpft.storage.served_folder import MAX_DEPTH, ServedRoot
from udpft.storage.source_file import file_identity


def is_pattern(name: str) -> bool:
    """Tell whether a name has wildcards in it."""
    return any(sign in name for sign in WILDCARDS)


def entries_of(root: ServedRoot, pattern: str, *, recursive: bool) -> Iterator[Entry]:
    """Iterate over the entries that a pattern names, in a listing's order.

    A file's name names that file. A folder's name names its entries; with ``recursive``, the folder
    and all that is below it. The empty name is the served folder. Failing that, a pattern with
    wildcards is matched component by component; with ``recursive``, folders that match come with
    all that is below them.

    Raises:
        NoSuchFile: nothing has such a name.
        Denied: folders are too deep.
        OSError: a folder cannot be read.
    """
    for entry in _entries(_Walk(root), pattern, recursive=recursive):
        assert isinstance(entry, Entry)
        yield entry


def _entries(walk: _Walk, pattern: str, *, recursive: bool) -> Iterator[Entry | NotSent]:
    root = walk.root
    parts = [encode_path(part) for part in pattern.split("/") if part not in ("", ".")]
    if any(part == b".." or b"\0" in part for part in parts):
        raise NoSuchFile("no such file on the server")
    if parts and not root.hidden and any(part.startswith(b".") for part in parts):
        raise NoSuchFile("no such file on the server")
    found = False
    for entry in _named(walk, parts, recursive):
        found = True
        yield entry
    if found or not parts:
        return
    if is_pattern(pattern):
        for path, entry in _matching(walk, [], parts):
            found = True
            if recursive and isinstance(entry, Entry) and entry.is_folder:
                yield from walk.folder(entry, path)
            else:
                yield entry
    if not found:
        raise NoSuchFile("no such file on the server")


def _named(walk: _Walk, parts: list[bytes], recursive: bool) -> Iterator[Entry | NotSent]:
    """Iterate over the entries of a name without wildcards; none where it does not exist."""
    if not parts:
        yield from walk.below([]) if recursive else walk.children([])
        return
    try:
        siblings = list(walk.children(parts[:-1], only=parts[-1]))
    except NoSuchFile:
        return
    for entry in siblings:
        if isinstance(entry, NotSent) or not entry.is_folder:
            yield entry
        elif recursive:
            yield from walk.folder(entry, parts)
        else:
            yield from walk.children(parts)
            if not next(walk.children(parts), None):
                yield entry  # an empty folder is named all the same


def _matching(
    walk: _Walk, path: list[bytes], parts: Sequence[bytes]
) -> Iterator[tuple[list[bytes], Entry | NotSent]]:
    """Iterate over entries whose paths match, component by component."""
    wanted = parts[0].decode(errors="surrogateescape")
    try:
        children = list(walk.children(path))
    except NoSuchFile:
        return
    for entry in children:
        name = entry.path.rpartition("/")[2]
        hidden = isinstance(entry, NotSent) and entry.reason is Reason.HIDDEN
        if hidden or (name != wanted and not fnmatchcase(name, wanted)):
            continue
        below = [*path, encode_path(name)]
        if len(parts) == 1:
            yield below, entry
        elif isinstance(entry, Entry) and entry.is_folder:
            yield from _matching(walk, below, parts[1:])


def report_of(
    root: ServedRoot,
    pattern: str,
    *,
    recursive: bool,
    refuse: Callable[[Entry], Reason | None] = lambda _: None,
) -> Iterator[Entry | NotSent]:
    """Iterate over the entries that a pattern names, and over what is not sent of them.

    Args:
        root: the folder.
        pattern: as `entries_of` takes it.
        recursive: likewise.
        refuse: says why a file is not to be sent; None where it is.

    Raises: as `entries_of` does, but of a folder that can be read itself.
    """
    reporting = _Reporting(root, refuse)
    yield from _entries(reporting, pattern, recursive=recursive)


class _OpenFolder:
    """Folder that is walked, open only while its own entries are looked at.

    However deep a tree is, its walk so keeps few descriptors.

    Args:
        root: the folder that is walked.
        path: components of this one's path.

    Attributes:
        path: as ``path``; never changes.
        _fd: its descriptor; -1 while it is closed.
    """

    def __init__(self, root: ServedRoot, path: Sequence[bytes]) -> None:
        self._root = root
        self.path = path
        self._fd = -1

    def fd(self) -> int:
        """Open it where it is closed; return its descriptor. Raises NoSuchFile, ServerBusy."""
        if self._fd < 0:
            self._fd = self._root.open_folder(self.path)
        return self._fd

    def close(self) -> None:
        """Close it, until it is needed again."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class _Walk:
    """Walk that leaves out, in silence, what is not sent. A folder that cannot be read ends it.

    Attributes:
        root: the folder that is walked.
    """

    def __init__(self, root: ServedRoot) -> None:
        self.root = root

    def below(self, path: list[bytes]) -> Iterator[Entry | NotSent]:
        """Iterate over all entries below a folder, at any depth."""
        if len(path) > MAX_DEPTH:
            raise Denied(f"folders are nested more than {MAX_DEPTH} deep")
        folder = _OpenFolder(self.root, path)
        try:
            for entry in self._entries(folder, None):
                if isinstance(entry, Entry) and entry.is_folder:
                    folder.close()
                    inner = [*path, encode_path(entry.path.rpartition("/")[2])]
                    yield from self.folder(entry, inner)
                else:
                    yield entry
        finally:
            folder.close()

    def folder(self, entry: Entry, path: list[bytes]) -> Iterator[Entry | NotSent]:
        """Iterate over a folder and all that is below it."""
        yield entry
        yield from self.below(path)

    def children(
        self, path: Sequence[bytes], only: bytes | None = None
    ) -> Iterator[Entry | NotSent]:
        """Iterate over the entries in a folder, in order; or over the one of a name.

        Raises:
            NoSuchFile, ServerBusy: see `ServedRoot.open_folder`.
        """
        folder = _OpenFolder(self.root, path)
        try:
            yield from self._entries(folder, only)
        finally:
            folder.close()

    def _entries(self, folder: _OpenFolder, only: bytes | None) -> Iterator[Entry | NotSent]:
        fd = folder.fd()
        names = [only] if only is not None else sorted(map(os.fsencode, os.listdir(fd)))
        names = [name for name in names if not is_part_name(name)]
        if not self.root.hidden:
            shown = [name for name in names if not name.startswith(b".")]
            if len(shown) < len(names):
                yield from self.note_hidden(folder.path, len(names) - len(shown))
            names = shown
        for name in names:
            yield from self.entry(folder, name)

    def note_hidden(self, _path: Sequence[bytes], _count: int) -> Iterator[Entry | NotSent]:
        """Iterate over what there is to say of hidden names."""
        return iter(())

    def entry(self, folder: _OpenFolder, name: bytes) -> Iterator[Entry | NotSent]:
        """Iterate over the entry of a name; none where it is gone, or no file and no folder."""
        try:
            status = os.lstat(name, dir_fd=folder.fd())
        except OSError:
            return
        if entry := _entry(status, [*folder.path, name]):
            yield entry


class _Reporting(_Walk):
    """Walk that says what is not sent.

    Attributes:
        refuse: says why a file is not to be sent; None where it is.
    """

    def __init__(self, root: ServedRoot, refuse: Callable[[Entry], Reason | None]) -> None:
        super().__init__(root)
        self.refuse = refuse

    def folder(self, entry: Entry, path: list[bytes]) -> Iterator[Entry | NotSent]:
        """Iterate over a folder and all that is below it, or over the reason why not."""
        if len(path) > MAX_DEPTH:
            yield NotSent(entry.path, Reason.TOO_DEEP)
            return
        found = self.below(path)
        try:
            first = next(found, None)
        except (NoSuchFile, OSError) as error:
            yield NotSent(entry.path, reason_of(error))
            return
        yield entry
        if first:
            yield first
            yield from found

    def note_hidden(self, path: Sequence[bytes], count: int) -> Iterator[Entry | NotSent]:
        """Iterate over the one entry that counts them."""
        yield NotSent(_text([*path, b".*"]), Reason.HIDDEN, number=count)

    def entry(self, folder: _OpenFolder, name: bytes) -> Iterator[Entry | NotSent]:
        """Iterate over the entry of a name, or over what is wrong with it."""
        full = [*folder.path, name]
        if sum(map(len, full)) + len(full) > MAX_PATH_BYTES:
            cut = b"/".join(full)[: MAX_PATH_BYTES - 1].rstrip(b"/")
            yield NotSent(_text([cut]), Reason.TOO_LONG)
            return
        fd = folder.fd()
        try:
            status = os.lstat(name, dir_fd=fd)
        except FileNotFoundError:
            return
        except OSError as error:
            yield NotSent(_text(full), reason_of(error))
            return
        entry = _entry(status, full)
        if entry is None:
            target = _target(fd, name, len(folder.path)) if S_ISLNK(status.st_mode) else ""
            yield NotSent(_text(full), _kind(status.st_mode), target)
        elif not entry.is_folder and not _is_readable(fd, name):
            yield NotSent(entry.path, Reason.DENIED)
        elif not entry.is_folder and (reason := self.refuse(entry)):
            yield NotSent(entry.path, reason)
        else:
            yield entry


_REASONS: Final = {
    errno.EACCES: Reason.DENIED,
    errno.EPERM: Reason.DENIED,
    errno.EIO: Reason.READ_ERROR,
    errno.ENAMETOOLONG: Reason.TOO_LONG,
}


def reason_of(error: BaseException) -> Reason:
    """Reason for which something could not be read, by the error of the system behind it."""
    cause = error if isinstance(error, OSError) else error.__cause__
    code = cause.errno if isinstance(cause, OSError) else None
    return _REASONS.get(code, Reason.UNREADABLE) if code else Reason.UNREADABLE


def _text(components: Sequence[bytes]) -> str:
    return b"/".join(components).decode(errors="surrogateescape")


def _is_readable(folder_fd: int, name: bytes) -> bool:
    """Tell whether we may read a file, without opening it."""
    try:
        return os.access(name, os.R_OK, dir_fd=folder_fd, effective_ids=True, follow_symlinks=False)
    except (OSError, NotImplementedError):  # shown when it is opened
        return True


def _target(folder_fd: int, name: bytes, depth: int) -> str:
    """Target of a symlink, where it leads to somewhere in the served folder; else nothing."""
    try:
        target = os.readlink(name, dir_fd=folder_fd)
    except OSError:
        return ""
    text = _text([target])
    return text if leads_within(text, depth) else ""


def leads_within(target: str, depth: int) -> bool:
    """Tell whether a symlink's target stays below a folder.

    Only leading ``..`` are allowed: behind a name, which may be a symlink, they lead anywhere.

    Args:
        target: of the symlink.
        depth: of the folder that the symlink is in, below that folder.
    """
    if not target or target.startswith("/") or "\0" in target:
        return False
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    return ups <= depth and ".." not in parts[ups:]


def _kind(mode: int) -> Reason:
    """Reason for which what is neither a file nor a folder is left out."""
    if S_ISLNK(mode):
        return Reason.SYMLINK
    if S_ISFIFO(mode):
        return Reason.FIFO
    return Reason.DEVICE if S_ISCHR(mode) or S_ISBLK(mode) else Reason.SOCKET


def _entry(status: os.stat_result, path: Sequence[bytes]) -> Entry | None:
    """Make an entry; None of what is neither a file nor a folder."""
    mtime_ns = max(-(2**63), min(status.st_mtime_ns, 2**63 - 1))
    mode = S_IMODE(status.st_mode)
    if S_ISDIR(status.st_mode):
        return Entry(_text(path), True, 0, mtime_ns, mode)
    if S_ISREG(status.st_mode):
        return Entry(_text(path), False, status.st_size, mtime_ns, mode, file_identity(status))
    return None
