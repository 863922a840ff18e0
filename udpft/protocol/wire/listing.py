"""Listings of files and folders, which are sent as a file is.

Entries stand in the order of their paths, compared component by component, so that a folder comes
before what is in it. The same files give the same bytes, whose hash is the listing's *identity*.

A *report* is a listing that also has entries for what is not sent: what is left out, such as
symlinks, and what cannot be read. Only who asks for one is sent one.

A *tree* is the contents of all files of a listing, one after another in its order: one file to
those who send and receive it.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable
from enum import IntEnum
from itertools import accumulate
from typing import Final, NamedTuple

from xxhash import xxh3_64_intdigest

# Entry: kind u8 (1 a file, 2 a folder, 3 not sent), reserved u8, permission bits u16 or reason,
# length of the path u32, size u64 or length of the target, time of the last change in nanoseconds
# i64, version u64 or count; then the path; then the target
_ENTRY: Final = struct.Struct("<BBHIQqQ")
_FILE, _FOLDER, _NOT_SENT = 1, 2, 3

_MAX_TREE_BYTES: Final = (1 << 64) - 1
"""Bytes of a tree: as many as the size of a transfer can say."""

_MODES: Final = tuple(range(0o1000))
"""Permission bits: each an object that all entries of a listing share."""

MAX_PATH_BYTES: Final = 4_095
"""Bytes of a path: PATH_MAX of Linux without its terminator."""

MAX_COMPONENT_BYTES: Final = 255
"""Bytes of one component of a path: NAME_MAX of Linux."""

MAX_LISTING_BYTES: Final = 1 << 26
"""Bytes of a listing that a client takes in: a million entries of usual length. Read, they take
half a GB of memory at most, whatever a server sends."""


class MalformedListing(Exception):
    """Error: the bytes are no listing, or one that nobody should follow."""


class Entry(NamedTuple):
    """Entry of a listing: a file or a folder.

    ``path``: components joined by slashes, relative to the served folder. ``size``: bytes, 0 for
    a folder. ``mode``: permission bits. ``version``: changes when a file is replaced or written.
    """

    path: str
    is_folder: bool
    size: int
    mtime_ns: int
    mode: int
    version: int = 0


class Reason(IntEnum):
    """Reason for which an entry is not sent: up to `HIDDEN` it is left out, and else it failed."""

    SYMLINK = 1
    FIFO = 2
    SOCKET = 3
    DEVICE = 4
    HIDDEN = 5
    """Names that begin with a dot. They are counted and not named: the path is ``FOLDER/.*``."""
    DENIED = 16
    READ_ERROR = 17
    TOO_LONG = 18
    TOO_DEEP = 19
    CHANGING = 20
    UNREADABLE = 21
    REFUSED = 32
    """The receiver's file system takes no such name."""
    DIFFERENT = 33
    """The receiver has a different file of that name, which was not to be replaced."""
    FOLDED = 34
    """The receiver's file system takes two names of the listing for one."""


class NotSent(NamedTuple):
    """Entry of a report that is not sent.

    ``target``: of a symlink that leads to somewhere in the listing; empty where it leads out.
    ``number``: of hidden names.
    """

    path: str
    reason: Reason
    target: str = ""
    number: int = 1


class Report(NamedTuple):
    """Listing, in the order of its paths, and what is not sent of it."""

    entries: list[Entry]
    not_sent: list[NotSent]


def order_of(entry: Entry) -> list[bytes]:
    """Sort key of an entry: its path's components."""
    return encode_path(entry.path).split(b"/")


def encode_path(path: str) -> bytes:
    """Encode a path for sending: one that is no UTF-8 leaves as the bytes on the disk."""
    return path.encode(errors="surrogateescape")


def encode_entry(entry: Entry) -> bytes:
    """Write an entry."""
    path = encode_path(entry.path)
    kind = _FOLDER if entry.is_folder else _FILE
    mode = entry.mode & 0o777
    return _ENTRY.pack(kind, 0, mode, len(path), entry.size, entry.mtime_ns, entry.version) + path


def encode_not_sent(entry: NotSent) -> bytes:
    """Write an entry of a report that is not sent."""
    path, target = encode_path(entry.path), encode_path(entry.target)
    packed = _ENTRY.pack(_NOT_SENT, 0, entry.reason, len(path), len(target), 0, entry.number)
    return packed + path + target


def encode_any(entry: Entry | NotSent) -> bytes:
    """Write an entry of a report."""
    return encode_entry(entry) if isinstance(entry, Entry) else encode_not_sent(entry)


def identity_of(listing: bytes) -> int:
    """Identity of a listing, and so of its tree; never 0, which stands for any."""
    return xxh3_64_intdigest(listing) or 1


def decode_listing_untrusted(data: bytes) -> list[Entry]:
    """Read a listing.

    Every path is safe to be made below a folder: relative, without ``.``, ``..``, NUL or empty
    components, none of them twice, and none below a file.

    Raises:
        MalformedListing: it is cut short, out of order, too large in all, or has another path.
    """
    report = decode_report_untrusted(data)
    if report.not_sent:
        raise MalformedListing("an entry of no known kind")
    return report.entries


def decode_report_untrusted(data: bytes) -> Report:
    """Read a report, or a listing. Raises MalformedListing as `decode_listing_untrusted` does."""
    report = Report([], [])
    at = total = 0
    last: list[bytes] = []
    file: list[bytes] | None = None
    while at < len(data):
        if at + _ENTRY.size > len(data):
            raise MalformedListing("an entry is cut short")
        kind, _, mode, length, size, mtime_ns, version = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        path = data[at : at + length]
        at += length
        components = _components_untrusted(path, length)
        text = path.decode(errors="surrogateescape")
        if kind == _NOT_SENT:  # in no order, for nothing is made of it but symlinks, at the end
            report.not_sent.append(_not_sent_untrusted(text, mode, data[at : at + size], version))
            if len(data) < at + size or size > MAX_PATH_BYTES:
                raise MalformedListing("a symlink's target is cut short")
            at += size
            continue
        if components <= last:
            raise MalformedListing("the entries are out of order")
        if file is not None and components[: len(file)] == file:
            raise MalformedListing("a file that has something in it")
        last = components
        if kind not in (_FILE, _FOLDER) or mode > 0o777 or (kind == _FOLDER and size):
            raise MalformedListing("an entry of no known kind")
        total += size
        if total > _MAX_TREE_BYTES:
            raise MalformedListing("a tree larger than any file can be")
        file = components if kind == _FILE else None
        report.entries.append(Entry(text, kind == _FOLDER, size, mtime_ns, _MODES[mode], version))
    return report


def entries_from(data: bytes) -> tuple[list[Entry], int]:
    """Read those entries that are whole in a piece of a listing that this end has written.

    Returns:
        The entries, without those that are not sent, and the bytes that all of them take.
    """
    entries = []
    at = 0
    while at + _ENTRY.size <= len(data):
        kind, _, mode, length, size, mtime_ns, version = _ENTRY.unpack_from(data, at)
        start = at + _ENTRY.size
        stop = start + length + (size if kind == _NOT_SENT else 0)
        if stop > len(data):
            break
        at = stop
        if kind != _NOT_SENT:
            path = data[start:stop].decode(errors="surrogateescape")
            entries.append(Entry(path, kind == _FOLDER, size, mtime_ns, mode, version))
    return entries, at


def _not_sent_untrusted(path: str, reason: int, target: bytes, count: int) -> NotSent:
    if b"\0" in target:
        raise MalformedListing("a symlink to no possible place")
    try:
        known = Reason(reason)
    except ValueError:  # a later version's
        known = Reason.UNREADABLE
    return NotSent(path, known, target.decode(errors="surrogateescape"), count)


def _components_untrusted(path: bytes, length: int) -> list[bytes]:
    if not 0 < length <= MAX_PATH_BYTES or len(path) != length or b"\0" in path:
        raise MalformedListing("a path of an impossible length")
    components = path.split(b"/")
    for component in components:
        if component in (b"", b".", b"..") or len(component) > MAX_COMPONENT_BYTES:
            raise MalformedListing("a path that leads elsewhere")
    return components


def files_of(entries: Iterable[Entry]) -> list[Entry]:
    """Entries that have contents to send: the files."""
    return [entry for entry in entries if not entry.is_folder]


def starts_of(files: Iterable[Entry]) -> array[int]:
    """Offsets of the files in the tree, in bytes, and as the last one the tree's size."""
    return array("Q", accumulate((file.size for file in files), initial=0))
