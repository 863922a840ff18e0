"""Acknowledgements of a receiver: the time of each, and the ranges that it names."""

from __future__ import annotations

from math import inf

import pytest

from udpft.protocol.params import ACK_EVERY_BYTES, ACK_REPEATS, MAX_ACK_DELAY_S, MAX_ACK_RANGES
from udpft.protocol.transfer.ack_schedule import AckSchedule
from udpft.protocol.wire.data import Burst

PACKET_SIZE = 2_072
ROOM = 1 << 30  # so large that it sets no pace
EVERY = ACK_EVERY_BYTES // PACKET_SIZE


def schedule(room: int = ROOM, drops: int = 0) -> AckSchedule:
    return AckSchedule(lambda: (room, drops), PACKET_SIZE, now=0.0)


def burst(first: int, count: int, *, ack_request: bool = False) -> Burst:
    slots = [memoryview(bytes(8))] * count
    return Burst(first, first, slots, bytes(8 * count), ack_request)


def in_order(acks: AckSchedule, stop: int, now: float) -> None:
    """Take in all packets up to one, and acknowledge them."""
    acks.note(burst(0, stop), now)
    acks.report(stop, now)


def test_nothing_is_due_before_anything_came() -> None:
    acks = schedule()
    assert not acks
    assert acks.due_at == inf


def test_the_first_packet_and_one_after_a_pause_are_answered_at_once() -> None:
    acks = schedule()
    acks.note(burst(0, 1), 1.0)
    assert acks.due_at == 1.0
    acks.report(1, 1.0)
    assert acks.due_at == inf
    later = 1.0 + 2 * MAX_ACK_DELAY_S
    acks.note(burst(1, 1), later)
    assert acks.due_at == later


def test_packets_in_order_wait_a_moment_for_more() -> None:
    acks = schedule()
    in_order(acks, 10, 1.0)
    acks.note(burst(10, 1), 1.001)
    assert acks.due_at == pytest.approx(1.001 + MAX_ACK_DELAY_S)
    acks.note(burst(11, 1), 1.002)
    assert acks.due_at == pytest.approx(1.001 + MAX_ACK_DELAY_S)  # not put off by those


def test_enough_of_them_are_answered_at_once() -> None:
    acks = schedule()
    in_order(acks, 10, 1.0)
    acks.note(burst(10, EVERY - 1), 1.001)
    assert acks.due_at > 1.001
    acks.note(burst(10 + EVERY - 1, 1), 1.002)
    assert acks.due_at == 1.002


def test_a_small_buffer_is_spoken_of_more_often() -> None:
    acks = schedule(room=20 * PACKET_SIZE)
    in_order(acks, 10, 1.0)
    acks.note(burst(10, 20), 1.001)
    assert acks.due_at == 1.001


@pytest.mark.parametrize(
    "arrived", [burst(12, 1), burst(5, 1), burst(10, 1, ack_request=True)], ids=str
)
def test_a_gap_a_late_packet_and_a_request_are_answered_at_once(arrived: Burst) -> None:
    acks = schedule()
    in_order(acks, 10, 1.0)
    acks.note(arrived, 1.001)
    assert acks.due_at == 1.001


def test_a_report_says_what_came_and_what_is_known_of_the_buffer() -> None:
    acks = schedule(room=12_345, drops=6)
    acks.note(burst(0, 4), 1.0)
    acks.note(burst(6, 2), 1.0)
    ack = acks.report(4, 1.25)
    assert ack.ranges == [(6, 8), (0, 4)]
    assert (ack.room, ack.drops, ack.first_missing) == (12_345, 6, 4)
    assert ack.ack_delay_s == pytest.approx(0.25)
    assert acks.packets_sent == 8


def test_a_range_is_repeated_so_that_a_lost_acknowledgement_costs_nothing() -> None:
    acks = schedule()
    acks.note(burst(0, 1), 0.0)
    named = []
    for at in range(2, 40, 2):
        acks.note(burst(at, 1), 0.0)
        named.append(acks.report(1, 0.0).ranges)
    times = sum((10, 11) in ranges for ranges in named)
    assert times == ACK_REPEATS
    assert all(len(ranges) <= MAX_ACK_RANGES for ranges in named)


def test_a_packet_far_behind_the_newest_is_named_as_often_as_any_other() -> None:
    acks = schedule()
    named = []
    for at in range(0, 1_000, 2):
        acks.note(burst(at, 1), 0.0)
        if at == 500:
            acks.note(burst(101, 1), 0.0)
        named.append(acks.report(1, 0.0).ranges)
    assert sum((100, 103) in ranges for ranges in named) == ACK_REPEATS
    assert all(ranges == sorted(ranges, reverse=True) for ranges in named)
    assert all(ranges[0][1] == 2 * at + 1 for at, ranges in enumerate(named))


def test_more_late_packets_than_a_report_holds_leave_room_for_the_newest() -> None:
    acks = schedule()
    for at in range(0, 1_000, 4):
        acks.note(burst(at, 1), 0.0)
    acks.report(1, 0.0)
    for at in range(402, 1_000, 4):
        acks.note(burst(at, 1), 0.0)
    ranges = acks.report(1, 0.0).ranges
    assert len(ranges) == MAX_ACK_RANGES
    assert ranges[0] == (998, 999)
    assert ranges == sorted(ranges, reverse=True)


def test_what_is_kept_of_disorder_has_a_bound() -> None:
    acks = schedule()
    for at in range(0, 10_000, 2):
        acks.note(burst(at, 1), 0.0)
    acks.report(1, 0.0)
    acks.note(burst(1, 1), 0.0)
    assert acks.report(1, 0.0).ranges[-1] == (1, 2), "its neighbours are forgotten"


def vanishing(together: int) -> AckSchedule:
    """Bursts of ten are lost whole, and the single packets between them arrive."""
    acks = schedule()
    acks.note(burst(0, together), 0.0)
    for at in range(12, 100, 11):
        acks.note(burst(at, 1), 0.0)
        acks.report(0, 0.0)
    return acks


def test_where_only_what_comes_alone_arrives_bundles_vanish() -> None:
    assert vanishing(1).bundles_vanish
    assert not vanishing(3).bundles_vanish, "some have come together"


def test_loss_of_half_of_the_packets_is_no_bundle() -> None:
    acks = schedule()
    for at in range(0, 200, 2):
        acks.note(burst(at, 1), 0.0)
        acks.report(0, 0.0)
    assert not acks.bundles_vanish


def test_another_session_begins_with_packet_0() -> None:
    acks = schedule()
    in_order(acks, 10, 1.0)
    acks.note(burst(3, 1), 1.0)
    acks.begin_again(2.0)
    assert not acks
    assert acks.packets_sent == 10
    acks.note(burst(0, 3), 2.0)
    assert acks.report(0, 2.0).ranges == [(0, 3)]
    assert acks.packets_sent == 13


def test_one_that_falls_due_in_a_rest_waits_for_what_comes_in_it() -> None:
    acks = AckSchedule(lambda: (ROOM, 0), PACKET_SIZE, now=0.0, rtt_s=0.05)
    stop, now, told = 0, 0.0, 0
    while now < 1.0:
        now = max(now + 0.000_5, acks.rest_until)
        acks.note(burst(stop, 4), now)
        stop += 4
        acks.rest(4, 100_000, now)
        if acks.due_at > now:
            told += acks.rest_until > now
            assert acks.due_at >= acks.rest_until
        else:
            acks.report(stop, now)
    assert told > 100
