"""Whose turn it is to send, among the transfers of a server.

A transfer keeps its turn for some bursts: both ends work faster with what their processors have
just had in hand, and with 64 of them it is most of the time that goes into fetching it anew. But
those that had little to send in their last turn, at the pace of a far path, get in between two
bursts of such a turn, as the sparse flows of FQ-CoDel do (RFC 8290, 4.2), for they would be late.
And so does a transfer that begins: most files are small.
"""

from __future__ import annotations

from collections import deque

from udpft.protocol.params import MAX_SEND_BYTES
from udpft.protocol.server.session import Session

TURN_BYTES = 4 << 20
"""Bytes sent in one turn: what fills the receive buffer that our clients ask for."""

BRIEF_BYTES = MAX_SEND_BYTES
"""Whoever sends less in a turn gets in between the bursts of others: below 64 MB/s, at a burst a
millisecond."""


class Scheduler:
    """Transfers that may have something to send. True where there are any."""

    def __init__(self) -> None:
        self._long: deque[Session] = deque()
        self._brief: deque[Session] = deque()
        self._at_turn = self._long

    def __bool__(self) -> bool:
        return bool(self._long or self._brief)

    def wake(self, session: Session) -> None:
        """A transfer may have something to send; it waits for its turn."""
        if not session.ready:
            session.ready = True
            self._queue_of(session).append(session)

    def _queue_of(self, session: Session) -> deque[Session]:
        return self._brief if session.brief else self._long

    def next(self) -> Session:
        """The transfer to be asked for a burst. Tell `sent` or `has_nothing` what it answered."""
        between = self._at_turn is self._long or not self._long
        self._at_turn = self._brief if self._brief and between else self._long
        return self._at_turn[0]

    def sent(self, n_bytes: int) -> None:
        """It has sent a burst: it goes on, or its turn is over and it waits for the next."""
        session = self._at_turn[0]
        session.turn_bytes += n_bytes
        if self._at_turn is self._brief:
            self._brief.popleft()
            session.brief = session.turn_bytes < BRIEF_BYTES
            self._queue_of(session).append(session)
        elif session.turn_bytes >= TURN_BYTES:
            session.turn_bytes = 0
            self._long.rotate(-1)

    def has_nothing(self) -> None:
        """It has nothing to send: its turn is over until it wakes."""
        session = self._at_turn.popleft()
        session.ready = False
        if session.turn_bytes:
            session.brief = session.turn_bytes < BRIEF_BYTES
        session.turn_bytes = 0
