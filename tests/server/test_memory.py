"""Memory given back after a rush: when, and only then."""

from __future__ import annotations

import ctypes
from math import inf
from types import SimpleNamespace

import pytest

from udpft.server import memory
from udpft.server.memory import AFTER_S, RUSH, Trimmer


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    done: list[int] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(malloc_trim=done.append))
    return done


def test_some_time_after_a_rush_memory_is_given_back_once(trims: list[int]) -> None:
    trimmer = Trimmer()
    for at_work, now in ((RUSH, 0.0), (1, 1.0), (0, 2.0), (1, 3.0), (0, 4.0)):
        trimmer.note(at_work, now)
    assert trimmer.next_timeout() == 4.0 + AFTER_S
    trimmer.note(0, 4.0 + AFTER_S - 0.1)
    assert trims == []
    trimmer.note(0, 4.0 + AFTER_S)
    assert trims == [0]
    assert trimmer.next_timeout() == inf
    trimmer.note(0, 100.0)
    assert trims == [0]


def test_a_few_clients_are_no_rush(trims: list[int]) -> None:
    trimmer = Trimmer()
    for at_work, now in ((RUSH - 1, 0.0), (0, 1.0), (0, 100.0)):
        trimmer.note(at_work, now)
        assert trimmer.next_timeout() == inf
    assert trims == []


def test_where_the_library_does_not_know_how_nothing_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    memory.trim()


def test_the_library_here_takes_the_call() -> None:
    memory.trim()
