"""Fetch into a stream or into memory: all of it, once it is verified, or nothing.

A stream gets no byte before its file is complete and verified. Until then the file is in the
temporary folder.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import IO

from udpft.client.connection import Connection
from udpft.client.fetch import request
from udpft.errors import LocalWriteFailed, UsageError
from udpft.outcome.progress import Progress
from udpft.outcome.result import Result
from udpft.protocol.contract import OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.storage.destination import TEMPORARY_HINT, InMemory
from udpft.units import format_bytes

_BLOCK_BYTES = 1 << 20


def fetch_to(stream: IO[bytes], fetch: Callable[[str], Result]) -> Result:
    """Fetch a file and write it to a stream.

    Args:
        stream: where it goes.
        fetch: fetches it to a path.

    Raises:
        UsageError: the stream takes text, or is closed.
        LocalWriteFailed: it cannot be written.
        UdpftError: from ``fetch``.
    """
    if isinstance(stream, io.TextIOBase):
        raise UsageError("the file object takes text", hint="open it in binary mode")
    if getattr(stream, "closed", False):
        raise UsageError("the file object is closed")
    if isinstance(stream, io.IOBase) and not stream.writable():
        raise UsageError("the file object is open for reading", hint="mode 'wb' opens it to write")
    try:
        folder = TemporaryDirectory(prefix="udpft-")
    except OSError as error:
        raise LocalWriteFailed(
            f"no temporary folder: {error.strerror}", hint=TEMPORARY_HINT
        ) from error
    with folder:
        path = os.path.join(folder.name, "file")
        try:
            result = fetch(path)
        except LocalWriteFailed as error:  # the user has named no such place, and TMPDIR has
            raise LocalWriteFailed(
                f"in the temporary folder: {error}", hint=TEMPORARY_HINT
            ) from error
        try:
            with open(path, "rb") as file:
                copyfileobj(file, stream, _BLOCK_BYTES)
            if hasattr(stream, "flush"):
                stream.flush()
        except (OSError, TypeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LocalWriteFailed(f"cannot write to the file object: {reason}") from error
    return result._replace(local_path="-")


class BoundedMemory(InMemory):
    """A file or a range in memory, of no more bytes than the caller wants.

    Args:
        max_bytes: more is refused.
        what: comes, in a word.
    """

    def __init__(self, max_bytes: int, what: str = "file") -> None:
        super().__init__(max_bytes)
        self._what = what

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Make room. Raises UsageError: it would be more."""
        size = handshake.accept.size
        if size > self.max_bytes:
            raise UsageError(
                f"the {self._what} has {format_bytes(size)}, and {format_bytes(self.max_bytes)} "
                "are wanted at most",
                hint="max_bytes says how many",
            )
        return super().open_sink(handshake)


def read_bytes(
    connection: Connection, name: str, max_bytes: int, progress: Progress | None
) -> bytes:
    """Fetch one file into memory: see `Client.read_bytes`."""
    target = BoundedMemory(max_bytes)
    request(connection, name, target, progress=progress)
    if progress:
        progress(len(target.data), len(target.data))
    return bytes(target.data)
