"""Bursts leave at a rate; time not used is not saved up for long."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.protocol.params import MAX_BURST_INTERVAL_S
from udpft.protocol.recovery.pacing import MAX_LATENESS_S, PACING_SLACK_S, Pacer


def test_a_burst_moves_the_next_one_by_its_length_at_the_rate() -> None:
    pacer = Pacer()
    pacer.sent(10, 1_000.0, now=5.0)
    first = pacer.ready_at
    pacer.sent(10, 1_000.0, now=first)
    assert pacer.ready_at == pytest.approx(first + 0.010)


def test_at_an_infinite_rate_everything_may_leave_at_once() -> None:
    pacer = Pacer()
    for _ in range(100):
        pacer.sent(64, inf, now=1.0)
    assert pacer.ready_at <= 1.0


@given(
    st.lists(st.tuples(st.integers(1, 64), st.floats(0, 0.01)), min_size=1, max_size=200),
    st.floats(1_000.0, 1e6),
)
def test_no_sender_however_late_exceeds_the_rate_by_more_than_a_burst(
    bursts: list[tuple[int, float]], rate: float
) -> None:
    pacer, now, sent = Pacer(), 100.0, 0
    began = now
    for packets, late_s in bursts:
        now = max(now, pacer.ready_at) + late_s
        pacer.sent(packets, rate, now)
        sent += packets
    credit_s = MAX_BURST_INTERVAL_S + PACING_SLACK_S
    assert (sent - bursts[-1][0]) / rate <= now - began + credit_s + 1e-9


def test_a_sender_that_is_always_a_little_late_still_reaches_the_rate() -> None:
    pacer, now, sent = Pacer(), 0.0, 0
    while now < 1.0:
        now = max(now, pacer.ready_at) + PACING_SLACK_S
        pacer.sent(10, 10_000.0, now)
        sent += 10
    assert sent == pytest.approx(10_000, rel=0.02)


def test_after_a_pause_the_backlog_is_bounded() -> None:
    pacer = Pacer()
    pacer.sent(1, 1_000.0, now=0.0)
    now, sent = 3600.0, 0
    while pacer.ready_at <= now:
        pacer.sent(1, 1_000.0, now)
        sent += 1
    assert sent <= (MAX_BURST_INTERVAL_S + PACING_SLACK_S) * 1_000 + 2


def test_after_a_pause_one_burst_interval_and_what_timers_are_late_by_is_kept() -> None:
    pacer = Pacer()
    pacer.sent(10, 1_000.0, now=5.0)
    assert pacer.ready_at == pytest.approx(5.0 + 0.010 - MAX_BURST_INTERVAL_S - PACING_SLACK_S)
    pacer.sent(10, 1_000.0, now=9.0, late_s=0.015)  # and all of a turn that came late
    assert pacer.ready_at == pytest.approx(9.0 + 0.010 - 0.015)


def test_a_burst_is_late_since_it_was_due_and_the_windows_were_open() -> None:
    pacer = Pacer()
    pacer.sent(10, 1_000.0, now=5.0)
    due = pacer.ready_at
    assert pacer.late_s(due + 0.004, 4.0) == pytest.approx(0.004)
    assert pacer.late_s(due + 0.004, due + 0.003) == pytest.approx(0.001)
    assert pacer.late_s(due - 0.001, 4.0) < 0
    assert pacer.late_s(due + 1.0, inf) < 0
    assert pacer.late_s(due + 1.0, 4.0) == MAX_LATENESS_S
