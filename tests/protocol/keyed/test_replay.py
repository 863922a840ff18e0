"""Replay window, compared with a set of all counters received."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.protocol.keyed.replay import REPLAY_WINDOW_PACKETS, ReplayWindow

# Steps forward and back that go beyond the window's edge now and then.
STEPS = st.lists(
    st.one_of(
        st.integers(-5, 5),
        st.integers(-REPLAY_WINDOW_PACKETS - 3, REPLAY_WINDOW_PACKETS + 3),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_it_takes_each_counter_once_and_none_that_is_too_old(steps: list[int]) -> None:
    window, seen, counter, top = ReplayWindow(), set[int](), 0, 0
    for step in steps:
        counter = max(0, counter + step)
        too_old = counter < top - REPLAY_WINDOW_PACKETS
        assert window.is_new(counter) is (counter not in seen and not too_old)
        if window.is_new(counter):
            window.note(counter)
            seen.add(counter)
            top = max(top, counter + 1)
        assert window.top == top
        assert not window.is_new(counter)


@given(
    gaps=st.lists(st.integers(1, 3), min_size=1, max_size=50),
    far=st.integers(0, 2 * REPLAY_WINDOW_PACKETS),
)
def test_a_batch_ahead_is_as_its_counters_one_by_one(gaps: list[int], far: int) -> None:
    together, singly = ReplayWindow(), ReplayWindow()
    for window in (together, singly):
        window.note_ahead([0, 1, 2])
    counters, counter = [], 2 + far
    for gap in gaps:
        counter += gap
        counters.append(counter)
    assert together.is_ahead(counters)
    together.note_ahead(counters)
    for counter in counters:
        singly.note(counter)
    assert together.__dict__ == singly.__dict__
    assert not together.is_ahead(counters)


def test_ahead_means_in_order_and_new() -> None:
    window = ReplayWindow()
    assert window.is_ahead([0, 1])
    window.note_ahead([0, 1, 2, 3])
    assert window.is_ahead([4, 5, 9])
    for counters in ([3, 4], [4, 4], [5, 4], [0]):
        assert not window.is_ahead(counters)


# ---------------------------------------------------------------------------------- its edges


def test_it_is_as_wide_as_it_is_documented() -> None:
    assert REPLAY_WINDOW_PACKETS == 16_384


@pytest.mark.parametrize("ahead", [False, True])
def test_the_oldest_counter_that_may_come_is_as_many_back_as_the_window_is_wide(
    ahead: bool,
) -> None:
    newest = 100_000
    window = ReplayWindow()
    if ahead:
        window.note_ahead([newest - 1, newest])
    else:
        window.note(newest)
    oldest = newest - REPLAY_WINDOW_PACKETS + 1
    assert window.is_new(oldest)
    for older in (1, 2, 63, 64, 65, 4_096, oldest):
        assert not window.is_new(oldest - older)
    window.note(oldest)
    assert not window.is_new(oldest)
    window.note(newest + 1)
    assert not window.is_new(oldest)
    assert window.is_new(oldest + 1)


def test_a_batch_wider_than_the_window_leaves_its_newest_part() -> None:
    window = ReplayWindow()
    counters = [0, 1, REPLAY_WINDOW_PACKETS - 1, REPLAY_WINDOW_PACKETS + 1]
    window.note_ahead(counters)
    assert not window.is_new(1)
    assert window.is_new(2)
    assert not window.is_new(REPLAY_WINDOW_PACKETS - 1)
    assert window.is_new(REPLAY_WINDOW_PACKETS)


def test_it_takes_the_same_memory_however_far_it_went() -> None:
    window = ReplayWindow()
    for far in range(0, 10**9, 10**6):
        window.note_ahead(range(far, far + 64))
        window.note(far - 100 if far else 0)
    assert window._seen < 1 << REPLAY_WINDOW_PACKETS
