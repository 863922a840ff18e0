"""Trees brought to a server: a listing, then the contents of all its files as one transfer.

As `tree_client` fetches them, the other way round.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_IMODE

from udpft.client.client import Client
from udpft.client.store import result_of, send
from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    LocalReadFailed,
    SourceChanged,
    UdpftError,
)
from udpft.net.clock import clock
from udpft.outcome.progress import Progress
from udpft.outcome.result import Result
from udpft.protocol.wire.hello import AFRESH, FORCE, Role
from udpft.protocol.wire.listing import Entry, encode_entry, encode_path, identity_of
from udpft.storage.served_folder import ServedRoot, SourceFile
from udpft.storage.tree_files import TreeSource
from udpft.storage.walk import entries_of

_ATTEMPTS = 3
"""How often a tree that changes between its listing and its end is listed again."""


def store_tree(
    client: Client,
    path: str,
    *,
    as_name: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Bring a folder to the server, with all that is below it.

    ``a/tree`` becomes ``tree`` there; of ``a/tree/``, what is in it goes to the served folder
    itself, as with rsync. Times and permissions of files and folders are kept; symlinks, and what
    is neither a file nor a folder, are left out. Files that are there already, of the same size and
    time, are left alone.

    Args:
        client: connected to the server.
        path: the folder.
        as_name: its name there; with a slash at its end, the folder there that it goes to.
        force: replace different files.
        progress: told how far it is.

    Raises:
        LocalReadFailed: the folder cannot be read.
        DestinationExists: a different file has a name that is needed, and no ``force``.
        UdpftError: as `upload_client.store`.
    """
    began = clock()
    own_name = os.path.basename(os.path.abspath(path))
    top = as_name or ""
    if not path.endswith("/") and (not top or top.endswith("/")):
        top += own_name
    top = top.rstrip("/")
    name = top or own_name or "tree"
    flags = FORCE if force else 0
    with ServedRoot(path, hidden=True) as root:
        for attempt in range(1, _ATTEMPTS + 1):
            entries = _entries(root, top)
            listing = b"".join(map(encode_entry, entries))
            with _source_of(listing) as source:
                identity = source.identity
                send(client, source, name, Role.PUT_LIST)
            tree = TreeSource(entries, identity, lambda entry: _open(root, top, entry))
            try:
                completed, upload = send(
                    client, tree, name, Role.PUT_TREE, flags=flags, progress=progress
                )
            except SourceChanged:
                if attempt == _ATTEMPTS:
                    raise
                continue
            except DigestMismatch:
                # A file there has the size and the time, and another content all the same.
                if not force:
                    raise DestinationExists(
                        f"a file of {name!r} on the server differs, of the same size and time",
                        hint="--force replaces it",
                    ) from None
                if flags & AFRESH or attempt == _ATTEMPTS:
                    raise
                flags |= AFRESH
                continue
            finally:
                tree.close()
            result = result_of(completed, upload, name, Path(path), tree.size, clock() - began)
            files = sum(not entry.is_folder for entry in entries)
            return result._replace(files=files)
    raise AssertionError("the last attempt returns or raises")


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
    """A listing as a file to send."""
    fd = os.memfd_create("udpft-listing")
    with open(fd, "wb", closefd=False) as file:
        file.write(listing)
    with SourceFile(fd, os.fstat(fd)) as source:
        source.identity = identity_of(listing)
        yield source
