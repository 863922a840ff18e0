"""The server: one process, one UDP port, one loop, any number of clients.

The first byte of a datagram tells reliable from plain. Reliable transfers share the one socket
and are all in `Listener`. A plain transfer has a socket of its own, bound to the same port and
connected to its client; see `plain_server`.

Whatever goes wrong with one transfer ends that transfer, and the loop goes on.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import socket
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from math import inf
from operator import itemgetter
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Literal

from udpft.errors import PartialTransfer, UsageError
from udpft.keys import keyed_acceptor
from udpft.net.address import Address, resolve
from udpft.net.clock import clock
from udpft.net.udp import UdpSocket, wait
from udpft.outcome.bottleneck import Evidence, Usage, judge, per_gigabyte
from udpft.outcome.result import Served
from udpft.protocol.contract import Batch, Transmit
from udpft.protocol.params import (
    IDLE_TIMEOUT_S,
    MAX_BURST_BYTES,
    MAX_SESSIONS,
    PLAIN_RATE_BYTES_PER_S,
)
from udpft.protocol.server.admission import Admission
from udpft.protocol.server.admitting import Entropy, Limits
from udpft.protocol.server.listener import AddressedTransmit, Listener
from udpft.protocol.server.outcome import Outcome
from udpft.protocol.transfer.plain import is_plain
from udpft.server.plain import PlainTransfers
from udpft.server.sources import Sources
from udpft.server.uploads import Uploads
from udpft.storage.served_folder import ServedRoot

PlainPolicy = Literal["auto", "always", "never"]

DRAIN_S = 5.0
"""Seconds that transfers have to end, once the server was asked to stop."""

_BYTES_A_TURN = 4 * MAX_BURST_BYTES
"""Bytes sent before the socket is looked at again: a millisecond's work at most."""

_BYTES_A_SEND = 32_768
"""What a send counts at least: a small one costs nearly as much time."""

_BATCHES_A_TURN = 64
"""Batches received before anything is sent: as many as the bursts that drew them, where each comes
from another client, or their queue would overflow."""

_MAX_HOSTS_REMEMBERED = 10_000

_PRIVATE_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8",  # loopback
        "::1/128",
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",  # link-local
        "fe80::/10",
        "fc00::/7",  # unique local, RFC 4193
        "100.64.0.0/10",  # shared, RFC 6598
    )
)
"""Loopback and private. `ipaddress.is_private` has documentation and benchmarking networks too."""


def is_private(host: str) -> bool:
    """Whether an address is of this host or of a private network."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in _PRIVATE_NETWORKS)


def host_of(host: str) -> str:
    """What one host may call its own: an IPv4 address, or a /64 of IPv6."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return str(address)


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
        writable: take uploads.
        max_upload: bytes of one upload; 0 for as many as the disk holds.
        quota: bytes that uploads may bring, in all; 0 for no quota.
        timeout: seconds without progress after which a transfer is dropped.
        on_served: called in the server's thread with each transfer that is over; must not raise.
        offload: use the kernel's segmentation offloads.
        key_file: holds the key that clients must have: wherever they are, and no others. Plain
            is off then.

    Raises:
        LocalReadFailed: the folder or the key file cannot be read.
        HostNotFound: the address to bind does not resolve.
        UsageError: the address cannot be bound; the plain rate is not above 0; there is no key in
            the key file, or the package that keys need is missing; plain is asked for beside it.
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
        writable: bool = False,
        max_upload: int = 0,
        quota: int = 0,
        timeout: float = IDLE_TIMEOUT_S,
        on_served: Callable[[Served], None] = lambda _: None,
        offload: bool = True,
        key_file: str | os.PathLike[str] | None = None,
    ) -> None:
        if plain_rate <= 0:
            raise UsageError("a plain transfer's rate is above 0")
        if key_file is not None and plain == "always":
            raise UsageError("plain knows no keys, so a server with one does not serve it")
        acceptor = None if key_file is None else keyed_acceptor(key_file)
        self._root = ServedRoot(Path(directory), hidden=hidden)
        try:
            self._socket = UdpSocket(_bind(host, port), offload=offload)
        except BaseException:
            self._root.close()
            raise
        self.host, self.port = self._socket.address[:2]
        self._plain_policy: PlainPolicy = "never" if acceptor else plain
        self._answers_public = insecure_public or acceptor is not None
        self._on_served = on_served
        self._sources = Sources(self._root, clock)
        self._max_rate = max_rate
        self._waited_s = 0.0
        self._moved = 0
        self._uploads = Uploads(self._root, max_bytes=max_upload, quota_bytes=quota)
        self._listener = Listener(
            open_source=self._sources.open,
            entropy=Entropy(
                secret=secrets.token_bytes(32),
                draw_id=lambda: secrets.randbits(32),
                random=Random(secrets.randbits(64)),
            ),
            limits=Limits(
                Admission(self._limited_host, max_sessions=max_clients), max_rate, timeout
            ),
            acceptor=acceptor,
            open_place=self._uploads.open if writable else None,
            receive_queue=self._socket.receive_queue,
            usage=self._usage,
        )
        self._plains = PlainTransfers(
            self._socket,
            open_source=self._sources.open_file,
            rate_bytes_per_s=plain_rate,
            on_stray=self._dispatch,
            on_ended=on_served,
        )
        self._private: dict[str, bool] = {}
        self._unsent: AddressedTransmit | None = None
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._stopping = False
        self._drain_until = inf

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
        self._plains.end_all(PartialTransfer("the server stopped"), clock())
        self._socket.close()
        self._wake_receiver.close()
        self._wake_sender.close()
        self._sources.close()
        self._uploads.close()
        self._root.close()

    def stop(self, drain: float | None = None) -> None:
        """Ask the loop to end. From any thread, or from a signal's handler.

        Args:
            drain: seconds that transfers at work have to end, while no others begin; `DRAIN_S` by
                default. Another call may shorten it.
        """
        drain_s = DRAIN_S if drain is None else drain
        self._drain_until = min(self._drain_until, clock() + drain_s)
        self._stopping = True
        try:
            self._wake_sender.send(b"\0")
        except OSError:
            return  # it has been woken already, or is gone

    @property
    def transfers(self) -> int:
        """Those at work. From any thread."""
        return len(self._listener) + len(self._plains)

    @property
    def drops(self) -> int:
        """Datagrams that the receive buffer had no room for. From any thread."""
        return self._socket.receive_queue()[1]

    # -------------------------------------------------------------------------------- the loop

    def run(self) -> None:
        """Serve until `stop` is called and the transfers at work have ended."""
        while True:
            now = clock()
            if self._stopping:
                self._listener.draining = True
            more = self._transmit(now)
            self._report_ended()
            if self._stopping and (
                now >= self._drain_until or not (self._listener or self._plains)
            ):
                self._say_goodbye(now)
                return
            if self._sources.at_work:
                self._sources.work()
                more = True
            if not self._receive() and not more:
                self._wait(min(self._next_timeout(), self._drain_until))
            self._listener.handle_timeout(clock())

    def _usage(self) -> Usage:
        return Usage.now(self._waited_s, self._moved, self.drops)

    def _wait(self, until: float) -> None:
        """Wait for a datagram, for room in the send buffer where it was full, or for a moment."""
        before = clock()
        timeout_s = None if until == inf else until - before
        writing = [self._socket] if self._unsent else []
        ready = wait([self._socket, self._wake_receiver], writing, timeout_s)
        self._waited_s += clock() - before
        if self._wake_receiver in ready:
            self._wake_receiver.recv(64)

    def _next_timeout(self) -> float:
        at = self._listener.next_timeout()
        plain = self._plains.next_timeout()
        return plain if at is None else min(at, plain)

    def _say_goodbye(self, now: float) -> None:
        self._listener.abort_all(PartialTransfer("the server is stopping"))
        while addressed := self._listener.poll_transmit(now):
            self._send(addressed)
        self._report_ended()

    def _receive(self) -> bool:
        """Take in what has arrived, up to a few batches; whether there was anything."""
        for turn in range(_BATCHES_A_TURN):
            try:
                received = self._socket.receive()
            except OSError:  # no memory left for a moment, for instance
                received = None
            if received is None:
                return turn > 0
            self._moved += received.length
            self._dispatch(received)
        return True

    def _dispatch(self, batch: Batch) -> None:
        """Hand a batch to whom it is for. One that is not all reliable is taken apart."""
        buffer, length, segment_size, address = batch
        if not any(map(is_plain, buffer[:length:segment_size])):  # the first byte of each
            self._take_reliable(batch)
            return
        for datagram in batch.datagrams():
            if not is_plain(datagram[0]):
                self._take_reliable(Batch.of(datagram, address))
            elif not self._stopping and self._serves_plain(address[0]):
                self._plains.begin(bytes(datagram), address, clock())

    def _take_reliable(self, batch: Batch) -> None:
        if self._answers_public or self._is_private(batch.address[0]):
            self._listener.handle_datagrams(batch, clock())

    def _serves_plain(self, host: str) -> bool:
        if self._plain_policy == "auto":
            return self._is_private(host)
        return self._plain_policy == "always"

    def _is_private(self, host: str) -> bool:
        known = self._private.get(host)
        if known is None:
            if len(self._private) > _MAX_HOSTS_REMEMBERED:
                self._private.clear()
            known = self._private[host] = is_private(host)
        return known

    def _limited_host(self, address: Any) -> Hashable | None:
        """Whose transfers count as one host's: an IPv4 address, an IPv6 network, no private one."""
        return None if self._is_private(address[0]) else host_of(address[0])

    def _transmit(self, now: float) -> bool:
        """Send up to a turn's bursts; whether more could leave at once."""
        if self._plains:
            self._plains.transmit(now)
        left = _BYTES_A_TURN
        while left > 0:
            burst = self._unsent or self._listener.poll_transmit(now)
            if burst is None:
                return False
            left -= max(len(burst.transmit.data), _BYTES_A_SEND)
            self._moved += len(burst.transmit.data)
            rest = self._send(burst)
            self._unsent = AddressedTransmit(rest, burst.address) if rest else None
            if rest:
                return False
        return True

    def _send(self, burst: AddressedTransmit) -> Transmit | None:
        """Send a burst; return what of it found no room."""
        try:
            return self._socket.send(*burst)
        except OSError:
            return None  # there is no way to this client now, as to one who has gone

    def _report_ended(self) -> None:
        while ended := self._listener.poll_outcome():
            self._on_served(self._served(ended))

    def _served(self, ended: Outcome) -> Served:
        """What there is to tell of a transfer that is over."""
        # An upload's last words linger; what happens meanwhile is no part of it.
        used = self._usage().since(ended.usage)._replace(at=ended.seconds)
        limits = [
            (self._max_rate, "--max-rate"),
            (ended.traffic.client_rate, "the client's --limit-rate"),
        ]
        rate_limit, limiter = min(filter(itemgetter(0), limits), default=(0, ""))
        traffic = ended.traffic
        received = traffic.bytes_received
        drops = traffic.receiver_drops if received is None else used.drops
        n_bytes = min(ended.size, traffic.bytes_sent) if received is None else received
        evidence = Evidence(
            used,
            n_bytes,
            packets=n_bytes // max(1, traffic.chunk_size),
            resent=traffic.packets_resent,
            rate_limit=rate_limit,
            limiter=limiter,
            drops=drops,
            receives=received is not None,
        )
        verdict = None if ended.error else judge(evidence)
        return Served(
            name=ended.name,
            peer=str(Address.of(ended.address)),
            mode="reliable",
            bytes=ended.size,
            bytes_sent=traffic.bytes_sent,
            seconds=ended.seconds,
            resent_packets=traffic.packets_resent,
            verified=ended.confirmed,
            error=ended.error,
            bytes_received=received,
            cpu_seconds=used.cpu_s,
            cpu_seconds_per_gb=per_gigabyte(used.cpu_s, used.moved),
            dropped_packets=drops,
            limited_by=verdict.limit if verdict else "",
            limit=verdict.words if verdict else "",
            slow=verdict is not None and verdict.slow,
        )


def _bind(host: str, port: int) -> socket.socket:
    where = Address(host, port)
    family, address = resolve(where)
    with ExitStack() as undo:
        try:
            sock = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                hint = "another server is running there; --port chooses another port"
            elif error.errno == errno.EACCES:
                hint = "ports below 1024 are root's; --port chooses another port"
            else:
                hint = "--host takes an address of this machine, or 0.0.0.0 for all"
            raise UsageError(f"cannot bind {where}: {error.strerror}", hint=hint) from None
        undo.pop_all()
        return sock
