"""Queue of a file's chunks that are due to be sent: lost ones first, then new ones, in order.

Each chunk is hashed when it is read for the first time, whether it is sent or the receiver holds
it already; once all were, the digest of the file is known. What may have changed meanwhile is
then read and hashed once more: a file that only grew, or whose name changed, is as it was.
"""

from __future__ import annotations

from typing import Final

from udpft.errors import SourceChanged
from udpft.protocol.contract import ChunkSource, NotReady
from udpft.protocol.ranges import RangeSet
from udpft.protocol.transfer.file_digest import SEGMENT_CHUNKS, FileDigest, SegmentDigests
from udpft.protocol.wire.data import HASH_SIZE, BurstWriter, chunk_hashes

HOLE_STEP_CHUNKS: Final = 1 << 16
"""Chunks of a hole whose hashes are taken in at once: as much work as to hash a burst of others."""

Chunks = range | list[int]
"""Numbers of chunks in ascending order: a range where they are consecutive."""


class ChunkQueue:
    """Which chunks to send next, and their bytes.

    Args:
        source: the file.
        size: its size in bytes.
        writer: the send buffer; chunks are read straight into its slots.
        held: chunks that the receiver holds already: hashed, and not sent.
        holes: chunks that are all zeros, as both ends know: neither read nor sent.

    Attributes:
        size: bytes of the file.
        writer: see above.
        chunk_count: chunks of the file, the last of which may be empty.
    """

    def __init__(
        self,
        source: ChunkSource,
        size: int,
        writer: BurstWriter,
        held: RangeSet | None = None,
        holes: RangeSet | None = None,
    ) -> None:
        self._source = source
        self._holes = holes or RangeSet()
        self._zeros_hash = chunk_hashes([memoryview(bytes(writer.chunk_size))]) if holes else b""
        self._held = RangeSet([*(held or ()), *self._holes])  # or a hole
        self._last_held = self._held.stop - 1
        self._lost = RangeSet()  # to be sent again
        self._first_missing = 0  # all before it have arrived
        self._next = 0  # the first that has neither been sent nor passed over
        self._digest = FileDigest()  # of those that were read once
        self._segments = SegmentDigests()  # the same
        self._suspect: RangeSet | None = None  # segments to be compared; None until all were read
        self._reread = bytearray()  # hashes of the chunks of the first of them, as far as compared
        self.size = size
        self.writer = writer
        self.chunk_count = size // writer.chunk_size + 1

    @property
    def is_due(self) -> bool:
        """Whether any chunk waits to be sent, or passed over."""
        return bool(self._lost) or self._next < self.chunk_count

    @property
    def first_pass_over(self) -> bool:
        """Whether every chunk has been read once, which settles the digest."""
        return self._digest.chunks == self.chunk_count

    @property
    def any_lost(self) -> bool:
        """Whether chunks wait to be sent again."""
        return bool(self._lost)

    @property
    def holds_next(self) -> bool:
        """Whether the receiver holds the next new chunk already, so that `pass_over` is due.

        It is not for a hole that is soon passed over, which `take` does.
        """
        if self._next > self._last_held or self._lost or self._next not in self._held:
            return False
        hole = self._holes.around(self._next)
        return hole is None or hole[1] - self._next > HOLE_STEP_CHUNKS

    @property
    def is_comparing(self) -> bool:
        """Whether chunks wait to be compared with what they were, so that `compare` is due."""
        return self._suspect is not None and bool(self._suspect) and not self._lost

    def digest(self) -> bytes:
        """XXH3-128 of the hashes of all chunks, in order.

        Raises:
            SourceChanged: the file can no longer be read as it was.
        """
        if self._source.changed():
            raise SourceChanged.under_way("changed")
        return self._digest.digest()

    # ------------------------------------------------------------------- what became of them

    def note_lost(self, start: int, stop: int) -> None:
        """Send chunks ``[start, stop)`` again, those that have not arrived otherwise."""
        self._lost.add(max(start, self._first_missing), stop)

    def note_arrived(self, start: int, stop: int) -> None:
        """Chunks ``[start, stop)`` have arrived after all."""
        self._lost.remove(start, stop)

    def note_first_missing(self, chunk: int) -> None:
        """All chunks before this one have arrived."""
        if chunk > self._first_missing:
            self._first_missing = chunk
            if self._lost:
                self._lost.remove(0, chunk)

    # -------------------------------------------------------------------------- what is next

    def take(self, limit: int) -> Chunks:
        """The next chunks to send, up to a number; they count as sent. Perhaps none."""
        if not self._lost:
            if self._next <= self._last_held:
                self._pass_over_hole()
            start = self._next
            stop = min(start + limit, self.chunk_count)
            if start <= self._last_held and start < stop:
                gaps = self._held.holes(start, stop)
                stop = gaps[0][1] if gaps and gaps[0][0] == start else start
            self._next = stop
            return range(start, stop)
        first = range(*self._lost.take(limit))
        if not self._lost or len(first) == limit:
            return first
        chunks = list(first)
        while self._lost and len(chunks) < limit:
            chunks.extend(range(*self._lost.take(limit - len(chunks))))
        return chunks

    def put_back(self, chunks: Chunks, lost: bool) -> None:
        """Take back what `take` gave, for it could not be read yet.

        ``lost``: whether any chunk was lost when it was taken, so that all of these were.
        """
        if not lost:
            self._next = chunks[0]
            return
        for chunk in chunks:
            self._lost.add(chunk, chunk + 1)

    def load(self, chunks: Chunks) -> list[memoryview]:
        """Read chunks into the first slots of the writer, one read for each run; return those.

        Raises:
            SourceChanged: the file has become shorter.
            UdpftError: it cannot be read.
        """
        size = self.writer.chunk_size
        last_length = min(size, self.size - chunks[-1] * size)
        slots = self.writer.slots(len(chunks), last_length)
        at, stop = 0, len(chunks)
        while at < stop:
            end = stop
            if not isinstance(chunks, range):
                end = at + 1
                while end < stop and chunks[end] == chunks[end - 1] + 1:
                    end += 1
            expected = (end - at - 1) * size + len(slots[end - 1])
            run = slots if end - at == stop else slots[at:end]
            if expected and self._source.readv(run, chunks[at] * size) != expected:
                raise SourceChanged.under_way("became shorter")
            at = end
        return slots

    def note_hashes(self, chunks: Chunks, hashes: bytes) -> bool:
        """Take the hashes of chunks into the digest; False where they were read before."""
        if chunks[0] < self._digest.chunks:
            return False
        self._digest.add(chunks[0], hashes)
        self._segments.add(hashes)
        return True

    def pass_over(self, max_bursts: int) -> None:
        """Hash chunks that the receiver holds; some at a time, for other transfers wait too.

        Raises:
            UdpftError: see `load`.
            NotReady: none could be read yet.
        """
        for burst in range(max_bursts):
            if self._pass_over_hole():
                continue
            held = self._held.first_missing(self._next)
            stop = min(held, self._next + self.writer.capacity)
            if stop == self._next:
                return
            if self._holes:
                stop = self._holes.holes(self._next, stop)[0][1]
            chunks = range(self._next, stop)
            try:
                hashes = chunk_hashes(self.load(chunks))
            except NotReady:
                if burst:
                    return
                raise
            self.note_hashes(chunks, hashes)
            self._next = stop

    def _pass_over_hole(self) -> bool:
        """Take in the hashes of the hole that is next, or some of them; whether there is one."""
        hole = self._holes.around(self._next)
        if hole is None:
            return False
        stop = min(hole[1], self._next + HOLE_STEP_CHUNKS)
        chunks = range(self._next, stop)
        self.note_hashes(chunks, self._zeros_hash * len(chunks))
        self._next = stop
        return True

    # --------------------------------------------------------------------- whether it has changed

    def find_suspects(self) -> bool:
        """Ask the source what may have changed; return whether anything waits to be compared.

        Asked once all was read. When all has been compared, it is not asked again.
        """
        if self._suspect is None:
            segment_bytes = SEGMENT_CHUNKS * self.writer.chunk_size
            self._suspect = RangeSet()
            for start, stop in self._source.suspects():
                self._suspect.add(start // segment_bytes, -(-stop // segment_bytes))
        return bool(self._suspect)

    def compare(self, max_bursts: int) -> None:
        """Read and hash what may have changed; some at a time, for other transfers wait too.

        Raises:
            SourceChanged: it has.
            UdpftError: see `load`.
            NotReady: none could be read yet.
        """
        for burst in range(max_bursts):
            if not self._suspect:
                return
            segment = self._suspect.start
            start = segment * SEGMENT_CHUNKS + len(self._reread) // HASH_SIZE
            end = min((segment + 1) * SEGMENT_CHUNKS, self.chunk_count)
            stop = min(start + self.writer.capacity, end)
            try:
                self._reread += chunk_hashes(self.load(range(start, stop)))
            except NotReady:
                if burst:
                    return
                raise
            if stop == end:
                if not self._segments.agrees(segment, bytes(self._reread)):
                    raise SourceChanged.under_way("changed")
                self._reread.clear()
                self._suspect.remove(segment, segment + 1)

    def repeat_last(self) -> None:
        """Send the last chunk again, whether it has arrived or not: a sign of life."""
        self._lost.add(self.chunk_count - 1, self.chunk_count)
