"""Trace of the transfer that a report shows over time."""

from __future__ import annotations

from bench.report.trace import simulated
from bench.traced import RATE_BYTES_PER_S

SIZE_BYTES = 1_500_000


def test_it_is_the_same_each_time_and_of_nearly_the_whole_file() -> None:
    trace = simulated(SIZE_BYTES)
    assert trace == simulated(SIZE_BYTES)
    moments = len(trace.at_s)
    assert moments == len(trace.goodput_bytes_per_s) == len(trace.window_bytes) > 3
    assert list(trace.at_s) == sorted(trace.at_s)
    step_s = trace.at_s[1] - trace.at_s[0]
    seen_bytes = sum(trace.goodput_bytes_per_s) * step_s  # what came after the last look is not
    assert 0.3 * SIZE_BYTES < seen_bytes <= SIZE_BYTES * 1.001
    assert max(trace.goodput_bytes_per_s) <= RATE_BYTES_PER_S * 1.1
    assert min(trace.window_bytes) > 0


def test_losses_are_at_moments_of_the_trace() -> None:
    trace = simulated(4_000_000, seed=3)
    assert trace.lost_at_s
    assert set(trace.lost_at_s) <= set(trace.at_s)
