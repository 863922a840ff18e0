"""Sharing: the parts of one worker's server that stand for those of all of them together."""

from __future__ import annotations

import socket
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from udpft.net.clock import clock
from udpft.net.udp import UdpSocket
from udpft.protocol.server.admission import Admission
from udpft.protocol.server.eviction import REVIEW_INTERVAL_S
from udpft.server.access import Access
from udpft.server.plain import MAX_PLAIN_TRANSFERS, Port
from udpft.server.uploads import Quota
from udpft.server.workers.ledger import Count, Ledger

Row = tuple[Ledger, int]
"""Ledger, and the number of the row in it that a worker writes to."""


class SharedAdmission(Admission):
    """Admission limits of all workers together.

    Args:
        row: to count in.
        access: names the hosts of addresses.
        max_sessions: transfers at once, of all workers.
        want_room: asks the other workers for room, for a host or for all.
    """

    def __init__(
        self,
        row: Row,
        access: Access,
        max_sessions: int,
        want_room: Callable[[Hashable | None], None],
    ) -> None:
        super().__init__(access.limited_host, access.near_host, max_sessions=max_sessions)
        self._ledger, self._row = row
        self._want_room = want_room

    def _count(self) -> int:
        return self._ledger.sum(Count.RELIABLE)

    def _count_of(self, host: Hashable) -> int:
        return self._ledger.sum_of_host(host)

    def note_no_room(self, host: Hashable | None) -> None:
        """Ask the other workers for room."""
        self._want_room(host)

    def begin(self, address: Hashable) -> None:
        """Count a transfer that begins. Raises ServerBusy: another worker was first."""
        with self._ledger.locked():
            self.check_room(address)
            super().begin(address)
            self._change(address, 1)

    def end(self, address: Hashable) -> None:
        """Count a transfer that is over."""
        super().end(address)
        self._change(address, -1)

    def _change(self, address: Hashable, change: int) -> None:
        self._ledger.add(self._row, Count.RELIABLE, change)
        host = self.charged_host(address)
        if host is not None:
            self._ledger.add_of_host(self._row, host, change)


class SharedQuota(Quota):
    """Quota of the uploads of all workers together."""

    def __init__(self, row: Row, most_bytes: int) -> None:
        super().__init__(most_bytes)
        self._ledger, self._row = row

    @property
    def is_used_up(self) -> bool:
        """Whether there is a quota, and nothing left of it."""
        return 0 < self._most_bytes <= self._ledger.sum(Count.PROMISED_BYTES)

    def promise(self, count: int) -> bool:
        """Promise so many bytes to a place; return whether so many were left."""
        with self._ledger.locked():
            promised = self._ledger.sum(Count.PROMISED_BYTES)
            if self._most_bytes and promised + count > self._most_bytes:
                return False
            self._ledger.add(self._row, Count.PROMISED_BYTES, count)
            return True

    def give_back(self, count: int) -> None:
        """Take back so many bytes that a place was promised and has not taken."""
        self._ledger.add(self._row, Count.PROMISED_BYTES, -count)


class SharedPort(Port):
    """Port of several sockets, one of each worker.

    Args:
        row: to count in.
        sockets: all of them.
        main: this worker's.
    """

    keeps_strays = False  # most are for other workers, and what is lost is sent again

    def __init__(self, row: Row, sockets: Sequence[socket.socket], main: UdpSocket) -> None:
        super().__init__(main)
        self._ledger, self._row = row
        self._sockets = sockets

    @property
    def is_full(self) -> bool:
        """Whether there are as many plain transfers as there may be."""
        return self._ledger.sum(Count.PLAIN) >= MAX_PLAIN_TRANSFERS

    def count(self, change: int) -> None:
        """Count a plain transfer that begins, 1, or is over, -1."""
        self._ledger.add(self._row, Count.PLAIN, change)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Let other sockets bind the port, meanwhile only. One worker at a time does so."""
        with self._ledger.locked():
            try:
                self._allow(True)
                yield
            finally:
                self._allow(False)

    def _allow(self, allowed: bool) -> None:
        for one in self._sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, allowed)


class Sharing:
    """Parts of one worker's server.

    Args:
        row: of the worker, in the ledger of all.
        sockets: of all workers; its own has the number of its row.
        secret: of all cookies, 32 random bytes.
        tell: sends a message to the supervisor; see `messages`.

    Attributes:
        socket: the worker's own, bound to the port; never changes.
        secret: as ``secret``; never changes.
        quota: makes the quota of uploads; never changes.
        port: makes the port of plain transfers; never changes.
        _wanted_room_at: when others were asked for room last, by the clock.
    """

    def __init__(
        self,
        row: Row,
        sockets: Sequence[socket.socket],
        secret: bytes,
        tell: Callable[..., None],
    ) -> None:
        self.socket = sockets[row[1]]
        self.secret = secret
        self.quota = partial(SharedQuota, row)
        self.port = partial(SharedPort, row, sockets)
        self._row = row
        self._tell = tell
        self._wanted_room_at = -REVIEW_INTERVAL_S

    def admission(self, access: Access, max_sessions: int) -> Admission:
        """Make the limits of a worker's server."""
        return SharedAdmission(self._row, access, max_sessions, self._want_room)

    def want_upload(self, name: str) -> None:
        """Ask the other workers to end the upload of a name, if its client has gone."""
        self._tell("want_upload", name=name)

    def _want_room(self, host: Hashable | None) -> None:
        """Ask the other workers for room, as often as they look for what may go."""
        now = clock()
        if now >= self._wanted_room_at + REVIEW_INTERVAL_S:
            self._wanted_room_at = now
            self._tell("want_room", host=host)
