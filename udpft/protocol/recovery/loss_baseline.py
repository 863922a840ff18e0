"""Baseline of loss: the share of packets that a path loses whatever the rate.

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
"""Packets of which more must be known before the baseline is above 0: of fewer, one lost by chance
would be a share of 5 % and more."""

_EXCESS_MIN_LOST = 6
"""Packets lost from which loss may be in excess: a few are lost together by chance on any path."""

_EXCESS_MARGIN = 0.02
"""Share of packets lost beyond the baseline that is no excess yet (BBR's LossThresh;
draft-ietf-ccwg-bbr, 2.7)."""

_EXCESS_DEVIATIONS = 2
"""Standard deviations that chance may add to that: one epoch in forty exceeds them."""

_LEAST_CHANCE = 0.01
"""Share added to the baseline where the deviation is computed: that of a path which has not lost
anything yet would be 0, and chance would count for nothing."""


class LossBaseline:
    """Running mean of the loss that is believed to be the path's nature."""

    __slots__ = ("_lost", "_total", "loss")

    def __init__(self) -> None:
        self.loss = 0.0
        """Share of packets lost, from 0 to `MAX_BASELINE`; set by each lesson, 0 until enough of
        them were learnt."""

        self._lost = 0.0
        """Packets lost in all lessons, those of the past weighted; changes with each."""

        self._total = 0.0
        """Packets in all lessons, weighted alike."""

    def learn(self, keep: float, lost: int, total: int) -> None:
        """Take in packets lost of a total; ``keep`` is what the past counts for, from 0 to 1."""
        self._lost = keep * self._lost + lost
        self._total = keep * self._total + total
        if self._total > _MIN_PACKETS:
            self.loss = min(MAX_BASELINE, self._lost / self._total)

    def exceeded(
        self,
        acked: int,
        lost: int,
        *,
        margin: float = _EXCESS_MARGIN,
        deviations: int = _EXCESS_DEVIATIONS,
    ) -> bool:
        """Whether loss is beyond the baseline, by a margin and some standard deviations."""
        if lost < _EXCESS_MIN_LOST:
            return False
        total = acked + lost
        deviation = sqrt((self.loss + _LEAST_CHANCE) * (1 - self.loss) / total)
        return lost / total - self.loss > margin + deviations * deviation
