"""Digest of a file: XXH3-128 of its chunks' hashes, which may come in any order.

A digest of each segment of it tells later whether that part of the file is still as it was.
"""

from __future__ import annotations

from typing import Final

from xxhash import xxh3_64_digest, xxh3_128

from udpft.protocol.wire.data import HASH_SIZE

SEGMENT_CHUNKS: Final = 1024
"""Chunks of a segment: it costs 8 bytes for as long as the transfer lasts."""


class FileDigest:
    """Digest of the chunks from the first one on, up to the first that is missing.

    Attributes:
        chunks: how many chunks it is of by now. The hashes of those beyond a hole wait, 8 bytes
            each, until the hole is filled.
    """

    __slots__ = ("_digest", "_early", "chunks")

    def __init__(self) -> None:
        self.chunks = 0
        self._digest = xxh3_128()
        self._early: dict[int, bytes] = {}  # by the number of the first chunk of a run

    def add(self, first: int, hashes: bytes) -> None:
        """Take in the hashes of a run of chunks; of each chunk once, in any order."""
        if first != self.chunks:
            self._early[first] = hashes
            return
        self._digest.update(hashes)
        self.chunks += len(hashes) // HASH_SIZE
        early = self._early
        while early and self.chunks in early:
            waiting = early.pop(self.chunks)
            self._digest.update(waiting)
            self.chunks += len(waiting) // HASH_SIZE

    def digest(self) -> bytes:
        """The digest, 16 bytes, of the chunks so far."""
        return self._digest.digest()


class SegmentDigests:
    """Digests of the segments of a file, `SEGMENT_CHUNKS` each, whose hashes come in order.

    Attributes:
        _hashes: of the chunks of the segment that is not full yet.
        _digests: of the segments before it, 8 bytes each.
    """

    __slots__ = ("_digests", "_hashes")

    def __init__(self) -> None:
        self._hashes = bytearray()
        self._digests = bytearray()

    def add(self, hashes: bytes) -> None:
        """Take in the hashes of the chunks that follow."""
        self._hashes += hashes
        size = SEGMENT_CHUNKS * HASH_SIZE
        while len(self._hashes) >= size:
            self._digests += xxh3_64_digest(memoryview(self._hashes)[:size])
            del self._hashes[:size]

    def agrees(self, segment: int, hashes: bytes) -> bool:
        """Tell whether these are the hashes of a segment's chunks, all of them, as they were."""
        digest = self._digests[8 * segment : 8 * segment + 8]
        return xxh3_64_digest(hashes) == digest if digest else hashes == self._hashes
