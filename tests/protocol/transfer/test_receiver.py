"""Receiver: its writes, its acknowledgements, and its verification of the file."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128

from udpft.errors import DigestMismatch, LocalWriteFailed, PartialTransfer, TimedOut
from udpft.protocol.contract import (
    Batch,
    Completed,
    Event,
    Failed,
    OpenedSink,
    TransferIds,
    Verified,
)
from udpft.protocol.params import (
    ACK_EVERY_BYTES,
    DATA_HEADER_SIZE,
    MAX_ACK_DELAY_S,
    MAX_ACK_RANGES,
    MAX_BURST_BYTES,
    READING_BYTES_PER_S,
)
from udpft.protocol.transfer import receiver
from udpft.protocol.transfer.receiver import FileLayout, Receiver
from udpft.protocol.wire.accept import Accept, encode_accept
from udpft.protocol.wire.ack import Ack, decode_ack_untrusted, encode_ack
from udpft.protocol.wire.data import ACK_REQUEST, BurstWriter, chunk_hashes, data_common
from udpft.protocol.wire.error import ErrorCode, Refusal, decode_error_untrusted, encode_error
from udpft.protocol.wire.fin import Fin, decode_fin_untrusted, encode_fin
from udpft.protocol.wire.packet import Packet, PacketType, decode_untrusted
from udpft.testing.network import MemorySink, random_bytes

CHUNK = 64
CONTENT = random_bytes(10 * CHUNK + 5)
OURS, THEIRS, NONCE = 11, 22, 33


class Receiving:
    """A receiver of a file, and a hand that feeds it packets."""

    def __init__(
        self, content: bytes = CONTENT, sink: MemorySink | None = None, room: int = 100_000
    ) -> None:
        self.content = content
        self.sink = sink or MemorySink(len(content))
        self.queue = (room, 0)
        self.receiver = Receiver(
            TransferIds(THEIRS, OURS, NONCE),
            FileLayout.of(len(content), CHUNK),
            OpenedSink(self.sink),
            receive_queue=lambda: self.queue,
            now=0.0,
            idle_timeout_s=10.0,
        )
        self._writer = BurstWriter(CHUNK, bytearray(MAX_BURST_BYTES), NONCE)

    @property
    def burst_packets(self) -> int:
        return self._writer.capacity

    def chunk(self, number: int) -> bytes:
        return self.content[number * CHUNK : (number + 1) * CHUNK]

    @property
    def hashes(self) -> bytes:
        numbers = range(len(self.content) // CHUNK + 1)
        return chunk_hashes(memoryview(self.chunk(number)) for number in numbers)

    def data(self, packet: int, chunks: Sequence[int], *, ack_request: bool = False) -> bytes:
        """Consecutive packets with the file's chunks."""
        slots = self._writer.slots(len(chunks), len(self.chunk(chunks[-1])))
        for slot, number in zip(slots, chunks, strict=True):
            slot[:] = self.chunk(number)
        common = data_common(OURS, ACK_REQUEST if ack_request else 0)
        data, _ = self._writer.seal(data_common(OURS), common, packet, chunks, slots)
        return bytes(data)

    def receive(self, datagrams: bytes, now: float, *, segment_size: int = 0) -> None:
        size = segment_size or min(len(datagrams), self._writer.packet_size)
        self.receiver.handle_datagrams(Batch(bytearray(datagrams), len(datagrams), size), now)

    def feed(
        self, packet: int, chunks: Sequence[int], now: float, *, ack_request: bool = False
    ) -> None:
        self.receive(self.data(packet, chunks, ack_request=ack_request), now)

    def feed_all(self, now: float = 0.0) -> None:
        self.feed(0, range(len(self.content) // CHUNK + 1), now)

    def fin(self, *, size: int = -1, digest: bytes = b"", skipped: int = 0) -> bytes:
        size = len(self.content) if size < 0 else size
        fin = Fin(size, digest or xxh3_128(self.hashes).digest())
        return encode_fin(PacketType.FIN, fin, OURS, NONCE, skipped)

    def sent(self, now: float) -> list[Packet]:
        packets = []
        while transmit := self.receiver.poll_transmit(now):
            packets.append(decode_untrusted(memoryview(bytes(transmit.data)), NONCE))
        assert all(packet.connection_id == THEIRS for packet in packets)
        return packets

    def ack(self, now: float) -> Ack | None:
        """The one acknowledgement that is due, or None."""
        packets = self.sent(now)
        if not packets:
            return None
        [packet] = packets
        assert packet.type is PacketType.ACK
        return decode_ack_untrusted(packet)

    def events(self) -> list[Event]:
        events = []
        while event := self.receiver.poll_event():
            events.append(event)
        return events


# ---------------------------------------------------------------------------- acknowledgements


def test_what_comes_in_order_is_acknowledged_after_a_moment() -> None:
    net = Receiving()
    net.feed(0, [0], 0.998)
    net.ack(0.998)
    net.feed(1, range(1, 3), 1.0)
    assert net.ack(1.0) is None
    moment = net.receiver.next_timeout()
    assert moment == 1.0 + MAX_ACK_DELAY_S
    ack = net.ack(moment)
    assert ack is not None
    assert (ack.ranges, ack.first_missing, ack.room) == ([(0, 3)], 3, 100_000)
    assert ack.ack_delay_s == pytest.approx(MAX_ACK_DELAY_S)
    assert net.ack(moment + 1) is None


def test_a_gap_is_told_at_once() -> None:
    net = Receiving()
    net.feed(0, range(2), 1.0)
    net.ack(1.0 + MAX_ACK_DELAY_S)
    net.feed(4, range(4, 6), 2.0)
    ack = net.ack(2.0)
    assert ack is not None
    assert (ack.ranges, ack.first_missing) == ([(4, 6), (0, 2)], 2)


def test_an_earlier_packet_is_told_at_once() -> None:
    net = Receiving()
    net.feed(1, [1], 1.0)
    net.ack(1.0)
    net.feed(0, [0], 1.1)
    ack = net.ack(1.1)
    assert ack is not None
    assert (ack.ranges, ack.first_missing) == ([(0, 2)], 2)
    assert ack.ack_delay_s == pytest.approx(0.1), "counted from the largest packet's arrival"


def test_the_first_packet_after_a_pause_is_told_at_once() -> None:
    # So that the sender sees the rest of a burst come apart at the bottleneck.
    net = Receiving()
    net.feed(0, [0], 1.0)
    ack = net.ack(1.0)
    assert ack is not None
    assert ack.ranges == [(0, 1)]
    net.feed(1, [1], 1.001)
    assert net.ack(1.001) is None
    net.feed(2, [2], 1.001 + 2 * MAX_ACK_DELAY_S)
    assert net.ack(1.001 + 2 * MAX_ACK_DELAY_S) is not None


def test_what_the_sender_asks_for_is_told_at_once() -> None:
    net = Receiving()
    net.feed(0, range(2), 1.0, ack_request=True)
    assert net.ack(1.0) is not None


@pytest.mark.parametrize(("room", "due"), [(100_000, 50_000), (1 << 30, ACK_EVERY_BYTES)])
def test_much_is_told_at_once_and_in_time_for_a_small_buffer(room: int, due: int) -> None:
    net = Receiving(random_bytes(2 * due), room=room)
    packets = due // (CHUNK + DATA_HEADER_SIZE)
    step = net.burst_packets
    net.feed(0, [0], 0.998)
    assert net.ack(0.998) is not None
    for first in range(1, packets, step):
        net.feed(first, range(first, min(first + step, packets)), 1.0)
    assert net.ack(1.0) is None
    net.feed(packets, [packets], 1.001)
    assert net.ack(1.001) is not None


def test_each_range_is_repeated_for_a_while_and_then_left_out() -> None:
    net = Receiving(random_bytes(400 * CHUNK))
    reports = []
    for packet in range(1, 101, 2):  # every second packet is lost
        net.feed(packet, [packet], packet * 0.01)
        ack = net.ack(packet * 0.01)
        assert ack is not None
        reports.append(ack.ranges)
    for packet in range(1, 81, 2):
        told = sum((packet, packet + 1) in ranges for ranges in reports)
        assert 8 <= told <= 20
    assert max(map(len, reports)) <= MAX_ACK_RANGES


def test_an_old_packet_that_comes_late_is_reported_or_forgotten_but_never_invented() -> None:
    net = Receiving(random_bytes(2_000 * CHUNK))
    for packet in range(0, 1_000, 2):
        net.feed(packet, [packet], 1.0)
    net.ack(1.0)
    net.feed(1, [1], 2.0)
    ack = net.ack(2.0)
    assert ack is not None
    arrived = {1, *range(0, 1_000, 2)}
    assert {n for start, stop in ack.ranges for n in range(start, stop)} <= arrived


def test_the_sockets_room_and_drops_are_reported() -> None:
    net = Receiving()
    net.queue = (12_345, 6)
    net.feed(1, [1], 1.0)
    ack = net.ack(1.0)
    assert ack is not None
    assert (ack.room, ack.drops) == (12_345, 6)


def test_before_any_packet_there_is_nothing_to_acknowledge() -> None:
    net = Receiving()
    net.receive(net.fin(), 1.0)
    assert net.sent(1.0) == []


# --------------------------------------------------------------------------------- the content


@given(st.permutations(range(11)), st.lists(st.integers(0, 10), max_size=10))
def test_chunks_in_any_order_and_repeated_make_the_file(order: list[int], again: list[int]) -> None:
    net = Receiving()
    net.receive(net.fin(), 0.0)
    for packet, chunk in enumerate([*order[:6], *again, *order[6:]]):
        if not net.receiver.complete:
            net.feed(packet, [chunk], 0.0)
    assert net.receiver.complete
    assert net.events() == [Verified(xxh3_128(net.hashes).digest())]
    assert net.sink.content == net.content
    assert net.receiver.bytes_received == net.sink.written == len(net.content)


def test_a_chunk_is_written_once() -> None:
    net = Receiving()
    net.feed(0, range(4), 0.0)
    net.feed(4, range(2, 6), 0.0)
    assert net.sink.written == 6 * CHUNK
    assert net.receiver.duplicate_packets == 2
    assert net.receiver.resent_packets == 2


@pytest.mark.parametrize("size", [10 * CHUNK, 10 * CHUNK + 5])
def test_a_chunk_of_a_length_that_its_place_does_not_have_is_dropped(size: int) -> None:
    net = Receiving(random_bytes(size))
    longer = Receiving(random_bytes(12 * CHUNK))
    net.receive(longer.data(0, [10]), 1.0)  # the last one, too long
    net.receive(longer.data(1, [11]), 1.0)  # one beyond the end
    shorter = Receiving(random_bytes(5 * CHUNK + 3))
    net.receive(shorter.data(2, [5]), 1.0)  # one in the middle, too short
    assert net.sink.written == 0
    assert net.sent(2.0) == []


def test_a_packet_number_that_no_ack_can_carry_is_dropped() -> None:
    net = Receiving()
    net.feed(2**32 - 1, [0], 1.0, ack_request=True)
    assert net.sink.written == 0
    assert net.sent(1.0) == []


def test_data_of_another_transfer_is_dropped() -> None:
    net = Receiving()
    alien = bytearray(net.data(0, [0]))
    alien[4] ^= 1
    net.receive(bytes(alien), 1.0)
    assert net.sink.written == 0


def test_what_is_present_already_counts_for_the_digest_and_is_not_written() -> None:
    net = Receiving()
    net.receiver.note_held(0, net.hashes[: 4 * 8])
    net.receiver.note_held(6, net.hashes[6 * 8 :])
    net.feed(0, range(4, 6), 0.0)
    assert net.receiver.complete
    net.receive(net.fin(), 0.0)
    assert isinstance(net.events()[0], Verified)
    assert net.sink.written == 2 * CHUNK
    assert net.receiver.resent_packets == 0


class FullSink(MemorySink):
    """A disk with no room."""

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        raise LocalWriteFailed(f"no room for {len(slots)} chunks at {offset}")


def test_a_sink_that_cannot_write_is_for_the_driver_to_handle() -> None:
    net = Receiving(sink=FullSink(0))
    with pytest.raises(LocalWriteFailed):
        net.feed(0, [0], 0.0)


# ------------------------------------------------------------------------------------- the end


def test_the_file_is_confirmed_only_when_the_driver_has_committed_it() -> None:
    net = Receiving()
    net.feed_all()
    net.sent(1.0)
    net.receive(net.fin(), 1.0)
    assert [type(event) for event in net.events()] == [Verified]
    assert PacketType.FIN_ACK not in [packet.type for packet in net.sent(1.0)]
    net.receiver.confirm()
    packets = net.sent(1.0)
    assert {packet.type for packet in packets} == {PacketType.FIN_ACK}
    assert len(packets) >= 2, "one loss, and the sender would not know"
    assert decode_fin_untrusted(packets[0]).size == len(net.content)
    [completed] = net.events()
    assert isinstance(completed, Completed)
    assert completed.confirmed
    assert net.receiver.next_timeout() is None


def test_fin_before_the_last_chunk_waits_for_it_and_asks() -> None:
    net = Receiving()
    net.feed(0, range(10), 0.0)
    net.ack(0.1)
    net.receive(net.fin(), 1.0)
    assert net.events() == []
    ack = net.ack(1.0)
    assert ack is not None
    assert ack.first_missing == 10
    net.feed(10, [10], 2.0)
    assert [type(event) for event in net.events()] == [Verified]


def test_fin_repeated_is_verified_once() -> None:
    net = Receiving()
    net.feed_all()
    net.receive(net.fin(), 1.0)
    net.receive(net.fin(), 1.1)
    assert len(net.events()) == 1


def test_another_digest_fails_the_transfer_and_tells_the_sender() -> None:
    net = Receiving()
    net.feed_all()
    net.receive(net.fin(digest=bytes(16)), 1.0)
    [failed] = net.events()
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, DigestMismatch)
    refusals = [decode_error_untrusted(packet) for packet in net.sent(1.0)]
    assert {refusal.code for refusal in refusals} == {ErrorCode.DIGEST_MISMATCH}
    assert {refusal.nonce for refusal in refusals} == {NONCE}


def test_fin_of_another_size_is_ignored() -> None:
    net = Receiving()
    net.feed_all()
    net.receive(net.fin(size=1), 1.0)
    assert net.events() == []


def test_an_empty_file_is_one_empty_chunk() -> None:
    net = Receiving(b"")
    net.receive(net.fin(), 0.0)
    assert net.events() == []
    net.feed(0, [0], 0.0)
    assert [type(event) for event in net.events()] == [Verified]
    assert net.sink.written == 0


# ----------------------------------------------------------------------------------- failures


def test_nothing_new_for_too_long_ends_it_and_tells_the_sender() -> None:
    net = Receiving()
    net.feed(0, [0], 3.0)
    net.feed(1, [0], 9.0)  # a repeat is nothing new
    net.sent(9.0)
    net.receiver.handle_timeout(12.9)
    assert net.events() == []
    assert net.receiver.next_timeout() == 13.0
    net.receiver.handle_timeout(13.0)
    [failed] = net.events()
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, TimedOut)
    assert failed.error.hint
    assert {packet.type for packet in net.sent(13.0)} == {PacketType.ERROR}


def test_patience_begins_when_what_is_present_has_been_read() -> None:
    net = Receiving()
    net.receiver.note_held(0, net.hashes[: 4 * 8])
    net.receiver.handle_timeout(100.0)  # so long did it take to read
    assert net.events() == []
    assert net.sent(100.0) == []
    assert net.receiver.next_timeout() == 110.0
    net.receiver.handle_timeout(110.0)
    assert isinstance(net.events()[0], Failed)


def test_a_sender_that_reads_what_is_present_may_take_its_time_and_not_for_ever() -> None:
    size = 60 * READING_BYTES_PER_S  # a minute's reading, on a slow disk
    receiver = Receiver(
        TransferIds(THEIRS, OURS, NONCE),
        FileLayout.of(size, 16_344),
        OpenedSink(MemorySink(0)),
        receive_queue=lambda: (0, 0),
        now=0.0,
        idle_timeout_s=10.0,
    )
    receiver.note_held(0, bytes(8 * (size // 16_344)))
    accept = encode_accept(Accept(NONCE, THEIRS, 16_344, size, 0, 1), OURS, 0)
    assert receiver.poll_transmit(0.0) is None
    for now in range(80):
        receiver.handle_datagrams(Batch.of(accept), now)
        receiver.handle_timeout(now)
        assert receiver.ended == (now >= 59 + 10)


def test_a_sender_that_compares_what_it_sent_may_take_its_time_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiver, "READING_BYTES_PER_S", len(CONTENT) / 30)
    net = Receiving()
    net.feed_all(0.0)
    for now in range(1, 60):
        net.feed(10 + now, [10], now)
        net.receiver.handle_timeout(now)
        assert net.receiver.ended == (now >= 29 + 10)


def test_repeats_are_no_sign_of_life_while_something_is_missing() -> None:
    net = Receiving()
    net.feed(0, range(9), 0.0)
    net.feed(10, [8], 9.0)
    net.receiver.handle_timeout(10.0)
    assert net.receiver.ended


@pytest.mark.parametrize("again", [True, False])
def test_another_session_goes_on_with_what_is_here(again: bool) -> None:
    net = Receiving()
    net.feed(0, [0, 1, 5, 6], 0.0)
    net.receiver.change_session(TransferIds(THEIRS, OURS, NONCE), 1.0)
    assert net.sent(1.0) == []
    net.feed(0, [2, 3, 4], 1.1)
    net.feed(3, [0, 7, 8, 9, 10] if again else [7, 8, 9, 10], 1.1)
    assert net.receiver.complete
    assert bytes(net.sink.content) == CONTENT
    assert net.receiver.resent_packets == again


def test_a_packet_number_that_the_sender_skipped_was_no_packet_that_was_lost() -> None:
    net = Receiving()
    net.feed(0, [0, 1, 2], 0.0)
    net.feed(4, [3, 4, 5], 0.0)
    net.feed(8, [2, 6, 7, 8, 9, 10], 0.0)  # 7 was skipped, or lost; 2 came again
    assert net.receiver.resent_packets == 3
    net.receive(net.fin(skipped=2), 0.1)
    assert net.receiver.resent_packets == 1


def test_skipped_numbers_of_a_session_before_stay_uncounted() -> None:
    net = Receiving()
    net.feed(0, [0, 1], 0.0)
    net.feed(3, [2, 3], 0.0)
    net.receive(net.fin(skipped=1), 0.1)
    net.receiver.change_session(TransferIds(THEIRS, OURS, NONCE), 1.0)
    assert net.receiver.resent_packets == 0
    net.feed(0, range(4, 11), 1.1)
    net.receive(net.fin(), 1.2)
    assert net.receiver.resent_packets == 0


def test_the_session_before_is_not_heard() -> None:
    net = Receiving()
    net.feed(0, [0, 1], 0.0)
    net.receiver.change_session(TransferIds(44, OURS + 1, 55), 1.0)
    net.feed(2, [2, 3], 1.1)
    assert net.receiver.bytes_received == 2 * CHUNK
    assert net.receiver.heard_at == 1.0


def test_an_error_from_the_sender_ends_it_without_an_answer() -> None:
    net = Receiving()
    refusal = Refusal(NONCE, ErrorCode.SHUTTING_DOWN, "the server is stopping")
    net.receive(encode_error(refusal, OURS), 1.0)
    [failed] = net.events()
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, PartialTransfer)
    assert net.sent(1.0) == []


def test_after_the_end_nothing_has_any_effect() -> None:
    net = Receiving()
    net.receiver.abort(PartialTransfer("enough"))
    net.receiver.abort(PartialTransfer("enough, once more"))
    assert len(net.events()) == 1
    net.sent(1.0)
    net.feed_all(1.0)
    net.receive(net.fin(), 1.0)
    net.receiver.handle_timeout(100.0)
    assert net.events() == []
    assert net.sent(100.0) == []
    assert net.sink.written == 0


def test_what_is_not_for_a_receiver_is_ignored() -> None:
    net = Receiving()
    fin = encode_fin(PacketType.FIN_ACK, Fin(len(net.content), bytes(16)), OURS, NONCE)
    ack = encode_ack(Ack(0.0, 0, 0, 0, [(0, 1)]), OURS, NONCE)
    alien = encode_error(Refusal(NONCE, ErrorCode.CANCELLED, ""), OURS + 1)
    elsewhere = encode_error(Refusal(NONCE + 1, ErrorCode.CANCELLED, ""), OURS)
    for datagram in (fin, ack, alien, elsewhere):
        net.receive(datagram, 1.0)
    assert net.events() == []
    assert net.sent(2.0) == []


@given(st.binary(max_size=400), st.integers(1, 400))
def test_random_bytes_have_no_effect(datagrams: bytes, segment_size: int) -> None:
    net = Receiving()
    net.receive(datagrams, 1.0, segment_size=segment_size)
    assert net.events() == []
    assert net.sent(2.0) == []
    assert net.sink.written == 0


def test_who_does_not_know_the_nonce_writes_nothing_and_ends_nothing() -> None:
    net = Receiving()
    stranger = Receiving()
    stranger._writer = BurstWriter(CHUNK, bytearray(MAX_BURST_BYTES), NONCE ^ 1)
    net.receive(stranger.data(0, range(11), ack_request=True), 1.0)
    lie = Fin(len(net.content), bytes(16))
    net.receive(encode_fin(PacketType.FIN, lie, OURS, NONCE ^ 1), 1.0)
    assert net.sent(2.0) == []
    assert net.sink.written == 0
    net.feed_all(3.0)
    net.receive(net.fin(), 3.0)
    assert len(net.events()) == 1
