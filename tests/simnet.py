"""A network in memory: two ends, a seeded link each way, a virtual clock.

Both ends are the real ones: `Listener` on one side, any number of `Download` on the other. A
transfer of minutes runs in a second, and a seed replays exactly.

Loss, reordering and the like happen to single datagrams, as on a wire; a burst is taken apart
where it enters the link. What arrives at one moment is handed over as one batch where the sizes
allow, as the kernel's coalescing does.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from udpft.errors import UdpftError
from udpft.protocol.download import Download, Opened
from udpft.protocol.endpoint import Completed, Failed, Transmit, Verified
from udpft.protocol.handshake import Introduction
from udpft.protocol.listener import Ended, Listener
from udpft.protocol.packets import Hello
from udpft.protocol.params import CHUNK_SIZE

_BUFFER_SIZE = 65_536


@dataclass(frozen=True)
class Shape:
    """One direction of a link. Rates in bytes per second, shares from 0 to 1."""

    delay_s: float = 0.010
    rate_bytes_per_s: float = float("inf")
    queue_bytes: float = float("inf")
    mtu_payload: int = 65_507
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_s: float = 0.005
    corrupt: float = 0.0
    jitter_s: float = 0.0
    dead: Callable[[float], bool] = field(default=lambda now: False)


class Link:
    """One direction, at work: counts what it did to whom."""

    def __init__(self, shape: Shape, random: Random) -> None:
        self.shape = shape
        self._random = random
        self._free_at = 0.0
        self.carried_bytes = 0
        self.lost = self.dropped = self.corrupted = 0

    def carry(self, datagram: bytes, now: float) -> list[tuple[float, bytes]]:
        """When, and as what, a datagram arrives: no, one or two times."""
        shape, random = self.shape, self._random
        if len(datagram) > shape.mtu_payload or shape.dead(now):
            self.lost += 1
            return []
        begin = max(now, self._free_at)
        if (begin - now) * shape.rate_bytes_per_s > shape.queue_bytes:
            self.dropped += 1
            return []
        self._free_at = begin + (len(datagram) + 28) / shape.rate_bytes_per_s
        self.carried_bytes += len(datagram)
        if random.random() < shape.loss:
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
        begin = offset
        for slot in slots:
            piece = self.content[offset : offset + len(slot)]
            slot[: len(piece)] = piece
            offset += len(piece)
        return offset - begin

    def changed(self) -> bool:
        return self.is_changed

    def close(self) -> None:
        self.closed = True


class MemorySink:
    """A file being received, in memory."""

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)
        self.written = 0

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        for slot in slots:
            self.content[offset : offset + len(slot)] = slot
            offset += len(slot)
            self.written += len(slot)


@dataclass
class Client:
    """One download in the simulation, and how it ended."""

    download: Download
    address: str
    sink: MemorySink | None = None
    introduction: Introduction | None = None
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


class SimNet:
    """One server and its clients; all clients share the two links."""

    def __init__(
        self,
        files: dict[str, bytes],
        *,
        seed: int = 0,
        down: Shape | None = None,
        up: Shape | None = None,
        **listener_options: Any,
    ) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.down = Link(down or Shape(), self.random)
        self.up = Link(up or Shape(), self.random)
        self.sources = {name: MemorySource(content) for name, content in files.items()}
        self.listener_options = listener_options
        self.listener = self.new_listener()
        self.clients: dict[str, Client] = {}
        self.ended: list[Ended] = []
        self.server_bytes_out = 0
        self._arrivals: list[tuple[float, int, str, str, bytes]] = []
        self._order = count()
        self._buffer = bytearray(_BUFFER_SIZE)

    def new_listener(self) -> Listener:
        """A server that has just been started: it knows nothing of earlier transfers."""
        return Listener(
            open_source=self._open,
            secret=self.random.randbytes(32),
            draw_id=lambda: self.random.getrandbits(32),
            random=self.random,
            **self.listener_options,
        )

    def _open(self, name: str) -> MemorySource:
        from udpft.errors import NoSuchFile

        if name not in self.sources:
            raise NoSuchFile(
                "no such file on the server", hint=f"did you mean {min(self.sources)!r}?"
            )
        return self.sources[name]

    def get(
        self,
        name: str,
        *,
        chunk_size: int = CHUNK_SIZE,
        have: tuple[tuple[int, int], ...] = (),
        open_sink: Callable[[Introduction], Opened] | None = None,
        receive_queue: Callable[[], tuple[int, int]] = lambda: (200_000, 0),
        **options: Any,
    ) -> Client:
        """Start fetching a file, now."""
        hello = Hello(
            nonce=self.random.getrandbits(64),
            connection_id=self.random.getrandbits(32),
            name=name.encode(),
            chunk_size=chunk_size,
            receive_room=200_000,
            have=have,
        )

        def sink_of(introduction: Introduction) -> Opened:
            client.introduction = introduction
            if open_sink:
                return open_sink(introduction)
            client.sink = MemorySink(introduction.accept.size)
            return Opened(client.sink)

        download = Download(
            hello, open_sink=sink_of, receive_queue=receive_queue, now=self.now, **options
        )
        client = Client(download, f"client-{len(self.clients)}")
        self.clients[client.address] = client
        return client

    def run(self, *, until: float = 600.0) -> None:
        """Let time pass until every client has its outcome."""
        while any(client.outcome is None for client in self.clients.values()):
            assert self.step() <= until, f"still running after {until} virtual seconds"

    def drain(self, *, until: float) -> None:
        """Let time pass until a moment, whoever is done."""
        while self._next_moment() <= until:
            self.step()
        self.now = until

    def step(self) -> float:
        """Go to the next moment at which something happens; return it."""
        self._transmit_all()
        at = self._next_moment()
        if at == float("inf"):
            raise AssertionError("nothing will ever happen again")
        self.now = max(self.now, at)
        while self._arrivals and self._arrivals[0][0] <= self.now:
            self._deliver()
        self.listener.handle_timeout(self.now)
        for client in self.clients.values():
            if client.outcome is None:
                client.download.handle_timeout(self.now)
        self._transmit_all()
        return self.now

    def _next_moment(self) -> float:
        moments = [self._arrivals[0][0]] if self._arrivals else []
        timeouts = [c.download.next_timeout() for c in self.clients.values() if not c.outcome]
        timeouts.append(self.listener.next_timeout())
        return min([*moments, *(at for at in timeouts if at is not None)], default=float("inf"))

    def _deliver(self) -> None:
        """Hand over what arrives now, from one sender to one receiver, as one batch."""
        _, _, source, target, datagram = heapq.heappop(self._arrivals)
        batch = deque([datagram])
        while (
            self._arrivals
            and self._arrivals[0][0] <= self.now
            and self._arrivals[0][2:4] == (source, target)
            and len(self._arrivals[0][4]) <= len(datagram) == len(batch[-1])
            and sum(map(len, batch)) + len(datagram) <= _BUFFER_SIZE
        ):
            batch.append(heapq.heappop(self._arrivals)[4])
        joined = b"".join(batch)
        self._buffer[: len(joined)] = joined
        if target == "server":
            self.listener.handle_datagrams(
                self._buffer, len(joined), len(datagram), source, source.encode(), self.now
            )
        elif self.clients[target].outcome is None:
            client = self.clients[target]
            try:
                client.download.handle_datagrams(self._buffer, len(joined), len(datagram), self.now)
            except UdpftError as error:
                client.download.abort(error)

    def _transmit_all(self) -> None:
        while addressed := self.listener.poll_transmit(self.now):
            self.server_bytes_out += len(addressed.transmit.data)
            self._send(addressed.transmit, self.down, "server", addressed.address)
        while ended := self.listener.poll_ended():
            self.ended.append(ended)
        for client in self.clients.values():
            while client.outcome is None:
                while transmit := client.download.poll_transmit(self.now):
                    self._send(transmit, self.up, client.address, "server")
                event = client.download.poll_event()
                if event is None:
                    break
                if isinstance(event, Verified):
                    assert client.download.receiver is not None
                    client.download.receiver.confirm()
                    continue
                while transmit := client.download.poll_transmit(self.now):
                    self._send(transmit, self.up, client.address, "server")
                client.outcome, client.ended_at = event, self.now

    def _send(self, transmit: Transmit, link: Link, source: str, target: str) -> None:
        data, size = transmit
        for at in range(0, len(data), size):
            self.inject(bytes(data[at : at + size]), link, source, target)

    def inject(self, datagram: bytes, link: Link, source: str, target: str) -> None:
        """Put a datagram on a link, as an attacker may too."""
        for at, arrived in link.carry(datagram, self.now):
            heapq.heappush(self._arrivals, (at, next(self._order), source, target, arrived))
