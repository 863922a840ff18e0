"""RangeSet does what a plain set of integers does, and keeps its ranges in shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.protocol.ranges import RangeSet

number = st.integers(0, 60)
span = st.tuples(number, number)
# Adds and removes in any order; a span with start >= stop is empty.
history = st.lists(st.tuples(st.sampled_from(["add", "remove"]), span), max_size=30)


def replay(operations: list[tuple[str, tuple[int, int]]]) -> tuple[RangeSet, set[int]]:
    """The same operations on a RangeSet and on a set, compared at each step."""
    ranges, model = RangeSet(), set[int]()
    for operation, (start, stop) in operations:
        integers = set(range(start, stop))
        if operation == "add":
            assert ranges.add(start, stop) == len(integers - model)
            model |= integers
        else:
            assert ranges.remove(start, stop) == len(integers & model)
            model -= integers
        assert integers_of(ranges) == sorted(model)
        check_shape(ranges)
    return ranges, model


def integers_of(ranges: RangeSet) -> list[int]:
    return [integer for start, stop in ranges for integer in range(start, stop)]


def check_shape(ranges: RangeSet) -> None:
    """Sorted, disjoint, never adjacent, never empty."""
    previous = -1
    for start, stop in ranges:
        assert previous < start < stop
        previous = stop


def runs(integers: set[int]) -> list[tuple[int, int]]:
    """The runs of consecutive integers in a set, lowest first: the model of the ranges."""
    starts = sorted(n for n in integers if n - 1 not in integers)
    stops = sorted(n + 1 for n in integers if n + 1 not in integers)
    return list(zip(starts, stops, strict=True))


@given(history)
def test_adding_and_removing_is_that_of_a_set(
    operations: list[tuple[str, tuple[int, int]]],
) -> None:
    ranges, model = replay(operations)
    assert list(ranges) == runs(model)
    assert ranges.total == len(model)
    assert len(ranges) == len(runs(model))
    assert bool(ranges) == bool(model)
    assert [n in ranges for n in range(62)] == [n in model for n in range(62)]
    if model:
        assert (ranges.start, ranges.stop) == (min(model), max(model) + 1)


@given(history, span)
def test_holes_are_the_runs_that_a_set_lacks(
    operations: list[tuple[str, tuple[int, int]]], window: tuple[int, int]
) -> None:
    ranges, model = replay(operations)
    assert ranges.holes(*window) == runs(set(range(*window)) - model)


@given(history, number)
def test_the_first_missing_is_the_lowest_that_a_set_lacks(
    operations: list[tuple[str, tuple[int, int]]], start: int
) -> None:
    ranges, model = replay(operations)
    assert ranges.first_missing(start) == min(set(range(start, 100)) - model)


@given(history, st.integers(1, 10))
def test_taking_empties_the_set_from_its_low_end(
    operations: list[tuple[str, tuple[int, int]]], limit: int
) -> None:
    ranges, model = replay(operations)
    taken: list[int] = []
    while ranges:
        start, stop = ranges.take(limit)
        assert 0 < stop - start <= limit
        taken.extend(range(start, stop))
        check_shape(ranges)
    assert taken == sorted(model)


@given(history, st.integers(1, 10))
def test_the_newest_ranges_are_the_highest(
    operations: list[tuple[str, tuple[int, int]]], limit: int
) -> None:
    ranges, model = replay(operations)
    highest = runs(model)[-limit:]
    assert ranges.newest(limit) == highest[::-1]
    assert [ranges.around(n) for n in range(-1, 60)] == [
        next((pair for pair in ranges if pair[0] <= n < pair[1]), None) for n in range(-1, 60)
    ]
    ranges.drop_oldest(limit)
    assert list(ranges) == highest


@given(history)
def test_sets_of_the_same_integers_are_equal(
    operations: list[tuple[str, tuple[int, int]]],
) -> None:
    ranges, model = replay(operations)
    assert ranges == RangeSet((n, n + 1) for n in sorted(model, reverse=True))
    assert ranges != RangeSet([(0, 100)])
    assert ranges != model


def test_an_empty_set_stops_at_0_and_starts_nowhere() -> None:
    assert RangeSet().stop == 0
    with pytest.raises(IndexError):
        _ = RangeSet().start
    with pytest.raises(IndexError):
        RangeSet().take(1)


def test_a_set_shows_its_ranges() -> None:
    assert repr(RangeSet([(3, 5), (0, 1)])) == "RangeSet([(0, 1), (3, 5)])"
