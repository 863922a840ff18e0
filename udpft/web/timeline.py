"""Timeline of a transfer: samples of its progress, and the curve that is drawn of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

from udpft.protocol.params import CHUNK_SIZE

MAX_SAMPLES = 240
"""Samples kept of a transfer; beyond it every other one is dropped."""

WIDTH, HEIGHT = 600, 100
"""Of a curve, in units of its own."""

_A_PACKET = 0.9
"""Packets that are one, as far as shares tell."""


class Sample(NamedTuple):
    """Sample of a transfer's progress.

    ``at_s``: seconds since it began. ``done_bytes``: of its file. ``resent_share``: of the packets
    so far, those that were sent again.
    """

    at_s: float
    done_bytes: int
    resent_share: float


class Losses(NamedTuple):
    """Part of a curve in which packets were sent again: where it begins and ends, and how many."""

    left: float
    right: float
    packets: int


class Curve(NamedTuple):
    """Curve of a transfer's rate over time.

    ``line``: points, as SVG has them. ``area``: the same, closed at the bottom. ``losses``: its
    parts in which packets were sent again. ``highest``: bytes per second at
    the top. ``seconds``: at the right.
    """

    line: str
    area: str
    losses: tuple[Losses, ...]
    highest: float
    seconds: float

    @property
    def most_lost(self) -> int:
        """Packets that were sent again in the part that had most of them; 1 where none had any."""
        return max((one.packets for one in self.losses), default=1)


def thinned(samples: Sequence[Sample]) -> list[Sample]:
    """Samples, of which every other one is dropped where there are too many."""
    if len(samples) <= MAX_SAMPLES:
        return list(samples)
    return [*samples[:-1:2], samples[-1]]


def curve_of(samples: Sequence[Sample]) -> Curve | None:
    """Curve of some samples; None where there are too few to draw one."""
    spans = [(a, b) for a, b in pairwise(samples) if b.at_s > a.at_s]
    if not spans:
        return None
    rates = [max(0, b.done_bytes - a.done_bytes) / (b.at_s - a.at_s) for a, b in spans]
    highest, seconds = max(rates) or 1.0, spans[-1][1].at_s

    def x(at_s: float) -> float:
        return round(WIDTH * at_s / seconds, 1)

    steps: list[tuple[float, float]] = []
    for (a, b), rate in zip(spans, rates, strict=True):
        y = round(HEIGHT - 0.95 * HEIGHT * rate / highest, 1)
        steps += [(x(a.at_s), y), (x(b.at_s), y)]
    line = " ".join(f"{across},{down}" for across, down in steps)
    kept = _resent_for_good(samples)
    losses = tuple(
        Losses(x(a.at_s), x(b.at_s), round(kept[b] - kept[a]))
        for a, b in spans
        if kept[b] - kept[a] >= _A_PACKET
    )
    area = f"{steps[0][0]},{HEIGHT} {line} {steps[-1][0]},{HEIGHT}"
    return Curve(line, area, losses, highest, seconds)


def _resent_for_good(samples: Sequence[Sample]) -> dict[Sample, float]:
    """Packets that were sent again until each sample, less those that have come late after all.

    A packet that is on its way, and one whose number was skipped, look lost for a moment.
    """
    found: dict[Sample, float] = {}
    lowest = inf
    for one in reversed(samples):
        share = min(one.resent_share, 0.99)
        lowest = min(lowest, one.done_bytes / CHUNK_SIZE * share / (1 - share))
        found[one] = lowest
    return found
