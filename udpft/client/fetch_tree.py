"""Listings and trees, from the client's side.

A tree comes in two requests over one socket: its listing, then the contents of all its files as
one transfer. Thousands of small files so cost two handshakes and one digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from udpft.client.client import Client
from udpft.errors import (
    DigestMismatch,
    PartialTransfer,
    SourceChanged,
    UsageError,
)
from udpft.net.clock import clock
from udpft.outcome.progress import Progress
from udpft.outcome.result import Result
from udpft.protocol.client.download import Download
from udpft.protocol.contract import Completed
from udpft.protocol.wire.hello import RECURSIVE, Role
from udpft.protocol.wire.listing import (
    MAX_LISTING_BYTES,
    Entry,
    MalformedListing,
    decode_listing_untrusted,
    identity_of,
)
from udpft.storage.destination import InMemory
from udpft.storage.tree_destination import Placed, TreeDestination

_ATTEMPTS = 3
"""How often a tree that changes between its listing and its end is listed again."""


def fetch_listing(
    client: Client, pattern: str, *, recursive: bool = False
) -> tuple[list[Entry], int]:
    """The entries that a pattern names on the server, in order, and the listing's identity.

    Args:
        client: connected to the server.
        pattern: a file's name; a folder's, for what is in it; or one with wildcards.
        recursive: of folders, themselves and all that is below them.

    Raises:
        NoSuchFile: nothing has that name.
        PartialTransfer: what came is no listing that could be followed.
        UdpftError: as `Client.fetch`.
    """
    target = InMemory(MAX_LISTING_BYTES)
    flags = RECURSIVE if recursive else 0
    client.request(pattern, target, role=Role.LIST, flags=flags)
    data = bytes(target.data)
    try:
        return decode_listing_untrusted(data), identity_of(data)
    except MalformedListing as error:
        raise PartialTransfer(f"the server's listing makes no sense: {error}") from None


def fetch_tree(
    client: Client,
    pattern: str,
    folder: Path,
    *,
    recursive: bool = True,
    force: bool = False,
    resume: bool = True,
    progress: Progress | None = None,
    on_resume: Progress | None = None,
) -> Result:
    """Fetch the files that a pattern names; with ``recursive``, folders and all below them.

    A folder ``a/tree`` becomes ``FOLDER/tree``, ``a/tree/`` becomes FOLDER itself, as with rsync.
    Times and permissions of files and folders are kept. Files that are here already, of the same
    size and time, are left alone.

    Args:
        client: connected to the server.
        pattern: see `fetch_listing`.
        folder: where they go; it is made where it is missing.
        recursive: folders too; without, they are left out.
        force: replace different files.
        resume: go on with what an earlier fetch left, and leave what there is if this one fails.
        progress: told how far it is.
        on_resume: told the bytes that are here already and the bytes in all.

    Raises:
        DestinationExists: a different file has a name that is needed, and no ``force``.
        UdpftError: as `Client.fetch`.
    """
    began = clock()
    name, flags, trust = pattern.rstrip("/"), RECURSIVE if recursive else 0, True
    for attempt in range(1, _ATTEMPTS + 1):
        entries, identity = fetch_listing(client, name, recursive=recursive)
        placed = _placed(pattern, entries, recursive=recursive)
        try:
            with TreeDestination(
                folder,
                name,
                placed,
                identity,
                force=force,
                trust=trust,
                resume=resume,
                on_resume=on_resume,
                stop=client.stop,
            ) as target:
                if not target.is_needed:
                    target.commit()
                    break
                completed, download = client.request(
                    name, target, role=Role.TREE, flags=flags, progress=progress
                )
        except SourceChanged:
            if attempt == _ATTEMPTS:
                raise
            continue
        except DigestMismatch:
            # A file that is here has the size and the time, and another content all the same.
            if target.trusted and not force:
                raise target.is_different() from None
            if not target.trusted or attempt == _ATTEMPTS:
                raise
            trust = False
            continue
        if progress:
            progress(target.size, target.size)
        return _result(pattern, target, clock() - began, completed, download)
    return _result(pattern, target, clock() - began)


def _result(
    pattern: str,
    target: TreeDestination,
    seconds: float,
    completed: Completed | None = None,
    download: Download | None = None,
) -> Result:
    """What there is to tell of a tree; without ``completed``, nothing had to come."""
    received = download.bytes_received if download else 0
    return Result(
        name=pattern,
        path=target.folder,
        bytes=target.size,
        seconds=seconds,
        digest=completed.digest.hex() if completed else "",
        resent_packets=download.resent_packets if download else 0,
        mode="reliable",
        verified=completed is not None,
        resumed_bytes=target.size - received,
        chunk_size=(download.handshake.accept.chunk_size if download and download.handshake else 0),
        up_to_date=target.is_up_to_date,
        files=target.file_count,
    )


def is_one_file(client: Client, name: str) -> bool:
    """Whether a name with wildcards in it is a file's all the same. Raises as `fetch_listing`."""
    return [entry.path for entry in fetch_listing(client, name)[0]] == [name]


def _placed(pattern: str, entries: Sequence[Entry], *, recursive: bool) -> list[Placed]:
    """Which entry goes where below the folder.

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
