"""Which counters were seen, so that a repeated datagram is dropped (RFC 4303, 3.4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from operator import lt

from udpft.protocol.params import REPLAY_WINDOW_PACKETS

_MASK = (1 << REPLAY_WINDOW_PACKETS) - 1


class ReplayWindow:
    """The counters that came, as far back as `REPLAY_WINDOW_PACKETS`; older ones count as seen.

    ``top`` is one past the highest. Note a counter only when its datagram has proved authentic:
    else anybody could push the window on.
    """

    def __init__(self) -> None:
        self.top = 0
        self._seen = 0  # bit i: the counter top - 1 - i

    def is_ahead(self, counters: Sequence[int]) -> bool:
        """Whether all are new and in order: the usual case, found out at the price of one."""
        return counters[0] >= self.top and all(map(lt, counters, counters[1:]))

    def is_new(self, counter: int) -> bool:
        """Whether a counter has not come yet, and is not too old to tell."""
        age = self.top - 1 - counter
        return age < 0 or (age < REPLAY_WINDOW_PACKETS and not self._seen >> age & 1)

    def note(self, counter: int) -> None:
        """A datagram of this counter, new and authentic, has come."""
        if counter >= self.top:
            self.note_ahead((counter,))
        else:
            self._seen |= 1 << self.top - 1 - counter

    def note_ahead(self, counters: Sequence[int]) -> None:
        """As many datagrams have come, all authentic, for whose counters `is_ahead` is true."""
        last = counters[-1]
        if last - counters[0] == len(counters) - 1:
            new = (1 << len(counters)) - 1
        else:
            near = [counter for counter in counters if last - counter < REPLAY_WINDOW_PACKETS]
            new = sum(1 << last - counter for counter in near)
        step = min(last + 1 - self.top, REPLAY_WINDOW_PACKETS)
        self._seen = (self._seen << step | new) & _MASK
        self.top = last + 1
