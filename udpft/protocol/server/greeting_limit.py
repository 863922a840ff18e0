"""Limit of datagrams from one address that belong to no transfer: HELLOs, and what is none.

Each costs a tenth of a millisecond, and a stranger sends tens of thousands in a second; those of
others would wait behind them, and be lost. So each address has a token bucket, and so has each
host, whatever ports it uses, and all together: forged sources are as many as somebody likes. What
is too much is dropped unseen, as if it were lost: a client says HELLO again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, TypeAlias

GREETINGS_PER_S: Final = 1_000
"""Datagrams per second from one address, in the long run: as many as transfers begin in all."""

GREETINGS_BURST: Final = 256
"""Datagrams from one address at once: 25 ms of work."""

HOST_GREETINGS_PER_S: Final = 6_000
"""The same from one host, from all its ports: half of what all have."""

HOST_GREETINGS_BURST: Final = 2_048
"""The same at once."""

ALL_GREETINGS_PER_S: Final = 12_000
"""The same from everybody: half of a core is left for transfers at work."""

ALL_GREETINGS_BURST: Final = 4_096
"""The same at once: four for each transfer that may begin at once."""

MAX_IN_A_BATCH: Final = 16
"""Datagrams that are taken of one batch: some milliseconds where each of them begins a transfer. A
client sends four."""

MAX_ADDRESSES: Final = 4_096
"""Addresses that are remembered, and hosts: a forged source is a new one each time, and pushes out
another."""

_Buckets: TypeAlias = "OrderedDict[Hashable, tuple[float, float]]"
"""Tokens left, and when they were counted, by address or host."""


class GreetingLimit:
    """Token buckets of the addresses and hosts that were heard lately, and one of all together.

    Args:
        host_of: the host that an address is charged to; None for no limit of its host.

    Attributes:
        _buckets: tokens left of each address, and when they were counted; the one used last at the
            end.
        _host_buckets: the same of each host.
        _all: the same of all together.
    """

    def __init__(self, host_of: Callable[[Hashable], Hashable | None] = lambda _: None) -> None:
        self._host_of = host_of
        self._buckets: _Buckets = OrderedDict()
        self._host_buckets: _Buckets = OrderedDict()
        self._all = float(ALL_GREETINGS_BURST), 0.0

    def take(self, address: Hashable, count: int, now: float) -> int:
        """Take tokens for a batch of so many datagrams; return how many of them are looked at."""
        left, counted_at = self._all
        left = min(ALL_GREETINGS_BURST, left + max(0.0, now - counted_at) * ALL_GREETINGS_PER_S)
        taken = min(count, int(left), MAX_IN_A_BATCH)
        if taken:
            taken = _take(self._buckets, address, taken, now, (GREETINGS_PER_S, GREETINGS_BURST))
        host = self._host_of(address) if taken else None
        if host is not None:
            limits = HOST_GREETINGS_PER_S, HOST_GREETINGS_BURST
            taken = _take(self._host_buckets, host, taken, now, limits)
        self._all = left - taken, now
        return taken


def _take(buckets: _Buckets, key: Hashable, count: int, now: float, limits: tuple[int, int]) -> int:
    """Take tokens from one bucket; return how many there were. ``limits``: per second, at once."""
    per_s, burst = limits
    left, counted_at = buckets.pop(key, (float(burst), now))
    left = min(burst, left + max(0.0, now - counted_at) * per_s)
    taken = min(count, int(left))
    buckets[key] = left - taken, now
    if len(buckets) > MAX_ADDRESSES:
        buckets.popitem(last=False)
    return taken
