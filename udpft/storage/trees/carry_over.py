"""Carrying over: what was staged for an earlier listing of a tree, put where a later one has it.

Where a file cannot be read, or has changed, a tree is listed again, and all that follows is at
other offsets. So a staging folder has a copy of the listing that its files are of. What its journal
vouches for is taken over, of files that the new listing has too; and the digest of the whole proves
it in the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from struct import Struct
from typing import Final

from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.listing import (
    Entry,
    MalformedListing,
    decode_listing_untrusted,
    encode_entry,
)
from udpft.storage.journal import Journal, Read
from udpft.storage.leftovers import JOURNAL
from udpft.storage.partfile import write_all
from udpft.storage.trees.files import StagedTree
from udpft.storage.trees.staging import LISTING, Staging

_CARRIED: Final = "carried-"
"""Beginning of the names of what is carried over, until all of it is."""

_IDENTITY: Final = Struct("<Q")
"""Head of the copy of a listing: its identity."""

_ENTRIES_A_WRITE: Final = 1_000

_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def write_listing(staging: Staging, identity: int, entries: Sequence[Entry]) -> None:
    """Write the copy of a listing into its staging folder, unless it is there. Raises OSError."""
    with suppress(FileNotFoundError):
        fd = os.open(LISTING, _READ_FLAGS, dir_fd=staging.fd)
        with open(fd, "rb") as file:
            if file.read(_IDENTITY.size) == _IDENTITY.pack(identity):
                return
    fd = os.open(LISTING, _WRITE_FLAGS, 0o600, dir_fd=staging.fd)
    with open(fd, "wb") as file:
        file.write(bytes(_IDENTITY.size))
        for at in range(0, len(entries), _ENTRIES_A_WRITE):
            file.write(b"".join(map(encode_entry, entries[at : at + _ENTRIES_A_WRITE])))
        file.seek(0)
        file.write(_IDENTITY.pack(identity))  # at last, for half a listing is none


def _read_listing(staging: Staging, identity: int) -> list[Entry]:
    """Read the copy of a listing of an identity; nothing where there is none that makes sense."""
    try:
        fd = os.open(LISTING, _READ_FLAGS, dir_fd=staging.fd)
        with open(fd, "rb") as file:
            if file.read(_IDENTITY.size) != _IDENTITY.pack(identity):
                return []
            return decode_listing_untrusted(file.read())
    except (OSError, MalformedListing):
        return []


def carry_over(
    earlier: Staging,
    staging: Staging,
    tree: StagedTree,
    wanted: Container[int],
    guarded: Callable[[Read], Read],
) -> RangeSet:
    """Take over what is staged for an earlier listing; return the ranges of the tree that are held.

    All else in the tree's own staging folder is removed, but for the journal.

    Args:
        earlier: the staging folder that it is in; perhaps the tree's own.
        staging: the tree's own.
        tree: the files that are to be staged.
        wanted: numbers of those that are to come.
        guarded: makes a reading function one that can be broken off.

    Raises:
        MalformedJournal: nothing is staged there.
        OSError: the disk fails.
    """
    journal = Journal.read_untrusted(earlier.journal_fd)
    entries = _read_listing(earlier, journal.label.identity)
    old = StagedTree(earlier.fd, entries, (), _none)
    held = RangeSet()
    pack_fd = -1
    try:
        if old.layout.size == journal.label.size:
            earlier.distrust_cache()
            valid = _valid_bytes(journal, guarded(old.readv))
            for number, old_number, ranges in _matches(old, tree, wanted, valid):
                name, at = tree.place_of(number)
                old_name, _ = old.place_of(old_number)
                if (name == str(number)) != (old_name == str(old_number)):
                    continue  # one of them has no room left among the small ones
                if name == str(number):
                    fds = {"src_dir_fd": earlier.fd, "dst_dir_fd": staging.fd}
                    os.rename(old_name, _CARRIED + name, **fds)
                else:
                    if pack_fd < 0:
                        pack_fd = os.open(_CARRIED + name, _WRITE_FLAGS, 0o600, dir_fd=staging.fd)
                    content = old.read_small(old_number)
                    write_all(pack_fd, [memoryview(content)], at, len(content))
                start = tree.layout.starts[number]
                for first, stop in ranges:
                    held.add(start + first, start + stop)
    finally:
        old.close()
        if pack_fd >= 0:
            os.close(pack_fd)
    _settle(staging)
    return held


def _none(_number: int) -> int:
    raise AssertionError("nothing of what is staged is held elsewhere")


def _valid_bytes(journal: Journal, read: Read) -> RangeSet:
    """Ranges of the earlier tree's bytes that the journal vouches for."""
    label, valid = journal.label, RangeSet()
    for first, stop in journal.check(read):
        valid.add(first * label.chunk_size, min(stop * label.chunk_size, label.size))
    return valid


def _matches(
    old: StagedTree, tree: StagedTree, wanted: Container[int], valid: RangeSet
) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Iterate over files that both trees have: their numbers, and the ranges that are staged."""
    known = {file.path: number for number, file in enumerate(old.layout.files) if file.size}
    for number, file in enumerate(tree.layout.files):
        old_number = known.get(file.path, -1)
        if old_number < 0 or number not in wanted or old.layout.files[old_number] != file:
            continue
        start, stop = old.layout.starts[old_number], old.layout.starts[old_number + 1]
        ranges, at = [], start
        for hole, end in [*valid.holes(start, stop), (stop, stop)]:
            if hole > at:
                ranges.append((at - start, hole - start))
            at = end
        if ranges:
            yield number, old_number, ranges


def _settle(staging: Staging) -> None:
    """Give what was carried over its names, and remove the rest."""
    names = os.listdir(staging.fd)
    for name in names:
        if not name.startswith(_CARRIED) and name != JOURNAL:
            os.unlink(name, dir_fd=staging.fd)
    for name in names:
        if name.startswith(_CARRIED):
            fds = {"src_dir_fd": staging.fd, "dst_dir_fd": staging.fd}
            os.rename(name, name.removeprefix(_CARRIED), **fds)
