"""Command-line arguments that describe a link."""

from __future__ import annotations

import math

import pytest

from bench.links import netem
from bench.links.arguments import (
    link_arguments,
    link_shapes,
    parse_queue,
    parse_seconds,
    parse_share,
)
from bench.links.shape import LinkShape


@pytest.mark.parametrize(
    ("text", "seconds"), [("50ms", 0.05), ("300us", 300e-6), ("1.5 s", 1.5), ("0.05", 0.05)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


def test_shares_are_per_cent_or_fractions() -> None:
    assert parse_share("1%") == parse_share("0.01") == 0.01


def test_a_queue_is_bytes_or_bandwidth_times_round_trip() -> None:
    assert parse_queue("64Ki", 1e8, rtt_s=0.1, mtu=1500) == 65536
    assert parse_queue("1bdp", 1e8, rtt_s=0.1, mtu=1500) == 1_250_000
    assert parse_queue("0.25bdp", 1e8, rtt_s=0.1, mtu=1500) == 312_500


def test_a_queue_holds_two_packets_at_least() -> None:
    assert parse_queue("1bdp", 1e6, rtt_s=0.001, mtu=1500) == 3000


def test_without_a_delay_a_queue_in_bdp_has_no_limit() -> None:
    assert parse_queue("1bdp", math.inf, rtt_s=0.0, mtu=1500) == math.inf


def test_both_directions_are_alike_but_for_their_draws() -> None:
    words = ["--rate", "100M", "--delay", "50ms", "--queue", "2bdp", "--loss", "1%", "--seed", "7"]
    forth, back = link_shapes(link_arguments().parse_args(words))
    assert forth == LinkShape(1e8, 0.05, 2_500_000, loss=0.01, seed=7)
    assert back == LinkShape(1e8, 0.05, 2_500_000, loss=0.01, seed=8)


class TestNetem:
    def test_a_shape_in_netem_s_words(self) -> None:
        shape = LinkShape(1e8, 0.05, 1_250_000, loss=0.01, duplicate=0.001)
        words = " ".join(netem.arguments(shape, mtu=1500))
        expected = "limit 1250 delay 50000us rate 100000000bit loss 1.000000% duplicate 0.100000%"
        assert words == expected

    def test_a_perfect_link_needs_no_rate_and_hardly_a_limit(self) -> None:
        assert netem.arguments(LinkShape(), mtu=1500) == ["limit", "1000000", "delay", "0us"]
