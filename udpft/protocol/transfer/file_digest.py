"""Digest of a file: XXH3-128 of its chunks' hashes, which may come in any order.

A digest of each segment of it tells later whether that part of the file is still as it was.
"""

from typing import Final, NamedTuple

from xxhash import xxh3_64_digest, xxh3_128

from udpft.protocol.wire.data import HASH_SIZE

SEGMENT_CHUNKS: Final = 1024
"""Chunks of a segment: it costs 8 bytes for as long as the transfer lasts."""


REPEATS_A_STEP: Final = 1 << 17
"""Chunks alike whose hashes are taken in at once: some 100 microseconds."""


class Repeated(NamedTuple):
    """Run of chunks that are all alike: the hash of each, and their number."""

    chunk_hash: bytes
    chunks: int


class FileDigest:
    """Digest of the chunks from the first one on, up to the first that is missing.

    Attributes:
        chunks: how many chunks it is of by now. The hashes of those beyond a gap wait, 8 bytes
            each, until the gap is filled; those of a run of chunks that are alike take no room.
    """

    __slots__ = ("_digest", "_early", "chunks")

    def __init__(self) -> None:
        self.chunks = 0
        self._digest = xxh3_128()
        # By the number of the first chunk of a run
        self._early: dict[int, bytes | Repeated] = {}

    @property
    def is_behind(self) -> bool:
        """Whether hashes wait that nothing is missing before, so that `advance` is due."""
        return bool(self._early) and self.chunks in self._early

    def add(self, first: int, hashes: bytes) -> None:
        """Take in the hashes of a run of chunks; of each chunk once, in any order."""
        if first != self.chunks:
            self._early[first] = hashes
            return
        self._digest.update(hashes)
        self.chunks += len(hashes) // HASH_SIZE
        if self._early:
            self.advance()

    def add_repeated(self, first: int, run: Repeated) -> None:
        """Take in a run of chunks that are alike, likewise; a long one by calls of `advance`."""
        self._early[first] = run

    def advance(self) -> None:
        """Take in hashes that waited; of a long run of chunks that are alike, some of them."""
        early = self._early
        left = REPEATS_A_STEP
        while left > 0 and self.chunks in early:
            first, waiting = self.chunks, early.pop(self.chunks)
            if isinstance(waiting, Repeated):
                count = min(waiting.chunks, left)
                if count < waiting.chunks:
                    early[first + count] = waiting._replace(chunks=waiting.chunks - count)
                waiting = waiting.chunk_hash * count
                left -= count
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
