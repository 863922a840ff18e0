"""Other parties on loopback: strangers, closed ports, and transfers that stall."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import udpft
from tests.samples import PATIENCE_S
from udpft.api import RunningServer
from udpft.errors import ServerBusy, TimedOut
from udpft.net.address import Address
from udpft.net.clock import clock
from udpft.protocol.handshake.initiator import Initiator
from udpft.protocol.wire.error import ErrorCode, Refusal, encode_error
from udpft.protocol.wire.hello import Hello


def address_of(sock: socket.socket) -> str:
    return str(Address.of(sock.getsockname()))


def closed_port() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return address_of(sock)


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do some work in a thread, and see at the end that it was done."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        yield
        done.result(PATIENCE_S)


class HeldTransfer:
    """A transfer that was let in and does not go on, by hand."""

    def __init__(self, server: RunningServer | Address, name: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((server.host, server.port))
        self._socket.settimeout(PATIENCE_S)
        hello = Hello(secrets.randbits(64), secrets.randbits(32), name.encode(), 2048, 4096)
        initiator = Initiator(hello, now=clock())
        while not initiator.result:
            while datagram := initiator.poll(clock()):
                self._socket.send(datagram)
            initiator.handle(memoryview(self._socket.recv(65_536)), clock())
        self._accept = initiator.result.accept
        self.port: int = self._socket.getsockname()[1]

    def end(self) -> None:
        """Cancel it."""
        refusal = Refusal(self._accept.nonce, ErrorCode.CANCELLED, "enough")
        self._socket.send(encode_error(refusal, self._accept.connection_id))
        self._socket.close()


def assert_busy(server: str, folder: Path) -> None:
    """Fetch a file "1", and see that the server is busy, however long a busy machine takes."""
    while True:
        try:
            udpft.get("1", server=server, output=folder, connect_timeout=0.1)
        except ServerBusy:
            return
        except TimedOut:
            continue
        raise AssertionError("there was room")
