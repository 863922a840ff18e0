"""Transfers from memory to memory, of bytes of no file: they measure the path alone."""

from __future__ import annotations

from collections.abc import Sequence

from udpft.client.connection import Connection
from udpft.client.fetch import request
from udpft.client.fetch import result_of as result_of_download
from udpft.client.store import result_of as result_of_upload
from udpft.client.store import send
from udpft.errors import PartialTransfer
from udpft.net.clock import clock
from udpft.outcome.result import Result
from udpft.protocol.contract import OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.transfer.synthetic import SyntheticSource
from udpft.protocol.wire.hello import Role
from udpft.storage.destination import InMemory


def fetch_synthetic(connection: Connection, size: int) -> Result:
    """Fetch bytes that the server makes up, and keep none: see `Client.fetch_synthetic`."""
    began = clock()
    ended = request(connection, "", _Discarded(size), role=Role.MEASURE, size=size)
    return result_of_download(*ended, "", "", clock() - began)


def store_synthetic(connection: Connection, size: int) -> Result:
    """Send made-up bytes, of which the server keeps none: see `Client.store_synthetic`."""
    began = clock()
    ended = send(connection, SyntheticSource(size), "", Role.MEASURE_PUT)
    return result_of_upload(*ended, "", "", size, clock() - began)


class _Discarded(InMemory):
    """Target that keeps nothing of what arrives.

    Args:
        size: bytes that were asked for, and must arrive.
    """

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Take it in. Raises PartialTransfer: the server would send another number of bytes."""
        if handshake.accept.size != self.max_bytes:
            raise PartialTransfer("the server would send more, or less, than was asked for")
        return OpenedSink(self)

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        """Keep nothing. It has been checked before."""
