"""Ranges of files: into files, and into memory.

A range is a file of its own to the protocol, so it is fetched as one: see `fetch.request`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import index
from typing import TYPE_CHECKING, Final

from udpft.client.fetch import fetch, request
from udpft.errors import RangeNotThere, UsageError, VersionMismatch
from udpft.protocol.params import VERSION
from udpft.protocol.wire.accept import Part
from udpft.protocol.wire.hello import TO_THE_END, Role

if TYPE_CHECKING:
    from udpft.client.connection import Connection
    from udpft.outcome.progress import Progress
    from udpft.outcome.result import Result
    from udpft.storage.destination import Destination

_LARGEST_FIRST: Final = 2**63 - 1


def wanted_of(start: int, stop: int | None) -> tuple[int, int]:
    """Range as HELLO has it, of one as slices have it.

    Args:
        start: its first byte; below 0, counted from the file's end.
        stop: the byte behind it; None for the file's end.

    Raises:
        UsageError: it is empty, or makes no sense.
    """
    try:
        first, behind = index(start), TO_THE_END if stop is None else index(stop)
    except TypeError:
        raise UsageError("a range is of whole numbers") from None
    if first < 0 and stop is not None:
        raise UsageError("a range that counts from the file's end goes to it")
    if not -_LARGEST_FIRST <= first <= _LARGEST_FIRST or behind > TO_THE_END:
        raise UsageError("no file has that many bytes")
    if first >= 0 and behind <= first:
        raise UsageError(f"the range from {first} to {behind} is empty")
    return first, behind


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say of which file the range is not there, and which servers know no ranges."""
    try:
        yield
    except RangeNotThere as error:
        raise RangeNotThere(f"{error}: {name!r}", hint=error.hint) from None
    except VersionMismatch as error:
        if f"version {VERSION} " not in f"{error} ":
            raise
        # It speaks this version, so what it does not know is the role.
        raise VersionMismatch(
            "the server is too old to send a range of a file",
            hint="update udpft there; without a range it sends all of the file",
        ) from None


def fetch_range(
    connection: Connection,
    name: str,
    destination: Callable[[], Destination],
    byte_range: tuple[int, int | None],
    *,
    progress: Progress | None,
) -> Result:
    """Fetch a range of a file to its destination: see `Client.fetch`."""
    wanted = wanted_of(*byte_range)
    with _explained(name):
        return fetch(connection, name, destination, progress=progress, wanted=wanted)


def read_range(
    connection: Connection,
    name: str,
    wanted: tuple[int, int],
    max_bytes: int,
    progress: Progress | None = None,
) -> tuple[bytearray, Part]:
    """Fetch a range of a file into memory: see `Client.fetch_range`.

    Returns:
        The bytes, and where in the file they lie.
    """
    from udpft.client.stream_output import BoundedMemory  # a file goes to a disk without

    target = BoundedMemory(max_bytes, "range")
    with _explained(name):
        download = request(
            connection, name, target, role=Role.RANGE, wanted=wanted, progress=progress
        )[1]
    if progress:
        progress(len(target.data), len(target.data))
    assert download.handshake
    return target.data, download.handshake.accept.part
