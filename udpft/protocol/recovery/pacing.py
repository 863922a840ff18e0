"""Pacing: bursts leave at the controller's rate, not when the window happens to open.

A virtual schedule (the generic cell rate algorithm, ITU-T I.371): each burst moves the moment of
the next one by its length at the rate. A sender that comes late may catch up, by a bounded time.
"""

from __future__ import annotations

from typing import Final

from udpft.protocol.params import MAX_BURST_INTERVAL_S

MAX_LATENESS_S: Final = 0.02
"""Seconds' worth of the pacing rate that a burst may make good, where a server with hundreds of
transfers gets round to each only now and then: a burst of two packets costs it as much as of 31."""

PACING_SLACK_S: Final = 0.000_2
"""Seconds a paced send may come early: timers are late by about this much."""


class Pacer:
    """Schedule of one sender's bursts. Rates in packets per second, times in seconds."""

    __slots__ = ("ready_at",)

    def __init__(self) -> None:
        self.ready_at = 0.0
        """Seconds on the clock: when the next burst may leave. Each burst moves it on."""

    def late_s(self, now: float, open_since: float) -> float:
        """Seconds for which a burst has been due, as far as made good; below 0 where none is.

        ``open_since``: since when the windows have let one through, inf where they do not.
        """
        return min(MAX_LATENESS_S, now - max(self.ready_at, open_since))

    def sent(
        self, packets: int, rate_packets_per_s: float, now: float, late_s: float = 0.0
    ) -> None:
        """Account for a burst. Time not used is kept for one burst interval, then it is gone.

        ``late_s``: for how long the burst was due and did not get its turn; that is kept too.
        """
        earliest = now - max(MAX_BURST_INTERVAL_S + PACING_SLACK_S, late_s)
        at = self.ready_at if self.ready_at > earliest else earliest
        self.ready_at = at + packets / rate_packets_per_s
