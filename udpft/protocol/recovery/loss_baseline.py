"""What a path loses whatever the rate, and what is beyond it.

Shares of packets, from 0 to 1. The baseline is a mean of what was seen, in which the past counts
for less with each lesson.
"""

from __future__ import annotations

from math import sqrt

MAX_BASELINE = 0.25
"""The largest share of packets taken for the path's own loss. Several transfers that overload one
queue together lose much, and none of them can cure that alone: each would believe in the loss,
make up for it, and add to it."""

_MIN_PACKETS = 20
_EXCESS_MIN_LOST = 6
_EXCESS_MARGIN = 0.02


class LossBaseline:
    """``loss``: the share of packets lost that is believed to be the path's nature."""

    __slots__ = ("_lost", "_total", "loss")

    def __init__(self) -> None:
        self.loss = 0.0
        self._lost = 0.0
        self._total = 0.0

    def learn(self, keep: float, lost: int, total: int) -> None:
        """Take in packets lost of a total; ``keep`` is what the past counts for, from 0 to 1."""
        self._lost = keep * self._lost + lost
        self._total = keep * self._total + total
        if self._total > _MIN_PACKETS:
            self.loss = min(MAX_BASELINE, self._lost / self._total)

    def exceeded(
        self, acked: int, lost: int, *, margin: float = _EXCESS_MARGIN, deviations: int = 2
    ) -> bool:
        """Whether loss is beyond the baseline, by a margin and some standard deviations."""
        if lost < _EXCESS_MIN_LOST:
            return False
        total = acked + lost
        deviation = sqrt((self.loss + 0.01) * (1 - self.loss) / total)
        return lost / total - self.loss > margin + deviations * deviation
