"""Simulation of one server and its clients over two links, by a virtual clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from math import inf
from random import Random
from typing import Any

from udpft.errors import NoSuchFile, UdpftError
from udpft.protocol.client.download import Download
from udpft.protocol.client.upload import Upload
from udpft.protocol.contract import (
    Batch,
    Completed,
    Failed,
    OpenedSink,
    OpenedSource,
    Transmit,
    Verified,
)
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.handshake.initiator import HandshakeOptions
from udpft.protocol.keyed.channel import ClientChannel, KeyedAcceptor
from udpft.protocol.keyed.noise import Suite
from udpft.protocol.params import CHUNK_SIZE, MAX_BATCH_BYTES
from udpft.protocol.server.listener import Listener
from udpft.protocol.server.outcome import Outcome
from udpft.protocol.server.session_creation import Entropy, Limits
from udpft.protocol.transfer.file_range import FileRange
from udpft.protocol.wire.hello import SPARSE, Hello, Role
from udpft.testing.network.files import MemoryPlace, MemorySink, MemorySource, present_in
from udpft.testing.network.links import Inbox, Link, Shape

SERVER = "server"
"""Address of the server on both links."""

_RECEIVE_BUFFER_BYTES = 200_000
"""Payload bytes in a client's receive buffer: about those of Linux's 208 KiB by default."""


@dataclass
class SimulatedClient:
    """Client of the simulation: one transfer, and its outcome.

    ``download``: the client's end, of an upload too. ``channel``: None without a key. ``sink`` and
    ``handshake``: of a download, None until the server has agreed to it. ``outcome``: None until
    the transfer has ended, at ``ended_at`` seconds on the virtual clock.
    """

    download: Download | Upload
    address: str
    inbox: Inbox
    channel: ClientChannel | None = None
    sink: MemorySink | None = None
    handshake: HandshakeResult | None = None
    outcome: Completed | Failed | None = None
    ended_at: float = 0.0

    @property
    def content(self) -> bytes:
        """Content of the downloaded file, once it is verified."""
        assert isinstance(self.outcome, Completed), self.outcome
        assert self.sink is not None
        return bytes(self.sink.content)

    @property
    def error(self) -> UdpftError:
        """Error that the transfer has ended with."""
        assert isinstance(self.outcome, Failed), self.outcome
        return self.outcome.error

    @property
    def chunk_size(self) -> int:
        """Bytes of a chunk, as agreed in the handshake."""
        assert self.handshake is not None
        return self.handshake.accept.chunk_size


class SimNet:
    """Simulated network: one server and its clients; all clients share the two links.

    Args:
        files: the server's, by name.
        seed: of all chance.
        down: of the link from the server to the clients.
        up: of the link from the clients to the server.
        key: the server's, 32 bytes; None for no key.
        listener_options: options of `Listener`, and fields of `Limits`.

    Attributes:
        random: draws everything that is left to chance.
        now: seconds on the virtual clock.
        down: link from the server to the clients.
        up: link from the clients to the server.
        sources: the server's files, by name; a test may change them.
        key: as given.
        listener: the server; `restart_server` puts another one in its place.
        stored: contents of the files that uploads have stored, by name.
        left: sinks that broken-off uploads have left, by name; the next upload goes on with it.
        closed: ends of uploads: name, error or None, new bytes received.
        busy_commits: commits of each new upload that are not done yet when they are asked for.
        clients: by their addresses.
        ended: outcomes of transfers as the server saw them, in order.
        blocked: addresses of clients whose datagrams, to them and from them, are lost.
        drops_bursts: whether datagrams that leave together are lost, unless they are sent singly.
    """

    def __init__(
        self,
        files: dict[str, bytes],
        *,
        seed: int = 0,
        down: Shape | None = None,
        up: Shape | None = None,
        key: bytes | None = None,
        **listener_options: Any,
    ) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.down = Link(down or Shape(), self.random)
        self.up = Link(up or Shape(), self.random)
        self.sources = {name: MemorySource(content) for name, content in files.items()}
        self.key = key
        self._listener_options = listener_options
        self.listener = self._new_listener()
        self.stored: dict[str, bytes] = {}
        self.left: dict[str, MemorySink] = {}
        self.closed: list[tuple[str, BaseException | None, int]] = []
        self.busy_commits = 0
        self.clients: dict[str, SimulatedClient] = {}
        self.ended: list[Outcome] = []
        self.blocked: set[str] = set()
        self.drops_bursts = False
        self._inboxes = {SERVER: Inbox()}
        self._arrivals: list[tuple[float, int, str, str, bytes]] = []
        """Datagrams on the links, as a heap: arrival time, number, source, target, bytes."""
        self._order = count()
        """Numbers of the datagrams, which keep those that arrive at once in order."""
        self._buffer = bytearray(MAX_BATCH_BYTES)

    def _new_listener(self) -> Listener:
        options: dict[str, Any] = {
            "open_place": lambda hello, name, _: MemoryPlace(self, hello, name, self.busy_commits),
            **deepcopy(self._listener_options),  # a new server knows nothing of the last
        }
        return Listener(
            open_source=self._open,
            entropy=Entropy(
                secret=self.random.randbytes(32),
                draw_id=lambda: self.random.getrandbits(32),
                random=self.random,
            ),
            limits=Limits(**{one: options.pop(one) for one in Limits._fields if one in options}),
            acceptor=KeyedAcceptor(self.key, Suite.AES_GCM, self.random.randbytes)
            if self.key
            else None,
            on_failure=_raise,
            **options,
        )

    def restart_server(self) -> None:
        """Replace the server, as if killed, by another one, which knows of nothing before."""
        self.listener = self._new_listener()

    def _open(self, hello: Hello, name: str, _asker: object) -> OpenedSource:
        if name not in self.sources:
            nearest = min(self.sources, default="")
            raise NoSuchFile("no such file on the server", hint=f"did you mean {nearest!r}?")
        source = self.sources[name]
        return FileRange(source, hello.wanted) if hello.role == Role.RANGE else source

    # -------------------------------------------------------------------------------- clients

    def get(
        self,
        name: str,
        *,
        address: str = "",
        chunk_size: int = CHUNK_SIZE,
        max_rate_bytes_per_s: int = 0,
        have: tuple[tuple[int, int], ...] = (),
        have_of: int = 0,
        open_sink: Callable[[HandshakeResult], OpenedSink] | None = None,
        inbox: Inbox | None = None,
        key: bytes | None = None,
        suite: Suite = Suite.AES_GCM,
        role: Role = Role.GET,
        sparse: bool = False,
        size: int = 0,
        wanted: tuple[int, int] = (0, 0),
        **options: Any,
    ) -> SimulatedClient:
        """Start fetching a file, now; ``options`` are those of `Download`.

        ``key``: the client's; the server's own unless given, b"" for none. ``sparse``: it knows
        of holes.
        """
        key = self.key if key is None else key
        channel = ClientChannel(key, suite, self.random.randbytes) if key else None
        inbox = inbox or Inbox(_RECEIVE_BUFFER_BYTES)
        hello = Hello(
            nonce=self.random.getrandbits(64),
            connection_id=self.random.getrandbits(32),
            name=name.encode(),
            chunk_size=chunk_size,
            receive_room=inbox.state()[0],
            max_rate_bytes_per_s=max_rate_bytes_per_s,
            have=have,
            have_of=have_of,
            role=role,
            flags=SPARSE if sparse else 0,
            size=size,
            wanted=wanted,
        )

        def sink_of(handshake: HandshakeResult) -> OpenedSink:
            client.handshake = handshake
            if open_sink:
                return open_sink(handshake)
            if client.sink is None:
                client.sink = MemorySink(handshake.accept.size)
            return OpenedSink(client.sink, present_in(client.sink.content, handshake))

        download = Download(
            hello,
            open_sink=sink_of,
            receive_queue=inbox.state,
            now=self.now,
            options=HandshakeOptions(
                keyed=channel is not None,
                **{one: options.pop(one) for one in HandshakeOptions._fields if one in options},
            ),
            **options,
        )
        client = SimulatedClient(download, address or f"client-{len(self.clients)}", inbox, channel)
        self.clients[client.address] = client
        self._inboxes[client.address] = inbox
        return client

    def put(
        self,
        name: str,
        content: bytes,
        *,
        address: str = "",
        key: bytes | None = None,
        role: Role = Role.PUT,
        sparse: bool = False,
        **options: Any,
    ) -> SimulatedClient:
        """Start storing a file on the server, now; ``options`` are those of `Upload`.

        ``sparse``: its blocks of zeros are holes.
        """
        key = self.key if key is None else key
        channel = ClientChannel(key, Suite.AES_GCM, self.random.randbytes) if key else None
        source = MemorySource(content)
        if sparse:
            source.note_holes()
        hello = Hello(
            nonce=self.random.getrandbits(64),
            connection_id=self.random.getrandbits(32),
            name=name.encode(),
            chunk_size=CHUNK_SIZE,
            receive_room=0,
            role=role,
            size=source.size,
            identity=source.identity,
            sparse_map=source.sparse_map,
        )
        upload = Upload(
            hello,
            source=source,
            now=self.now,
            random=self.random,
            options=HandshakeOptions(
                keyed=channel is not None,
                **{one: options.pop(one) for one in HandshakeOptions._fields if one in options},
            ),
            **options,
        )
        inbox = Inbox(_RECEIVE_BUFFER_BYTES)
        client = SimulatedClient(upload, address or f"client-{len(self.clients)}", inbox, channel)
        self.clients[client.address] = client
        self._inboxes[client.address] = inbox
        return client

    def suspend(self, client: SimulatedClient, seconds: float) -> None:
        """Let a client's process stand still for a while: what comes waits in its inbox."""
        client.inbox.suspended_until = self.now + seconds

    def suspend_server(self, seconds: float) -> None:
        """Let the server's process stand still for a while: what comes waits in its inbox."""
        self._inboxes[SERVER].suspended_until = self.now + seconds

    def vanish(self, client: SimulatedClient) -> None:
        """Remove a client without a word: what is sent to it is lost."""
        del self.clients[client.address], self._inboxes[client.address]

    def readdress(self, client: SimulatedClient) -> None:
        """Give a client another address: what is on its way to the one before is lost."""
        del self.clients[client.address], self._inboxes[client.address]
        client.address = f"{client.address.partition('#')[0]}#{next(self._order)}"
        self.clients[client.address] = client
        self._inboxes[client.address] = client.inbox

    # ----------------------------------------------------------------------------------- time

    def run(self, *, until: float = 600.0) -> None:
        """Let time pass until every client has its outcome."""
        self.run_while(lambda: any(not c.outcome for c in self.clients.values()), until=until)

    def run_until_quiet(self, *, until: float = 600.0) -> None:
        """Let time pass until the server has no transfer left, and nothing is on its way."""
        self.run_while(lambda: bool(len(self.listener) or self._arrivals), until=until)

    def run_while(self, condition: Callable[[], bool], *, until: float = 600.0) -> None:
        """Let time pass as long as a condition holds."""
        self._transmit_all()
        while condition():
            assert self.step() <= until, f"still running after {until} virtual seconds"

    def run_to(self, moment: float) -> None:
        """Let time pass until a moment, whoever is done by then."""
        self._transmit_all()
        while self._next_moment() <= moment:
            self.step()
        self.now = moment

    def step(self) -> float:
        """Go to the next moment at which something happens; return it."""
        at = self._next_moment()
        if at == inf:
            raise AssertionError("nothing will ever happen again")
        self.now = max(self.now, at)
        while self._arrivals and self._arrivals[0][0] <= self.now:
            _, _, source, target, datagram = heapq.heappop(self._arrivals)
            if target in self._inboxes:
                self._inboxes[target].put(source, datagram)
        for target, inbox in self._inboxes.items():
            while self._read_at(target, inbox) <= self.now:
                self._deliver(target, *inbox.take(self.now))
        if self._inboxes[SERVER].suspended_until <= self.now:
            self.listener.handle_timeout(self.now)
        for client in self.clients.values():
            if client.outcome is None and client.inbox.suspended_until <= self.now:
                client.download.handle_timeout(self.now)
        self._transmit_all()
        return self.now

    def _next_moment(self) -> float:
        moments = [self._read_at(target, inbox) for target, inbox in self._inboxes.items()]
        for client in self.clients.values():
            at = None if client.outcome else client.download.next_timeout()
            if at is not None:
                moments.append(max(at, client.inbox.suspended_until))
        server_at = self.listener.next_timeout()
        if server_at is not None:
            moments.append(max(server_at, self._inboxes[SERVER].suspended_until))
        return min(self._arrivals[0][0] if self._arrivals else inf, *moments)

    def _read_at(self, target: str, inbox: Inbox) -> float:
        """When an end reads its inbox next: once something waits there, and its rest is over."""
        at = inbox.ready_at()
        client = self.clients.get(target) if at < inf else None
        return max(at, client.download.rest_until) if client and not client.outcome else at

    def _deliver(self, target: str, source: str, batch: list[bytes]) -> None:
        joined = b"".join(batch)
        self._buffer[: len(joined)] = joined
        received = Batch(self._buffer, len(joined), max(1, len(batch[0])), source)
        if target == SERVER:
            self.listener.handle_datagrams(received, self.now)
        elif self.clients[target].outcome is None:
            client = self.clients[target]
            try:
                for opened in self._opened(client, received):
                    client.download.handle_datagrams(opened, self.now)
            except UdpftError as error:
                client.download.abort(error)

    def _opened(self, client: SimulatedClient, received: Batch) -> Iterator[Batch]:
        """Open a batch by the client's channel, if it has one."""
        if client.channel is None:
            yield received
        else:
            yield from client.channel.open_untrusted(received)

    # --------------------------------------------------------------------------------- sending

    def _transmit_all(self) -> None:
        if self._inboxes[SERVER].suspended_until <= self.now:
            while addressed := self.listener.poll_transmit(self.now):
                self._send(addressed.transmit, self.down, SERVER, addressed.address)
        while ended := self.listener.poll_outcome():
            self.ended.append(ended)
        for client in list(self.clients.values()):
            if client.inbox.suspended_until > self.now:
                continue
            while client.outcome is None:
                self._transmit(client)
                event = client.download.poll_event()
                if event is None:
                    break
                if isinstance(event, Verified):
                    assert isinstance(client.download, Download)
                    assert client.download.receiver is not None
                    client.download.receiver.confirm()
                else:
                    self._transmit(client)
                    client.outcome, client.ended_at = event, self.now

    def _transmit(self, client: SimulatedClient) -> None:
        while transmit := client.download.poll_transmit(self.now):
            if transmit.from_new_port:
                self.readdress(client)
            if client.channel:
                transmit = client.channel.seal(transmit)
                if transmit is None:
                    continue
            self._send(transmit, self.up, client.address, SERVER)

    def _send(self, transmit: Transmit, link: Link, source: str, target: str) -> None:
        data, size, singly, _ = transmit
        if self.drops_bursts and len(data) > size and not singly:
            return
        for at in range(0, len(data), size):
            self.inject(bytes(data[at : at + size]), link, source, target)

    def inject(self, datagram: bytes, link: Link, source: str, target: str) -> None:
        """Put a datagram on a link, as an attacker may too."""
        if source in self.blocked or target in self.blocked:
            return
        for at, arrived in link.carry(datagram, self.now):
            heapq.heappush(self._arrivals, (at, next(self._order), source, target, arrived))


def _raise(failure: Exception) -> None:
    """Let a bug out of its session, for a simulation is there to find it."""
    raise failure
