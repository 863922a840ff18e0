"""A network in memory: two ends, a seeded link each way, a virtual clock.

Both ends are the real ones: `Listener` on one side, any number of `Download` and `Upload` on the
other. A
transfer of minutes runs in a second, and a seed replays exactly.

Loss, reordering and the like happen to single datagrams, as on a wire; a burst is taken apart
where it enters the link. What arrives waits in a receive buffer, and is read from there as one
batch where the sizes allow, as a socket does.

A story is four lines::

    net = SimNet({"file": content}, seed=1, down=Shape(loss=0.05))
    client = net.get("file")
    net.run()
    assert client.content == content
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Container, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from math import inf
from random import Random
from typing import Any

from udpft.errors import NoSuchFile, UdpftError
from udpft.protocol.client.download import Download
from udpft.protocol.client.upload import Upload
from udpft.protocol.contract import Batch, Completed, Failed, OpenedSink, Transmit, Verified
from udpft.protocol.handshake.agreement import HandshakeResult, whole_chunks
from udpft.protocol.handshake.initiator import HandshakeOptions
from udpft.protocol.keyed.channel import ClientChannel, KeyedAcceptor
from udpft.protocol.keyed.noise import Suite
from udpft.protocol.params import CHUNK_SIZE, MAX_BATCH_BYTES
from udpft.protocol.server.admitting import Entropy, Limits
from udpft.protocol.server.listener import Listener
from udpft.protocol.server.outcome import Outcome
from udpft.protocol.wire.data import chunk_hashes
from udpft.protocol.wire.hello import Hello, Role
from udpft.protocol.wire.packet import PacketType

SERVER = "server"

_RECEIVE_BUFFER = 200_000


def random_bytes(size: int, seed: int = 0) -> bytes:
    """A file's content: no two chunks of it are alike."""
    return Random(seed).randbytes(size)


@dataclass(frozen=True)
class Shape:
    """One direction of a link. Rates in bytes per second, shares from 0 to 1.

    ``lose`` names datagrams by their place in the order in which they enter the link, from 0 on;
    ``dead`` tells whether the link is cut at a moment.
    """

    delay_s: float = 0.010
    rate_bytes_per_s: float = inf
    queue_bytes: float = inf
    mtu_payload: int = 65_507
    loss: float = 0.0
    lose: Container[int] = ()
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_s: float = 0.005
    corrupt: float = 0.0
    jitter_s: float = 0.0
    dead: Callable[[float], bool] | None = None


class Link:
    """One direction, at work. ``sent`` is everything that entered it, arrived or not."""

    def __init__(self, shape: Shape, random: Random) -> None:
        self.shape = shape
        self._random = random
        self._free_at = 0.0
        self.sent: list[bytes] = []
        self.lost = self.overflowed = self.corrupted = 0
        self.longest_wait_s = 0.0

    @property
    def sent_bytes(self) -> int:
        """UDP payload that entered the link."""
        return sum(map(len, self.sent))

    def packets(self, type_: PacketType) -> list[bytes]:
        """The packets of one type that entered the link, in order."""
        return [datagram for datagram in self.sent if datagram[0] == type_]

    def packet_counts(self) -> Counter[PacketType]:
        """How many packets of each type entered the link."""
        return Counter(PacketType(datagram[0]) for datagram in self.sent)

    def carry(self, datagram: bytes, now: float) -> list[tuple[float, bytes]]:
        """When, and as what, a datagram arrives: no, one or two times."""
        shape, random = self.shape, self._random
        place = len(self.sent)
        self.sent.append(datagram)
        if len(datagram) > shape.mtu_payload or (shape.dead and shape.dead(now)):
            self.lost += 1
            return []
        begin = max(now, self._free_at)
        if (begin - now) * shape.rate_bytes_per_s > shape.queue_bytes:
            self.overflowed += 1
            return []
        self.longest_wait_s = max(self.longest_wait_s, begin - now)
        self._free_at = begin + (len(datagram) + 28) / shape.rate_bytes_per_s
        if random.random() < shape.loss or place in shape.lose:
            self.lost += 1
            return []
        at = self._free_at + shape.delay_s
        if shape.jitter_s:
            at += random.random() * shape.jitter_s
        if random.random() < shape.reorder:
            at += random.random() * shape.reorder_s
        if random.random() < shape.corrupt:
            self.corrupted += 1
            damaged = bytearray(datagram)
            damaged[random.randrange(len(damaged))] ^= random.randrange(1, 256)
            datagram = bytes(damaged)
        arrivals = [(at, datagram)]
        if random.random() < shape.duplicate:
            arrivals.append((at + random.random() * shape.reorder_s, datagram))
        return arrivals


class Inbox:
    """A socket's receive buffer: what waits takes room, what does not fit is dropped."""

    def __init__(self, capacity_bytes: float = inf, read_bytes_per_s: float = inf) -> None:
        self.capacity_bytes = capacity_bytes
        self.read_bytes_per_s = read_bytes_per_s
        self.dropped = 0
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = 0
        self._busy_until = 0.0

    def put(self, source: str, datagram: bytes) -> None:
        """A datagram arrives."""
        if self._waiting_bytes + len(datagram) > self.capacity_bytes:
            self.dropped += 1
        else:
            self._waiting_bytes += len(datagram)
            self._waiting.append((source, datagram))

    def ready_at(self) -> float:
        """When the next batch may be read, or never."""
        return self._busy_until if self._waiting else inf

    def take(self, now: float) -> tuple[str, list[bytes]]:
        """The next batch: datagrams of one size from one source, the last one perhaps shorter."""
        source, first = self._waiting.popleft()
        batch, length = [first], len(first)
        while (
            self._waiting
            and self._waiting[0][0] == source
            and len(self._waiting[0][1]) <= len(first) == len(batch[-1])
            and length + len(first) <= MAX_BATCH_BYTES
        ):
            batch.append(self._waiting.popleft()[1])
            length += len(batch[-1])
        self._waiting_bytes -= length
        self._busy_until = now + length / self.read_bytes_per_s
        return source, batch

    def state(self) -> tuple[int, int]:
        """What the receiver asks of its socket, a connected one: bytes held, datagrams dropped."""
        return int(self.capacity_bytes), self.dropped


class MemorySource:
    """A file being sent, in memory."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = len(content)
        self.mtime_ns = 0
        self.identity = 1
        self.closed = False
        self.is_changed = False

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        """Fill the slots from ``offset`` bytes on; return the bytes read."""
        begin = offset
        for slot in slots:
            piece = self.content[offset : offset + len(slot)]
            slot[: len(piece)] = piece
            offset += len(piece)
        return offset - begin

    def changed(self) -> bool:
        """Whether the file is no longer the one that was opened: ``is_changed``."""
        return self.is_changed

    def close(self) -> None:
        """Note that the file was given back."""
        self.closed = True


class MemorySink:
    """A file being received, in memory."""

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)
        self.written = 0

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        """Write the slots one after another from ``offset`` bytes on."""
        for slot in slots:
            self.content[offset : offset + len(slot)] = slot
            offset += len(slot)
            self.written += len(slot)


def present_in(content: bytes | bytearray, handshake: HandshakeResult) -> list[tuple[int, bytes]]:
    """The hashes of the chunks that a server need not send, of what is here of the file."""
    size, chunk_size = handshake.accept.size, handshake.accept.chunk_size
    view = memoryview(content)
    return [
        (start, chunk_hashes(view[at : at + chunk_size] for at in offsets))
        for start, stop in whole_chunks(handshake.have, chunk_size, size)
        if (offsets := range(start * chunk_size, min(stop * chunk_size, size), chunk_size))
    ]


class MemoryPlace:
    """Where an upload goes, in memory. ``busy``: how often it is not done yet when it commits."""

    def __init__(self, net: SimNet, hello: Hello, name: str, busy: int) -> None:
        self.size, self.mtime_ns, self.identity = hello.size, hello.mtime_ns, hello.identity
        self._net = net
        self._name = name
        self._busy = busy
        left = net.left.pop(name, None)
        self._sink = left or MemorySink(hello.size)
        self.have: tuple[tuple[int, int], ...] = ((0, left.written),) if left else ()
        self.commits = 0

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Open it, with what is there of an earlier attempt."""
        return OpenedSink(self._sink, present_in(self._sink.content, handshake))

    def commit(self) -> bool:
        """Store the file under its name, or not yet; whether that is done."""
        self.commits += 1
        if self.commits <= self._busy:
            return False
        self._net.stored[self._name] = bytes(self._sink.content)
        return True

    def told(self, error: UdpftError) -> UdpftError:
        """The error as it is: nothing here is a secret."""
        return error

    def close(self, error: BaseException | None = None, received_bytes: int = 0) -> None:
        """Note how it ended."""
        self._net.closed.append((self._name, error, received_bytes))


@dataclass
class Client:
    """One transfer in the simulation, and how it ended."""

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
        """What arrived, verified."""
        assert isinstance(self.outcome, Completed), self.outcome
        assert self.sink is not None
        return bytes(self.sink.content)

    @property
    def error(self) -> UdpftError:
        """Why it failed."""
        assert isinstance(self.outcome, Failed), self.outcome
        return self.outcome.error

    @property
    def chunk_size(self) -> int:
        """Bytes of a chunk, as agreed in the handshake."""
        assert self.handshake is not None
        return self.handshake.accept.chunk_size


class SimNet:
    """One server and its clients; all clients share the two links."""

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
        self.clients: dict[str, Client] = {}
        self.ended: list[Outcome] = []
        self._inboxes = {SERVER: Inbox()}
        self._arrivals: list[tuple[float, int, str, str, bytes]] = []
        self._order = count()
        self._buffer = bytearray(MAX_BATCH_BYTES)

    def _new_listener(self) -> Listener:
        options: dict[str, Any] = {
            "open_place": lambda hello, name: MemoryPlace(self, hello, name, self.busy_commits),
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
            **options,
        )

    def restart_server(self) -> None:
        """The server is killed, and another one takes its place: it knows of nothing before."""
        self.listener = self._new_listener()

    def _open(self, _hello: Hello, name: str) -> MemorySource:
        if name not in self.sources:
            nearest = min(self.sources, default="")
            raise NoSuchFile("no such file on the server", hint=f"did you mean {nearest!r}?")
        return self.sources[name]

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
        size: int = 0,
        **options: Any,
    ) -> Client:
        """Start fetching a file, now; ``options`` are those of `Download`.

        ``key``: the client's; the server's own unless given, b"" for none.
        """
        key = self.key if key is None else key
        channel = ClientChannel(key, suite, self.random.randbytes) if key else None
        inbox = inbox or Inbox(_RECEIVE_BUFFER)
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
            size=size,
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
        client = Client(download, address or f"client-{len(self.clients)}", inbox, channel)
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
    ) -> Client:
        """Start bringing a file, now."""
        key = self.key if key is None else key
        channel = ClientChannel(key, Suite.AES_GCM, self.random.randbytes) if key else None
        source = MemorySource(content)
        hello = Hello(
            nonce=self.random.getrandbits(64),
            connection_id=self.random.getrandbits(32),
            name=name.encode(),
            chunk_size=CHUNK_SIZE,
            receive_room=0,
            role=role,
            size=source.size,
            identity=source.identity,
        )
        upload = Upload(
            hello,
            source=source,
            now=self.now,
            random=self.random,
            options=HandshakeOptions(keyed=channel is not None),
        )
        inbox = Inbox(_RECEIVE_BUFFER)
        client = Client(upload, address or f"client-{len(self.clients)}", inbox, channel)
        self.clients[client.address] = client
        self._inboxes[client.address] = inbox
        return client

    def vanish(self, client: Client) -> None:
        """The client is gone, without a word: what is sent to it is lost."""
        del self.clients[client.address], self._inboxes[client.address]

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
            while inbox.ready_at() <= self.now:
                self._deliver(target, *inbox.take(self.now))
        self.listener.handle_timeout(self.now)
        for client in self.clients.values():
            if client.outcome is None:
                client.download.handle_timeout(self.now)
        self._transmit_all()
        return self.now

    def _next_moment(self) -> float:
        moments = [inbox.ready_at() for inbox in self._inboxes.values()]
        timeouts = [c.download.next_timeout() for c in self.clients.values() if not c.outcome]
        timeouts.append(self.listener.next_timeout())
        moments += [at for at in timeouts if at is not None]
        return min(self._arrivals[0][0] if self._arrivals else inf, *moments)

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

    def _opened(self, client: Client, received: Batch) -> Iterator[Batch]:
        """What a client's end gets to see of a batch."""
        if client.channel is None:
            yield received
        else:
            yield from client.channel.open_untrusted(received)

    # ---------------------------------------------------------------------------- what is sent

    def _transmit_all(self) -> None:
        while addressed := self.listener.poll_transmit(self.now):
            self._send(addressed.transmit, self.down, SERVER, addressed.address)
        while ended := self.listener.poll_outcome():
            self.ended.append(ended)
        for client in self.clients.values():
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

    def _transmit(self, client: Client) -> None:
        while transmit := client.download.poll_transmit(self.now):
            if client.channel:
                transmit = client.channel.seal(transmit)
                if transmit is None:
                    continue
            self._send(transmit, self.up, client.address, SERVER)

    def _send(self, transmit: Transmit, link: Link, source: str, target: str) -> None:
        data, size = transmit
        for at in range(0, len(data), size):
            self.inject(bytes(data[at : at + size]), link, source, target)

    def inject(self, datagram: bytes, link: Link, source: str, target: str) -> None:
        """Put a datagram on a link, as an attacker may too."""
        for at, arrived in link.carry(datagram, self.now):
            heapq.heappush(self._arrivals, (at, next(self._order), source, target, arrived))
