"""Chunk queue of a file: the chunks that are due, their bytes, and the digest of them all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_digest, xxh3_128

from udpft.errors import SourceChanged
from udpft.protocol.contract import NotReady
from udpft.protocol.params import MAX_BURST_BYTES
from udpft.protocol.ranges import RangeSet
from udpft.protocol.transfer.chunk_queue import ChunkQueue
from udpft.protocol.transfer.file_digest import SEGMENT_CHUNKS
from udpft.protocol.wire.data import BurstWriter, chunk_hashes
from udpft.testing.network import MemorySource, random_bytes

CHUNK = 64
CONTENT = random_bytes(20 * CHUNK + 5)


class ReadsCounted(MemorySource):
    """Remembers the reads: (offset, bytes)."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.reads: list[tuple[int, int]] = []

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        self.reads.append((offset, sum(map(len, slots))))
        return super().readv(slots, offset)


def supply_of(
    content: bytes = CONTENT, *, have: RangeSet | None = None
) -> tuple[ChunkQueue, ReadsCounted]:
    source = ReadsCounted(content)
    writer = BurstWriter(CHUNK, bytearray(MAX_BURST_BYTES))
    return ChunkQueue(source, len(content), writer, have), source


def digest_of(content: bytes) -> bytes:
    count = len(content) // CHUNK + 1
    hashes = [xxh3_64_digest(content[n * CHUNK : n * CHUNK + CHUNK]) for n in range(count)]
    return xxh3_128(b"".join(hashes)).digest()


def read_on(supply: ChunkQueue, limit: int = 6) -> list[int]:
    """Take, load and hash all that is due; the chunks in the order of their sending."""
    sent: list[int] = []
    while supply.is_due:
        if supply.holds_next:
            supply.pass_over(1)
            continue
        if chunks := supply.take(limit):
            supply.note_hashes(chunks, chunk_hashes(supply.load(chunks)))
            sent += chunks
    return sent


# ---------------------------------------------------------------------------------- what is next


def test_new_chunks_come_in_order_and_end_with_the_short_one() -> None:
    supply, _ = supply_of()
    assert supply.chunk_count == 21
    assert [supply.take(8), supply.take(8), supply.take(8)] == [
        range(8),
        range(8, 16),
        range(16, 21),
    ]
    assert not supply.is_due
    assert not supply.take(8)


def test_lost_chunks_come_first_in_ascending_order() -> None:
    supply, _ = supply_of()
    supply.take(10)
    for chunk in (7, 3, 4, 9):
        supply.note_lost(chunk, chunk + 1)
    assert supply.take(3) == [3, 4, 7]
    assert supply.take(3) == range(9, 10)
    assert supply.take(3) == range(10, 13)


def test_a_run_of_lost_chunks_is_a_range() -> None:
    supply, _ = supply_of()
    supply.take(10)
    supply.note_lost(2, 9)
    assert supply.take(4) == range(2, 6)
    assert supply.take(4) == range(6, 9)


def test_what_arrived_after_all_is_not_sent_again() -> None:
    supply, _ = supply_of()
    supply.take(21)
    supply.note_lost(0, 10)
    supply.note_arrived(3, 5)
    supply.note_first_missing(2)
    assert supply.take(20) == [2, 5, 6, 7, 8, 9]
    supply.note_lost(0, 4)
    assert supply.take(20) == range(2, 4)
    assert not supply.is_due


@given(
    have=st.lists(st.tuples(st.integers(0, 21), st.integers(0, 21)), max_size=4),
    lost=st.lists(st.integers(0, 20), max_size=8),
    limit=st.integers(1, 9),
)
def test_everything_that_the_receiver_lacks_is_sent_and_everything_is_hashed(
    have: list[tuple[int, int]], lost: list[int], limit: int
) -> None:
    held = {chunk for start, stop in have for chunk in range(start, stop)}
    supply, _ = supply_of(have=RangeSet(have))
    assert read_on(supply, limit) == sorted(set(range(21)) - held)
    assert supply.first_pass_over
    for chunk in lost:
        supply.note_lost(chunk, chunk + 1)
    assert read_on(supply, limit) == sorted(set(lost))
    assert supply.digest() == digest_of(CONTENT)


# -------------------------------------------------------------------------------------- reading


def test_each_run_of_chunks_is_one_read() -> None:
    supply, source = supply_of()
    assert b"".join(supply.load(range(4))) == CONTENT[: 4 * CHUNK]
    slots = supply.load([2, 3, 7, 9, 10])
    expected = [CONTENT[n * CHUNK : n * CHUNK + CHUNK] for n in (2, 3, 7, 9, 10)]
    assert list(map(bytes, slots)) == expected
    assert source.reads == [
        (0, 4 * CHUNK),
        (2 * CHUNK, 2 * CHUNK),
        (7 * CHUNK, CHUNK),
        (9 * CHUNK, 2 * CHUNK),
    ]


@pytest.mark.parametrize("excess", [0, 1, CHUNK - 1])
def test_the_last_chunk_has_what_is_left(excess: int) -> None:
    content = random_bytes(3 * CHUNK + excess)
    supply, source = supply_of(content)
    assert bytes(supply.load([0, 3])[-1]) == content[3 * CHUNK :]
    assert len(source.reads) == (2 if excess else 1), "nothing was read for an empty chunk"


def test_a_file_that_became_shorter_is_no_longer_the_same() -> None:
    supply, source = supply_of()
    source.content = CONTENT[: 5 * CHUNK + 1]
    supply.load(range(5))
    with pytest.raises(SourceChanged, match="became shorter") as told:
        supply.load(range(4, 6))
    assert "when nothing writes to it" in told.value.hint
    with pytest.raises(SourceChanged):
        supply.load([0, 20])


def test_a_file_that_changed_has_no_digest() -> None:
    supply, source = supply_of()
    read_on(supply)
    source.is_changed = True
    with pytest.raises(SourceChanged):
        supply.digest()


# ------------------------------------------------------------------------------------- comparing

LONG = random_bytes(3 * SEGMENT_CHUNKS * CHUNK + 5)


def compared(supply: ChunkQueue, source: ReadsCounted) -> int:
    """Compare what is to be compared; return the bytes that were read for it."""
    read_on(supply, 20)
    source.reads.clear()
    while supply.find_suspects():
        assert supply.is_comparing
        before = len(source.reads)
        supply.compare(2)
        assert len(source.reads) <= before + 2
    return sum(length for _, length in source.reads)


@pytest.mark.parametrize("held", [RangeSet(), RangeSet([(0, 40), (90, 3000)])])
def test_what_may_have_changed_and_has_not_is_read_once_more(held: RangeSet) -> None:
    supply, source = supply_of(LONG, have=held)
    source.is_suspect = True
    assert compared(supply, source) == len(LONG)
    assert not supply.is_comparing
    assert supply.digest() == digest_of(LONG)


@pytest.mark.parametrize("at", [0, 1024 * CHUNK, 2047 * CHUNK, len(LONG) - 1])
def test_a_byte_that_changed_is_found(at: int) -> None:
    supply, source = supply_of(LONG)
    read_on(supply, 20)
    source.is_suspect = True
    source.content = LONG[:at] + bytes([LONG[at] ^ 1]) + LONG[at + 1 :]
    with pytest.raises(SourceChanged, match="changed while it was sent") as caught:
        compared(supply, source)
    assert caught.value.hint == "try again when nothing writes to it"


def test_what_has_become_longer_has_not_changed() -> None:
    supply, source = supply_of(LONG)
    source.is_suspect = True
    source.content = LONG + b"one more line"
    assert compared(supply, source) == len(LONG)


def test_what_nobody_suspects_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    supply, source = supply_of(LONG)
    assert compared(supply, source) == 0
    supply, source = supply_of(LONG)
    middle = SEGMENT_CHUNKS * CHUNK
    monkeypatch.setattr(source, "suspects", lambda: [(middle + 5, middle + 6)])
    assert compared(supply, source) == middle


def test_what_was_lost_goes_before_what_is_compared() -> None:
    supply, source = supply_of(LONG)
    source.is_suspect = True
    read_on(supply, 20)
    assert supply.find_suspects()
    supply.note_lost(5, 6)
    assert not supply.is_comparing
    assert supply.take(5) == range(5, 6)
    assert supply.is_comparing
    supply.note_first_missing(supply.chunk_count)
    supply.repeat_last()
    assert supply.take(5) == range(supply.chunk_count - 1, supply.chunk_count)


# ---------------------------------------------------------------------------------- passing over


def test_what_is_held_is_passed_over_a_few_bursts_at_a_time() -> None:
    content = random_bytes(5_000 * CHUNK)
    supply, source = supply_of(content, have=RangeSet([(0, 4_990)]))
    passes = 0
    while supply.holds_next:
        supply.pass_over(2)
        passes += 1
        assert len(source.reads) <= 2 * passes
    assert passes > 3
    assert supply.take(100) == range(4_990, 5_001)


def test_passing_over_stops_where_something_is_missing() -> None:
    supply, _ = supply_of(have=RangeSet([(0, 3), (5, 8)]))
    supply.pass_over(100)
    assert not supply.holds_next
    assert supply.take(10) == range(3, 5)
    assert supply.holds_next


def test_what_was_lost_goes_before_what_is_held() -> None:
    supply, _ = supply_of(have=RangeSet([(4, 8)]))
    supply.take(10)
    supply.note_lost(1, 2)
    assert not supply.holds_next
    assert supply.take(10) == range(1, 2)
    assert supply.holds_next


def test_what_could_not_be_read_is_due_again() -> None:
    supply, _ = supply_of()
    first = supply.take(6)
    supply.put_back(first, lost=False)
    assert supply.take(6) == first
    supply.note_lost(1, 3)
    supply.note_lost(4, 5)
    lost = supply.take(6)
    assert list(lost) == [1, 2, 4]
    supply.put_back(lost, lost=True)
    assert list(supply.take(6)) == [1, 2, 4]
    assert supply.take(6) == range(6, 12)


class ReadyOnce(ReadsCounted):
    """Brings so many reads, and then is not ready."""

    ready = 0

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        if not self.ready:
            raise NotReady
        self.ready -= 1
        return super().readv(slots, offset)


@pytest.mark.parametrize("held", [RangeSet([(0, 4000)]), RangeSet()])
def test_what_was_hashed_before_the_disk_was_not_ready_counts(held: RangeSet) -> None:
    source = ReadyOnce(LONG)
    supply = ChunkQueue(source, len(LONG), BurstWriter(CHUNK, bytearray(MAX_BURST_BYTES)), held)
    source.is_suspect = not held
    if not held:
        source.ready = 1000
        read_on(supply, 20)
        assert supply.find_suspects()
    go_on = supply.pass_over if held else supply.compare
    source.reads.clear()
    for reads in (1, 2):
        source.ready = 1
        go_on(4)
        assert len(source.reads) == reads
        with pytest.raises(NotReady):
            go_on(4)


HOLES = [
    ([(0, 5)], None),
    ([(3, 9), (12, 20)], None),
    ([(4, 8)], RangeSet([(0, 10)])),
    ([(4, 8), (10, 12)], RangeSet([(2, 5), (8, 10), (12, 14)])),
    ([(0, 20)], RangeSet([(0, 20)])),
]


@pytest.mark.parametrize(("holes", "held"), HOLES)
@pytest.mark.parametrize("step", [1, 3, 1 << 16])
def test_holes_are_neither_read_nor_sent_and_hashed_as_zeros(
    monkeypatch: pytest.MonkeyPatch,
    holes: list[tuple[int, int]],
    held: RangeSet | None,
    step: int,
) -> None:
    monkeypatch.setattr("udpft.protocol.transfer.chunk_queue.HOLE_STEP_CHUNKS", step)
    content = bytearray(CONTENT)
    for start, stop in holes:
        content[start * CHUNK : stop * CHUNK] = bytes((stop - start) * CHUNK)
    source = ReadsCounted(bytes(content))
    writer = BurstWriter(CHUNK, bytearray(MAX_BURST_BYTES))
    supply = ChunkQueue(source, len(content), writer, held, RangeSet(holes))
    sent = read_on(supply)
    left_out = RangeSet([*holes, *(held or ())])
    assert sent == [n for n in range(21) if n not in left_out]
    assert supply.first_pass_over
    assert supply.digest() == digest_of(bytes(content))
    read = RangeSet((at // CHUNK, -(-(at + length) // CHUNK)) for at, length in source.reads)
    assert not any(read.around(n) for hole in holes for n in range(*hole))


@pytest.mark.parametrize("hole", [(1024, 3072), (0, 2047)])
def test_what_comes_into_a_hole_under_way_is_found(hole: tuple[int, int]) -> None:
    size = 3 * SEGMENT_CHUNKS * CHUNK + 5
    content = bytearray(random_bytes(size))
    content[hole[0] * CHUNK : hole[1] * CHUNK] = bytes((hole[1] - hole[0]) * CHUNK)
    for changed in (False, True):
        source = MemorySource(bytes(content))
        writer = BurstWriter(CHUNK, bytearray(MAX_BURST_BYTES))
        supply = ChunkQueue(source, size, writer, None, RangeSet([hole]))
        read_on(supply, 100)
        if changed:
            at = (hole[1] - 1) * CHUNK
            source.content = bytes(content[:at]) + b"x" + bytes(content[at + 1 :])
        source.is_suspect = True
        assert supply.find_suspects()
        if changed:
            with pytest.raises(SourceChanged):
                supply.compare(1 << 20)
        else:
            supply.compare(1 << 20)
            assert not supply.find_suspects()
