"""HELLOs of transfers that are over, which draw nothing when they are sent again.

They are remembered for as long as their cookies are good, by a digest of 64 bits, in two hash
tables of a fixed size: the newer one takes in what ends, and takes the older one's place in time.
As objects, they would lie among those of the transfers, and keep memory from being given back.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from math import inf
from typing import Final, NamedTuple

from xxhash import xxh3_64_intdigest

from udpft.protocol.params import COOKIE_EPOCH_S
from udpft.protocol.server.admission import NEW_SESSIONS_BURST, NEW_SESSIONS_PER_S

MAX_ENDED_REMEMBERED: Final = 32_768
"""HELLOs in a table, at most."""

KEPT_S: Final = 2 * COOKIE_EPOCH_S
"""Seconds for which one is remembered, at least: as long as a cookie is good."""

assert MAX_ENDED_REMEMBERED >= KEPT_S * NEW_SESSIONS_PER_S + NEW_SESSIONS_BURST

_SLOTS: Final = 2 * MAX_ENDED_REMEMBERED


class _Table(NamedTuple):
    """Hash table. ``digests``: 0 where a slot is free. ``until``: when each is to be forgotten."""

    digests: array[int]
    until: array[float]

    @classmethod
    def empty(cls) -> _Table:
        """Make one."""
        return cls(array("Q", bytes(8 * _SLOTS)), array("d", bytes(8 * _SLOTS)))

    def slot_of(self, digest: int) -> int:
        """Slot that has a digest, or else the free one where it belongs."""
        at = digest % _SLOTS
        while self.digests[at] not in (0, digest):
            at = (at + 1) % _SLOTS
        return at


class EndedHellos:
    """Set of the HELLOs of transfers that are over.

    Attributes:
        _newer: those that were added last; None while there are none.
        _older: the table before; None while there is none.
        _count: digests in the newer one.
        _since: when the newer one took its place; inf while both are empty.
    """

    def __init__(self) -> None:
        self._newer: _Table | None = None
        self._older: _Table | None = None
        self._count = 0
        self._since = inf

    def add(self, key: Hashable, now: float) -> None:
        """Add one that is over now."""
        self.forget(now)
        if self._count == MAX_ENDED_REMEMBERED:
            self._turn(now)
        if self._newer is None:
            self._newer = _Table.empty()
            self._since = now
        digest = _digest_of(key)
        at = self._newer.slot_of(digest)
        self._count += self._newer.digests[at] == 0
        self._newer.digests[at] = digest
        self._newer.until[at] = now + KEPT_S

    def knows(self, key: Hashable, now: float) -> bool:
        """Tell whether one is over, and its cookie may still be good."""
        digest = _digest_of(key) if self else 0
        return any(
            table.digests[at] == digest and table.until[at] > now
            for table in (self._newer, self._older)
            if table
            for at in (table.slot_of(digest),)
        )

    def __bool__(self) -> bool:
        return self._newer is not None or self._older is not None

    def forget(self, now: float) -> None:
        """Forget those that were over long ago."""
        while now >= self._since + KEPT_S:
            self._turn(self._since + KEPT_S)

    def _turn(self, now: float) -> None:
        """Let the newer table take the older one's place."""
        self._older, self._newer = self._newer, None
        self._count = 0
        self._since = now if self else inf


def _digest_of(key: Hashable) -> int:
    return xxh3_64_intdigest(repr(key).encode()) or 1
