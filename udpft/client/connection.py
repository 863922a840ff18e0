"""Connection of a client: one socket to one server, with all that its transfers share.

A transfer is a function of a module beside this one, and its first argument is the connection. Here
are the socket, the HELLO that begins every transfer, the loop that runs it, the word to the server
where it is broken off, and the words for the user where the socket fails.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import inf
from time import sleep
from typing import TYPE_CHECKING, Self, TypedDict, TypeVar, Unpack

from udpft.arguments import ServerName, server_of
from udpft.errors import (
    HostNotFound,
    PartialTransfer,
    PortClosed,
    ServerBusy,
    TimedOut,
    TooLarge,
    UsageError,
)
from udpft.net import loop
from udpft.net.address import Address, all_addresses, parse_server, resolve_all
from udpft.net.clock import clock
from udpft.net.udp import UdpSocket
from udpft.outcome.usage import Usage
from udpft.protocol.handshake.agreement import rtt_to_tell_us
from udpft.protocol.handshake.initiator import HandshakeOptions, Initiator, probe_sizes
from udpft.protocol.transfer.closing import parting_words
from udpft.protocol.wire.hello import NO_COOKIE, Hello, encode_name, without_dot

if TYPE_CHECKING:
    from types import TracebackType

    from udpft.keys import KeySource
    from udpft.net.sealed import SealedSocket
    from udpft.net.stop import Stop  # whoever wants to stop has imported it
    from udpft.net.traced import TracedSockets
    from udpft.outcome.result import Result
    from udpft.protocol.client.download import Download
    from udpft.protocol.client.upload import Upload  # a get starts without
    from udpft.protocol.contract import Endpoint, Event
    from udpft.protocol.keyed.channel import ClientChannel
    from udpft.protocol.transfer.sender import Sender

    class ConnectionOptions(TypedDict):
        """Arguments of a `Connection` that are the same for all servers."""

        chunk_size: int
        limit_rate: int
        connect_timeout_s: float
        idle_timeout_s: float
        sockets: SocketFactory | TracedSockets
        key_file: KeySource | None


T = TypeVar("T")

AT_WORK_S = 0.5
"""A server that is to be asked again so soon is at work for us: it makes a listing, or looks at
what it has. One that has no room for another transfer names a second or more."""


class SocketFactory:
    """Maker of a client's sockets. A trace has one of its own: `udpft.net.traced.TracedSockets`.

    Args:
        offload: use the kernel's segmentation offloads.
    """

    def __init__(self, offload: bool) -> None:
        self._offload = offload

    def open(self, sock: socket.socket, *, fragment: bool = False) -> UdpSocket:
        """Set a socket up; see `UdpSocket`. One that fragments uses no offloads."""
        return UdpSocket(sock, offload=self._offload and not fragment, fragment=fragment)

    def seal(self, sock: UdpSocket, channel: ClientChannel) -> SealedSocket:
        """Put a keyed channel in front of a socket."""
        from udpft.net.sealed import SealedSocket  # most have no key

        return SealedSocket(sock, channel)

    def watch(self, senders: Callable[[], Iterable[Sender]]) -> None:
        """Note where the sending ends of transfers are to be found; only a trace looks at them."""


class Connection:
    """Socket to one server, used by one transfer after another.

    Attributes:
        server: its address.
        chunk_size: bytes of a chunk to ask for; the path may carry less.
        limit_rate: bytes per second that either end is not to exceed; 0 for no limit.
        connect_timeout_s: seconds to wait for the first answer, and for a busy server.
        idle_timeout_s: seconds without progress after which a transfer has failed.
        stop: cancellation token; None where nobody cancels. It may be replaced between transfers.
        max_size: bytes of the largest file or tree that is fetched; 0 for no limit.
        keyed: whether packets are sealed with a key.
        known_size: bytes of the largest datagram that the path is known to carry, from the last
            handshake; 0 before the first.
        waited_s: seconds that all transfers together have waited for the network or a busy server.
        resent_share: share of packets that were sent again, of the transfer at work or the last
            one; updated ten times a second where progress is reported.
        file_counts: files that are done and files in all, of the tree at work or the last one;
            None of a transfer that is no tree's; updated likewise.
        held_at_first: byte ranges that the server held when the last upload began; None where it
            did not begin.

    Args:
        server: its address.
        chunk_size: see above, as the other attributes of these names.
        limit_rate: likewise.
        connect_timeout_s: likewise.
        idle_timeout_s: likewise.
        sockets: makes the sockets; a trace has one of its own.
        key_file: the key that the server has too, or its file; see `keys` for what it may raise.
        stop: likewise.

    Raises:
        HostNotFound: the server's name does not resolve.
        PortClosed: there is no way to its address.
        Stopped: by ``stop``; from every transfer too.
    """

    def __init__(
        self,
        server: Address,
        *,
        chunk_size: int,
        limit_rate: int,
        connect_timeout_s: float,
        idle_timeout_s: float,
        sockets: SocketFactory | TracedSockets,
        key_file: KeySource | None,
        stop: Stop | None,
    ) -> None:
        channel = None
        if key_file is not None:
            from udpft.arguments import text_of
            from udpft.keys import Key, client_channel  # most have no key

            known = isinstance(key_file, Key)
            channel = client_channel(key_file if known else text_of(key_file, "key_file"))
        self.server = server
        self.chunk_size = chunk_size
        self.limit_rate = limit_rate
        self.connect_timeout_s = connect_timeout_s
        self.idle_timeout_s = idle_timeout_s
        self.stop = stop
        self.max_size = 0
        self.keyed = channel is not None
        self.known_size = 0
        self.waited_s = 0.0
        self.resent_share = 0.0
        self.file_counts: tuple[int, int] | None = None
        self.held_at_first: tuple[tuple[int, int], ...] | None = None
        self._sockets = sockets
        self._cookie = NO_COOKIE  # from the last handshake: proves this address to the server
        self._rtt_us = 0  # the round trip that it found, in microseconds
        # All addresses of the server's name, the one in use first
        self._addresses = resolve_all(server, stop)
        sock = sockets.open(self._connected_first())
        self._socket: UdpSocket | SealedSocket = sockets.seal(sock, channel) if channel else sock
        self._size_limit = inf  # bytes of the largest datagram that an unanswered attempt has left

    def open_socket(self, *, fragment: bool) -> UdpSocket:
        """Open one more socket to the server.

        Args:
            fragment: let the network fragment datagrams, as the plain protocol needs it.

        Raises:
            UsageError: the connection is closed.
            PortClosed: there is no way to its address.
        """
        self.check_is_open()
        with self.explained():
            return self._sockets.open(self._connected(), fragment=fragment)

    def _connected(self) -> socket.socket:
        family, sockaddr = self._addresses[0]
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.connect(sockaddr)
        except OSError:
            sock.close()
            raise
        return sock

    def _connected_first(self) -> socket.socket:
        """Connect a socket to the first address of the name that there is a way to."""
        while True:
            try:
                with self.explained():
                    return self._connected()
            except PortClosed:
                if len(self._addresses) == 1:
                    raise
                del self._addresses[0]

    def reaching(self, attempt: Callable[[], T]) -> T:
        """Make an attempt, at each address of the server's name until somebody listens there.

        Raises:
            PortClosed: nobody listens at the last one.
        """
        while True:
            try:
                return attempt()
            except PortClosed:
                if len(self._addresses) == 1 or self._cookie != NO_COOKIE:
                    raise
                del self._addresses[0]
                self._socket.replace(self._connected_first())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def check_is_open(self) -> None:
        """Refuse to use the socket once it is closed. Raises UsageError."""
        if self._socket.fileno() < 0:
            raise UsageError("the client is closed", hint="its `with` block ends it: make another")

    def receive_queue(self) -> tuple[int, int]:
        """Payload bytes that the socket's buffer holds, and datagrams that it has dropped."""
        return self._socket.receive_queue()

    def handshake_options(self) -> HandshakeOptions:
        """Options of the next handshake: what is known of the path, and how patient it is."""
        sizes = probe_sizes(self.chunk_size, keyed=self.keyed)
        return HandshakeOptions(
            self.known_size,
            self.keyed,
            self._socket.largest_datagram(),
            self.connect_timeout_s,
            tuple(size for size in sizes if size <= self._size_limit) or sizes[-1:],
        )

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the socket's errors into words."""
        try:
            yield
        except ConnectionRefusedError:
            raise PortClosed(
                f"nothing listens on {self.server}",
                hint="is `udpft serve` running there, and on that port?",
            ) from None
        except OSError as error:
            raise PortClosed(f"no way to {self.server}: {error.strerror or error}") from error

    def check_size(self, name: str, size: int) -> None:
        """Refuse what is larger than `max_size`.

        Raises:
            TooLarge: it is.
        """
        if 0 < self.max_size < size:
            from udpft.units import format_bytes  # for words that are seldom said

            raise TooLarge(
                f"{name!r} has {format_bytes(size)}, more than the {format_bytes(self.max_size)} "
                "that --max-size allows"
            )

    def no_answer(self, hint: str) -> TimedOut:
        """The error that the server did not answer in time."""
        return TimedOut(
            f"no answer from {self.server} within {self.connect_timeout_s:g} s", hint=hint
        )

    def hello(self, name: str, have: tuple[tuple[int, int], ...] = (), have_of: int = 0) -> Hello:
        """Request for a file, in this connection's terms.

        Raises:
            UsageError: see `encode_name`; or the connection is closed.
        """
        self.check_is_open()
        return Hello(
            nonce=int.from_bytes(os.urandom(8), "little"),
            connection_id=int.from_bytes(os.urandom(4), "little"),
            name=encode_name(without_dot(name)),
            chunk_size=self.chunk_size,
            receive_room=self._socket.receive_queue()[0],
            max_rate_bytes_per_s=self.limit_rate,
            cookie=self._cookie,
            have=have,
            have_of=have_of,
            rtt_us=self._rtt_us,
        )

    def retried(self, attempt: Callable[[], T]) -> T:
        """Make an attempt, and again while the server is busy; return what it returns.

        Raises:
            ServerBusy: it still is when the connect time-out is over; and where the server is at
                work for us, when the time-out of a transfer that stands still is.
        """
        asked, pause = clock(), self.stop.sleep if self.stop else sleep
        while True:
            try:
                return self.reaching(attempt)
            except ServerBusy as busy:
                from random import uniform

                pause_s = uniform(0.5, 1.0) * busy.retry_after_s  # not all of us at once
                patience_s = self.connect_timeout_s
                if busy.retry_after_s <= AT_WORK_S:
                    patience_s = max(patience_s, self.idle_timeout_s)
                if clock() + pause_s > asked + patience_s:
                    raise
            pause(pause_s)
            self._note_wait(pause_s)

    def shake_hands(self, initiator: Initiator) -> None:
        """Run a handshake that nothing follows to its end. Raises PortClosed, Stopped."""
        with self.explained():
            loop.run_handshake(initiator, self._socket, self.stop)

    def drive(
        self,
        endpoint: Endpoint,
        on_event: Callable[[Event], bool],
        on_turn: Callable[[float], None] | None = None,
    ) -> None:
        """Run an endpoint over the socket: see `net.loop.drive`."""
        loop.drive(endpoint, self._socket, on_event, on_turn, self.stop, self._note_wait)

    def drive_transfer(
        self,
        transfer: Download | Upload,
        on_event: Callable[[Event], bool],
        on_turn: Callable[[float], None] | None = None,
        on_refused: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Run a transfer over the socket: as `drive`, but safe from who forges ICMP (RFC 5927).

        That the server's port is closed ends it only until the server has answered. After that
        ``on_refused`` is called with the time, and silence decides.
        """
        sock, told = self._socket, self._socket.refusals
        self._sockets.watch(transfer.senders)

        def turn(now: float) -> None:
            nonlocal told
            sock.refusal_is_final = not transfer.answered
            if sock.refusals != told:
                told = sock.refusals
                on_refused(now)
            if on_turn:
                on_turn(now)

        while True:
            try:
                self.drive(transfer, on_event, turn)
                return
            except ConnectionRefusedError:
                if not transfer.answered:
                    raise  # or it came between the answer and the next turn

    def _note_wait(self, seconds: float) -> None:
        self.waited_s += seconds

    @contextmanager
    def transferring(self, endpoint: Download | Upload) -> Iterator[None]:
        """Frame of one transfer, from its HELLO to its end.

        One that is broken off leaves with a word, so that the server need not find out by waiting.
        From one that ends well the cookie and the datagram size are kept for the next handshake.
        """
        try:
            with self.explained():
                yield
        except BaseException as error:
            self._abort(endpoint, error)
            self._size_limit = min(self._size_limit, endpoint.largest_size)
            if self._size_limit < self.known_size:
                self.known_size = 0
            raise
        finally:
            self._socket.refusal_is_final = True  # the next transfer asks anew who is there
        handshake = endpoint.handshake
        if handshake and handshake.hello_size:
            self._cookie = handshake.cookie
            self._rtt_us = rtt_to_tell_us(handshake.rtt_s)
            self.known_size = handshake.hello_size

    def _abort(self, endpoint: Download | Upload, error: BaseException) -> None:
        """Tell the server why the client leaves. It hears no local names."""
        reason, code = parting_words(error)
        endpoint.abort(PartialTransfer(reason), code)
        with suppress(OSError):
            loop.flush(endpoint, self._socket, clock())


def servers_of(
    named: ServerName | Sequence[ServerName], port: int, stop: Stop | None, *, replicas: bool
) -> list[Address]:
    """Addresses of the servers that a user names.

    Args:
        named: one or more.
        port: of those that are named without one.
        stop: breaks the resolving of names off.
        replicas: each address of a name is a server.

    Raises:
        UsageError: that is no server's name; or there is none.
        HostNotFound: with ``replicas``, a name does not resolve.
    """
    names = named if isinstance(named, (list, tuple)) else [named]
    servers = [parse_server(server_of(name), port) for name in names]
    if not servers:
        raise UsageError("no server is named")
    if replicas:
        return [address for server in servers for address in all_addresses(server, stop)]
    return servers


class Connector:
    """Maker of connections that differ in nothing but their servers.

    Args:
        max_size: see `Connection`.
        options: the other arguments of a `Connection`.
    """

    def __init__(self, *, max_size: int, **options: Unpack[ConnectionOptions]) -> None:
        self._max_size = max_size
        self._options = options

    def open(self, server: Address, stop: Stop | None) -> Connection:
        """Open a connection to a server. Raises as `Connection` does."""
        connection = Connection(server, stop=stop, **self._options)
        connection.max_size = self._max_size
        return connection

    def open_first(self, servers: list[Address], stop: Stop | None) -> Connection:
        """Open one to the first server that there is a way to. Raises as `Connection` does."""
        for server in servers[:-1]:
            with suppress(HostNotFound, PortClosed):
                return self.open(server, stop)
        return self.open(servers[-1], stop)


class ConnectionOwner:
    """Owner of a connection: closes it, tells of it, and measures what is transferred over it.

    `Client` is one; its transfers are told there.

    Args:
        connection: to its server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket. A closed client transfers nothing more."""
        self._connection.close()

    @property
    def stop(self) -> Stop | None:
        """Cancellation token of all requests, None where nobody cancels.

        One that is set stays set, so between two requests it may be replaced.
        """
        return self._connection.stop

    @stop.setter
    def stop(self, stop: Stop | None) -> None:
        """Replace it; not while a request is at work."""
        self._connection.stop = stop

    @property
    def keyed(self) -> bool:
        """Whether packets are sealed with a key."""
        return self._connection.keyed

    @property
    def limit_rate(self) -> int:
        """Bytes per second that a transfer does not exceed; 0 for no limit."""
        return self._connection.limit_rate

    @property
    def resent_share(self) -> float:
        """Share of the packets that were sent again, of the transfer at work or the last one.

        It is updated before each call of ``progress``, and so only where there is one.
        """
        return self._connection.resent_share

    @property
    def file_counts(self) -> tuple[int, int] | None:
        """Files that are done and files in all, of the tree at work or the last one.

        None of a transfer that is no tree's. It is updated as ``resent_share`` is.
        """
        return self._connection.file_counts

    def usage(self) -> Usage:
        """Time, processor time and so on that this end has used so far.

        The difference of two, ``after.since(before)``, is what was used in between.
        """
        return Usage.now(self._connection.waited_s, drops=self._connection.receive_queue()[1])

    def _measured(self, transfer: Callable[[], Result], *, receives: bool = True) -> Result:
        """Run a transfer; return its result, completed by what it took at this end."""
        self._connection.check_is_open()
        before = self.usage()
        result = transfer()
        used = self.usage().since(before)
        return result.measured(used, rate_limit=self.limit_rate, receives=receives)
