"""Log of a server's failures: exceptions that nobody expected, at error level, with their traces.

They go to the standard logger ``udpft.server``. Whoever can reach the server may know how to draw
one, and should not fill its disk: each place in the code is told of once in a while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

LOGGER: Final = logging.getLogger("udpft.server")

TELL_AGAIN_S: Final = 10.0
"""Seconds in which the failures at one place in the code draw one line."""

MAX_PLACES: Final = 256
"""Places that are remembered; past it, all of them are forgotten."""


class FailureLog:
    """Log of failures, one line for each place in the code within `TELL_AGAIN_S`.

    Args:
        clock: seconds.

    Attributes:
        _told_at: when a place was told of last, by the clock, and how many have failed there since.
            At most `MAX_PLACES`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told_at: dict[tuple[str, str, int], tuple[float, int]] = {}

    def note(self, error: Exception) -> None:
        """Write a line for an exception, unless its like was told of just now."""
        place = _place_of(error)
        now = self._clock()
        told_at, untold = self._told_at.get(place, (-TELL_AGAIN_S, 0))
        if now < told_at + TELL_AGAIN_S and place in self._told_at:
            self._told_at[place] = told_at, untold + 1
            return
        if len(self._told_at) >= MAX_PLACES:
            self._told_at.clear()
        self._told_at[place] = now, 0
        kind, file, line = place
        more = f", as {untold} times before" if untold else ""
        LOGGER.error("%s at %s:%d: %s%s", kind, file, line, error, more, exc_info=error)


def _place_of(error: Exception) -> tuple[str, str, int]:
    """Name the kind of an exception, and the file and line that raised it."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename.rpartition("/")[2] if trace else ""
    return type(error).__name__, file, trace.tb_lineno if trace else 0
