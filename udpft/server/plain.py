"""Plain transfers of a server: a socket for each, on the server's own port.

Such a *sibling* is connected to its client, so that a client that closes its port, or never asked,
stops it after one datagram. What its client sends meanwhile comes to the sibling and is ignored;
what it sends after the last datagram is a new request.
"""

from __future__ import annotations

import socket
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from typing import Any

from udpft.errors import PartialTransfer, UdpftError
from udpft.net.address import Address
from udpft.net.clock import clock
from udpft.net.pktinfo import Peer, beside, sockaddr_of
from udpft.net.traced import Ends, Observer, TracedSocket
from udpft.net.udp import UdpSocket
from udpft.outcome.served import Refused, Served
from udpft.protocol.contract import Batch, OpenedSource, Transmit
from udpft.protocol.server.failure import failure_of
from udpft.protocol.transfer.plain import NotARequest, PlainSender, decode_request_untrusted

MAX_PLAIN_TRANSFERS = 64
"""Plain transfers at once; further requests get the silence that a lost one gets."""

MAX_FILES_A_PORT = 64
"""Files that one address and port is served in a row. What is sent there may come back: to another
server, the end of a file is a request, and its answer may be one to this server."""

PORT_FORGOTTEN_S = 3_600.0
"""Seconds of silence after which an address and port may ask as often again: longer than a file
takes at the default rate, unless it has 36 GB, for its end is what asks."""

MAX_PORTS_REMEMBERED = 4_096
"""Addresses and ports whose files are counted; the one that asked longest ago is forgotten."""

_PRIVILEGED_PORTS = 1_024
"""Ports below it are services of the system, which never ask for a file, and may answer one."""

_BATCHES_TAKEN = 16
"""Batches read from a sibling in one go."""


_QUOTED_BYTES = 16
"""Bytes of a chunk that a message about it must quote to be believed."""

_CHUNKS_REMEMBERED = 1_024
"""Chunks that such a message may be about: 0.2 s at the default rate."""

_IP_RECVERR, _IPV6_RECVERR = 11, 25  # socket options, which the socket module does not name


class _Sibling(UdpSocket):
    """Socket on the server's port, connected to one client.

    That the client's port is closed, anybody can say in its host's name (RFC 5927). So it is
    believed where it quotes what was sent, as hosts do, and who does not see it cannot.

    Attributes:
        closed: whether the client's port is.
        _sock: the socket, for `leave` to disconnect it.
        _sent: the beginnings of the chunks sent last, oldest first.
        _tell: tells a trace of a datagram: whether it is sent, and its bytes; None without one.
    """

    def __init__(self, sock: socket.socket, observer: Observer | None) -> None:
        super().__init__(sock, offload=False, fragment=True)
        self._tell: Callable[[bool, memoryview], None] | None = None
        if observer:
            ends, note = Ends(sock.getsockname()[:2], sock.getpeername()[:2]), observer.note_plain
            self._tell = lambda sent, data: note(clock(), sent=sent, data=data, ends=ends)
        self._sock = sock
        self._sent: deque[bytes] = deque(maxlen=_CHUNKS_REMEMBERED)
        self.refusal_is_final = False
        self.closed = False
        # Keep what such messages quote. An IPv6 socket may have an IPv4 client
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)

    def send_chunk(self, chunk: memoryview) -> None:
        """Send a chunk; where the send buffer is full it is lost, as on the wire.

        Raises:
            ConnectionRefusedError: the client's port is closed.
        """
        before = self.refusals
        self.send(Transmit(chunk, max(1, len(chunk))))
        if self.refusals != before:
            self._read_quotes()
        if self.closed:
            raise ConnectionRefusedError
        if self._tell:
            self._tell(True, chunk)
        self._sent.append(bytes(chunk[:_QUOTED_BYTES]))

    def _read_quotes(self) -> None:
        """See whether what the network says of datagrams is said of those that were sent."""
        for _ in range(_BATCHES_TAKEN):
            try:
                quoted = self._sock.recvmsg(_QUOTED_BYTES, 0, socket.MSG_ERRQUEUE)[0]
            except OSError:
                return
            if len(quoted) == _QUOTED_BYTES and quoted in self._sent:
                self.closed = True

    def take_all(self) -> list[Batch]:
        """Empty the receive queue, up to `_BATCHES_TAKEN`, so that a flood holds nobody up."""
        taken: list[Batch] = []
        while len(taken) < _BATCHES_TAKEN and (received := self.receive()):
            taken.append(received.kept())
            if self._tell:
                for datagram in received.datagrams():
                    self._tell(False, datagram)
        return taken

    def leave(self) -> list[Batch]:
        """Close it and return what it received; what comes later goes to the server's socket."""
        try:
            self._sock.connect(self._sock.getsockname())  # to nobody: nothing comes any more
            return self.take_all()
        except OSError:
            return []  # the client's port is closed
        finally:
            self.close()


@dataclass(slots=True, eq=False)
class _Transfer:
    """One plain transfer.

    Attributes:
        name: the file's, as the client asked for it.
        address: the client's, as a socket names its peer.
        sibling: the socket that the file leaves by.
        source: the file, open while the transfer is at work.
        sender: paces the chunks; done when all have been sent.
        began: when the request came, by the loop's clock.
    """

    name: str
    address: Any
    sibling: _Sibling
    source: OpenedSource
    sender: PlainSender
    began: float


class Port:
    """Port of a server, for its plain transfers: their number, and room for their sockets.

    Args:
        main: the server's own socket.

    Attributes:
        main: as ``main``; never changes.
        keeps_strays: whether what a sibling is given between its bind and its connect is for this
            server, whoever has sent it; never changes.
        _count: plain transfers at work.
    """

    keeps_strays = True

    def __init__(self, main: UdpSocket) -> None:
        self.main = main
        self._count = 0

    @property
    def is_full(self) -> bool:
        """Whether there are as many plain transfers as there may be."""
        return self._count >= MAX_PLAIN_TRANSFERS

    def count(self, change: int) -> None:
        """Count a plain transfer that begins, 1, or is over, -1."""
        self._count += change

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Let other sockets bind the port, meanwhile only, so that nobody else ever can."""
        self.main.share_port(True)
        try:
            yield
        finally:
            self.main.share_port(False)


class PlainTransfers:
    """Set of all plain transfers of one server.

    Args:
        port: the server's.
        open_source: opens a file by its name, a client's word and so untrusted; raises an
            `UdpftError` where it cannot.
        rate_bytes_per_s: of each transfer; nothing else keeps a client's buffer from overflowing.
        on_stray: called with what a sibling received and is not its own.
        on_served: called with the record of each transfer that is over.
        on_refused: called with each request for what cannot be opened.
        on_failure: told of each exception that nobody expected; must not raise.

    Attributes:
        _transfers: those at work, by the client's address: one each.
        _files_served: files served in a row, and when the last was asked for, by the client's
            address; the one that asked longest ago first.
    """

    def __init__(
        self,
        port: Port,
        *,
        open_source: Callable[[str], OpenedSource],
        rate_bytes_per_s: float,
        on_stray: Callable[[Batch], None],
        on_served: Callable[[Served], None],
        on_refused: Callable[[Refused], None] = lambda _: None,
        on_failure: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._port, self._main = port, port.main
        self._open_source = open_source
        self._rate_bytes_per_s = rate_bytes_per_s
        self._on_stray = on_stray
        self._on_served = on_served
        self._on_refused = on_refused
        self._on_failure = on_failure
        self._transfers: dict[Any, _Transfer] = {}
        self._files_served: OrderedDict[Any, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        """Count the transfers at work."""
        return len(self._transfers)

    def begin(self, datagram: bytes, address: Any, now: float) -> None:
        """Begin the transfer that a request asks for.

        The protocol has no errors: a request that cannot be served gets silence.
        """
        if address in self._transfers or self._port.is_full:
            return
        if not self._may_ask(address, now):
            return
        try:
            name = decode_request_untrusted(datagram)
        except NotARequest:
            return
        try:
            source = self._open_source(name)
        except UdpftError as error:
            self._on_refused(Refused(name, str(Address.of(address)), "plain", False, error))
            return
        except Exception as failure:
            self._on_failure(failure)
            return
        try:
            sibling = self._connected_sibling(address)
        except OSError:  # no descriptor left, or no way to that address
            source.close()
            return
        sender = PlainSender(source, rate_bytes_per_s=self._rate_bytes_per_s, now=now)
        self._transfers[address] = _Transfer(name, address, sibling, source, sender, now)
        self._port.count(1)
        self._files_served[address] = self._files_in_a_row(address, now) + 1, now
        self._files_served.move_to_end(address)
        if len(self._files_served) > MAX_PORTS_REMEMBERED:
            self._files_served.popitem(last=False)

    def _may_ask(self, address: Any, now: float) -> bool:
        """Tell whether an address may be a client's, and not a server's that a forged request has
        set on this one: two of them would answer each other for ever."""
        port = address[1]
        if port < _PRIVILEGED_PORTS or port == self._main.address[1]:
            return False
        if self._files_in_a_row(address, now) < MAX_FILES_A_PORT:
            return True
        self._files_served[address] = MAX_FILES_A_PORT, now
        self._files_served.move_to_end(address)
        return False

    def _files_in_a_row(self, address: Any, now: float) -> int:
        """Count the files that an address was served since it was silent."""
        files, asked_at = self._files_served.get(address, (0, now))
        return files if now < asked_at + PORT_FORGOTTEN_S else 0

    def _connected_sibling(self, address: Any) -> _Sibling:
        """Open a sibling for a client.

        Between bind and connect the kernel may give it datagrams of others: they are handed on.
        """
        sock = socket.socket(self._main.family, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sock.family == socket.AF_INET6:
                with suppress(OSError):  # as the server's own: IPv4 too, where it listens on ::
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            with self._port.shared():
                sock.bind(self._local_address(address))
                sock.connect(sockaddr_of(address))
            observer = self._main.observer if isinstance(self._main, TracedSocket) else None
            sibling = _Sibling(sock, observer)
            for stray in sibling.take_all():
                if self._port.keeps_strays and stray.address != sockaddr_of(address):
                    self._on_stray(stray._replace(address=beside(address, stray.address)))
        except BaseException:
            sock.close()
            raise
        return sibling

    def _local_address(self, address: Any) -> Any:
        """Address to send from: the one that the client has asked, where there are many."""
        host, *rest = self._main.address
        return (address.local_host if type(address) is Peer else host, *rest)

    def transmit(self, now: float) -> None:
        """Send the datagrams that are due."""
        for transfer in list(self._transfers.values()):
            error: UdpftError | None = None
            try:
                while (chunk := transfer.sender.poll(now)) is not None:
                    if transfer.sender.done:
                        transfer.sibling.take_all()  # and ignore it
                    transfer.sibling.send_chunk(chunk)
                if not transfer.sender.done:
                    continue
            except ConnectionRefusedError:
                error = PartialTransfer("the client closed its port")
            except OSError as failure:
                error = PartialTransfer(f"no way to the client: {failure.strerror}")
            except UdpftError as failure:
                error = failure
            except Exception as failure:
                self._on_failure(failure)
                error = failure_of(failure)
            for request in self._end(transfer, error, now):
                self._on_stray(request)

    def next_timeout(self) -> float:
        """Return the time at which `transmit` has something to do; inf without transfers."""
        return min((t.sender.next_timeout for t in self._transfers.values()), default=inf)

    def end_all(self, error: UdpftError, now: float) -> None:
        """Cut all transfers off."""
        for transfer in list(self._transfers.values()):
            self._end(transfer, error, now)

    def _end(self, transfer: _Transfer, error: UdpftError | None, now: float) -> list[Batch]:
        """End a transfer; return what its client has sent since."""
        del self._transfers[transfer.address]
        self._port.count(-1)
        requests = [
            request._replace(address=beside(transfer.address, request.address))
            for request in transfer.sibling.leave()
        ]
        try:
            transfer.source.close()
        except OSError as failure:
            self._on_failure(failure)
        self._on_served(
            Served(
                name=transfer.name,
                peer=str(Address.of(transfer.address)),
                mode="plain",
                bytes=transfer.source.size,
                bytes_sent=transfer.sender.bytes_sent,
                seconds=now - transfer.began,
                resent_packets=0,
                verified=False,
                error=error,
            )
        )
        return requests
