"""Length of bursts: what the rate, the path and its queue allow to leave together."""

from __future__ import annotations

import pytest

from udpft.protocol.params import INITIAL_WINDOW_PACKETS
from udpft.protocol.recovery.burst_length import MIN_BURST_PACKETS, BurstLength

RATE = 8_000.0  # packets per second: 100 Mbit/s


def test_a_short_path_takes_a_milliseconds_worth_and_a_far_one_less() -> None:
    bursts = BurstLength()
    assert bursts.longest(1e6, 0.000_1) == pytest.approx(1_000)
    assert bursts.longest(1e6, 0.002) == pytest.approx(500)
    assert bursts.longest(1e6, 0.1) == pytest.approx(200)


def test_a_far_path_takes_a_first_window_where_the_rate_makes_no_more_than_a_packet_or_two() -> (
    None
):
    assert BurstLength().longest(RATE, 0.1) == INITIAL_WINDOW_PACKETS


def test_a_path_that_holds_few_packets_takes_no_first_window_at_once() -> None:
    assert BurstLength().longest(80.0, 0.1) <= MIN_BURST_PACKETS


def test_a_queue_that_stood_without_loss_takes_more_up_to_half_a_send() -> None:
    bursts = BurstLength()
    bursts.note_queue(72.0)
    assert bursts.longest(RATE, 0.1) == pytest.approx(18)
    bursts.note_queue(10_000.0)
    assert bursts.longest(RATE, 0.1) == pytest.approx(20)


def test_a_shallower_queue_seen_later_takes_nothing_back() -> None:
    bursts = BurstLength()
    bursts.note_queue(72.0)
    bursts.note_queue(-3.0)
    assert bursts.longest(RATE, 0.1) == pytest.approx(18)


def test_congestion_halves_what_may_leave_together_and_what_the_queue_is_taken_to_hold() -> None:
    bursts = BurstLength()
    bursts.note_queue(72.0)
    for _ in range(6):
        bursts.lengthen()
    bursts.shorten(bursts.longest(RATE, 0.1))
    assert bursts.limit == pytest.approx(9)
    assert bursts.longest(RATE, 0.1) == INITIAL_WINDOW_PACKETS


def test_no_burst_is_shorter_than_two_packets() -> None:
    bursts = BurstLength()
    bursts.shorten(2.0)
    assert bursts.limit == MIN_BURST_PACKETS
