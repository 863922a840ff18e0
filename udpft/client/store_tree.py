"""Upload of a tree: a listing, then the contents of all its files as one transfer.

The mirror image of `fetch_tree`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from stat import S_IMODE

from udpft.client.connection import Connection
from udpft.client.store import result_of, send
from udpft.client.tree_attempts import repeated
from udpft.errors import DestinationExists, LocalReadFailed, UdpftError
from udpft.net.clock import clock
from udpft.outcome.progress import Progress
from udpft.outcome.result import Result
from udpft.protocol.wire.hello import AFRESH, FORCE, Role
from udpft.protocol.wire.listing import Entry, encode_entry, encode_path, identity_of
from udpft.storage.served_folder import ServedRoot
from udpft.storage.source_file import SourceFile
from udpft.storage.trees.files import TreeSource
from udpft.storage.trees.walk import entries_of


def store_tree(
    connection: Connection,
    path: str,
    as_name: str | None,
    *,
    force: bool,
    progress: Progress | None,
) -> Result:
    """Store a folder, with all that is below it, on the server: see `Client.store_tree`."""
    began = clock()
    own_name = os.path.basename(os.path.abspath(path))
    top = as_name or ""
    if not path.endswith("/") and (not top or top.endswith("/")):
        top += own_name
    top = top.rstrip("/")
    name = top or own_name or "tree"
    with ServedRoot(path, hidden=True) as root:

        def list_tree() -> tuple[list[Entry], int]:
            entries = _entries(root, top)
            with _source_of(b"".join(map(encode_entry, entries))) as source:
                send(connection, source, name, Role.PUT_LIST)
                return entries, source.identity

        def transfer(listing: tuple[list[Entry], int], trust: bool) -> Result:
            entries, identity = listing
            flags = (FORCE if force else 0) | (0 if trust else AFRESH)
            tree = TreeSource(entries, identity, lambda entry: _open(root, top, entry))
            with closing(tree):
                ended = send(connection, tree, name, Role.PUT_TREE, flags=flags, progress=progress)
            files = sum(not entry.is_folder for entry in entries)
            result = result_of(*ended, name, path, tree.size, clock() - began)
            return result._replace(files=files)

        def is_different() -> DestinationExists:
            return DestinationExists(
                f"a file of {name!r} on the server differs, of the same size and time",
                hint="--force replaces it",
            )

        return repeated(list_tree, transfer, force=force, is_different=is_different)


def _entries(root: ServedRoot, top: str) -> list[Entry]:
    """The listing of a local folder, as it is to be on the server: below ``top``, if anywhere.

    Raises:
        LocalReadFailed: it cannot be read.
    """
    try:
        below = list(entries_of(root, "", recursive=True))
        status = os.stat(root.path)
    except (OSError, UdpftError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise LocalReadFailed(f"cannot read {root.path}: {reason}") from error
    if not top:
        return below
    first = Entry(top, True, 0, status.st_mtime_ns, S_IMODE(status.st_mode))
    return [first, *(entry._replace(path=f"{top}/{entry.path}") for entry in below)]


def _open(root: ServedRoot, top: str, entry: Entry) -> SourceFile:
    components = encode_path(entry.path).split(b"/")
    skipped = len(encode_path(top).split(b"/")) if top else 0
    return root.open_at(components[skipped:])


@contextmanager
def _source_of(listing: bytes) -> Iterator[SourceFile]:
    """Open a listing as a file to send."""
    fd = os.memfd_create("udpft-listing")
    with open(fd, "wb", closefd=False) as file:
        file.write(listing)
    with SourceFile(fd, os.fstat(fd)) as source:
        source.identity = identity_of(listing)
        yield source
