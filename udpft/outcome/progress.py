"""Progress of a transfer, reported ten times a second."""

from __future__ import annotations

from collections.abc import Callable

from udpft.net.clock import clock

Progress = Callable[[int, int], None]
"""Function that is called with the bytes done and the bytes in all; -1 where unknown."""

PROGRESS_INTERVAL_S = 0.1
"""Seconds between reports: often enough to look steady, and no burden."""


def ticker(
    progress: Progress | None, measure: Callable[[], tuple[int, int] | None]
) -> Callable[[float], None]:
    """Make a loop's ``on_turn`` that reports progress ten times a second, once there is some."""
    if progress is None:
        return lambda _: None
    report_at = clock() + PROGRESS_INTERVAL_S

    def tick(now: float) -> None:
        nonlocal report_at
        if now >= report_at and (measured := measure()):
            report_at = now + PROGRESS_INTERVAL_S
            progress(*measured)

    return tick
