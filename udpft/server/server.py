"""Server: one process, one UDP port, one loop, any number of clients.

The first byte of a datagram tells reliable from plain. Reliable transfers share the one socket
and are all in `Listener`. A plain transfer has a socket of its own, bound to the same port and
connected to its client; see `udpft.server.plain`.

Whatever goes wrong with one transfer ends that transfer, and the loop goes on.
"""

from __future__ import annotations

import errno
import secrets
import socket
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from math import inf
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING

from udpft.arguments import one_of, quantity_of, text_of
from udpft.errors import PartialTransfer, ServerBusy, UsageError
from udpft.keys import Key, KeySource, keyed_acceptor
from udpft.net.address import Address, resolve
from udpft.net.clock import clock
from udpft.net.udp import UdpSocket, wait
from udpft.outcome.served import Refused, Served
from udpft.outcome.usage import Usage
from udpft.protocol.contract import Batch, OpenedSource, Transmit
from udpft.protocol.params import (
    IDLE_TIMEOUT_S,
    MAX_BURST_BYTES,
    MAX_SESSIONS,
    PLAIN_RATE_BYTES_PER_S,
)
from udpft.protocol.server.admission import Admission
from udpft.protocol.server.listener import AddressedTransmit, Listener
from udpft.protocol.server.session_creation import Asker, Entropy, Limits
from udpft.protocol.transfer.plain import is_plain
from udpft.protocol.wire.hello import REPORT, Hello, Role
from udpft.server.access import Access, PlainPolicy
from udpft.server.failures import FailureLog
from udpft.server.plain import PlainTransfers, Port
from udpft.server.report import report
from udpft.server.sources import Sources
from udpft.server.upload_place import UploadPlace
from udpft.server.uploads import Quota, Uploads
from udpft.storage.served_folder import ServedRoot

if TYPE_CHECKING:
    from udpft.protocol.keyed.channel import KeyedAcceptor
    from udpft.server.workers.sharing import Sharing
    from udpft.trace.trace import Trace

DRAIN_S = 5.0
"""Seconds that transfers have to end, once the server was asked to stop."""

_BYTES_A_TURN = 4 * MAX_BURST_BYTES
"""Bytes sent before the socket is read again: a millisecond's work at most."""

_BYTES_A_SEND = 32_768
"""Bytes that a send counts at least: a small one costs nearly as much time."""

_BATCHES_A_TURN = 64
"""Batches received before anything is sent: as many as the bursts that drew them, where each comes
from another client, or their queue would overflow."""


_SEND_S = 0.010
"""Seconds after which a turn begins no further burst: one of tiny files opens each of them."""

_RECEIVE_S = 0.010
"""Seconds after which a turn receives no more: tiny files cost more than their bytes."""

_MAX_FAILED_TURNS = 100
"""Turns in a row that may fail, each at something else, before a server that does nothing any more
ends: whoever watches over it begins it anew."""


class Server:
    """Server of the files below a folder; see the module's docstring.

    Made by its owner, then `run` in one thread until `stop`, then closed. All attributes belong to
    that thread but where a method says otherwise.

    Args:
        directory: the folder, or what of it is served, opened. Rates and sizes below may be written
            as ``"2M"``.
        host: the address to bind; an IPv6 one with or without brackets.
        port: the port to bind; 0 for any free one.
        plain: hosts that are answered in the plain protocol: loopback and private ones, all, none.
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
        on_refused: likewise, with each request that is refused, such as one for a file that is not
            there; not with those that are to come back later.
        on_notice: called, from any thread, with what else should stand in a log; likewise.
        offload: use the kernel's segmentation offloads.
        key_file: holds the key that clients must have. Those that have it are answered wherever
            they are, and no others. Plain is off then.
        trace: is told of each datagram; its owner closes it after the server.
        sharing: of a worker that serves the port together with others: see `server.workers`. Host
            and port are its socket's then.

    Attributes:
        host: the address that is bound; never changes.
        port: the port that is bound; never changes.
        _root: the served folder, opened once.
        _socket: the socket that all reliable transfers share, and that plain requests come to.
        _access: which hosts are answered.
        _on_served: called with the record of each transfer that is over.
        _on_refused: called with each request that is refused.
        _max_rate: bytes per second of each reliable transfer, 0 for no limit; for the records.
        _sources: opens what clients fetch.
        _uploads: opens places for what clients store.
        _listener: all reliable transfers.
        _plains: all plain transfers.
        _unsent: the rest of a burst that found the send buffer full; None when all has left. Sent
            before anything else.
        _failures: writes the log's lines of exceptions that nobody expected.
        _waited_s: seconds that the loop has waited in all; grows with each wait.
        _moved: bytes of datagrams sent and received in all; grows with each.
        _sharing: as ``sharing``.
        _calls: calls that other threads ask of the loop; see `call_soon`.
        _wake: two ends of a socket: the first is readable when another thread has written to the
            second, and ends a wait.
        _drain_until: when the loop ends though transfers are at work, by the clock; inf until
            `stop` is called, and only ever earlier afterwards.

    Raises:
        LocalReadFailed: the folder or the key file cannot be read.
        HostNotFound: the address to bind does not resolve.
        UsageError: the address cannot be bound; the plain rate is not above 0; a limit of
            uploads, and none are taken; there is no key in
            the key file, or the package that keys need is missing; plain is asked for beside it.
    """

    def __init__(
        self,
        directory: str | Path | ServedRoot,
        *,
        host: str = "127.0.0.1",
        port: int = 9000,
        plain: PlainPolicy = "auto",
        plain_rate: float | str = PLAIN_RATE_BYTES_PER_S,
        max_clients: int = MAX_SESSIONS,
        max_rate: int | str = 0,
        hidden: bool = False,
        insecure_public: bool = False,
        writable: bool = False,
        max_upload: int | str = 0,
        quota: int | str = 0,
        timeout: float = IDLE_TIMEOUT_S,
        on_served: Callable[[Served], None] = lambda _: None,
        on_refused: Callable[[Refused], None] = lambda _: None,
        on_notice: Callable[[str], None] = lambda _: None,
        offload: bool = True,
        key_file: KeySource | None = None,
        trace: Trace | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        plain_rate_bytes_per_s = _plain_rate_of(plain_rate)
        self._max_rate = quantity_of(max_rate, "max_rate")
        max_bytes, quota_bytes = _upload_limits_of(max_upload, quota, writable=writable)
        acceptor = _acceptor_of(key_file, plain, trace)
        self._root = _root_of(directory, hidden=hidden)
        try:
            bound = sharing.socket if sharing else bind(host, port)
            self._socket = _open(bound, offload, trace)
        except BaseException:
            self._root.close()
            raise
        self.host: str = self._socket.address[0]
        self.port: int = self._socket.address[1]
        self._access = Access(
            public=insecure_public or acceptor is not None, plain="never" if acceptor else plain
        )
        self._on_served, self._on_refused = on_served, on_refused
        self._sources = Sources(self._root, clock)
        self._waited_s, self._moved, self._failures = 0.0, 0, FailureLog(clock)
        parts = sharing or _Alone()
        of_all = parts.quota(quota_bytes)
        self._uploads = Uploads(self._root, on_notice, max_bytes=max_bytes, quota=of_all)
        self._listener = Listener(
            open_source=self._open_source,
            entropy=_entropy(parts.secret),
            limits=Limits(parts.admission(self._access, max_clients), self._max_rate, timeout),
            acceptor=acceptor,
            open_place=self._open_place if writable else None,
            receive_queue=self._socket.receive_queue,
            usage=self._usage,
            on_failure=self._failures.note,
        )
        if trace:
            trace.watch(self._listener.senders)
        self._plains = PlainTransfers(
            parts.port(self._socket),
            open_source=self._sources.open_file,
            rate_bytes_per_s=plain_rate_bytes_per_s,
            on_stray=self._dispatch,
            on_served=on_served,
            on_refused=on_refused,
            on_failure=self._failures.note,
        )
        self._unsent: AddressedTransmit | None = None
        self._sharing, self._calls = sharing, deque[Callable[[], object]]()
        self._wake, self._drain_until = _wake(), inf

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
        """Close all sockets and files at once; transfers at work are cut off."""
        self._plains.end_all(PartialTransfer("the server stopped"), clock())
        self._socket.close()
        self._wake[0].close()
        self._wake[1].close()
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
        self._end_wait()

    @property
    def _stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._drain_until < inf

    def _end_wait(self) -> None:
        try:
            self._wake[1].send(b"\0")
        except OSError:
            return  # it has been woken already, or is gone

    def call_soon(self, call: Callable[[], object]) -> None:
        """Have the loop make a call in its thread, in its next turn. From any thread."""
        self._calls.append(call)
        self._end_wait()

    def make_way(self, host: Hashable | None) -> None:
        """End a transfer that brings nothing, if there is one, for a client of another worker.

        ``host``: whose transfers alone may go; None for all.
        """
        self._listener.make_way(host, clock())

    def end_abandoned(self, name: str) -> None:
        """End an upload of a name whose client has gone: it asks another worker now."""
        self._listener.end_abandoned(name, clock())

    def on_silence(self, tell: Callable[[str], None]) -> bool:
        """Have each public host named that asks and is not answered, once; a hundred of them.

        Returns whether there can be any: whether public addresses are met by silence.

        Args:
            tell: called in the server's thread with the host; must not raise.
        """
        self._access.on_silence = tell
        return not self._access.is_public

    @property
    def transfers(self) -> int:
        """Number of transfers at work. From any thread."""
        return len(self._listener) + len(self._plains)

    @property
    def drops(self) -> int:
        """Number of datagrams that the receive buffer had no room for. From any thread."""
        return self._socket.receive_queue()[1]

    # -------------------------------------------------------------------------------- the loop

    def run(self) -> None:
        """Serve until `stop` is called and the transfers at work have ended."""
        failed = 0
        while failed < _MAX_FAILED_TURNS:
            try:
                if self._take_turn():
                    return
                failed = 0
            except Exception as error:
                failed += 1
                self._failures.note(error)
                if failed == _MAX_FAILED_TURNS:
                    raise

    def _take_turn(self) -> bool:
        """Send, receive and look at the time once; return whether the end has come."""
        now = clock()
        while self._calls:
            self._calls.popleft()()
        if self._stopping:
            self._listener.draining = True
        more = self._transmit(now)
        self._report_outcomes()
        if self._stopping and (now >= self._drain_until or not (self._listener or self._plains)):
            self._say_goodbye(now)
            return True
        self._sources.work(self.transfers)
        if now >= self._uploads.next_timeout():
            self._uploads.forget()
        if not self._receive() and not more:
            self._wait(min(self._next_timeout(), self._drain_until))
        self._listener.handle_timeout(clock())
        return False

    def _open_source(self, hello: Hello, name: str, asker: Asker) -> OpenedSource:
        """Open what a client fetches: see `Sources.open`; or what was refused of its upload."""
        if hello.role == Role.LIST and hello.flags & REPORT and hello.have_of:
            return self._uploads.open_report(hello.have_of)
        return self._sources.open(hello, name, asker)

    def _open_place(self, hello: Hello, name: str, asker: Asker) -> UploadPlace:
        """Open the place of what a client stores: see `Uploads.open`."""
        try:
            return self._uploads.open(hello, name, asker)
        except ServerBusy:
            if self._sharing:
                self._sharing.want_upload(name)
            raise

    def _usage(self) -> Usage:
        return Usage.now(self._waited_s, self._moved, self.drops)

    def _wait(self, until: float) -> None:
        """Wait for a datagram, for room in the send buffer where it was full, or for a moment."""
        before = clock()
        timeout_s = None if until == inf else until - before
        writing = [self._socket] if self._unsent else []
        ready = wait([self._socket, self._wake[0]], writing, timeout_s)
        self._waited_s += clock() - before
        if self._wake[0] in ready:
            self._wake[0].recv(64)

    def _next_timeout(self) -> float:
        at = self._listener.next_timeout()
        plain = self._plains.next_timeout()
        kept = min(self._sources.next_timeout(), self._uploads.next_timeout())
        return min(inf if at is None else at, plain, kept)

    def _say_goodbye(self, now: float) -> None:
        self._listener.abort_all(PartialTransfer("the server is stopping"))
        while addressed := self._listener.poll_transmit(now):
            self._send(addressed)
        self._report_outcomes()

    def _receive(self) -> bool:
        """Receive up to a few batches that have arrived; return whether any had."""
        until = clock() + _RECEIVE_S
        for turn in range(_BATCHES_A_TURN):
            if turn and clock() > until:
                return True
            try:
                received = self._socket.receive()
            except OSError:  # no memory left for a moment, for instance
                received = None
            if received is None:
                return turn > 0
            self._moved += received.length
            try:
                self._dispatch(received)
            except Exception as error:
                self._failures.note(error)
        return True

    def _dispatch(self, batch: Batch) -> None:
        """Hand a batch to its protocol. One that is not all reliable is taken apart."""
        buffer, length, segment_size, address = batch
        if not any(map(is_plain, buffer[:length:segment_size])):  # the first byte of each
            self._take_reliable(batch)
            return
        for datagram in batch.datagrams():
            if not is_plain(datagram[0]):
                self._take_reliable(Batch.of(datagram, address))
            elif not self._stopping and self._access.allows_plain(address[0]):
                self._plains.begin(bytes(datagram), address, clock())

    def _take_reliable(self, batch: Batch) -> None:
        if self._access.allows_reliable(batch.address[0]):
            self._listener.handle_datagrams(batch, clock())

    def _transmit(self, now: float) -> bool:
        """Send up to a turn's bursts; return whether more could leave at once."""
        if self._plains:
            self._plains.transmit(now)
        left = _BYTES_A_TURN
        while left > 0 and (left == _BYTES_A_TURN or clock() < now + _SEND_S):
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
        """Send a burst; return the rest of it that found no room."""
        try:
            return self._socket.send(*burst)
        except OSError:
            return None  # there is no way to this client now, as to one who has gone

    def _report_outcomes(self) -> None:
        while outcome := self._listener.poll_outcome():
            self._on_served(report(outcome, self._usage(), max_rate=self._max_rate))
        while refused := self._listener.poll_refused():
            peer = str(Address.of(refused.address))
            told = Refused(refused.name, peer, "reliable", refused.upload, refused.error)
            self._on_refused(told)


class _Alone:
    """Parts of a server that shares its port with nobody: its own, as `Sharing` has them."""

    quota, port = Quota, Port

    def __init__(self) -> None:
        self.secret = secrets.token_bytes(32)

    def admission(self, access: Access, max_sessions: int) -> Admission:
        """Make the limits of the server."""
        return access.admission(max_sessions)


def _plain_rate_of(plain_rate: float | str) -> float:
    rate = quantity_of(plain_rate, "plain_rate") if isinstance(plain_rate, str) else plain_rate
    if rate <= 0:
        raise UsageError("a plain transfer's rate is above 0")
    return rate


def _upload_limits_of(
    max_upload: int | str, quota: int | str, *, writable: bool
) -> tuple[int, int]:
    """Limits of uploads, in bytes: of each, and of all; 0 for none."""
    limits = quantity_of(max_upload, "max_upload"), quantity_of(quota, "quota")
    if any(limits) and not writable:
        raise UsageError(
            "--quota and --max-upload are limits of uploads, and none are taken",
            hint="--writable takes them",
        )
    return limits


def _root_of(directory: str | Path | ServedRoot, *, hidden: bool) -> ServedRoot:
    if isinstance(directory, ServedRoot):
        return directory
    return ServedRoot(Path(text_of(directory, "a folder")), hidden=hidden)


def _acceptor_of(
    key_file: KeySource | None, plain: PlainPolicy, trace: Trace | None
) -> KeyedAcceptor | None:
    one_of(plain, ("auto", "always", "never"), "plain")
    if key_file is None:
        return None
    if plain == "always":
        raise UsageError("plain knows no keys, so a server with one does not serve it")
    key = key_file if isinstance(key_file, Key) else text_of(key_file, "key_file")
    acceptor = keyed_acceptor(key)
    return acceptor if trace is None else trace.acceptor(acceptor)


def _entropy(secret: bytes) -> Entropy:
    """Draw the random numbers of a server from the system's, but for the secret of its cookies."""
    return Entropy(
        secret=secret,
        draw_id=lambda: secrets.randbits(32),
        random=Random(secrets.randbits(64)),
    )


def _wake() -> tuple[socket.socket, socket.socket]:
    """Make the two ends of what wakes the loop."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    return ends


def _open(sock: socket.socket, offload: bool, trace: Trace | None) -> UdpSocket:
    """Set the server's socket up."""
    if trace is None:
        return UdpSocket(sock, offload=offload)
    return trace.sockets(offload).open(sock)


def bind(host: str, port: int) -> socket.socket:
    """Bind a UDP socket; IPv6 ones take IPv4 too. Raises UsageError."""
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
