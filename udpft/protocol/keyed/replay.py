"""Replay window: counters received, so that a repeated datagram is dropped (RFC 4303, 3.4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from operator import lt
from typing import Final

REPLAY_WINDOW_PACKETS: Final = 2**14
"""How late a packet may come, in packets, before it is dropped as perhaps a replay. A tenth of a
second at 300 MB/s; what comes later is lost, and sent again."""

_MASK = (1 << REPLAY_WINDOW_PACKETS) - 1


class ReplayWindow:
    """Window of received counters, `REPLAY_WINDOW_PACKETS` wide; older ones count as seen.

    Note a counter only when its datagram has proved authentic: else anybody could push the window
    on.

    Attributes:
        top: one past the highest counter noted.
    """

    def __init__(self) -> None:
        self.top = 0
        self._seen = 0
        """Bit i: the counter ``top - 1 - i`` was noted. Shifted as ``top`` rises."""

    def is_ahead(self, counters: Sequence[int]) -> bool:
        """Whether all are new and in order, the usual case: as cheap as a look at one."""
        return counters[0] >= self.top and all(map(lt, counters, counters[1:]))

    def is_new(self, counter: int) -> bool:
        """Whether a counter has not come yet, and is not too old to tell."""
        age = self.top - 1 - counter
        return age < 0 or (age < REPLAY_WINDOW_PACKETS and not self._seen >> age & 1)

    def note(self, counter: int) -> None:
        """Note the counter of a datagram that is new and authentic."""
        if counter >= self.top:
            self.note_ahead((counter,))
        else:
            self._seen |= 1 << self.top - 1 - counter

    def note_ahead(self, counters: Sequence[int]) -> None:
        """Note the counters, `is_ahead` of all, of datagrams that are authentic."""
        last = counters[-1]
        if last - counters[0] == len(counters) - 1:
            new = (1 << len(counters)) - 1
        else:
            near = [counter for counter in counters if last - counter < REPLAY_WINDOW_PACKETS]
            new = sum(1 << last - counter for counter in near)
        step = min(last + 1 - self.top, REPLAY_WINDOW_PACKETS)
        self._seen = (self._seen << step | new) & _MASK
        self.top = last + 1
