"""Packet numbers of a sender, a few of which are skipped at random (RFC 9000, 21.4).

A receiver that acknowledges packets which have not come makes the sender believe in a path that
is faster than it is. It cannot know which numbers never left: by acknowledging one of them it
gives itself away.

Numbers are skipped between bursts only, so that the packets of a burst stay in step, and ever
less often: a skip costs the receiver an acknowledgement. Each distance is about twice the one
before, up to a limit, so that a cheat is found before it has drawn a few times as much as when
it began.
"""

from __future__ import annotations

from random import Random
from typing import Final

FIRST_SKIP: Final = 128
"""Packets until the first number is skipped, on average: beyond the initial window's flights."""

MAX_SKIP_DISTANCE: Final = 2**17
"""Packets between numbers skipped, on average, at most: 2**15 skips in all numbers there are."""


class PacketNumbers:
    """Numbers of the packets that leave next.

    Args:
        random: decides which numbers are skipped; a peer must not be able to guess it.

    Attributes:
        next: the number that the next packet has, unless it is skipped; grows with each burst.
        skipped: numbers that were skipped so far.
    """

    __slots__ = ("_distance", "_random", "_skip_at", "next", "skipped")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._distance = FIRST_SKIP  # to the next number skipped, on average
        self._skip_at = self._draw()  # from this number on, the first of a burst is skipped
        self.next = 0
        self.skipped = 0

    def _draw(self) -> int:
        half = self._distance // 2
        return half + self._random.randrange(2 * half)

    def skip(self) -> int | None:
        """Skip a number before a burst where one is due; return it, or None."""
        number = self.next
        if number < self._skip_at:
            return None
        self.next = number + 1
        self.skipped += 1
        self._distance = min(2 * self._distance, MAX_SKIP_DISTANCE)
        self._skip_at = number + self._draw()
        return number
