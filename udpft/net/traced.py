"""Sockets whose datagrams are told to an observer, as a trace needs it.

They are made where sockets are made, in place of the others, so that whoever wants no trace pays
nothing for it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from udpft.net.clock import clock
from udpft.net.pktinfo import Peer
from udpft.net.sealed import SealedSocket
from udpft.net.udp import UdpSocket
from udpft.protocol.contract import Batch, Transmit

if TYPE_CHECKING:
    from udpft.protocol.keyed.channel import ClientChannel
    from udpft.protocol.transfer.sender import Sender


class Ends(NamedTuple):
    """Local address and peer's of a datagram, as `socket` names them."""

    local: tuple[str, int]
    peer: tuple[str, int]


class Observer(Protocol):
    """Whoever is told of datagrams. What it is given is good until it returns.

    ``at``: seconds on the clock: just before they left, or just after they came.
    """

    def note_datagrams(
        self, at: float, *, sent: bool, data: memoryview, size: int, ends: Ends
    ) -> None:
        """Note datagrams on the wire: ``data`` cut every ``size`` bytes."""
        ...

    def note_plain(self, at: float, *, sent: bool, data: memoryview, ends: Ends) -> None:
        """Note a datagram of a socket that is for a plain transfer alone."""
        ...

    def note_packets(self, *, sent: bool, data: memoryview, size: int) -> None:
        """Note packets before they are sealed, or after they were opened."""
        ...

    def note_sealing(self) -> None:
        """Note that packets are sealed, and told of by `note_packets`."""
        ...

    def watch(self, senders: Callable[[], Iterable[Sender]]) -> None:
        """Look at the sending ends that a function returns, from now on."""
        ...


class TracedSocket(UdpSocket):
    """UDP socket that tells an observer of all that it sends and receives.

    Attributes:
        observer: is told; never changes.
        _ends: addresses of a connected socket; None until they are asked for, and anew where the
            port has changed.
    """

    def __init__(
        self,
        sock: socket.socket,
        observer: Observer,
        *,
        offload: bool = True,
        fragment: bool = False,
    ) -> None:
        self.observer = observer
        self._ends: Ends | None = None
        super().__init__(sock, offload=offload, fragment=fragment)

    def _adopt(self, sock: socket.socket) -> None:
        self._ends = None
        super()._adopt(sock)

    def send(self, transmit: Transmit, address: Any = None) -> Transmit | None:
        """Send a burst, as `UdpSocket.send`; what found no room is not told of."""
        before = clock()
        rest = super().send(transmit, address)
        data = transmit.data[: len(transmit.data) - len(rest.data)] if rest else transmit.data
        if len(data):
            self._tell(before, data, transmit.segment_size, address, sent=True)
        return rest

    def receive(self) -> Batch | None:
        """Receive a batch, as `UdpSocket.receive`."""
        batch = super().receive()
        if batch:
            view = memoryview(batch.buffer)[: batch.length]
            self._tell(clock(), view, batch.segment_size, batch.address, sent=False)
        return batch

    def _tell(self, at: float, data: memoryview, size: int, address: Any, *, sent: bool) -> None:
        ends = self._ends_with(address)
        if self._fragment:
            for begin in range(0, max(1, len(data)), size):
                self.observer.note_plain(at, sent=sent, data=data[begin : begin + size], ends=ends)
        else:
            self.observer.note_datagrams(at, sent=sent, data=data, size=size, ends=ends)

    def _ends_with(self, address: Any) -> Ends:
        if address is None:
            if self._ends is None:
                self._ends = Ends(self.address[:2], self._socket.getpeername()[:2])
            return self._ends
        local = self.address[:2]
        if type(address) is Peer:
            local = (address.local_host, local[1])
        return Ends(local, (address[0], address[1]))


class TracedSealedSocket(SealedSocket):
    """Sealed socket that tells an observer of the packets within; its socket, of datagrams."""

    def __init__(self, sock: UdpSocket, channel: ClientChannel, observer: Observer) -> None:
        super().__init__(sock, channel)
        self._observer = observer

    def send(self, transmit: Transmit) -> Transmit | None:
        """Seal and send a burst, as `SealedSocket.send`."""
        self._observer.note_packets(sent=True, data=transmit.data, size=transmit.segment_size)
        return super().send(transmit)

    def receive(self) -> Batch | None:
        """Receive the next packets, as `SealedSocket.receive`."""
        batch = super().receive()
        if batch:
            view = memoryview(batch.buffer)[: batch.length]
            self._observer.note_packets(sent=False, data=view, size=batch.segment_size)
        return batch


class TracedSockets:
    """Maker of such sockets for one end.

    Args:
        offload: use the kernel's segmentation offloads.
        observer: is told.
    """

    def __init__(self, offload: bool, observer: Observer) -> None:
        self._offload = offload
        self._observer = observer

    def open(self, sock: socket.socket, *, fragment: bool = False) -> UdpSocket:
        """Set a socket up; see `UdpSocket`. One that fragments uses no offloads."""
        offload = self._offload and not fragment
        return TracedSocket(sock, self._observer, offload=offload, fragment=fragment)

    def seal(self, sock: UdpSocket, channel: ClientChannel) -> SealedSocket:
        """Put a keyed channel in front of a socket."""
        self._observer.note_sealing()
        return TracedSealedSocket(sock, channel, self._observer)

    def watch(self, senders: Callable[[], Iterable[Sender]]) -> None:
        """Have the observer look at sending ends."""
        self._observer.watch(senders)
