"""Journal of a part file: the source that it is a part of, and a hash of each chunk it holds.

Theory of operation
-------------------
The journal stands in the part file, behind the data::

    0                 size     next multiple of 4096              end - 48      end
    | data ...            | 0 ... | table: 8 bytes for each chunk | label       |

The *label* names the source and the chunk size, and with them the place of everything. The
*table* holds the hash of each chunk that was written, and zeros for one that was not. A hash is
written behind its data, and neither waits for the disk: a killed process loses nothing that way,
for the kernel has both, and a power cut loses what was not synced (`sync.BackgroundSync`).

That does no harm, because nothing of it is believed. Before a part is gone on with, every chunk is
read and hashed, and is held if that gives the table's hash. Data without its entry, an entry
without its data, a torn write, a bad sector: all of them are chunks that are fetched again. What
is no label, or one that the file's length does not bear out, is no journal.
"""

import errno
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple, Self

from xxhash import xxh3_64_intdigest

from udpft.protocol.contract import SparseMap
from udpft.protocol.params import (
    CHUNK_ALIGNMENT,
    MAX_BURST_BYTES,
    MAX_CHUNK_SIZE,
    MAX_CHUNKS,
    MIN_CHUNK_SIZE,
)
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.data import HASH_SIZE, chunk_hashes

JOURNAL_MIN_BYTES: Final = 1 << 20
"""Files below this size have no journal: they are fetched again as fast as they are checked."""

_MAGIC: Final = b"udpft-1\n"  # a journal laid out otherwise has another number
_PAGE: Final = 4096
_TABLE_STEP: Final = 1 << 16
"""Bytes of the table that are looked at in one go."""

# Label: magic 8 bytes, chunk size u32, reserved u32, size u64, mtime in ns i64, identity u64
_LABEL: Final = struct.Struct("<8sIIQqQ")
# Check: u64, XXH3-64 of the label
_CHECK: Final = struct.Struct("<Q")
LABEL_SIZE: Final = _LABEL.size + _CHECK.size


Read = Callable[[Sequence[memoryview], int], int]
"""Fills buffers with the bytes from an offset on, as os.preadv does; raises OSError."""


class MalformedJournal(Exception):
    """Malformed label: damaged, of another version, or not of its file. The part is worthless."""


class Label(NamedTuple):
    """Label of a part file: the source that it is a part of.

    ``size``, ``mtime_ns``, ``identity``: the source's, as ACCEPT tells them. ``chunk_size``:
    bytes of the chunks whose hashes the table holds.
    """

    size: int
    mtime_ns: int
    identity: int
    chunk_size: int

    @property
    def chunk_count(self) -> int:
        """Number of chunks that hold something: all but an empty last one."""
        return -(-self.size // self.chunk_size)

    @property
    def table_at(self) -> int:
        """Offset of the table: on a page of its own, so that data and table share none."""
        return -(-self.size // _PAGE) * _PAGE

    @property
    def total_bytes(self) -> int:
        """Length of the part file, its journal included."""
        return self.table_at + HASH_SIZE * (self.chunk_count + 1) + LABEL_SIZE

    def needed_bytes(self, sparse_map: SparseMap) -> int:
        """Room that the part file needs: where there are holes, that of the data and its hashes."""
        if not sparse_map.holes:
            return self.total_bytes
        data_bytes = min(self.size, sparse_map.data_bytes)
        return data_bytes + HASH_SIZE * (data_bytes // self.chunk_size) + _PAGE


def encode_label(label: Label) -> bytes:
    """Write a label, `LABEL_SIZE` bytes."""
    packed = _LABEL.pack(_MAGIC, label.chunk_size, 0, label.size, label.mtime_ns, label.identity)
    return packed + _CHECK.pack(xxh3_64_intdigest(packed))


def decode_label_untrusted(data: bytes) -> Label:
    """Read a label.

    Raises:
        MalformedJournal: of another length or version, damaged, or of a file that cannot be.
    """
    if len(data) != LABEL_SIZE:
        raise MalformedJournal("of another length")
    magic, chunk_size, _, size, mtime_ns, identity = _LABEL.unpack_from(data)
    if magic != _MAGIC:
        raise MalformedJournal("of another version")
    if xxh3_64_intdigest(data[: _LABEL.size]) != _CHECK.unpack_from(data, _LABEL.size)[0]:
        raise MalformedJournal("its check is wrong")
    if not MIN_CHUNK_SIZE <= chunk_size <= MAX_CHUNK_SIZE or chunk_size % CHUNK_ALIGNMENT:
        raise MalformedJournal("chunks of no possible size")
    if size // chunk_size >= MAX_CHUNKS:
        raise MalformedJournal("more chunks than there can be")
    return Label(size, mtime_ns, identity, chunk_size)


class Journal:
    """Journal of an open part file, which it does not close.

    Made by `begin` or `read_untrusted`. `note` is for the fast path: one write a burst.

    Attributes:
        label: the source and the chunk size; never changes.
        _fd: descriptor of the part file.
        _table_at: offset of the table in bytes; never changes.
    """

    __slots__ = ("_fd", "_table_at", "label")

    def __init__(self, fd: int, label: Label) -> None:
        self._fd = fd
        self._table_at = label.table_at
        self.label = label

    @classmethod
    def begin(cls, fd: int, label: Label) -> Self:
        """Write the label of a part file whose table is all zeros. Raises OSError."""
        encoded = encode_label(label)
        written = os.pwrite(fd, encoded, label.total_bytes - len(encoded))
        if written != len(encoded):
            raise OSError(errno.EIO, "nothing more is taken")
        return cls(fd, label)

    @classmethod
    def read_untrusted(cls, fd: int) -> Self:
        """Read the journal of a part file that an earlier transfer left.

        Raises:
            MalformedJournal: it has none, or a damaged one.
            OSError: the file cannot be read.
        """
        length = os.fstat(fd).st_size
        if length < LABEL_SIZE:
            raise MalformedJournal("too short")
        label = decode_label_untrusted(os.pread(fd, LABEL_SIZE, length - LABEL_SIZE))
        if label.total_bytes != length:
            raise MalformedJournal("of a file of another length")
        return cls(fd, label)

    def note(self, first_chunk: int, hashes: bytes) -> None:
        """Write the hashes of chunks whose data was written. Raises OSError."""
        at = self._table_at + HASH_SIZE * first_chunk
        written = os.pwrite(self._fd, hashes, at)
        while written < len(hashes):
            step = os.pwrite(self._fd, hashes[written:], at + written)
            if not step:
                raise OSError(errno.EIO, "nothing more is taken")
            written += step

    def check(self, read: Read | None = None) -> RangeSet:
        """Read the data, and return the chunks whose hashes are those in the table.

        A chunk that cannot be read is not held. ``read`` reads data that is not in the journal's
        file.
        """
        label, found = self.label, RangeSet()
        read = read or partial(os.preadv, self._fd)
        step = MAX_BURST_BYTES // label.chunk_size
        buffer = memoryview(bytearray(step * label.chunk_size))
        for first, expected in self._table(0, label.chunk_count, step):
            if not expected.strip(b"\0"):
                continue  # a hole in the data, most likely: it need not be read
            try:
                count = len(expected) // HASH_SIZE
                hashes = hash_chunks(read, label.size, label.chunk_size, first, count, buffer)
            except OSError:
                continue
            if hashes == expected:
                found.add(first, first + count)
                continue
            for at in range(0, len(expected), HASH_SIZE):
                if hashes[at : at + HASH_SIZE] == expected[at : at + HASH_SIZE]:
                    found.add(first + at // HASH_SIZE, first + at // HASH_SIZE + 1)
        return found

    def hashes(self, chunks: RangeSet) -> Iterator[tuple[int, bytes]]:
        """Iterate over the table's hashes of chunks: runs, each with the number of its first.

        Raises:
            OSError: the file cannot be read.
        """
        for start, stop in chunks:
            yield from self._table(start, stop, _TABLE_STEP // HASH_SIZE)

    def _table(self, start: int, stop: int, step: int) -> Iterator[tuple[int, bytes]]:
        for first in range(start, stop, step):
            length = HASH_SIZE * (min(stop, first + step) - first)
            entries = os.pread(self._fd, length, self._table_at + HASH_SIZE * first)
            if len(entries) != length:
                raise OSError(errno.EIO, "it became shorter")
            yield first, entries


def hash_chunks(
    read: Read, size: int, chunk_size: int, first: int, count: int, buffer: memoryview
) -> bytes:
    """Hash chunks of a file.

    Args:
        read: fills buffers from an offset on, and returns the bytes read.
        size: the file's bytes.
        chunk_size: bytes of a chunk.
        first: number of the first chunk.
        count: of chunks, none of them empty.
        buffer: holds them all.

    Raises:
        OSError: it cannot be read.
    """
    length = min(count * chunk_size, size - first * chunk_size)
    if read([buffer[:length]], first * chunk_size) != length:
        raise OSError(errno.EIO, "it became shorter")
    return chunk_hashes(
        buffer[at : min(at + chunk_size, length)] for at in range(0, length, chunk_size)
    )
