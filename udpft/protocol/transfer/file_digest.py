"""Digest of a file: XXH3-128 of its chunks' hashes, which may come in any order."""

from __future__ import annotations

from xxhash import xxh3_128

from udpft.protocol.wire.data import HASH_SIZE


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
