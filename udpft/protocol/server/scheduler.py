"""Round-robin scheduler of a server's transfers, with priority for sparse flows (RFC 8290).

A transfer keeps its turn for some bursts: both ends work faster with what their processors have
just had in hand, and with 64 of them it is most of the time that goes into fetching it anew. But
those that had little to send in their last turn, at the pace of a far path, get in between two
bursts of such a turn, as the sparse flows of FQ-CoDel do (RFC 8290, 4.2), for they would be late.
And so does a transfer that begins: most files are small.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from udpft.protocol.params import MAX_SEND_BYTES

TURN_BYTES = 4 << 20
"""Bytes sent in one turn: what fills the receive buffer that our clients ask for."""

BRIEF_BYTES = MAX_SEND_BYTES
"""Bytes in a turn below which a transfer gets in between the bursts of others: below 64 MB/s, at a
burst a millisecond."""


class Turn:
    """Turn of one transfer.

    Attributes:
        waits: whether the transfer stands in a queue: from its waking to the end of its turn.
        brief: whether it had little to send in its last turn, or begins.
        sent_bytes: bytes that it has sent in this turn.
    """

    __slots__ = ("brief", "sent_bytes", "waits")

    def __init__(self) -> None:
        self.waits = False
        self.brief = True
        self.sent_bytes = 0


class Scheduled(Protocol):
    """Transfer that takes turns."""

    @property
    def turn(self) -> Turn:
        """Its turn, which the scheduler keeps."""
        ...


T = TypeVar("T", bound=Scheduled)


class Scheduler(Generic[T]):
    """Queues of transfers that may have something to send. True where there are any."""

    def __init__(self) -> None:
        self._long: deque[T] = deque()
        self._brief: deque[T] = deque()
        self._at_turn = self._long  # the queue whose first transfer was asked last

    def __bool__(self) -> bool:
        return bool(self._long or self._brief)

    def wake(self, transfer: T) -> None:
        """Queue a transfer that may have something to send."""
        if not transfer.turn.waits:
            transfer.turn.waits = True
            self._queue_of(transfer).append(transfer)

    def _queue_of(self, transfer: T) -> deque[T]:
        return self._brief if transfer.turn.brief else self._long

    def next(self) -> T:
        """The transfer to be asked for a burst. Tell `sent` or `has_nothing` what it answered."""
        between = self._at_turn is self._long or not self._long
        self._at_turn = self._brief if self._brief and between else self._long
        return self._at_turn[0]

    def sent(self, n_bytes: int) -> None:
        """Note that it has sent a burst: it goes on, or waits for its next turn."""
        transfer = self._at_turn[0]
        turn = transfer.turn
        turn.sent_bytes += n_bytes
        if self._at_turn is self._brief:
            self._brief.popleft()
            turn.brief = turn.sent_bytes < BRIEF_BYTES
            self._queue_of(transfer).append(transfer)
        elif turn.sent_bytes >= TURN_BYTES:
            turn.sent_bytes = 0
            self._long.rotate(-1)

    def has_nothing(self) -> None:
        """Note that it has nothing to send: its turn is over until it wakes."""
        turn = self._at_turn.popleft().turn
        turn.waits = False
        if turn.sent_bytes:
            turn.brief = turn.sent_bytes < BRIEF_BYTES
        turn.sent_bytes = 0
