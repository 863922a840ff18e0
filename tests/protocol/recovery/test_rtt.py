"""The round-trip estimate of RFC 9002, section 5, by its own arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.protocol.params import (
    GRANULARITY_S,
    INITIAL_RTT_S,
    MAX_ACK_DELAY_S,
    TIME_THRESHOLD,
)
from udpft.protocol.recovery.rtt import RttEstimator

seconds = st.floats(1e-6, 10.0)


def test_before_any_sample_a_guess_stands_in() -> None:
    rtt = RttEstimator()
    assert rtt.smoothed_rtt_s == INITIAL_RTT_S
    assert rtt.pto_s == pytest.approx(3 * INITIAL_RTT_S + MAX_ACK_DELAY_S)


@pytest.mark.parametrize(
    ("handshake_s", "pto_s"), [(0.0, 0.3), (0.1, 0.3), (0.3, 0.6), (1.3, 2.6), (1e13, 10.0)]
)
def test_a_long_handshake_is_the_first_guess(handshake_s: float, pto_s: float) -> None:
    rtt = RttEstimator()
    rtt.begin_with(handshake_s)
    assert rtt.pto_s == pytest.approx(pto_s + MAX_ACK_DELAY_S)
    rtt.update(0.040, 0.0)
    assert (rtt.smoothed_rtt_s, rtt.variation_s, rtt.min_rtt_s) == (0.040, 0.020, 0.040)


def test_the_first_sample_is_the_estimate() -> None:
    # RFC 9002, 5.3: smoothed_rtt = latest_rtt, rttvar = latest_rtt / 2.
    rtt = RttEstimator()
    rtt.update(0.040, 0.003)
    assert (rtt.smoothed_rtt_s, rtt.variation_s) == (0.040, 0.020)
    assert (rtt.latest_s, rtt.min_rtt_s) == (0.040, 0.040)


def test_later_samples_move_it_by_an_eighth_and_a_quarter() -> None:
    rtt = RttEstimator()
    rtt.update(0.040, 0.0)
    rtt.update(0.080, 0.0)
    assert rtt.smoothed_rtt_s == pytest.approx(7 / 8 * 0.040 + 1 / 8 * 0.080)
    assert rtt.variation_s == pytest.approx(3 / 4 * 0.020 + 1 / 4 * 0.040)
    assert rtt.pto_s == pytest.approx(0.045 + 4 * 0.025 + MAX_ACK_DELAY_S)


def test_the_peers_delay_is_taken_off_but_not_more_than_it_may_delay() -> None:
    honest, lying = RttEstimator(), RttEstimator()
    for rtt, delay_s in ((honest, MAX_ACK_DELAY_S), (lying, 5.0)):
        rtt.update(0.040, 0.0)
        rtt.update(0.060, delay_s)
    assert honest.smoothed_rtt_s == lying.smoothed_rtt_s
    assert honest.smoothed_rtt_s == pytest.approx(7 / 8 * 0.040 + 1 / 8 * 0.055)


def test_the_peers_delay_never_takes_a_sample_below_the_minimum() -> None:
    rtt = RttEstimator()
    rtt.update(0.040, 0.0)
    rtt.update(0.042, 0.005)
    assert rtt.smoothed_rtt_s == pytest.approx(7 / 8 * 0.040 + 1 / 8 * 0.042)
    assert rtt.min_rtt_s == 0.040
    just = RttEstimator()
    just.update(2**-4, 0.0)
    just.update(2**-4 + 2**-8, 2**-8)  # just the minimum, which is no less than it
    assert just.smoothed_rtt_s == 2**-4


@given(st.lists(st.tuples(seconds, st.floats(0, 1)), min_size=1))
def test_the_estimate_stays_among_the_samples(samples: list[tuple[float, float]]) -> None:
    rtt = RttEstimator()
    for sample_s, delay_s in samples:
        rtt.update(sample_s, delay_s)
    taken = [sample_s for sample_s, _ in samples]
    assert rtt.min_rtt_s == min(taken)
    assert rtt.latest_s == taken[-1]
    assert min(taken) * 0.999 <= rtt.smoothed_rtt_s <= max(taken) * 1.001
    assert rtt.pto_s >= rtt.smoothed_rtt_s + GRANULARITY_S + MAX_ACK_DELAY_S


@given(st.lists(seconds, min_size=1))
def test_the_loss_delay_covers_the_slowest_recent_round_trip(samples: list[float]) -> None:
    rtt = RttEstimator()
    for sample_s in samples:
        rtt.update(sample_s, 0.0)
    longest_s = max(samples[-1], rtt.smoothed_rtt_s)
    assert rtt.loss_delay_s == pytest.approx(max(TIME_THRESHOLD * longest_s, GRANULARITY_S))


# ---------------------------------------------------------------------- paths that reorder


def reordering() -> RttEstimator:
    """A path of 100 ms, on which a packet has taken 400 ms and was overtaken, at second 50."""
    rtt = RttEstimator()
    rtt.update(0.1, 0.0)
    rtt.note_overtaken(50.0, 0.4, 0.25)
    return rtt


def test_what_was_overtaken_has_as_long_as_the_slowest_of_late_and_an_eighth() -> None:
    rtt = reordering()
    assert rtt.reorders
    assert rtt.loss_delay_s == pytest.approx(0.45)
    rtt.note_overtaken(50.1, 0.2, 0.25)
    assert rtt.loss_delay_s == pytest.approx(0.45)
    rtt.note_overtaken(50.2, 0.6, 0.25)
    assert rtt.loss_delay_s == pytest.approx(0.675)


def test_a_packet_that_comes_minutes_late_makes_nobody_wait_for_minutes() -> None:
    rtt = reordering()
    rtt.note_overtaken(50.1, 100.0, 0.25)
    assert rtt.loss_delay_s == pytest.approx(9 / 8)  # a second, as of a probe
    slow = RttEstimator()
    slow.update(2.0, 0.0)
    slow.note_overtaken(50.0, 100.0, 2.0)
    assert slow.loss_delay_s == pytest.approx(4.5)  # or two round trips


def test_reordering_is_forgotten_after_ten_to_twenty_seconds_without_any() -> None:
    rtt = reordering()
    rtt.note_overtaken(59.9, 0.0, 0.1)
    assert rtt.reorders
    rtt.note_overtaken(60.0, 0.0, 0.1)
    assert rtt.reorders
    assert rtt.loss_delay_s == pytest.approx(0.45)
    rtt.note_overtaken(69.9, 0.0, 0.1)
    assert rtt.reorders
    rtt.note_overtaken(70.0, 0.0, 0.1)
    assert not rtt.reorders
    assert rtt.mean_s == 0.0
    assert rtt.loss_delay_s == pytest.approx(TIME_THRESHOLD * 0.1)


def test_after_a_pause_it_is_forgotten_at_once() -> None:
    rtt = reordering()
    rtt.note_overtaken(70.0, 0.0, 0.1)
    assert not rtt.reorders


def test_where_packets_overtake_each_other_the_mean_of_all_is_what_jitter_adds() -> None:
    rtt = reordering()
    for _ in range(100):
        rtt.update(0.1, 0.0)  # the fast ones
        rtt.note_overtaken(51.0, 0.4, 0.3)  # and all of them
    assert rtt.mean_s == pytest.approx(0.3, rel=0.01)
    assert rtt.lateness_s == pytest.approx(0.2, rel=0.01)
    for _ in range(100):  # a queue, which all of them wait in
        rtt.update(0.5, 0.0)
        rtt.note_overtaken(52.0, 0.8, 0.7)
    assert rtt.lateness_s == pytest.approx(0.2, rel=0.01)


def test_jitter_is_lateness_and_a_standing_queue_is_none() -> None:
    jitter, queue = RttEstimator(), RttEstimator()
    for rtt in (jitter, queue):
        rtt.update(0.001, 0.0)
    for i in range(200):
        jitter.update(0.001 + i % 5 * 0.0025, 0.0)  # evenly from 1 to 11 ms
        queue.update(0.011, 0.0)
    assert jitter.lateness_s == pytest.approx(0.005, rel=0.25)
    assert queue.lateness_s == pytest.approx(0.0, abs=1e-6)
