"""A bad network for real sockets: a relay in a thread, between clients and a server.

Each client gets a socket of its own towards the server, as behind a NAT. Datagrams are lost one
by one, by a seeded generator: the kernel takes bursts apart before a socket without coalescing.
"""

from __future__ import annotations

import select
import socket
import threading
from random import Random
from types import TracebackType
from typing import Any, Self

LOOPBACK = "127.0.0.1"
_BUFFER_BYTES = 4 << 20


class Relay:
    """Relays between ``address`` and a server; the datagrams it loses are counted in ``lost``.

    What clients say is kept in ``said``, in order, lost or not; ``seen`` is all that was carried,
    where ``record`` asks for it.

    Args:
        server: the server's address and port.
        loss: the part that is lost each way, 0 to 1.
        seed: of the generator that decides.
        record: keep all that is carried.
    """

    def __init__(
        self, server: tuple[str, int], *, loss: float, seed: int, record: bool = False
    ) -> None:
        self._server = server
        self._loss = loss
        self._random = Random(seed)
        self._front = _socket()
        self._front.bind((LOOPBACK, 0))
        self._clients: dict[Any, socket.socket] = {}
        self._stop_receiver, self._stop_sender = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self.address = "{}:{}".format(*self._front.getsockname())
        self.carried = self.lost = 0
        self.said: list[bytes] = []
        self._record = record
        self.seen: list[bytes] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._stop_sender.close()
        self._thread.join()
        for sock in (self._front, self._stop_receiver, *self._clients.values()):
            sock.close()

    def _run(self) -> None:
        while True:
            backs = {sock: client for client, sock in self._clients.items()}
            ready, _, _ = select.select([self._stop_receiver, self._front, *backs], [], [])
            if self._stop_receiver in ready:
                return
            for sock in ready:
                datagram, source = sock.recvfrom(65_536)
                if sock is self._front:
                    self.said.append(datagram)
                if self._random.random() < self._loss:
                    self.lost += 1
                    continue
                self.carried += 1
                if self._record:
                    self.seen.append(datagram)
                if sock is self._front:
                    self._towards_server(source).send(datagram)
                else:
                    self._front.sendto(datagram, backs[sock])

    def _towards_server(self, client: Any) -> socket.socket:
        if client not in self._clients:
            self._clients[client] = sock = _socket()
            sock.connect(self._server)
        return self._clients[client]


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    return sock
