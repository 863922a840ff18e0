"""Statistics of samples: medians, ratios within rounds, and their confidence. Pure functions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from bench.result import Sample

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A median with its bootstrap interval, from ``n`` values."""

    median: float
    low: float
    high: float
    n: int

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside the interval."""
        return not self.low <= value <= self.high


def estimate(values: Sequence[float], *, seed: int = 0) -> Estimate | None:
    """The median of some values, with a percentile bootstrap interval (Efron 1979).

    None for no values. With fewer than five, the interval reaches from the lowest to the highest.
    """
    if not values:
        return None
    median = statistics.median(values)
    if len(values) < 5:
        return Estimate(median, min(values), max(values), len(values))
    low, high = _interval(lambda draw: _resampled_median(values, draw), seed)
    return Estimate(median, low, high, len(values))


def ratio_of_medians(new: Sequence[float], old: Sequence[float], *, seed: int = 0) -> Estimate:
    """How the median of one set compares with another's, measured at another time.

    The sets are resampled independently: no round of one belongs to a round of the other.
    """

    def one(draw: Random) -> float:
        return _resampled_median(new, draw) / _resampled_median(old, draw)

    low, high = _interval(one, seed)
    ratio = statistics.median(new) / statistics.median(old)
    return Estimate(ratio, low, high, min(len(new), len(old)))


def _resampled_median(values: Sequence[float], draw: Random) -> float:
    return statistics.median(draw.choices(values, k=len(values)))


def _interval(statistic: Callable[[Random], float], seed: int) -> tuple[float, float]:
    draw = Random(seed)
    values = sorted(statistic(draw) for _ in range(RESAMPLES))
    outside = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return values[outside], values[-1 - outside]


def good(samples: Iterable[Sample], scenario: str, mode: str) -> list[Sample]:
    """What counts of a mode in a scenario: no warm-up, no failure."""
    return [
        s
        for s in samples
        if (s.scenario, s.mode) == (scenario, mode) and not s.warm_up and not s.error
    ]


def ratios(samples: Sequence[Sample], scenario: str, mode: str, reference: str) -> list[float]:
    """A mode's rate ÷ the reference's, for each round in which both have one."""
    base = {s.round: s.bytes_per_s for s in good(samples, scenario, reference)}
    return [s.bytes_per_s / base[s.round] for s in good(samples, scenario, mode) if s.round in base]


def apart_by(ratio: float) -> float:
    """How far a ratio is from 1, the same for twice as fast and half as fast: 1.0."""
    return max(ratio, 1 / ratio) - 1 if ratio > 0 else math.inf


def noise_floor(samples: Sequence[Sample], mode: str, again: str) -> float:
    """How far the same mode may lie from itself: the A/A floor, in the terms of `apart_by`.

    It is the 90th percentile over the scenarios, of medians as a verdict compares them; 0 where it
    was not measured.
    """
    scenarios = dict.fromkeys(s.scenario for s in samples if s.mode == again)
    found = [ratios(samples, scenario, again, mode) for scenario in scenarios]
    apart = sorted(apart_by(statistics.median(rounds)) for rounds in found if rounds)
    return apart[min(len(apart) - 1, int(0.9 * len(apart)))] if apart else 0.0
