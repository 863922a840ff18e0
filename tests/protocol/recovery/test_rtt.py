"""The round-trip estimate of RFC 9002, section 5, by its own arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.protocol.params import GRANULARITY_S, INITIAL_RTT_S, MAX_ACK_DELAY_S
from udpft.protocol.recovery.rtt import RttEstimator

seconds = st.floats(1e-6, 10.0)


def test_before_any_sample_a_guess_stands_in() -> None:
    rtt = RttEstimator()
    assert rtt.smoothed_rtt_s == INITIAL_RTT_S
    assert rtt.pto_s == pytest.approx(3 * INITIAL_RTT_S + MAX_ACK_DELAY_S)


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


@given(st.lists(seconds, min_size=1), st.floats(1.0, 2.0))
def test_the_loss_delay_covers_the_slowest_recent_round_trip(
    samples: list[float], threshold: float
) -> None:
    rtt = RttEstimator()
    for sample_s in samples:
        rtt.update(sample_s, 0.0)
    delay_s = rtt.loss_delay_s(threshold)
    assert delay_s >= GRANULARITY_S
    assert delay_s >= threshold * samples[-1]
    assert delay_s >= threshold * rtt.smoothed_rtt_s


def test_jitter_is_lateness_and_a_standing_queue_is_none() -> None:
    jitter, queue = RttEstimator(), RttEstimator()
    for rtt in (jitter, queue):
        rtt.update(0.001, 0.0)
    for i in range(200):
        jitter.update(0.001 + i % 5 * 0.0025, 0.0)  # evenly from 1 to 11 ms
        queue.update(0.011, 0.0)
    assert jitter.lateness_s == pytest.approx(0.005, rel=0.25)
    assert queue.lateness_s == pytest.approx(0.0, abs=1e-6)
