"""Medians, intervals, ratios within rounds, and the noise floor."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import estimate, good, noise_floor, ratio_of_medians, ratios
from tests.bench.runs import LAN, run, sample, samples

RATES = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=12)


def test_nothing_has_no_median() -> None:
    assert estimate([]) is None


@given(RATES)
def test_the_median_lies_in_its_interval_and_that_among_the_values(values: list[float]) -> None:
    found = estimate(values)
    assert found
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found.n == len(values)


def test_few_values_have_the_widest_interval() -> None:
    found = estimate([3.0, 1.0, 2.0])
    assert found
    assert (found.low, found.median, found.high) == (1.0, 2.0, 3.0)


def test_the_interval_holds_the_true_median_about_as_often_as_it_says() -> None:
    draw = Random(1)
    held = 0
    for trial in range(40):
        found = estimate([draw.gauss(10, 2) for _ in range(15)], seed=trial)
        assert found
        held += not found.excludes(10)
    assert 33 <= held <= 40


def test_a_ratio_is_taken_within_its_round() -> None:
    made = samples(LAN, udpft=[50, 100], nginx=[100, 400])
    assert ratios(made, LAN.name, "udpft", "nginx + curl") == pytest.approx([0.5, 0.25])


def test_what_failed_or_warmed_up_is_no_number() -> None:
    made = [
        sample(LAN, "udpft", 0, 50, error="exit 1"),
        sample(LAN, "udpft", 0, 50, warm_up=True),
        sample(LAN, "udpft", 1, 50),
        *samples(LAN, nginx=[100, 100]),
    ]
    assert len(good(made, LAN.name, "udpft")) == 1
    assert ratios(made, LAN.name, "udpft", "nginx + curl") == pytest.approx([0.5])
    assert made[0].bytes_per_s == 0


def test_the_noise_floor_is_how_far_a_mode_lies_from_itself() -> None:
    """By medians: a single round that something else disturbed says nothing of them."""
    made = samples(LAN, udpft=[100, 100, 100], udpft_again=[104, 105, 50])
    assert noise_floor(made, "udpft", "udpft again") == pytest.approx(0.04)
    assert noise_floor(samples(LAN, udpft=[100]), "udpft", "udpft again") == 0.0
    assert noise_floor(run().samples, "udpft", "udpft again") < 0.05


def test_two_runs_are_compared_by_their_medians() -> None:
    found = ratio_of_medians([50.0, 51, 49], [100.0, 101, 99])
    assert found.median == 0.5
    assert found.excludes(1.0)
    assert not ratio_of_medians([100.0, 90, 110], [100.0, 95, 105]).excludes(1.0)
