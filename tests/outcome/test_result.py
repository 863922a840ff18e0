"""Record of a finished transfer: the figures that are worked out of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from udpft.outcome.result import Result
from udpft.outcome.usage import Usage

RESULT = Result("file", "to/file", 1_000_000, 2.0, "d1", 0, "reliable", True)
IDLE = Usage(at=5.0, cpu_s=1.0, busy_s=1.0, queued_s=0.0, waited_s=4.0)


def test_the_path_is_that_of_the_text() -> None:
    assert RESULT.path == Path("to/file")


def test_the_rate_is_that_of_the_bytes_that_were_new() -> None:
    assert RESULT.rate_bytes_per_s == 500_000
    assert RESULT._replace(resumed_bytes=400_000).rate_bytes_per_s == 300_000
    assert RESULT._replace(seconds=0.0).rate_bytes_per_s == 0


def test_processor_time_is_for_what_crossed_the_network() -> None:
    large = RESULT._replace(bytes=3 * 10**9, cpu_seconds=2.0, resumed_bytes=10**9)
    assert large.cpu_seconds_per_gb == 1.0
    assert large._replace(resumed_bytes=large.bytes).cpu_seconds_per_gb is None


def test_what_was_used_completes_it() -> None:
    result = RESULT.measured(IDLE, rate_limit=200_000, receives=True)
    assert result.cpu_seconds == 1.0
    assert result.limited_by == "rate limit"
    assert "--limit-rate" in result.limit


@pytest.mark.parametrize(
    "result", [RESULT._replace(mode="plain"), RESULT._replace(resumed_bytes=RESULT.bytes)]
)
def test_plain_and_what_was_here_have_no_limit(result: Result) -> None:
    assert result.measured(IDLE, rate_limit=200_000, receives=True).limit == ""


@pytest.mark.parametrize(("receives", "dropped"), [(True, 7), (False, 2)])
def test_drops_are_those_of_the_receiving_end(receives: bool, dropped: int) -> None:
    used = IDLE._replace(drops=7)
    result = RESULT._replace(dropped_packets=2).measured(used, rate_limit=0, receives=receives)
    assert result.dropped_packets == dropped
