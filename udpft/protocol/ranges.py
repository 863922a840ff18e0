"""Set of integers as sorted, disjoint, half-open ranges.

Packet numbers received, chunks received, chunks to send again: all of them are runs with holes.
In order everything is one range and each operation touches its end only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class RangeSet:
    """Integers in ranges ``[start, stop)``: sorted, disjoint, never adjacent, never empty."""

    __slots__ = ("_starts", "_stops")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in ranges:
            self.add(start, stop)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges, lowest first."""
        return zip(self._starts, self._stops, strict=True)

    def __len__(self) -> int:
        """The number of ranges, not of integers: see `total`."""
        return len(self._starts)

    def __contains__(self, value: int) -> bool:
        index = bisect_right(self._starts, value) - 1
        return index >= 0 and value < self._stops[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._starts == other._starts and self._stops == other._stops

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"

    @property
    def total(self) -> int:
        """The number of integers in the set."""
        return sum(self._stops) - sum(self._starts)

    @property
    def start(self) -> int:
        """The lowest integer. Raises IndexError on an empty set."""
        return self._starts[0]

    @property
    def stop(self) -> int:
        """One past the highest integer; 0 for an empty set."""
        return self._stops[-1] if self._stops else 0

    def newest(self, limit: int) -> list[tuple[int, int]]:
        """The ``limit`` highest ranges, highest first."""
        starts, stops = self._starts, self._stops
        return list(zip(starts[: -limit - 1 : -1], stops[: -limit - 1 : -1], strict=True))

    def around(self, value: int) -> tuple[int, int] | None:
        """The range that holds an integer; None where none does."""
        index = bisect_right(self._starts, value) - 1
        if index < 0 or value >= self._stops[index]:
            return None
        return self._starts[index], self._stops[index]

    def first_missing(self, start: int = 0) -> int:
        """The lowest integer from ``start`` on that is not in the set."""
        index = bisect_right(self._starts, start) - 1
        return max(start, self._stops[index]) if index >= 0 else start

    def holes(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The runs of ``[start, stop)`` that are not in the set, lowest first."""
        holes = []
        starts, stops = self._starts, self._stops
        for at in range(bisect_right(stops, start), len(starts)):
            if starts[at] >= stop:
                break
            if start < starts[at]:
                holes.append((start, starts[at]))
            start = stops[at]
        if start < stop:
            holes.append((start, stop))
        return holes

    def add(self, start: int, stop: int) -> int:
        """Add ``[start, stop)``; return how many of its integers are new."""
        if start >= stop:
            return 0
        starts, stops = self._starts, self._stops
        if not stops or start > stops[-1]:
            starts.append(start)
            stops.append(stop)
            return stop - start
        if start == stops[-1]:
            stops[-1] = stop
            return stop - start
        # The ranges [low, high) touch the new one, neighbours included, and merge with it.
        low = bisect_left(stops, start)
        high = bisect_right(starts, stop)
        added = stop - start
        for at in range(low, high):
            added -= min(stop, stops[at]) - max(start, starts[at])
        if low < high:
            start, stop = min(start, starts[low]), max(stop, stops[high - 1])
        starts[low:high] = (start,)
        stops[low:high] = (stop,)
        return added

    def remove(self, start: int, stop: int) -> int:
        """Take ``[start, stop)`` out; return how many integers left."""
        if start >= stop:
            return 0
        starts, stops = self._starts, self._stops
        low = bisect_right(stops, start)
        high = bisect_left(starts, stop)
        if low >= high:
            return 0
        pieces = list(zip(starts[low:high], stops[low:high], strict=True))
        kept = []
        if pieces[0][0] < start:
            kept.append((pieces[0][0], start))
        if stop < pieces[-1][1]:
            kept.append((stop, pieces[-1][1]))
        starts[low:high] = [a for a, _ in kept]
        stops[low:high] = [b for _, b in kept]
        return sum(min(stop, b) - max(start, a) for a, b in pieces)

    def take(self, limit: int) -> tuple[int, int]:
        """Take up to ``limit`` integers off the lowest range. Raises IndexError when empty."""
        start = self._starts[0]
        stop = min(self._stops[0], start + limit)
        if stop == self._stops[0]:
            del self._starts[0], self._stops[0]
        else:
            self._starts[0] = stop
        return start, stop

    def drop_oldest(self, keep: int) -> None:
        """Forget all but the ``keep`` highest ranges."""
        if len(self._starts) > keep:
            del self._starts[:-keep], self._stops[:-keep]
