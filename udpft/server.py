"""The server: one process, one UDP port, one loop, any number of clients.

The first byte of a datagram tells reliable from plain. Reliable transfers share the one socket
and are all in `Listener`. A plain transfer has a socket of its own, bound to the same port and
connected to its client, so that a client that closes its port stops it after one datagram.
"""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Literal

from udpft.errors import PartialTransfer, UdpftError, UsageError
from udpft.net.address import Address, resolve
from udpft.net.driver import clock
from udpft.net.udp import Received, UdpSocket, wait
from udpft.protocol.endpoint import Transmit
from udpft.protocol.listener import Addressed, Listener
from udpft.protocol.params import IDLE_TIMEOUT_S, MAX_SESSIONS, PLAIN_RATE_BYTES_PER_S
from udpft.protocol.plain import NotARequest, PlainSender, decode_request_untrusted, is_plain
from udpft.storage.root import Root, SourceFile

PlainPolicy = Literal["auto", "always", "never"]

DRAIN_S = 5.0
"""Seconds that transfers have to end, once the server was asked to stop."""

MAX_PLAIN_TRANSFERS = 64
"""Plain transfers at once; further requests get the silence that a lost one gets."""

_BURSTS_A_TURN = 4
"""Bursts sent before the socket is looked at again: a millisecond's work at most."""

_BATCHES_A_TURN = 16
"""Batches received before anything is sent: acknowledgements, a few at a time."""

_SHARED_ADDRESSES = ipaddress.ip_network("100.64.0.0/10")


def is_private(host: str) -> bool:
    """Whether an address is of this host or a private network.

    Loopback, RFC 1918, link-local, unique local (RFC 4193), and shared address space (RFC 6598).
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_link_local:
        return True
    if address.version == 4 and address in _SHARED_ADDRESSES:
        return True
    # `is_private` alone would let in documentation and benchmarking networks as well.
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
    networks = (ipaddress.ip_network(text) for text in private)
    return any(address in net for net in networks if net.version == address.version)


@dataclass(frozen=True)
class Served:
    """One transfer, over. ``error`` is None where it ended well."""

    name: str
    peer: str
    mode: Literal["reliable", "plain"]
    bytes: int
    seconds: float
    resent_packets: int
    error: UdpftError | None

    @property
    def rate_bytes_per_s(self) -> float:
        """Bytes of the file per second."""
        return self.bytes / self.seconds if self.seconds > 0 else 0.0


@dataclass(slots=True, eq=False)
class _Plain:
    """One plain transfer."""

    name: str
    address: Any
    socket: UdpSocket
    source: SourceFile
    sender: PlainSender
    began: float


class Server:
    """Serves the files below a folder; see the module's docstring.

    Args:
        directory: the folder.
        host: the address to bind.
        port: the port to bind; 0 for any free one.
        plain: who is served by the plain protocol: loopback and private addresses, all, nobody.
        plain_rate: bytes per second of each plain transfer.
        max_clients: reliable transfers at once; more are told to come back.
        max_rate: bytes per second of each reliable transfer; 0 for no limit.
        hidden: serve names that begin with a dot too.
        insecure_public: answer addresses that are neither loopback nor private.
        idle_timeout: seconds without progress after which a transfer is dropped.
        on_served: called in the server's thread with each transfer that is over.
        offload: use the kernel's segmentation offloads.

    Raises:
        LocalReadFailed: the folder cannot be read.
        HostNotFound: the address to bind does not resolve.
        UsageError: the address cannot be bound.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        host: str = "127.0.0.1",
        port: int = 9000,
        plain: PlainPolicy = "auto",
        plain_rate: float = PLAIN_RATE_BYTES_PER_S,
        max_clients: int = MAX_SESSIONS,
        max_rate: int = 0,
        hidden: bool = False,
        insecure_public: bool = False,
        idle_timeout: float = IDLE_TIMEOUT_S,
        on_served: Callable[[Served], None] = lambda served: None,
        offload: bool = True,
    ) -> None:
        self._root = Root(Path(directory), hidden=hidden)
        try:
            self._socket = UdpSocket(_bind(host, port), offload=offload)
        except BaseException:
            self._root.close()
            raise
        self.host, self.port = self._socket.address[:2]
        self._plain_policy = plain
        self._plain_rate = plain_rate
        self._insecure_public = insecure_public
        self._on_served = on_served
        self._listener = Listener(
            open_source=self._open,
            secret=secrets.token_bytes(32),
            draw_id=lambda: secrets.randbits(32),
            random=Random(secrets.randbits(64)),
            max_sessions=max_clients,
            max_rate_bytes_per_s=max_rate,
            idle_timeout_s=idle_timeout,
        )
        self._plains: dict[Any, _Plain] = {}
        self._private: dict[str, bool] = {}
        self._unsent: Addressed | None = None
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._stopping = False

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back at once; transfers at work are cut off."""
        for plain in list(self._plains.values()):
            self._end_plain(plain, PartialTransfer("the server stopped"))
        self._socket.close()
        self._wake_receiver.close()
        self._wake_sender.close()
        self._root.close()

    def stop(self) -> None:
        """Ask the loop to end: no new transfers, `DRAIN_S` for those at work. From any thread."""
        self._stopping = True
        try:
            self._wake_sender.send(b"\0")
        except (BlockingIOError, OSError):
            return  # it has been woken already, or is gone

    def _open(self, name: str) -> SourceFile:
        try:
            return self._root.open_file(name)
        except UdpftError as error:
            if near := self._root.nearest(name):
                error.hint = f"did you mean {near!r}?"
            raise

    # -------------------------------------------------------------------------------- the loop

    def run(self) -> None:
        """Serve until `stop` is called and the transfers at work have ended."""
        drain_until = inf
        while True:
            now = clock()
            if self._stopping and drain_until == inf:
                drain_until = now + DRAIN_S
                self._listener.draining = True
            if self._stopping and (now >= drain_until or not (self._listener or self._plains)):
                self._say_goodbye(now)
                return
            full = self._transmit(now)
            deadline = min(self._next_timeout(), drain_until)
            if not self._receive():
                timeout_s = None if deadline == inf else deadline - clock()
                writing = [self._socket] if full else []
                ready = wait([self._socket, self._wake_receiver], writing, timeout_s)
                if self._wake_receiver in ready:
                    self._wake_receiver.recv(64)
            self._listener.handle_timeout(clock())

    def _next_timeout(self) -> float:
        at = self._listener.next_timeout()
        plain = min((p.sender.next_timeout for p in self._plains.values()), default=inf)
        return plain if at is None else min(at, plain)

    def _say_goodbye(self, now: float) -> None:
        self._listener.abort_all(PartialTransfer("the server is stopping"))
        while addressed := self._listener.poll_transmit(now):
            self._socket.send(*addressed)
        self._report_ended()

    def _receive(self) -> bool:
        """Take in what has arrived, up to a few batches; whether there was anything."""
        for turn in range(_BATCHES_A_TURN):
            received = self._socket.receive()
            if received is None:
                return turn > 0
            self._dispatch(self._socket.buffer, received)
        return True

    def _dispatch(self, buffer: bytearray, received: Received) -> None:
        length, segment_size, address = received
        if not length:
            return
        if is_plain(buffer[0]):
            self._begin_plain(bytes(buffer[: min(length, segment_size)]), address)
        elif self._insecure_public or self._is_private(address[0]):
            self._listener.handle_datagrams(buffer, length, segment_size, address, clock())

    def _is_private(self, host: str) -> bool:
        known = self._private.get(host)
        if known is None:
            if len(self._private) > 10_000:
                self._private.clear()
            known = self._private[host] = is_private(host)
        return known

    def _transmit(self, now: float) -> bool:
        """Send up to a turn's bursts; whether the send buffer is full."""
        if self._plains:
            self._transmit_plain(now)
        for _ in range(_BURSTS_A_TURN):
            next_ = self._unsent or self._listener.poll_transmit(now)
            if next_ is None:
                break
            rest = self._socket.send(next_.transmit, next_.address)
            self._unsent = Addressed(rest, next_.address) if rest else None
            if rest:
                return True
        self._report_ended()
        return False

    def _report_ended(self) -> None:
        while ended := self._listener.poll_ended():
            self._on_served(
                Served(
                    name=ended.name,
                    peer=str(Address.of(ended.address)),
                    mode="reliable",
                    bytes=ended.size,
                    seconds=ended.seconds,
                    resent_packets=ended.packets_resent,
                    error=ended.error,
                )
            )

    # ----------------------------------------------------------------------------------- plain

    def _begin_plain(self, datagram: bytes, address: Any) -> None:
        if (
            self._plain_policy == "never"
            or (self._plain_policy == "auto" and not self._is_private(address[0]))
            or self._stopping
            or address in self._plains
            or len(self._plains) >= MAX_PLAIN_TRANSFERS
        ):
            return
        try:
            name = decode_request_untrusted(datagram)
            source = self._root.open_file(name)
        except (NotARequest, UdpftError):
            return  # the protocol has no error message: silence
        try:
            sibling = self._connected_sibling(address)
        except OSError:
            source.close()
            return
        now = clock()
        sender = PlainSender(source, rate_bytes_per_s=self._plain_rate, now=now)
        self._plains[address] = _Plain(name, address, sibling, source, sender, now)

    def _connected_sibling(self, address: Any) -> UdpSocket:
        """A socket on our own port, connected to one client.

        Sharing the port is allowed for this moment only, so that nobody else ever can. Between
        bind and connect the kernel may give it datagrams of others: they are handed on.
        """
        sock = socket.socket(self._socket.family, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.share_port(True)
            try:
                sock.bind(self._socket.address)
                sock.connect(address)
            finally:
                self._socket.share_port(False)
            sock.setblocking(False)
            sibling = UdpSocket(sock, offload=False, fragment=True)
        except BaseException:
            sock.close()
            raise
        while stray := sibling.receive():
            if stray.address != address:
                self._dispatch(sibling.buffer, stray)
        return sibling

    def _transmit_plain(self, now: float) -> None:
        for plain in list(self._plains.values()):
            try:
                while (chunk := plain.sender.poll(now)) is not None:
                    # Where the send buffer is full the chunk is lost, as on the wire.
                    plain.socket.send(Transmit(chunk, max(1, len(chunk))))
            except ConnectionRefusedError:
                self._end_plain(plain, PartialTransfer("the client closed its port"))
            except UdpftError as error:
                self._end_plain(plain, error)
            else:
                if plain.sender.done:
                    self._end_plain(plain, None)

    def _end_plain(self, plain: _Plain, error: UdpftError | None) -> None:
        del self._plains[plain.address]
        plain.socket.close()
        plain.source.close()
        self._on_served(
            Served(
                name=plain.name,
                peer=str(Address.of(plain.address)),
                mode="plain",
                bytes=plain.sender.bytes_sent,
                seconds=clock() - plain.began,
                resent_packets=0,
                error=error,
            )
        )


def _bind(host: str, port: int) -> socket.socket:
    family, address = resolve(Address(host, port))
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
    except OSError as error:
        sock.close()
        where = Address(host, port)
        if error.errno == errno.EADDRINUSE:
            hint = "another server is running there; --port chooses another port"
        elif error.errno == errno.EACCES:
            hint = "ports below 1024 are root's; --port chooses another port"
        else:
            hint = "--host takes an address of this machine, or 0.0.0.0 for all"
        raise UsageError(f"cannot bind {where}: {error.strerror}", hint=hint) from None
    return sock
