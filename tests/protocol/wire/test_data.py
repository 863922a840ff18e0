"""DATA bursts: read as they were written, or not at all; never with another content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_digest

from udpft.protocol.contract import Batch
from udpft.protocol.params import (
    CHUNK_ALIGNMENT,
    DATA_HEADER_SIZE,
    MAX_BATCH_BYTES,
    MAX_BURST_BYTES,
    MAX_BURST_PACKETS,
    MAX_CHUNK_SIZE,
    MAX_SEND_BYTES,
    MIN_CHUNK_SIZE,
)
from udpft.protocol.wire.data import (
    ACK_REQUEST,
    HASH_SIZE,
    BurstReader,
    BurstWriter,
    Contents,
    chunk_hashes,
    data_common,
    send_capacity,
)
from udpft.protocol.wire.fin import Fin, encode_fin
from udpft.protocol.wire.packet import PacketType

ID = 0x1234_5678


@dataclass(frozen=True)
class Written:
    """A burst as it goes on the wire, and what must come out of it."""

    chunk_size: int
    datagrams: list[bytes]
    contents: dict[tuple[int, int], bytes]  # of (packet, chunk)
    hashes: bytes
    ack_request: bool


def write(
    chunk_size: int,
    chunks: Sequence[int],
    *,
    last_length: int | None = None,
    first_packet: int = 0,
    ack_request: bool = False,
    connection_id: int = ID,
    seed: int = 0,
) -> Written:
    writer = BurstWriter(chunk_size, bytearray(MAX_BURST_BYTES))
    slots = writer.slots(len(chunks), chunk_size if last_length is None else last_length)
    random = Random(seed)
    for slot in slots:
        slot[:] = random.randbytes(len(slot))
    common = data_common(connection_id)
    last = data_common(connection_id, ACK_REQUEST) if ack_request else common
    data, hashes = writer.seal(common, last, first_packet, chunks, slots)
    size = writer.packet_size
    return Written(
        chunk_size,
        [bytes(data[at : at + size]) for at in range(0, len(data), size)],
        {
            (first_packet + i, chunk): bytes(slot)
            for i, (chunk, slot) in enumerate(zip(chunks, slots, strict=True))
        },
        hashes,
        ack_request,
    )


def read(
    datagrams: Sequence[bytes], chunk_size: int, *, reader: BurstReader | None = None
) -> Contents:
    """Read datagrams of one size, the last one perhaps shorter, as one batch."""
    reader = reader or BurstReader(ID, chunk_size)
    joined = b"".join(datagrams)
    buffer = bytearray(joined + bytes(100))
    return reader.read_untrusted(Batch(buffer, len(joined), len(datagrams[0])))


def contents_of(batch: Contents) -> dict[tuple[int, int], bytes]:
    """What a batch says that it holds; each hash must be its slot's."""
    contents = {}
    for burst in batch.bursts:
        assert burst.hashes == b"".join(xxh3_64_digest(slot) for slot in burst.slots)
        for i, slot in enumerate(burst.slots):
            contents[burst.first_packet + i, burst.first_chunk + i] = bytes(slot)
    return contents


@st.composite
def bursts(draw: st.DrawFn) -> Written:
    """Any chunk size, in order or with gaps, with a last chunk of any length."""
    aligned = st.integers(MIN_CHUNK_SIZE // CHUNK_ALIGNMENT, MAX_CHUNK_SIZE // CHUNK_ALIGNMENT)
    chunk_size = draw(aligned) * CHUNK_ALIGNMENT
    capacity = BurstWriter(chunk_size, bytearray(MAX_BURST_BYTES)).capacity
    count = draw(st.integers(1, capacity))
    first = draw(st.integers(0, 2**32 - 4 * count))
    chunks: Sequence[int] = range(first, first + count)
    if draw(st.booleans()):
        chunks = sorted(Random(first).sample(range(first, first + 3 * count), count))
    return write(
        chunk_size,
        chunks,
        last_length=draw(st.integers(0, chunk_size)),
        first_packet=draw(st.integers(0, 2**32 - 1 - count)),
        ack_request=draw(st.booleans()),
        seed=first,
    )


# -------------------------------------------------------------------------------- round trips


@given(bursts())
def test_a_burst_is_read_as_it_was_written(written: Written) -> None:
    batch = read(written.datagrams, written.chunk_size)
    assert contents_of(batch) == written.contents
    assert not batch.strays
    assert b"".join(burst.hashes for burst in batch.bursts) == written.hashes
    assert batch.bursts[-1].ack_request == written.ack_request


@given(bursts())
def test_it_reads_the_same_datagram_by_datagram(written: Written) -> None:
    reader = BurstReader(ID, written.chunk_size)
    contents: dict[tuple[int, int], bytes] = {}
    for datagram in written.datagrams:
        contents |= contents_of(read([datagram], written.chunk_size, reader=reader))
    assert contents == written.contents


@given(bursts(), st.randoms(use_true_random=False))
def test_it_reads_the_same_with_some_missing_and_in_any_order(
    written: Written, random: Random
) -> None:
    # The kernel joins only datagrams of one size, so the short one stays last.
    *full, last = written.datagrams
    arrived = random.sample(full, random.randint(0, len(full)))
    batch = read([*arrived, last], written.chunk_size)
    expected = {numbers_of(datagram) for datagram in [*arrived, last]}
    assert contents_of(batch) == {n: written.contents[n] for n in expected}
    assert not batch.strays


def numbers_of(datagram: bytes) -> tuple[int, int]:
    return int.from_bytes(datagram[8:12], "little"), int.from_bytes(datagram[12:16], "little")


def test_a_run_is_one_burst_and_a_gap_begins_another() -> None:
    written = write(2048, range(10, 20), first_packet=5)
    whole = read(written.datagrams, 2048)
    assert [(b.first_packet, b.first_chunk, len(b.slots)) for b in whole.bursts] == [(5, 10, 10)]
    gap = read(written.datagrams[:3] + written.datagrams[4:], 2048)
    assert [(b.first_packet, b.first_chunk, len(b.slots)) for b in gap.bursts] == [
        (5, 10, 3),
        (9, 14, 6),
    ]


def test_a_batch_tells_whether_any_of_its_packets_asks_for_an_acknowledgement() -> None:
    first = write(2048, range(3), ack_request=True)
    second = write(2048, range(3, 6), first_packet=3)
    (burst,) = read(first.datagrams + second.datagrams, 2048).bursts
    assert (burst.first_packet, len(burst.slots), burst.ack_request) == (0, 6, True)
    with_a_gap = read(first.datagrams + second.datagrams[1:], 2048).bursts
    assert [burst.ack_request for burst in with_a_gap] == [True, True]
    (burst,) = read(second.datagrams, 2048).bursts
    assert not burst.ack_request


@pytest.mark.parametrize("count", [1, 2, 9])
def test_both_ends_of_a_burst_may_ask_for_an_acknowledgement(count: int) -> None:
    writer = BurstWriter(64, bytearray(MAX_BURST_BYTES))
    common, asking = data_common(ID), data_common(ID, ACK_REQUEST)
    data, _ = writer.seal(common, asking, 0, range(count), writer.slots(count, 64), asking)
    size = writer.packet_size
    packets = [bytes(data[at : at + size]) for at in range(0, len(data), size)]
    asks = [read([packet], 64).bursts[0].ack_request for packet in packets]
    assert asks == [at in (0, count - 1) for at in range(count)]


def test_a_send_buffer_may_be_shared_by_taking_turns() -> None:
    buffer = bytearray(MAX_BURST_BYTES)
    writers = [BurstWriter(size, buffer) for size in (64, 2048, 1176)]
    for turn, writer in enumerate(writers * 2):
        slots = writer.slots(3, writer.chunk_size)
        for slot in slots:
            slot[:] = bytes([turn]) * len(slot)
        common = data_common(ID)
        data, _ = writer.seal(common, common, 0, range(3), slots)
        batch = read([bytes(data[: writer.packet_size])], writer.chunk_size)
        assert contents_of(batch) == {(0, 0): bytes([turn]) * writer.chunk_size}


@pytest.mark.parametrize(
    ("packet_size", "capacity"), [(88, 64), (1_472, 44), (2_072, 31), (16_368, 4)]
)
def test_a_send_takes_what_the_kernel_segments_at_once(packet_size: int, capacity: int) -> None:
    assert send_capacity(packet_size) == capacity
    assert capacity * packet_size <= MAX_SEND_BYTES


@pytest.mark.parametrize("chunk_size", [MIN_CHUNK_SIZE, 1_448, 2_048, MAX_CHUNK_SIZE])
def test_a_burst_is_a_whole_number_of_sends_and_fits_its_buffers(chunk_size: int) -> None:
    writer = BurstWriter(chunk_size, bytearray(MAX_BURST_BYTES))
    assert writer.capacity % writer.send_capacity == 0
    assert writer.capacity <= MAX_BURST_PACKETS
    assert writer.capacity * writer.packet_size <= MAX_BURST_BYTES <= MAX_BATCH_BYTES


def test_chunk_hashes_are_one_after_another() -> None:
    chunks = [b"one", b"", b"three"]
    hashes = chunk_hashes(map(memoryview, chunks))
    assert len(hashes) == 3 * HASH_SIZE
    assert hashes[:HASH_SIZE] == xxh3_64_digest(b"one")


# ------------------------------------------------------------------------------------- damage


@given(bursts(), st.data())
def test_a_damaged_byte_costs_its_own_packet_at_most(written: Written, data: st.DataObject) -> None:
    joined = bytearray(b"".join(written.datagrams))
    at = data.draw(st.integers(0, len(joined) - 1))
    joined[at] ^= data.draw(st.integers(1, 255))
    size = len(written.datagrams[0])
    damaged = [bytes(joined[i : i + size]) for i in range(0, len(joined), size)]
    contents = contents_of(read(damaged, written.chunk_size))
    assert contents.items() <= written.contents.items(), "damage was taken for content"
    untouched = {numbers_of(d) for d in written.datagrams if d in damaged}
    assert untouched <= contents.keys()


@pytest.mark.parametrize("at", range(DATA_HEADER_SIZE + 8))
@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_a_damaged_header_byte_never_changes_what_a_packet_is(at: int, change: int) -> None:
    written = write(64, range(3, 6), first_packet=9)
    datagrams = [bytearray(datagram) for datagram in written.datagrams]
    datagrams[1][at] ^= change
    contents = contents_of(read([bytes(d) for d in datagrams], 64))
    assert contents.items() <= written.contents.items()
    # One bit alone may change unseen: that of the request for an acknowledgement.
    assert len(contents) == (3 if (at, change) == (1, ACK_REQUEST) else 2)


@given(st.binary(max_size=3_000), st.integers(1, 3_000), st.sampled_from([64, 1176, 2048]))
def test_random_bytes_hold_no_data(random: bytes, segment_size: int, chunk_size: int) -> None:
    buffer = bytearray(random.ljust(MAX_BATCH_BYTES, b"\0"))
    batch = BurstReader(ID, chunk_size).read_untrusted(Batch(buffer, len(random), segment_size))
    assert not batch.bursts


@given(bursts(), st.integers(1, 3_000), st.integers(0, MAX_BATCH_BYTES))
def test_a_batch_cut_otherwise_than_it_was_sent_holds_nothing_wrong(
    written: Written, segment_size: int, length: int
) -> None:
    joined = b"".join(written.datagrams)
    buffer = bytearray(joined.ljust(MAX_BATCH_BYTES, b"\0"))
    reader = BurstReader(ID, written.chunk_size)
    contents = contents_of(reader.read_untrusted(Batch(buffer, length, segment_size)))
    for numbers, content in contents.items():
        whole = written.contents[numbers]
        assert content == whole


def test_a_buffer_of_no_whole_number_of_words_is_read() -> None:
    written = write(64, range(3), last_length=5)
    joined = bytearray(b"".join(written.datagrams))
    assert len(joined) % 8
    batch = BurstReader(ID, 64).read_untrusted(Batch(joined, len(joined), 88))
    assert contents_of(batch) == written.contents


def test_nothing_at_all_is_an_empty_batch() -> None:
    assert BurstReader(ID, 64).read_untrusted(Batch(bytearray(), 0, 1)) == Contents([], [])


# ------------------------------------------------------------------------ what is not DATA of ours


def test_data_of_another_transfer_is_none_of_ours() -> None:
    other = write(2048, range(4), connection_id=ID + 1)
    assert not read(other.datagrams, 2048).bursts
    assert not read(other.datagrams[:1], 2048).bursts


def test_a_control_packet_after_data_is_told_apart() -> None:
    # FIN is smaller than a packet of data, so the kernel may join it to the end of a burst.
    written = write(2048, range(4))
    fin = encode_fin(PacketType.FIN, Fin(1, bytes(16)), ID, 0)
    batch = read([*written.datagrams, fin], 2048)
    assert contents_of(batch) == written.contents
    assert batch.strays == [(4 * 2072, len(fin))]


def test_a_damaged_packet_never_changes_how_those_behind_it_are_numbered() -> None:
    damaged = bytearray(write(64, range(1)).datagrams[0])
    damaged[8:16] = bytes([0xFF]) * 8
    pair = [write(64, [10], first_packet=5), write(64, [11], first_packet=7)]
    batch = read([bytes(damaged), *(one.datagrams[0] for one in pair)], 64)
    assert contents_of(batch) == pair[0].contents | pair[1].contents


def test_datagrams_of_another_size_are_told_apart() -> None:
    fin = encode_fin(PacketType.FIN, Fin(1, bytes(16)), ID, 0)
    assert read([fin, fin], 2048).strays == [(0, len(fin)), (len(fin), len(fin))]
    too_long = bytes([PacketType.DATA]) + bytes(2_999)
    assert read([too_long], 2048).strays == [(0, 3_000)]


def test_short_data_joined_to_short_data_is_read_one_by_one() -> None:
    # The last packet of the file, twice: equal datagrams, and not of the transfer's usual size.
    written = write(2048, [7], last_length=100)
    batch = read(written.datagrams * 2, 2048)
    assert [(b.first_packet, b.first_chunk) for b in batch.bursts] == [(0, 7), (0, 7)]


def test_a_batch_of_more_packets_than_we_send_at_once_is_read_too() -> None:
    # A socket gathers what is there; and another sender may have longer bursts.
    datagrams = []
    for first in range(0, 3 * MAX_BURST_PACKETS, MAX_BURST_PACKETS):
        datagrams += write(
            64, range(first, first + MAX_BURST_PACKETS), first_packet=first
        ).datagrams
    contents = contents_of(read(datagrams, 64))
    assert [chunk for _, chunk in contents] == list(range(3 * MAX_BURST_PACKETS))


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1), st.integers(1, 20), st.booleans())
def test_data_is_bound_to_the_nonce(nonce: int, other: int, count: int, in_order: bool) -> None:
    writer = BurstWriter(64, bytearray(MAX_BURST_BYTES), nonce)
    chunks = range(count) if in_order else [2 * n for n in range(count)]
    common = data_common(ID)
    data, hashes = writer.seal(common, common, 5, chunks, writer.slots(count, 64))
    for reader_nonce, expected in ((nonce, hashes), (nonce ^ other, b"")):
        buffer = bytearray(data)
        reader = BurstReader(ID, 64, reader_nonce)
        batch = reader.read_untrusted(Batch(buffer, len(buffer), 88))
        assert b"".join(burst.hashes for burst in batch.bursts) == expected
