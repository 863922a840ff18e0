"""Progress: told ten times a second at most, and not before there is some."""

from __future__ import annotations

import pytest

from udpft.outcome import progress
from udpft.outcome.progress import PROGRESS_INTERVAL_S, ticker


@pytest.fixture(autouse=True)
def at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "clock", lambda: 0.0)


def test_it_is_told_once_an_interval() -> None:
    told: list[tuple[int, int]] = []
    turn = iter(range(10_000))
    tick = ticker(lambda *counts: told.append(counts), lambda: (next(turn), 100))
    for at in range(1, 1_001):
        tick(at * PROGRESS_INTERVAL_S / 100)
    assert told == [(number, 100) for number in range(len(told))]
    assert 9 <= len(told) <= 10


def test_it_waits_until_there_is_some() -> None:
    told: list[tuple[int, int]] = []
    measured: list[tuple[int, int]] = []
    tick = ticker(lambda *counts: told.append(counts), lambda: measured[0] if measured else None)
    tick(5.0)
    assert told == []
    measured.append((1, 2))
    tick(5.001)
    assert told == [(1, 2)]


def test_where_nobody_wants_to_know_nothing_is_measured() -> None:
    def measure() -> tuple[int, int]:
        raise AssertionError("nobody asked")

    ticker(None, measure)(100.0)
