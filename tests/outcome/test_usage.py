"""Usage of a transfer at one end, between two moments."""

from __future__ import annotations

import time

from udpft.outcome.usage import Usage, per_gigabyte


def test_computing_is_counted_as_computing() -> None:
    before = Usage.now(1.0, moved=10)
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
    spent = Usage.now(3.5, moved=30).since(before)
    assert 0.05 <= spent.busy_s <= spent.at
    assert spent.cpu_s >= spent.busy_s * 0.99
    assert (spent.waited_s, spent.moved) == (2.5, 20)
    assert spent.queued_s >= 0


def test_what_is_left_is_the_disks_and_never_below_nothing() -> None:
    assert Usage(10, 1, 1, 2, 3).held_s == 4
    assert Usage(1, 1, 1, 1, 1).held_s == 0


def test_the_cost_of_a_gigabyte() -> None:
    assert per_gigabyte(2.0, 4_000_000_000) == 0.5
    assert per_gigabyte(0.1, 1000) is None
