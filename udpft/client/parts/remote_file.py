"""File on a server as a binary file object that seeks: what is read is fetched, range by range."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from udpft.client.parts.ranges import read_range
from udpft.errors import RangeNotThere, SourceChanged
from udpft.protocol.wire.accept import Part

if TYPE_CHECKING:
    from udpft.client.connection import Connection

FIRST_READ_BYTES: Final = 64 << 10
"""Bytes that are fetched at once after a seek, or a block that was asked for if that is more."""

_BUFFER_BYTES: Final = 64 << 10


class _RangeReader(io.RawIOBase):
    """Unbuffered file object of a file on a server, each of whose blocks is a verified range.

    Args:
        fetch: fetches a range, given by its first byte and the one behind it.
        read_ahead: bytes that are fetched at once, at most, beyond what is asked for.

    Attributes:
        part: of the first block: the file's size, and its identity, which all others must have.
        _at: position, in bytes.
        _block: the last block.
        _block_at: where in the file it begins.
        _ahead: bytes that the next block has at least; doubles with each that follows on the last.
    """

    def __init__(
        self, fetch: Callable[[int, int], tuple[bytearray, Part]], read_ahead: int
    ) -> None:
        self._fetch = fetch
        self._most = read_ahead
        self._at = self._block_at = 0
        self._ahead = min(FIRST_READ_BYTES, read_ahead)
        self._block, self.part = fetch(0, max(1, self._ahead))

    def readable(self) -> Literal[True]:
        """Return True."""
        return True

    def seekable(self) -> Literal[True]:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        self._check_open()
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position, and return it. It may lie behind the end."""
        self._check_open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.part.file_size}
        if whence not in bases:
            raise ValueError(f"invalid whence: {whence}")
        at = bases[whence] + offset
        if at < 0:
            raise ValueError(f"negative position: {at}")
        self._at = at
        return at

    def readinto(self, buffer: Any, /) -> int:
        """Read as many bytes as are at hand, or one block is; return how many."""
        self._check_open()
        with memoryview(buffer).cast("B") as view:
            count = min(len(view), self.part.file_size - self._at)
            if count <= 0:
                return 0
            skip = self._at - self._block_at
            if not 0 <= skip < len(self._block):
                self._fetch_block(count)
                skip = 0
            count = min(count, len(self._block) - skip)
            view[:count] = self._block[skip : skip + count]
        self._at += count
        return count

    def readall(self) -> bytes:
        """Read all that is left, in one range."""
        self._check_open()
        skip, rest = self._at - self._block_at, b""
        if 0 <= skip < len(self._block):
            rest = bytes(self._block[skip:])
            self._at += len(rest)
        if self._at < self.part.file_size:
            rest += self._fetched(self._at, self.part.file_size)
            self._at = self.part.file_size
        return rest

    def _fetch_block(self, wanted: int) -> None:
        follows = self._at == self._block_at + len(self._block)
        self._ahead = min(2 * self._ahead, self._most) if follows else FIRST_READ_BYTES
        stop = self._at + max(wanted, min(self._ahead, self._most))
        self._block = self._fetched(self._at, min(stop, self.part.file_size))
        self._block_at = self._at

    def _fetched(self, first: int, stop: int) -> bytearray:
        """Fetch a range of the version of the file that was opened.

        Raises:
            SourceChanged: the file is another one by now.
        """
        try:
            data, part = self._fetch(first, stop)
        except RangeNotThere:
            part = None
        if part is None or part._replace(first=0) != self.part or len(data) != stop - first:
            raise SourceChanged(
                "the file changed on the server while it was read", hint="open it again"
            )
        return data

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")


class RemoteFile(io.BufferedReader):
    """File on a server, read by ranges; `Client.open` makes one.

    It seeks as any binary file does, and reads ahead where it is read on. Each block is verified
    before any of it is returned; all are of one version of the file.

    Attributes:
        size: bytes of the file.
    """

    def __init__(self, reader: _RangeReader, name: str) -> None:
        super().__init__(reader, _BUFFER_BYTES)
        self.size = reader.part.file_size
        self._name = name

    @property
    def name(self) -> str:
        """The file's name on the server."""
        return self._name

    @property
    def identity(self) -> int:
        """The version of the file that is read: another one has another."""
        reader = self.raw
        assert isinstance(reader, _RangeReader)
        return reader.part.file_identity


def open_ranges(connection: Connection, name: str, read_ahead: int) -> RemoteFile:
    """Open a file on the server: see `Client.open`."""

    def fetched(first: int, stop: int) -> tuple[bytearray, Part]:
        return read_range(connection, name, (first, stop), stop - first)

    return RemoteFile(_RangeReader(fetched, read_ahead), name)
