"""A packet train: what a burst that came apart on its way tells of the path.

Packets that leave at one moment arrive one after another, as fast as the bottleneck lets them
through (Jain and Routhier, 1986). Where the first and the last are acknowledged at once, the time
between the two acknowledgements tells its rate; others' packets between them lower it.
"""

from __future__ import annotations

_SAME_MOMENT_S = 1e-6


class PacketTrain:
    """``rate``: packets per second that the bottleneck lets through; 0 until it is known."""

    __slots__ = ("_first_delivered", "_first_rtt_s", "_sent_at", "rate")

    def __init__(self) -> None:
        self.rate = 0.0
        self._sent_at = -1.0
        self._first_rtt_s = 0.0
        self._first_delivered = 0

    def acknowledged(self, sent_at: float, rtt_s: float, delivered: int) -> None:
        """Take in an acknowledgement: when its newest packet left, how long ago, packets by now."""
        if abs(sent_at - self._sent_at) > _SAME_MOMENT_S:
            self._sent_at, self._first_rtt_s, self._first_delivered = sent_at, rtt_s, delivered
        elif rtt_s > self._first_rtt_s:
            self.rate = (delivered - self._first_delivered) / (rtt_s - self._first_rtt_s)
