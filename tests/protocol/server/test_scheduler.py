"""Scheduler of transfers: the order in which they send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, cast

import pytest

from udpft.protocol.params import MAX_BURST_BYTES
from udpft.protocol.server.scheduler import BRIEF_BYTES, TURN_BYTES, Scheduler
from udpft.protocol.server.session import Session


def transfer(name: str) -> Session:
    nothing = cast(Any, None)
    return Session(name, name, nothing, nothing, nothing, 0.0)


def served(turns: Scheduler, asked: int, burst: Callable[[str], int]) -> list[str]:
    """Whose bursts leave, where a transfer has what ``burst`` says of its name, or nothing."""
    order = []
    for _ in range(asked):
        if not turns:
            break
        session = turns.next()
        n_bytes = burst(session.name)
        if n_bytes:
            order.append(session.name)
            turns.sent(n_bytes)
        else:
            turns.has_nothing()
    return order


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_one_that_sends_much_keeps_its_turn_and_all_get_as_much(names: str) -> None:
    turns = Scheduler()
    for name in names:
        turns.wake(transfer(name))
    order = served(turns, 3_000, lambda _: MAX_BURST_BYTES)
    bursts_a_turn = -(-TURN_BYTES // MAX_BURST_BYTES)
    changes = sum(a != b for a, b in pairwise(order))
    assert changes <= len(order) / bursts_a_turn + 10  # the first ones are those who begin
    assert set(order) == set(names)
    counts = Counter(order).values()
    assert max(counts) - min(counts) <= bursts_a_turn


def test_one_that_sends_little_gets_in_between_the_bursts_of_others() -> None:
    turns = Scheduler()
    far = transfer("far")
    for session in (transfer("near"), transfer("also near"), far):
        turns.wake(session)
    served(turns, 10, partial(_far_or_near, [0]))
    assert not far.turn.waits
    for _ in range(100):
        turns.wake(far)
        left = [0, 20_000]
        order = served(turns, 5, partial(_far_or_near, left))
        assert "far" in order[:2]


def _far_or_near(left: list[int], name: str) -> int:
    return left.pop() if name == "far" else MAX_BURST_BYTES


def test_one_that_begins_gets_in_between() -> None:
    turns = Scheduler()
    for name in ("one", "two"):
        turns.wake(transfer(name))
    served(turns, 20, lambda _: MAX_BURST_BYTES)
    turns.wake(transfer("new"))
    assert "new" in served(turns, 2, lambda _: MAX_BURST_BYTES)


def test_many_that_send_little_do_not_starve_one_that_sends_much() -> None:
    turns = Scheduler()
    for name in ("much", *map(str, range(50))):
        turns.wake(transfer(name))
    order = served(
        turns, 1_000, lambda name: MAX_BURST_BYTES if name == "much" else BRIEF_BYTES // 99
    )
    assert order.count("much") >= 400


def test_who_has_nothing_waits_until_it_wakes_and_is_asked_once_a_waking() -> None:
    turns, session = Scheduler(), transfer("one")
    turns.wake(session)
    turns.wake(session)
    assert served(turns, 10, lambda _: 0) == []
    assert not turns
    turns.wake(session)
    assert turns.next() is session


def test_who_sent_much_last_is_brief_only_once_it_has_sent_little() -> None:
    turns, session = Scheduler(), transfer("one")

    def take_turn(n_bytes: int) -> None:
        turns.wake(session)
        assert turns.next() is session
        if n_bytes:
            turns.sent(n_bytes)
            assert turns.next() is session
        turns.has_nothing()

    take_turn(BRIEF_BYTES)
    assert not session.turn.brief
    take_turn(0)  # woken for nothing, which tells nothing
    assert not session.turn.brief
    take_turn(BRIEF_BYTES - 1)
    assert session.turn.brief
    take_turn(0)
    assert session.turn.brief
