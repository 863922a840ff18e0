"""Walk of a served folder: files and folders that a pattern names, as entries of a listing.

Folders are walked by their descriptors and never through a symlink, which is no entry itself; nor
is a hidden file, a part file, or anything but files and folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from stat import S_IMODE, S_ISDIR, S_ISREG

from udpft.errors import Denied, NoSuchFile
from udpft.protocol.params import WILDCARDS
from udpft.protocol.wire.listing import Entry, encode_path
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
    parts = [encode_path(part) for part in pattern.split("/") if part not in ("", ".")]
    if any(part == b".." or b"\0" in part for part in parts):
        raise NoSuchFile("no such file on the server")
    if parts and not root.hidden and any(part.startswith(b".") for part in parts):
        raise NoSuchFile("no such file on the server")
    found = False
    for entry in _named(root, parts, recursive):
        found = True
        yield entry
    if found or not parts:
        return
    if is_pattern(pattern):
        for path, entry in _matching(root, [], parts):
            found = True
            yield entry
            if recursive and entry.is_folder:
                yield from _below(root, path)
    if not found:
        raise NoSuchFile("no such file on the server")


def _named(root: ServedRoot, parts: list[bytes], recursive: bool) -> Iterator[Entry]:
    """Iterate over the entries of a name without wildcards; none where it does not exist."""
    if not parts:
        yield from _below(root, []) if recursive else _children(root, [])
        return
    try:
        siblings = list(_children(root, parts[:-1], only=parts[-1]))
    except NoSuchFile:
        return
    for entry in siblings:
        if not entry.is_folder:
            yield entry
        elif recursive:
            yield entry
            yield from _below(root, parts)
        else:
            yield from _children(root, parts)
            if not next(_children(root, parts), None):
                yield entry  # an empty folder is named all the same


def _matching(
    root: ServedRoot, path: list[bytes], parts: Sequence[bytes]
) -> Iterator[tuple[list[bytes], Entry]]:
    """Iterate over entries whose paths match, component by component."""
    wanted = parts[0].decode(errors="surrogateescape")
    try:
        children = list(_children(root, path))
    except NoSuchFile:
        return
    for entry in children:
        name = entry.path.rpartition("/")[2]
        if name != wanted and not fnmatchcase(name, wanted):
            continue
        below = [*path, encode_path(name)]
        if len(parts) == 1:
            yield below, entry
        elif entry.is_folder:
            yield from _matching(root, below, parts[1:])


def _below(root: ServedRoot, path: list[bytes]) -> Iterator[Entry]:
    """Iterate over all entries below a folder, at any depth."""
    if len(path) > MAX_DEPTH:
        raise Denied(f"folders are nested more than {MAX_DEPTH} deep")
    for entry in _children(root, path):
        yield entry
        if entry.is_folder:
            yield from _below(root, [*path, encode_path(entry.path.rpartition("/")[2])])


def _children(
    root: ServedRoot, path: Sequence[bytes], only: bytes | None = None
) -> Iterator[Entry]:
    """Iterate over the entries in a folder, in order; or over the one of a name.

    Raises:
        NoSuchFile, ServerBusy: see `ServedRoot.open_folder`.
    """
    folder_fd = root.open_folder(path)
    try:
        if only is not None:
            names = [only]
        else:
            names = sorted(map(os.fsencode, os.listdir(folder_fd)))
        for name in names:
            if (name.startswith(b".") and not root.hidden) or is_part_name(name):
                continue
            entry = _entry(folder_fd, path, name)
            if entry:
                yield entry
    finally:
        os.close(folder_fd)


def _entry(folder_fd: int, path: Sequence[bytes], name: bytes) -> Entry | None:
    """Make an entry; None where it is gone, or neither a file nor a folder."""
    try:
        status = os.lstat(name, dir_fd=folder_fd)
    except OSError:
        return None
    full = b"/".join([*path, name]).decode(errors="surrogateescape")
    mtime_ns = max(-(2**63), min(status.st_mtime_ns, 2**63 - 1))
    mode = S_IMODE(status.st_mode)
    if S_ISDIR(status.st_mode):
        return Entry(full, True, 0, mtime_ns, mode)
    if S_ISREG(status.st_mode):
        return Entry(full, False, status.st_size, mtime_ns, mode, file_identity(status))
    return None
