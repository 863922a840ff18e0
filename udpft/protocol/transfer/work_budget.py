"""Budget of hashing in one turn of a server's loop, which all its transfers share.

A client that holds the file already has it hashed by two datagrams. However many do so, the loop
comes back to the others in some milliseconds; and hosts take turns, so that one with hundreds of
such transfers has no more hashed than another with one.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

BURSTS_A_TURN: Final = 16
"""Bursts that are hashed in one turn: some milliseconds."""


class WorkBudget:
    """Bursts that may still be hashed in this turn.

    Attributes:
        left: how many; `take` lessens it, `refill` begins a turn.
        _served: the host that took them in this turn; None before.
        _waiting: hosts that found nothing left, or another one before them, in the order in which
            they asked. One that does not ask when it is first loses its place with the turn.
    """

    __slots__ = ("_served", "_waiting", "left")

    def __init__(self) -> None:
        self.left = BURSTS_A_TURN
        self._served: Hashable = None
        self._waiting: dict[Hashable, None] = {}

    def share_of(self, host: Hashable) -> WorkShare:
        """Make the share that a transfer to a host has in it."""
        return WorkShare(self, host)

    def take(self, host: Hashable = None) -> int:
        """Take all that is left, if no other host has waited for it longer."""
        if not self.left or next(iter(self._waiting), host) != host:
            if self.left or host != self._served:
                self._waiting.setdefault(host)
            return 0
        self._waiting.pop(host, None)
        self._served = host
        taken, self.left = self.left, 0
        return taken

    def refill(self) -> None:
        """Begin another turn."""
        if self.left and self._waiting:
            del self._waiting[next(iter(self._waiting))]
        self.left = BURSTS_A_TURN


class WorkShare:
    """Share of one transfer in the budget, charged to its host.

    Args:
        budget: of the server.
        host: that the hashing is charged to.
    """

    __slots__ = ("_budget", "_host")

    def __init__(self, budget: WorkBudget, host: Hashable) -> None:
        self._budget = budget
        self._host = host

    def take(self) -> int:
        """Take what is there for this transfer in this turn; in bursts."""
        return self._budget.take(self._host)
