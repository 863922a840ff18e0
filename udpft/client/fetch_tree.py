"""Download of listings and trees.

A tree comes in two requests over one socket: its listing, then the contents of all its files as
one transfer. Thousands of small files so cost two handshakes and one digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from udpft.client.connection import Connection
from udpft.client.fetch import request, result_of
from udpft.client.tree_attempts import repeated
from udpft.errors import DestinationExists, PartialTransfer, UsageError
from udpft.net.clock import clock
from udpft.outcome.progress import Progress
from udpft.outcome.result import Result
from udpft.protocol.wire.hello import RECURSIVE, Role
from udpft.protocol.wire.listing import (
    MAX_LISTING_BYTES,
    Entry,
    MalformedListing,
    decode_listing_untrusted,
    identity_of,
)
from udpft.storage.destination import InMemory
from udpft.storage.trees.destination import Placed, TreeDestination


def fetch_listing(
    connection: Connection, pattern: str, *, recursive: bool = False
) -> tuple[list[Entry], int]:
    """Fetch the entries that a pattern names on the server, in order, and the listing's identity.

    Raises:
        NoSuchFile: nothing has that name.
        PartialTransfer: what came is no listing that could be followed.
        UdpftError: as `Client.fetch`.
    """
    target = InMemory(MAX_LISTING_BYTES)
    flags = RECURSIVE if recursive else 0
    request(connection, pattern, target, role=Role.LIST, flags=flags)
    data, target.data = bytes(target.data), bytearray()
    try:
        return decode_listing_untrusted(data), identity_of(data)
    except MalformedListing as error:
        raise PartialTransfer(f"the server's listing makes no sense: {error}") from None


def fetch_tree(
    connection: Connection,
    pattern: str,
    folder: str,
    *,
    recursive: bool,
    force: bool,
    resume: bool,
    progress: Progress | None,
    on_resume: Progress | None,
) -> Result:
    """Fetch the files that a pattern names into a folder: see `Client.fetch_tree`."""
    began = clock()
    name, flags = pattern.rstrip("/"), RECURSIVE if recursive else 0
    targets: list[TreeDestination] = []

    def list_tree() -> tuple[list[Entry], int]:
        return fetch_listing(connection, name, recursive=recursive)

    def transfer(listing: tuple[list[Entry], int], trust: bool) -> Result:
        entries, identity = listing
        connection.check_size(pattern, sum(entry.size for entry in entries))
        with TreeDestination(
            Path(folder),
            name,
            _placed(pattern, entries, recursive=recursive),
            identity,
            force=force,
            trust=trust,
            resume=resume,
            on_resume=on_resume,
            stop=connection.stop,
        ) as target:
            targets.append(target)
            if target.is_needed:
                completed, download = request(
                    connection, name, target, role=Role.TREE, flags=flags, progress=progress
                )
            else:
                target.commit()
        if target.is_needed:
            if progress:
                progress(target.size, target.size)
            result = result_of(completed, download, pattern, folder, clock() - began)
        else:
            result = _nothing_needed(pattern, target, clock() - began)
        return result._replace(up_to_date=target.is_up_to_date, files=target.file_count)

    def is_different() -> DestinationExists | None:
        return targets[-1].is_different() if targets[-1].trusted else None

    return repeated(list_tree, transfer, force=force, is_different=is_different)


def _nothing_needed(pattern: str, target: TreeDestination, seconds: float) -> Result:
    """Result of a tree of which nothing had to come."""
    return Result(
        name=pattern,
        local_path=str(target.folder),
        bytes=target.size,
        seconds=seconds,
        digest="",
        resent_packets=0,
        mode="reliable",
        verified=False,
        resumed_bytes=target.size,
        chunk_size=0,
    )


def _placed(pattern: str, entries: Sequence[Entry], *, recursive: bool) -> list[Placed]:
    """Assign each entry its place below the folder.

    The pattern decides, and not the server: an entry that it does not name is refused.

    Raises:
        PartialTransfer: the server listed what was not asked for.
        UsageError: two would have the same name.
    """
    asked = [part for part in pattern.split("/") if part not in ("", ".")]
    kept_from = len(asked) if pattern.endswith("/") or not asked else len(asked) - 1
    placed: dict[tuple[str, ...], Entry] = {}
    result = []
    for entry in entries:
        components = entry.path.split("/")
        fits = len(components) >= len(asked) and (recursive or len(components) <= len(asked))
        if not fits or not all(map(_matches, components, asked)):
            if not recursive and len(components) == len(asked) + 1:
                raise UsageError(f"{pattern!r} is a folder", hint="-r fetches it whole")
            raise PartialTransfer("the server listed what was not asked for")
        if entry.is_folder and not recursive:
            continue
        place = tuple(components[kept_from:])
        if place in placed and not (entry.is_folder and placed[place].is_folder):
            raise UsageError(
                f"{placed[place].path!r} and {entry.path!r} would both become {'/'.join(place)!r}"
            )
        placed[place] = entry
        result.append(Placed(entry, place))
    return result


def _matches(component: str, asked: str) -> bool:
    return component == asked or fnmatchcase(component, asked)
