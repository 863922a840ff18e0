"""Progress of a transfer, reported ten times a second."""

from __future__ import annotations

from collections.abc import Callable

from udpft.net.clock import clock

Progress = Callable[[int, int], None]
"""Called now and then with the bytes done and the bytes in all; -1 where that is not known."""

PROGRESS_INTERVAL_S = 0.1


def ticker(
    progress: Progress | None, measure: Callable[[], tuple[int, int] | None]
) -> Callable[[float], None]:
    """A loop's ``on_turn`` that reports progress ten times a second, once there is some."""
    if progress is None:
        return lambda _: None
    report_at = clock() + PROGRESS_INTERVAL_S

    def tick(now: float) -> None:
        nonlocal report_at
        if now >= report_at and (measured := measure()):
            report_at = now + PROGRESS_INTERVAL_S
            progress(*measured)

    return tick
