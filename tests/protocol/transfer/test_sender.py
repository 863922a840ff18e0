"""Sender at work: first sends, repeats, and how much at a time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.transfer.sending import (
    CHUNK,
    CONTENT,
    IDLE_S,
    NONCE,
    OURS,
    RTT_S,
    THEIRS,
    Data,
    Sending,
    digest_of,
    to_the_end,
    type_of,
)
from udpft.errors import SourceChanged, TimedOut
from udpft.protocol.contract import Completed, Failed
from udpft.protocol.params import (
    DATA_HEADER_SIZE,
    INITIAL_WINDOW_PACKETS,
    MIN_DATAGRAM_SIZE,
)
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.data import send_capacity
from udpft.protocol.wire.error import ErrorCode, decode_error_untrusted
from udpft.protocol.wire.hello import Hello, encode_hello
from udpft.protocol.wire.packet import PacketType, decode_untrusted
from udpft.testing.network import random_bytes

# ------------------------------------------------------------------------------- what it sends


def test_the_first_flight_is_the_initial_window_and_asks_for_an_answer() -> None:
    net = Sending()
    flight = net.data(0.0)
    assert [one.packet for one in flight] == list(range(INITIAL_WINDOW_PACKETS))
    assert [one.chunk for one in flight] == list(range(INITIAL_WINDOW_PACKETS))
    assert b"".join(one.content for one in flight) == CONTENT[: INITIAL_WINDOW_PACKETS * CHUNK]
    assert [one.ack_request for one in flight] == [False] * (INITIAL_WINDOW_PACKETS - 1) + [True]
    assert net.data(0.001) == []


def test_acknowledgements_open_the_window() -> None:
    net = Sending()
    net.ack(net.data(0.0), RTT_S)
    assert len(net.pass_time(RTT_S, RTT_S + 0.01)) >= INITIAL_WINDOW_PACKETS


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 100 * CHUNK, 100 * CHUNK + 7])
def test_every_chunk_is_sent_and_the_digest_is_of_their_hashes(size: int) -> None:
    net = Sending(random_bytes(size))
    now = to_the_end(net)
    assert b"".join(net.chunks[chunk] for chunk in range(net.chunk_count)) == net.source.content
    net.fin_ack(now)
    assert net.events() == [Completed(digest_of(net.source.content))]
    assert net.sender.packets_sent == net.chunk_count
    assert net.sender.packets_resent == 0
    assert net.sender.next_timeout() is None


def test_what_is_lost_is_sent_again_under_new_packet_numbers() -> None:
    net = Sending()
    now = to_the_end(net, lost=frozenset({1, 4, 5, 30}))
    assert sorted(net.chunks) == list(range(net.chunk_count))
    assert net.sender.packets_resent >= 4
    net.fin_ack(now)
    assert isinstance(net.events()[0], Completed)


def test_lost_chunks_go_before_new_ones() -> None:
    net = Sending()
    flight = net.data(0.0)
    net.ack(flight[3:], RTT_S)
    resent = net.data(RTT_S) + [one for _, one in net.pass_time(RTT_S, RTT_S + 0.005)]
    assert [one.chunk for one in resent[:3]] == [0, 1, 2]
    assert [one.packet for one in resent[:3]] == [10, 11, 12]


def test_a_packet_that_few_others_followed_is_taken_for_lost_in_time() -> None:
    # RFC 9002, 6.1.2: 9/8 of the round trip after it left, long before the probe timeout.
    net = Sending()
    flight = net.data(0.0)
    net.ack(flight[:8] + flight[9:], RTT_S)
    resent = [at for at, one in net.pass_time(RTT_S, 2 * RTT_S) if one.chunk == 8]
    assert resent == [pytest.approx(9 / 8 * RTT_S, abs=0.005)]


def test_only_the_largest_packet_named_is_a_sample_of_the_round_trip() -> None:
    net = Sending()
    flight = net.data(0.0)
    net.ack(flight[:2] + flight[3:], RTT_S)
    net.ack(flight[2:3], 1.0)  # the network held it back for a second
    assert net.sender.rtt.latest_s == pytest.approx(RTT_S)


def test_a_chunk_whose_packet_was_late_is_not_sent_again() -> None:
    net = Sending(max_rate_bytes_per_s=1_000)
    flight = [*net.data(0.0), *(one for _, one in net.pass_time(0.0, 0.9))]
    assert len(flight) >= 6
    net.ack(flight[-1:], 1.0)  # all others seem lost
    net.ack(flight[1:], 1.01)  # and only the first one is
    later = [one.chunk for _, one in net.pass_time(1.01, 3.0)]
    assert later[0] == 0
    assert min(later[1:]) > flight[-1].chunk


def a_turn_that_comes_late(*, room: int) -> int:
    """Packets that leave at once where a sender of some rate gets its turn 15 ms late."""
    rate = 25_000 * (CHUNK + DATA_HEADER_SIZE)
    net, now = Sending(random_bytes(4_000 * CHUNK), max_rate_bytes_per_s=rate), 0.0
    while now < 0.05:
        if flight := net.data(now):
            net.ack(flight, now + 0.001, room=room)
        now += 0.001
    net.ack(net.data(now), now + 0.001, room=room)
    assert net.sender.next_timeout() is not None
    transmit = net.sender.poll_transmit(now + 0.016)
    assert transmit
    return len(transmit.data) // transmit.segment_size


def test_a_turn_that_comes_late_is_made_good_as_far_as_the_receiver_has_room() -> None:
    one_send = send_capacity(CHUNK + DATA_HEADER_SIZE)
    assert a_turn_that_comes_late(room=4_000_000) > 2 * one_send
    few = 20
    assert a_turn_that_comes_late(room=few * (CHUNK + DATA_HEADER_SIZE)) <= 2 * few


@given(st.sets(st.integers(0, 60), max_size=30))
def test_any_packets_may_be_lost(lost: set[int]) -> None:
    net = Sending()
    now = 0.0
    while len(net.chunks) < net.chunk_count:
        got = [one for one in net.data(now) if one.packet not in lost]
        if got:
            now += RTT_S
            net.ack(got, now)
        else:
            at = net.sender.next_timeout()
            assert at is not None
            now = max(now, at)
            net.sender.handle_timeout(now)
    assert b"".join(net.chunks[chunk] for chunk in range(net.chunk_count)) == CONTENT


# --------------------------------------------------------------------------------- the prelude

PRELUDE = b"\x83" + bytes(99)


def test_the_prelude_goes_first_and_is_repeated_until_the_peer_is_heard() -> None:
    net = Sending(prelude=PRELUDE)
    first = net.sender.poll_transmit(0.0)
    assert first is not None
    assert bytes(first.data) == PRELUDE
    flight = net.data(0.0)
    at = net.sender.next_timeout()
    assert at is not None
    net.sender.handle_timeout(at)
    assert PRELUDE in net.control(at)
    net.ack(flight, at + 0.1)
    net.sender.repeat_prelude()
    assert PRELUDE not in net.control(at + 0.1)


def test_an_answer_is_asked_for_twice_a_window() -> None:
    net = Sending(random_bytes(4_000 * CHUNK))
    now = 0.0
    flight = net.data(now)
    for _ in range(3):  # beyond the first bursts, which all ask
        now += RTT_S
        net.ack(flight, now)
        flight = net.data(now) + [one for _, one in net.pass_time(now, now + RTT_S)]
    asking = [one.packet - flight[0].packet for one in flight if one.ack_request]
    assert 2 <= len(asking) <= 4
    assert asking[0] < 0.7 * len(flight)


def test_the_prelude_is_repeated_when_the_peer_asks_again() -> None:
    net = Sending(prelude=PRELUDE)
    net.sent(0.0)
    net.sender.repeat_prelude()
    net.sender.repeat_prelude()
    assert net.control(0.05) == [PRELUDE]


def test_a_peer_that_asks_is_told_the_prelude_again_and_counts_as_heard() -> None:
    net = Sending(prelude=PRELUDE)
    net.sent(0.0)
    for nonce, told in ((NONCE ^ 1, []), (NONCE, [PRELUDE])):
        question = encode_hello(Hello(nonce, THEIRS, b"file", CHUNK, 0), MIN_DATAGRAM_SIZE, OURS)
        net.receive(question, 0.1)
        assert net.control(0.1) == told
        assert net.sender.heard == bool(told)
        assert net.sender.spoken_at == (0.1 if told else 0.0)


def test_a_peer_never_heard_of_is_given_up_and_costs_little() -> None:
    net = Sending(prelude=PRELUDE)
    net.sent(0.0)
    assert not net.sender.heard
    last, _ = net.pass_time(0.0, 100.0)[-1]
    assert isinstance(net.failure(), TimedOut)
    assert last <= IDLE_S
    assert net.sender.bytes_sent < 100 * (CHUNK + 24) + 20 * len(PRELUDE)


def test_a_peer_never_heard_of_is_probed_each_three_seconds_in_the_end() -> None:
    net = Sending(prelude=PRELUDE)
    net.sent(0.0)
    now, moments = 0.0, [0.0]
    while (at := net.sender.next_timeout()) is not None and at < IDLE_S - 1:
        now = at
        net.sender.handle_timeout(now)
        data, control = net.sent(now)
        if data or control:
            moments.append(now)
    gaps = [after - before for before, after in pairwise(moments)]
    assert max(gaps) == pytest.approx(3.0)
    assert gaps[-1] == pytest.approx(3.0)


# ---------------------------------------------------------------- numbers that no packet has

LONG = random_bytes(400 * CHUNK)


def sent_up_to_a_skip(net: Sending) -> tuple[float, int]:
    """Acknowledge what comes until a number was skipped; when that is, and the number."""
    now, stop = 0.0, 0
    while True:
        data = net.data(now)
        for one in data:
            if one.packet != stop:
                assert one.packet == stop + 1
                return now, stop
            stop = one.packet + 1
        now += RTT_S
        net.ack(data, now)
        net.sender.handle_timeout(now)


def test_acknowledging_a_number_that_was_skipped_is_a_violation() -> None:
    # RFC 9000, 21.4: whoever acknowledges what has not come cannot know which were never sent.
    net = Sending(LONG)
    now, skipped = sent_up_to_a_skip(net)
    ack = Ack(0.0, 200_000, 0, 0, [(0, skipped + 2)])
    net.receive(encode_ack(ack, OURS, NONCE), now + RTT_S)
    assert "never sent" in str(net.failure())
    [error, *_] = net.control(now + RTT_S)
    refusal = decode_error_untrusted(decode_untrusted(memoryview(error), NONCE))
    assert refusal.code is ErrorCode.VIOLATION


def test_a_receiver_that_tells_what_came_is_served_to_the_end_and_nothing_counts_as_lost() -> None:
    net = Sending(LONG)
    now = to_the_end(net)
    net.fin_ack(now)
    assert net.events() == [Completed(digest_of(LONG))]
    assert net.sender.packets_sent == net.chunk_count
    assert net.sender.packets_resent == 0
    assert net.sender.delivered == net.chunk_count
    assert net.arrived.stop > net.chunk_count  # a number at least was skipped
    fins = [decode_untrusted(memoryview(one), NONCE) for one in net.fins]
    assert fins[-1].aux == net.arrived.stop - net.chunk_count


# ----------------------------------------------------------------------------------- flow control


def test_no_more_is_in_flight_than_the_receiver_has_room_for() -> None:
    net = Sending(random_bytes(1_000 * CHUNK))
    now = 0.0
    for _ in range(6):
        flight = net.data(now) + [one for _, one in net.pass_time(now, now + RTT_S / 2)]
        now += RTT_S
        net.ack(flight, now, room=0)
    flight = net.data(now)
    pipe = net.sender.congestion.bandwidth * net.sender.rtt.min_rtt_s
    assert len(flight) <= max(2, pipe)


def test_after_the_receivers_buffer_overflowed_its_room_is_believed_less() -> None:
    def flight_with(drops: int) -> int:
        net = Sending(random_bytes(1_000 * CHUNK))
        now, size = 0.0, 0
        for turn in range(10):
            flight = net.data(now) + [one for _, one in net.pass_time(now, now + RTT_S / 2)]
            now += RTT_S
            net.ack(flight, now, room=2_000, drops=drops * turn)
            size = len(flight)
        return size

    assert flight_with(drops=1) < flight_with(drops=0)


# ------------------------------------------------------------------------------------ resumption


def test_chunks_that_the_receiver_has_are_hashed_and_not_sent() -> None:
    have = RangeSet([(0, 10), (20, 30), (35, 41)])
    net = Sending(have=have)
    net.chunks = {
        chunk: CONTENT[chunk * CHUNK : (chunk + 1) * CHUNK]
        for start, stop in have
        for chunk in range(start, stop)
    }
    now = to_the_end(net)
    assert net.sender.packets_sent == 15
    net.fin_ack(now)
    assert net.events() == [Completed(digest_of(CONTENT))]


def test_where_the_receiver_has_everything_fin_is_all_that_is_sent() -> None:
    net = Sending(have=RangeSet([(0, 41)]))
    data, control = net.sent(0.0)
    assert data == []
    assert [type_of(d) for d in control] == [PacketType.FIN]
    net.fin_ack(RTT_S)
    assert net.events() == [Completed(digest_of(CONTENT))]


def test_a_source_that_changed_since_is_found_out_while_skipping() -> None:
    net = Sending(have=RangeSet([(0, 41)]))
    net.source.is_changed = True
    net.control(0.0)
    assert isinstance(net.failure(), SourceChanged)


def test_what_may_have_changed_is_compared_before_the_end_a_piece_at_a_time() -> None:
    content = random_bytes(60_000 * CHUNK)
    net = Sending(content, have=RangeSet([(0, 60_000)]))
    net.source.is_suspect = True
    flight: list[Data] = []
    control: list[bytes] = []
    now = 0.0
    while not control:
        assert net.sender.next_timeout() is not None
        now += IDLE_S / 10
        net.sender.handle_timeout(now)
        data, control = net.sent(now)
        flight += data
        net.ack(data, now)
    assert [type_of(one) for one in control] == [PacketType.FIN]
    # The last chunk, and that again as a sign of life.
    assert {one.chunk for one in flight} == {60_000}
    assert len(flight) > 3
    net.fin_ack(now)
    assert net.events() == [Completed(digest_of(content))]


def test_what_has_changed_inside_is_no_file_that_was_there() -> None:
    net = Sending()
    net.source.is_suspect = True
    net.ack(net.data(0.0), 0.0)
    net.source.content = b"!" + CONTENT[1:]
    now = 0.0
    while not (events := net.events()):
        data, control = net.sent(now)
        assert PacketType.FIN not in map(type_of, control)
        now += RTT_S
        net.ack(data, now)
    assert isinstance(events[0], Failed)
    assert isinstance(events[0].error, SourceChanged)


def test_what_is_skipped_is_read_a_piece_at_a_time() -> None:
    # Other transfers wait meanwhile: a poll does a bounded piece of work, and asks for another.
    content = random_bytes(20_000 * CHUNK)
    net = Sending(content, have=RangeSet([(0, 20_000)]))
    polls = 0
    while not net.sent(0.0)[1]:
        assert net.sender.next_timeout() is not None
        polls += 1
    assert 1 <= polls <= 50


def test_skipping_is_progress_however_long_it_takes() -> None:
    # A disk may read for longer than the idle timeout what need not be sent.
    net = Sending(random_bytes(20_000 * CHUNK), have=RangeSet([(0, 20_000)]))
    now = 0.0
    while not net.sent(now)[1]:
        now += IDLE_S / 2
        net.sender.handle_timeout(now)
        assert net.events() == []
    assert now > IDLE_S


# ------------------------------------------------------------------------------------- the rate


@pytest.mark.parametrize("rate", [2_000, 50_000])
def test_a_rate_limit_holds_from_the_first_packet_on(rate: int) -> None:
    net = Sending(random_bytes(1_000 * CHUNK), max_rate_bytes_per_s=rate)
    now, sent = 0.0, 0
    for _ in range(50):
        flight = net.data(now) + [one for _, one in net.pass_time(now, now + RTT_S)]
        now += RTT_S
        sent += len(flight) * (CHUNK + 24)
        if flight:
            net.ack(flight, now)
    assert sent <= 1.05 * rate * now + INITIAL_WINDOW_PACKETS * (CHUNK + 24)
