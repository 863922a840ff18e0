"""Budget of hashing in one turn of a server's loop, which all its transfers share.

A client that holds the file already has it hashed by two datagrams. However many do so, the loop
comes back to the others in some milliseconds.
"""

from __future__ import annotations

from typing import Final

BURSTS_A_TURN: Final = 16
"""Bursts that are hashed in one turn: some milliseconds."""


class WorkBudget:
    """Bursts that may still be hashed in this turn.

    Attributes:
        left: how many; `take` lessens it, `refill` begins a turn.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = BURSTS_A_TURN

    def take(self) -> int:
        """Take all that is left."""
        taken, self.left = self.left, 0
        return taken

    def refill(self) -> None:
        """Begin another turn."""
        self.left = BURSTS_A_TURN
