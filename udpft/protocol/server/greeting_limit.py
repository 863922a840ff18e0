"""Limit of datagrams from one address that belong to no transfer: HELLOs, and what is none.

Each costs a tenth of a millisecond, and a stranger sends tens of thousands in a second; those of
others would wait behind them, and be lost. So each address has a token bucket. What is too much is
dropped unseen, as if it were lost: a client says HELLO again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

GREETINGS_PER_S: Final = 1_000
"""Datagrams per second from one address, in the long run: as many as transfers begin in all."""

GREETINGS_BURST: Final = 256
"""Datagrams from one address at once: 25 ms of work."""

MAX_IN_A_BATCH: Final = 16
"""Datagrams that are taken of one batch: some milliseconds where each of them begins a transfer. A
client sends four."""

MAX_ADDRESSES: Final = 4_096
"""Addresses that are remembered: a forged source is a new one each time, and pushes out another."""


class GreetingLimit:
    """Token buckets of the addresses that were heard lately.

    Attributes:
        _buckets: tokens left of each, and when they were counted; the one used last at the end.
    """

    def __init__(self) -> None:
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, address: Hashable, count: int, now: float) -> int:
        """Take tokens for a batch of so many datagrams; return how many of them are looked at."""
        left, counted_at = self._buckets.pop(address, (float(GREETINGS_BURST), now))
        left = min(GREETINGS_BURST, left + (now - counted_at) * GREETINGS_PER_S)
        taken = min(count, int(left), MAX_IN_A_BATCH)
        self._buckets[address] = left - taken, now
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return taken
