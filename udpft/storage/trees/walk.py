"""Walk of a served folder: files and folders that a pattern names, as entries of a listing.

Folders are walked by their descriptors and never through a symlink, which is no entry itself; nor
is a hidden file, a part file, or anything but files and folders. A report says what is not sent.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from heapq import merge
from itertools import takewhile
from stat import S_IMODE, S_IRUSR, S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISLNK, S_ISREG
from typing import Final

from udpft.errors import Denied, NoSuchFile
from udpft.protocol.params import WILDCARDS
from udpft.protocol.wire.listing import (
    MAX_COMPONENT_BYTES,
    MAX_PATH_BYTES,
    Entry,
    NotSent,
    Reason,
    encode_path,
)
from udpft.storage.part_name import is_part_name
from udpft.storage.served_folder import MAX_DEPTH, ServedRoot
from udpft.storage.source_file import file_identity


class UnsizedEntry(Entry):
    """Entry of a file that may not know its size: it says to be empty, or to take no room."""

    __slots__ = ()


Step = Entry | NotSent | None
"""Step of a walk: what was found; None for some work that has found nothing, so that whoever has
other things to do can do them: a pattern may match nothing among a million files."""

Matcher = Callable[[bytes], bool]
"""Test whether a name in a folder is wanted."""

_NAMES_A_STEP: Final = 16
"""Names that are read, and compared with a pattern, in one step: 8 ms where pattern and names are
made for it, else a hundredth of that."""

MAX_PATTERNS_KEPT: Final = 64
"""Compiled patterns that are kept when nothing needs them any more: 3 MB at most."""

_RUN: Final = 512
"""Names of a folder that are sorted in one go: a tenth of a millisecond."""


def is_pattern(name: str) -> bool:
    """Tell whether a name has wildcards in it."""
    return any(sign in name for sign in WILDCARDS)


def entries_of(root: ServedRoot, pattern: str, *, recursive: bool) -> Iterator[Entry]:
    """Iterate over the entries that a pattern names, in a listing's order.

    As `steps_of`, without the steps that find nothing.
    """
    for entry in steps_of(root, pattern, recursive=recursive):
        if isinstance(entry, Entry):
            yield entry


def steps_of(root: ServedRoot, pattern: str, *, recursive: bool) -> Iterator[Step]:
    """Iterate over the steps of a walk that finds the entries that a pattern names, in order.

    A file's name names that file. A folder's name names its entries; with ``recursive``, the folder
    and all that is below it. The empty name is the served folder. Failing that, a pattern with
    wildcards is matched component by component; with ``recursive``, folders that match come with
    all that is below them.

    Raises:
        NoSuchFile: nothing has such a name.
        Denied: folders are too deep.
        OSError: a folder cannot be read.
    """
    return _steps(_Walk(root), pattern, recursive=recursive)


def _steps(walk: _Walk, pattern: str, *, recursive: bool) -> Iterator[Step]:
    root = walk.root
    parts = [encode_path(part) for part in pattern.split("/") if part not in ("", ".")]
    if any(part == b".." or b"\0" in part for part in parts):
        raise NoSuchFile("no such file on the server")
    if parts and not root.hidden and any(part.startswith(b".") for part in parts):
        raise NoSuchFile("no such file on the server")
    found = False
    for entry in _named(walk, parts, recursive):
        found = found or entry is not None
        yield entry
    if found or not parts:
        return
    if is_pattern(pattern):
        named = list(takewhile(lambda part: not is_pattern(os.fsdecode(part)), parts))
        for path, entry in _matching(walk, named, Pattern(parts)):
            found = found or entry is not None
            if recursive and isinstance(entry, Entry) and entry.is_folder:
                yield from walk.folder(entry, path)
            else:
                yield entry
    if not found:
        raise NoSuchFile("no such file on the server")


def _named(walk: _Walk, parts: list[bytes], recursive: bool) -> Iterator[Step]:
    """Walk what has a name without wildcards; nothing where it does not exist."""
    if not parts:
        yield from walk.below([]) if recursive else walk.children([])
        return
    try:
        siblings = list(walk.children(parts[:-1], only=parts[-1]))
    except NoSuchFile:
        return
    for entry in siblings:
        if not isinstance(entry, Entry) or not entry.is_folder:
            yield entry
        elif recursive:
            yield from walk.folder(entry, parts)
        else:
            empty = True
            for child in walk.children(parts):
                empty = empty and child is None
                yield child
            if empty:
                yield entry  # an empty folder is named all the same


def _matching(
    walk: _Walk, path: list[bytes], pattern: Pattern
) -> Iterator[tuple[list[bytes], Step]]:
    """Walk what matches, component by component; each step with the path of what was found."""
    folder = _OpenFolder(walk.root, path)
    is_last = len(path) + 1 == len(pattern.parts)
    try:
        for entry in walk.entries(folder, matches=pattern.matcher(len(path))):
            if entry is None:
                yield path, None
                continue
            below = [*path, encode_path(entry.path.rpartition("/")[2])]
            if is_last:
                if not isinstance(entry, NotSent) or entry.reason is not Reason.HIDDEN:
                    yield below, entry
            elif isinstance(entry, Entry) and entry.is_folder:
                folder.close()
                yield from _matching(walk, below, pattern)
    except NoSuchFile:
        return
    finally:
        folder.close()


class Pattern:
    """Pattern of a path, whose components are compiled when they are needed.

    Not by `fnmatch.fnmatchcase`, which keeps 32,768 compiled patterns; and `re` keeps 512. One of
    255 bytes takes up to 48 kB, and so does each that a stranger thinks of.

    Args:
        parts: components.

    Attributes:
        parts: as ``parts``; never changes.
        _matchers: those made so far, by the number of the component.
    """

    _kept = 0
    """Patterns in the cache of `re`, at most; of all that were made."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = parts
        self._matchers: dict[int, Matcher] = {}

    def matcher(self, number: int) -> Matcher:
        """Test of a component; one longer than any name lets none pass."""
        if number not in self._matchers:
            self._matchers[number] = self._make(self.parts[number])
        return self._matchers[number]

    def _make(self, part: bytes) -> Matcher:
        if len(part) > MAX_COMPONENT_BYTES:
            return lambda _: False
        match = re.compile(translate(part.decode(errors="surrogateescape"))).match
        Pattern._kept += 1
        if Pattern._kept == MAX_PATTERNS_KEPT:
            Pattern._kept = 0
            re.purge()
        return lambda name: name == part or match(name.decode(errors="surrogateescape")) is not None


def report_of(
    root: ServedRoot,
    pattern: str,
    *,
    recursive: bool,
    refuse: Callable[[Entry], Reason | None] = lambda _: None,
) -> Iterator[Step]:
    """Walk what a pattern names, as `steps_of` does, and what is not sent of it.

    Args:
        root: the folder.
        pattern: as `steps_of` takes it.
        recursive: likewise.
        refuse: says why a file is not to be sent; None where it is.

    Raises: as `steps_of` does, but of a folder that can be read itself.
    """
    return _steps(_Reporting(root, refuse), pattern, recursive=recursive)


class _OpenFolder:
    """Folder that is walked, open only while its own entries are looked at.

    However deep a tree is, its walk so keeps few descriptors.

    Args:
        root: the folder that is walked.
        path: components of this one's path.

    Attributes:
        path: as ``path``; never changes.
        prefix: its path as one, with a slash behind it where it has one; never changes.
        _fd: its descriptor; -1 while it is closed.
    """

    def __init__(self, root: ServedRoot, path: Sequence[bytes]) -> None:
        self._root = root
        self.path = path
        self.prefix = b"".join(b"%b/" % one for one in path)
        self._fd = -1

    def text_of(self, name: bytes) -> str:
        """Path of a name in it, as an entry has it."""
        return (self.prefix + name).decode(errors="surrogateescape")

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


class _Names:
    """Names in a folder, read and sorted some at a time.

    Args:
        hidden: whether those that begin with a dot count.
        matches: test of those that are wanted; None for all.

    Attributes:
        hidden_count: names that began with a dot and did not count.
        _runs: names, sorted, `_RUN` in each.
    """

    def __init__(self, *, hidden: bool, matches: Matcher | None = None) -> None:
        self._hidden = hidden
        self._matches = matches
        self.hidden_count = 0
        self._runs: list[list[bytes]] = []

    def read(self, folder_fd: int) -> Iterator[None]:
        """Read them, in steps. Raises OSError."""
        run: list[bytes] = []
        with os.scandir(folder_fd) as found:
            for count, one in enumerate(found, 1):
                name = os.fsencode(one.name)
                if self._wants(name):
                    run.append(name)
                if len(run) == _RUN:
                    self._runs.append(sorted(run))
                    run = []
                if count % _NAMES_A_STEP == 0:
                    yield None
        self._runs.append(sorted(run))

    def _wants(self, name: bytes) -> bool:
        if is_part_name(name):
            return False
        if not self._hidden and name.startswith(b"."):
            self.hidden_count += 1
            return False
        return self._matches is None or self._matches(name)

    def __iter__(self) -> Iterator[bytes]:
        """All that were read, in order."""
        return iter(self._runs[0]) if len(self._runs) == 1 else merge(*self._runs)


class _Walk:
    """Walk that leaves out, in silence, what is not sent. A folder that cannot be read ends it.

    Attributes:
        root: the folder that is walked.
    """

    def __init__(self, root: ServedRoot) -> None:
        self.root = root

    def below(self, path: list[bytes]) -> Iterator[Step]:
        """Walk all that is below a folder, at any depth."""
        if len(path) > MAX_DEPTH:
            raise Denied(f"folders are nested more than {MAX_DEPTH} deep")
        folder = _OpenFolder(self.root, path)
        try:
            for entry in self.entries(folder):
                if isinstance(entry, Entry) and entry.is_folder:
                    folder.close()
                    inner = [*path, encode_path(entry.path.rpartition("/")[2])]
                    yield from self.folder(entry, inner)
                else:
                    yield entry
        finally:
            folder.close()

    def folder(self, entry: Entry, path: list[bytes]) -> Iterator[Step]:
        """Walk a folder and all that is below it."""
        yield entry
        yield from self.below(path)

    def children(self, path: Sequence[bytes], only: bytes | None = None) -> Iterator[Step]:
        """Walk the entries in a folder, in order; or the one of a name.

        Raises:
            NoSuchFile, ServerBusy: see `ServedRoot.open_folder`.
        """
        folder = _OpenFolder(self.root, path)
        try:
            yield from self.entries(folder, only)
        finally:
            folder.close()

    def entries(
        self, folder: _OpenFolder, only: bytes | None = None, matches: Matcher | None = None
    ) -> Iterator[Step]:
        """Walk the entries in a folder that is open; or the one of a name; or those that match."""
        if only is not None:
            shown = self.root.hidden or not only.startswith(b".")
            if not is_part_name(only) and shown and (found := self.entry(folder, only)):
                yield found
            return
        names = _Names(hidden=self.root.hidden, matches=matches)
        yield from names.read(folder.fd())
        if names.hidden_count:
            yield from self.note_hidden(folder.path, names.hidden_count)
        for name in names:
            if found := self.entry(folder, name):
                yield found

    def note_hidden(self, _path: Sequence[bytes], _count: int) -> Iterator[Entry | NotSent]:
        """Iterate over what there is to say of hidden names."""
        return iter(())

    def entry(self, folder: _OpenFolder, name: bytes) -> Step:
        """Find the entry of a name; None where it is gone, or no file and no folder."""
        try:
            status = os.lstat(name, dir_fd=folder.fd())
        except OSError:
            return None
        return _entry(status, folder.text_of(name))


class _Reporting(_Walk):
    """Walk that says what is not sent.

    Attributes:
        refuse: says why a file is not to be sent; None where it is.
    """

    def __init__(self, root: ServedRoot, refuse: Callable[[Entry], Reason | None]) -> None:
        super().__init__(root)
        self.refuse = refuse

    def folder(self, entry: Entry, path: list[bytes]) -> Iterator[Step]:
        """Walk a folder and all that is below it, or the reason why not."""
        if len(path) > MAX_DEPTH:
            yield NotSent(entry.path, Reason.TOO_DEEP)
            return
        found = self.below(path)
        first: Step = None
        try:
            for first in found:
                if first is not None:
                    break
                yield None
        except (NoSuchFile, OSError) as error:
            yield NotSent(entry.path, reason_of(error))
            return
        yield entry
        if first is not None:
            yield first
            yield from found

    def note_hidden(self, path: Sequence[bytes], count: int) -> Iterator[Entry | NotSent]:
        """Iterate over the one entry that counts them."""
        yield NotSent(_text([*path, b".*"]), Reason.HIDDEN, number=count)

    def entry(self, folder: _OpenFolder, name: bytes) -> Step:
        """Find the entry of a name, or what is wrong with it."""
        if len(folder.prefix) + len(name) >= MAX_PATH_BYTES:
            cut = (folder.prefix + name)[: MAX_PATH_BYTES - 1].rstrip(b"/")
            return NotSent(_text([cut]), Reason.TOO_LONG)
        text = folder.text_of(name)
        fd = folder.fd()
        try:
            status = os.lstat(name, dir_fd=fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            return NotSent(text, reason_of(error))
        entry = _entry(status, text)
        if entry is None:
            target = _target(fd, name, len(folder.path)) if S_ISLNK(status.st_mode) else ""
            return NotSent(text, _kind(status.st_mode), target)
        if entry.is_folder:
            return entry
        if not (_says_readable(status) or _is_readable(fd, name)):
            return NotSent(text, Reason.DENIED)
        reason = self.refuse(entry)
        return NotSent(text, reason) if reason else entry


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


def _says_readable(status: os.stat_result) -> bool:
    """Tell whether we may read a file, by its permissions alone; what they do not say is asked."""
    if status.st_mode & 0o444 == 0o444:
        return True
    return bool(status.st_mode & S_IRUSR) and status.st_uid == os.geteuid()


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


def _entry(status: os.stat_result, path: str) -> Entry | None:
    """Make an entry; None of what is neither a file nor a folder."""
    mtime_ns = max(-(2**63), min(status.st_mtime_ns, 2**63 - 1))
    mode = S_IMODE(status.st_mode)
    if S_ISREG(status.st_mode):
        kind = Entry if status.st_blocks and status.st_size else UnsizedEntry
        return kind(path, False, status.st_size, mtime_ns, mode, file_identity(status))
    return Entry(path, True, 0, mtime_ns, mode) if S_ISDIR(status.st_mode) else None
