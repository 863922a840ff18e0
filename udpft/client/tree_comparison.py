"""Comparison of single files of a tree with those on the server, of which only digests cross."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from udpft.client.connection import Connection
from udpft.client.fetch import request
from udpft.errors import DestinationExists, PartialTransfer, ServerBusy, ServerRefused
from udpft.protocol.params import MAX_NAME_BYTES
from udpft.protocol.wire.listing import encode_path
from udpft.storage.destination import Destination

MAX_COMPARED = 256
"""Files that are compared one by one; the digest of the whole tree is cheaper for more of them."""

MAX_COMPARED_DRY = 4_096
"""The same of a dry run, which has no tree to take the digest of."""


class LocalFile(NamedTuple):
    """Local file that is to be compared.

    ``size``: bytes. ``name``: in its folder. ``open_folder``: opens that; the descriptor is valid
    until the next one is opened.
    """

    size: int
    name: str
    open_folder: Callable[[], int]


def compare_files(
    connection: Connection, files: Iterable[tuple[str, LocalFile]], *, limit: int = MAX_COMPARED
) -> Collection[str] | None:
    """Compare local files with those of these paths on the server.

    Returns:
        The paths of those that are the same, byte for byte; None where they are too many, or one
        has a path that is too long to be asked for alone.

    Raises:
        UdpftError: the server is gone, or busy.
    """
    files = list(files)
    too_long = any(len(encode_path(path)) > MAX_NAME_BYTES for path, _ in files)
    if len(files) > limit or too_long:
        return None
    return {path for path, file in files if _is_same(connection, path, file)}


def _is_same(connection: Connection, path: str, file: LocalFile) -> bool:
    """Tell whether a local file is the one on the server. Raises as `compare_files` does."""
    if not file.size:
        return True
    try:
        with Destination(
            file.name,
            force=False,
            follow=False,
            stop=connection.stop,
            folder_fd=file.open_folder(),
        ) as target:
            if not target.compares:
                return False
            request(connection, path, target)
    except ServerBusy:
        raise
    except (DestinationExists, ServerRefused, PartialTransfer, OSError):
        return False
    return True
