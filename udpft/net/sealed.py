"""Sealed socket of a client that has a key: it seals on sending and opens on receiving."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

from udpft.errors import KeyRejected
from udpft.net.clock import clock
from udpft.net.udp import UdpSocket, wait
from udpft.protocol.contract import Batch, Transmit

if TYPE_CHECKING:
    from udpft.protocol.keyed.channel import ClientChannel


_BELIEVE_AFTER_S = 1.0
"""Seconds for the server itself to answer, after it was said in its name that it has no key."""


class SealedSocket:
    """Connected `UdpSocket` with a keyed channel in front of it.

    Args:
        sock: to the server; this object closes it.
        channel: seals and opens.

    Attributes:
        buffer: the channel's; each `receive` writes the opened packets over the last ones.
    """

    def __init__(self, sock: UdpSocket, channel: ClientChannel) -> None:
        self._socket = sock
        self._channel = channel
        self._opened: Iterator[Batch] = iter(())
        """Opened packets of the batch received last; each `receive` takes one."""
        self._give_up_at = inf
        """Seconds on the clock: when the notice that the server has no key is believed.
        Set by the first notice; inf without one."""
        self.buffer = channel.buffer

    def fileno(self) -> int:
        """The socket's descriptor, for `select`."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def replace(self, sock: socket.socket) -> None:
        """See `UdpSocket.replace`."""
        self._socket.replace(sock)

    @property
    def refusal_is_final(self) -> bool:
        """See `UdpSocket`."""
        return self._socket.refusal_is_final

    @refusal_is_final.setter
    def refusal_is_final(self, final: bool) -> None:
        """See `UdpSocket`."""
        self._socket.refusal_is_final = final

    @property
    def refusals(self) -> int:
        """See `UdpSocket`."""
        return self._socket.refusals

    def receive_queue(self) -> tuple[int, int]:
        """See `UdpSocket.receive_queue`."""
        return self._socket.receive_queue()

    def largest_datagram(self) -> float:
        """See `UdpSocket.largest_datagram`."""
        return self._socket.largest_datagram()

    def send(self, transmit: Transmit) -> Transmit | None:
        """Seal a burst and send all of it; wait where there is no room.

        It is never sealed twice, so nothing of it is given back.

        Raises:
            ConnectionRefusedError: nothing listens at the other end.
        """
        rest = self._channel.seal(transmit)
        while rest and (rest := self._socket.send(rest)):
            wait([], [self._socket], None)
        return None

    def receive(self) -> Batch | None:
        """Receive the next packets sealed by the server; None where nothing has arrived.

        Raises:
            ConnectionRefusedError: nothing listens at the other end.
            KeyRejected: a server without a key listens at the other end.
        """
        while True:
            for opened in self._opened:
                return opened
            received = self._socket.receive()
            if received is None:
                self._believe_in_no_key()
                return None
            self._opened = self._channel.open_untrusted(received)

    def _believe_in_no_key(self) -> None:
        """Give up where the server says that it has no key, and nobody contradicts it in time."""
        now = clock()
        if not self._channel.server_has_no_key:
            self._give_up_at = inf
        elif now >= self._give_up_at:
            raise KeyRejected(
                "the server has no key, and this end has one",
                hint="give the server the key with --key-file, or ask without a key",
            )
        elif self._give_up_at == inf:
            self._give_up_at = now + _BELIEVE_AFTER_S
