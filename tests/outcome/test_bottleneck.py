"""Bottleneck of a transfer, as one end finds it."""

from __future__ import annotations

import pytest

from udpft.outcome.bottleneck import SLOW_AFTER_S, SLOW_BYTES_PER_S, Evidence, Limit, judge
from udpft.outcome.usage import TOLD_AFTER_S, Usage


def used(
    at: float = 10.0, busy_s: float = 1.0, queued_s: float = 0.1, waited_s: float = 8.5
) -> Usage:
    return Usage(at, busy_s, busy_s, queued_s, waited_s)


IDLE = Evidence(used(), bytes=20_000_000, packets=10_000, resent=0)


@pytest.mark.parametrize(
    ("evidence", "limit", "words"),
    [
        (IDLE, Limit.ELSEWHERE, "the path, or the other end"),
        (IDLE._replace(rate_limit=2e6), Limit.RATE, "--limit-rate, 2 MB/s (16 Mbit/s)"),
        (IDLE._replace(rate_limit=2.3e6, limiter="--max-rate"), Limit.RATE, "--max-rate, 2.3 MB/s"),
        (IDLE._replace(rate_limit=4e6), Limit.ELSEWHERE, "the path"),
        (
            IDLE._replace(used=used(busy_s=9.1, waited_s=0.5)),
            Limit.PROCESSOR,
            "the processor at this end, busy 91 % of the time",
        ),
        (
            IDLE._replace(used=used(queued_s=4, waited_s=4)),
            Limit.BUSY_MACHINE,
            "other programs: this end waited for a processor 40 % of the time",
        ),
        (
            IDLE._replace(used=used(waited_s=1)),
            Limit.DISK,
            "the disk at this end, 79 % of the time",
        ),
        (
            IDLE._replace(drops=1234),
            Limit.RECEIVE_BUFFER,
            "the receive buffer at this end, which dropped 1,234 datagrams: `udpft doctor`",
        ),
        (IDLE._replace(drops=50, receives=False), Limit.RECEIVE_BUFFER, "at the other end"),
        (IDLE._replace(drops=3), Limit.ELSEWHERE, "the path"),
        (
            IDLE._replace(resent=500),
            Limit.LOSS,
            "the path's loss: 4.8 % of the packets were sent again",
        ),
        (IDLE._replace(resent=50), Limit.ELSEWHERE, "the path"),
        (IDLE._replace(packets=0), Limit.ELSEWHERE, "the path"),
    ],
)
def test_the_limit_is_named(evidence: Evidence, limit: Limit, words: str) -> None:
    verdict = judge(evidence)
    assert verdict is not None
    assert verdict.limit is limit
    assert words in verdict.words


@pytest.mark.parametrize(
    ("seconds", "rate", "slow"),
    [
        (SLOW_AFTER_S, SLOW_BYTES_PER_S * 0.99, True),
        (SLOW_AFTER_S, SLOW_BYTES_PER_S, False),
        (SLOW_AFTER_S * 0.99, 1e6, False),
        (1000.0, 1e6, True),
    ],
)
def test_slow_is_a_time_and_a_rate(seconds: float, rate: float, slow: bool) -> None:
    verdict = judge(IDLE._replace(used=used(seconds), bytes=round(rate * seconds)))
    assert verdict is not None
    assert verdict.slow is slow


def test_of_a_moment_nothing_can_be_told() -> None:
    assert judge(IDLE._replace(used=used(TOLD_AFTER_S * 0.99))) is None
