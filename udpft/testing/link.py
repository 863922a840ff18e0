"""Lossy link on loopback: a relay in a thread, between clients and a server.

Each client gets a socket of its own towards the server, as behind a NAT. The kernel takes bursts
apart before a socket without coalescing, so datagrams meet their fate one by one. It is drawn from
a generator for each direction: the same datagrams in the same order fare alike with the same seed.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from threading import Thread
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from udpft.client.client import DEFAULT_PORT
from udpft.net.address import Address, parse_server, resolve
from udpft.net.clock import clock
from udpft.net.stop import Stop
from udpft.net.udp import RECEIVE_BUFFER_BYTES, wait

LOOPBACK = "127.0.0.1"

HELD_BACK_S = 0.005
"""Seconds by which a reordered datagram arrives later than those that overtake it."""

_DATAGRAMS_A_TURN = 64
"""Datagrams taken from one socket before the others have their turn, and before any are due."""


class Listening(Protocol):
    """Anything with an address: a server of `udpft.serve`, the fixture's, another link."""

    @property
    def address(self) -> str:
        """Address as ``HOST:PORT``."""
        ...


class Seen(NamedTuple):
    """Datagram that has come to a link; ``lost``: whether the link loses it."""

    datagram: bytes
    from_client: bool
    lost: bool


class _Due(NamedTuple):
    """Datagram on its way. ``number`` keeps those that are due at once in order."""

    at: float
    number: int
    datagram: bytes
    sock: socket.socket
    to: Any  # None where the socket is connected


class LossyLink:
    """Lossy relay between a server and its clients, which take ``address`` for the server's.

    A context manager; it works from ``__enter__`` on, in a thread of its own. The shares and the
    delay are attributes, and may be changed while it runs: ``link.loss = 1.0`` cuts the line.

    Args:
        server: the server's address, or the server.
        loss: the share of datagrams that are lost, each way, from 0 to 1.
        delay_s: seconds that each takes, each way.
        reorder: the share that is held back `HELD_BACK_S`, so that those behind it overtake it.
        duplicate: the share that arrives twice.
        seed: of the generators that decide.
        watch: called in the link's thread with each datagram that comes to it.

    Attributes:
        address: of the link, for clients, ``HOST:PORT``.
        carried: datagrams that were passed on, copies included.
        lost: those that were not.
        reordered: those that were held back.
        duplicated: those that were passed on twice.
    """

    def __init__(
        self,
        server: str | Listening,
        *,
        loss: float = 0.0,
        delay_s: float = 0.0,
        reorder: float = 0.0,
        duplicate: float = 0.0,
        seed: int = 0,
        watch: Callable[[Seen], object] | None = None,
    ) -> None:
        address = server if isinstance(server, str) else server.address
        self._server = resolve(parse_server(address, DEFAULT_PORT))
        self.loss = loss
        self.delay_s = delay_s
        self.reorder = reorder
        self.duplicate = duplicate
        self.carried = 0
        self.lost = 0
        self.reordered = 0
        self.duplicated = 0
        self._watch = watch
        self._random = {side: Random(f"{seed} {side}") for side in ("client", "server")}
        self._due: list[_Due] = []
        """Datagrams on their way, as a heap."""
        self._numbered = 0
        """Datagrams that were ever on their way, which numbers them."""
        self._backs: dict[socket.socket, Any] = {}
        """Clients' addresses by their sockets towards the server; one is added for each client."""
        self._back_of: dict[Any, socket.socket] = {}
        """The same the other way round."""
        self._stop = Stop()
        # The socket towards the clients
        self._front = _open(socket.AF_INET)
        self._front.bind((LOOPBACK, 0))
        self.address = str(Address.of(self._front.getsockname()))
        self._thread = Thread(target=self._run, name="lossy-link", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        for sock in (self._front, *self._backs):
            sock.close()

    # -------------------------------------------------------------------------------- the loop

    def _run(self) -> None:
        while not self._stop.is_set():
            timeout_s = self._due[0].at - clock() if self._due else None
            for sock in wait([self._stop, self._front, *self._backs], [], timeout_s):
                if sock is not self._stop:
                    self._take(sock)
            while self._due and self._due[0].at <= clock():
                due = heappop(self._due)
                self._deliver(due.datagram, due.sock, due.to)

    def _take(self, sock: socket.socket) -> None:
        """Take what has come to a socket, and decide about each datagram."""
        for _ in range(_DATAGRAMS_A_TURN):
            try:
                datagram, source = sock.recvfrom(65_536)
            except OSError:  # nothing more; or the server's port is closed, which a NAT keeps quiet
                return
            if sock is self._front:
                self._decide(datagram, self._towards_server(source), None)
            else:
                self._decide(datagram, self._front, self._backs[sock])

    def _decide(self, datagram: bytes, sock: socket.socket, to: Any) -> None:
        """Draw the fate of a datagram. It costs three draws, whatever they say."""
        from_client = to is None
        random = self._random["client" if from_client else "server"].random
        is_lost, is_held, is_doubled = (
            random() < share for share in (self.loss, self.reorder, self.duplicate)
        )
        if self._watch:
            self._watch(Seen(datagram, from_client, is_lost))
        if is_lost:
            self.lost += 1
            return
        self.reordered += is_held
        self.duplicated += is_doubled
        delay_s = self.delay_s + (HELD_BACK_S if is_held else 0.0)
        for _ in range(1 + is_doubled):
            if delay_s:
                self._numbered += 1
                heappush(self._due, _Due(clock() + delay_s, self._numbered, datagram, sock, to))
            else:
                self._deliver(datagram, sock, to)

    def _deliver(self, datagram: bytes, sock: socket.socket, to: Any) -> None:
        try:
            if to is None:
                sock.send(datagram)
            else:
                sock.sendto(datagram, to)
        except OSError:  # no room for it, or the receiver is gone
            self.lost += 1
        else:
            self.carried += 1

    def _towards_server(self, client: Any) -> socket.socket:
        if client not in self._back_of:
            family, sockaddr = self._server
            sock = _open(family)
            sock.connect(sockaddr)
            self._backs[sock] = client
            self._back_of[client] = sock
        return self._back_of[client]


def _open(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    sock.setblocking(False)
    return sock
