"""Memory that a rush of clients leaves behind, given back to the system when they have gone.

The C library keeps what is freed between things that stay. Where it knows how (glibc), it is asked
for whole pages back, at a moment when nobody waits for anything: it takes a millisecond.
"""

from __future__ import annotations

from math import inf
from typing import Final

RUSH: Final = 64
"""Transfers at once after which there may be something to give back."""

AFTER_S: Final = 5.0
"""Seconds without any transfer after which that is done."""


def trim() -> None:
    """Give free pages back to the system, where the C library knows how."""
    import ctypes  # a server that is never crowded does without

    known = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if known:
        known(0)


class Trimmer:
    """Decision when to give memory back.

    Attributes:
        _most: transfers that were at work at once, at most, since memory was given back.
        _idle_since: when the last one was over, by the caller's clock; inf while some are at work.
    """

    def __init__(self) -> None:
        self._most = 0
        self._idle_since = inf

    def note(self, at_work: int, now: float) -> None:
        """Note how many transfers are at work; give memory back where that is due."""
        if at_work:
            self._most = max(self._most, at_work)
            self._idle_since = inf
        elif self._most >= RUSH:
            self._idle_since = min(self._idle_since, now)
            if now >= self._idle_since + AFTER_S:
                self._most = 0
                self._idle_since = inf
                trim()

    def next_timeout(self) -> float:
        """When `note` has something to do; inf for never."""
        return self._idle_since + AFTER_S
