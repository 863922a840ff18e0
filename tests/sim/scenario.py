"""Random scenario on a bad network, drawn from a seed: clients, files, and faults.

A scenario has a server, a few clients that fetch or store a file each, a link each way, and faults:
of disks and of the path, which may change under way, as may a client's address; ends that stand
still; and strangers who send what they have seen, or junk. What must hold in all of them is in
`Scenario.run`: every client ends; what a client has verified is the file; where nothing went wrong
that a transfer does not survive, all of them have it; and the server has nothing left of anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from random import Random

from udpft.errors import (
    LocalReadFailed,
    LocalWriteFailed,
    PartialTransfer,
    ServerBusy,
    TimedOut,
    UdpftError,
)
from udpft.protocol.contract import Completed, Failed, OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.params import INITIAL_WINDOW_PACKETS
from udpft.protocol.server.admission import Admission
from udpft.protocol.server.session import Outcome
from udpft.protocol.wire.hello import TO_THE_END, Role
from udpft.testing.network import Inbox, MemorySink, MemorySource, Shape, SimNet, SimulatedClient
from udpft.testing.network.files import present_in
from udpft.testing.network.simulation import SERVER

SMALL_FROM = 10**8
"""Seeds from here on stand for small scenarios, of a few packets each, which take milliseconds."""

LONGEST_S = 600.0
"""Virtual seconds after which whoever is still at it hangs."""

_CHUNK_SIZES = (64, 512, 1000, 1176, 1448, 2048, 2048, 2048, 8944, 16_344)
_PATHS = (1200, 1280, 1392, 1472, 1472, 2072, 8972, 65_507, 65_507, 65_507)


class BrokenSource(MemorySource):
    """A file that goes wrong while it is sent: cannot be read, is cut short, or changes."""

    def __init__(self, content: bytes, fault: str, at: int) -> None:
        super().__init__(content)
        self._fault, self._at = fault, at

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        if offset + sum(map(len, slots)) > self._at:
            if self._fault == "read":
                raise LocalReadFailed("the disk failed")
            if self._fault == "shorter":
                self.content = self.content[: self._at]
            self.is_changed = True
        return super().readv(slots, offset)


class FullSink(MemorySink):
    """A file on a disk that fills up."""

    def __init__(self, size: int, room: float) -> None:
        super().__init__(size)
        self._room = room

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        if self.written + sum(map(len, slots)) > self._room:
            raise LocalWriteFailed("the disk is full")
        super().writev(slots, offset)


@dataclass
class Fetch:
    """What one client does, and what happens to it.

    ``wanted``: the range of the file that it asks for, as HELLO has it; None for all of it.
    ``is_sparse``: the blocks of zeros in its file are holes, and there are some.
    ``events``: moments, and what happens to the client then: its address changes, or it stands
    still for a while.
    """

    name: str
    content: bytes
    chunk_size: int
    begins: float
    have: tuple[tuple[int, int], ...] = ()
    rate: int = 0
    room: int = 200_000
    reads_bytes_per_s: float = inf
    fault: str = ""
    fault_at: int = 0
    vanishes_at: float = inf
    is_upload: bool = False
    wanted: tuple[int, int] | None = None
    is_sparse: bool = False
    events: tuple[tuple[float, str], ...] = ()
    client: SimulatedClient | None = None

    @property
    def asked_for(self) -> bytes:
        """What the client is to have in the end."""
        first, stop = self.wanted or (0, None)
        return self.content[slice(first, stop)]


@dataclass
class Scenario:
    """What a seed stands for."""

    seed: int
    fetches: list[Fetch] = field(default_factory=list)
    survivable: bool = True

    def __post_init__(self) -> None:
        self._random = random = Random(self.seed)
        self._dead = self._gaps()
        self.loss = random.choice((0.0, 0.0, random.uniform(0, 0.05), random.uniform(0, 0.3)))
        self.down, self.up = self._shape(), self._shape()
        self.max_sessions = random.choice((1024, 1024, 1024, 2))
        self.stops_at = random.uniform(0, 3) if random.random() < 0.03 else inf
        for n in range(random.choice((1, 2) if self.seed >= SMALL_FROM else (1, 1, 2, 3, 5))):
            self.fetches.append(self._fetch(n))
        self._change_under_way()
        self._draw_ranges()
        full = self._most_sessions() > self.max_sessions
        if full or self.stops_at < inf or any(fetch.fault for fetch in self.fetches):
            self.survivable = False

    def __str__(self) -> str:
        under_way = f"{self.changes}, strangers at {self.strangers_at}"
        return f"seed {self.seed}: {self.down}, {self.up}, {under_way}, {self.fetches}"

    def _most_sessions(self) -> int:
        """Sessions that the server may have at once.

        A client that goes on from another address, or on another path, leaves one behind each time;
        and while it is there, a full server tells the client to come again, which none does here.
        """
        left = sum(max(len(fetch.events), bool(self.changes)) for fetch in self.fetches)
        strangers = len(self.fetches) if self.strangers_at else 0
        return len(self.fetches) + max(left, strangers)

    def _gaps(self) -> list[tuple[float, float]]:
        """When the links are dead: for ten seconds at most, once or not at all."""
        if self._random.random() < 0.7:
            return []
        begins = self._random.uniform(0, 2)
        return [(begins, begins + self._random.choice((0.05, 0.5, 3.0, 10.0)))]

    def _draw_ranges(self) -> None:
        """Which clients ask for a range: drawn apart, so that all else stays as it ever was."""
        random = Random(f"ranges {self.seed}")
        for fetch in self.fetches:
            size = len(fetch.content)
            if fetch.is_upload or random.random() >= 0.2:
                continue
            first = random.choice((0, random.randrange(max(1, size)), -random.randint(1, 9_000)))
            stop = TO_THE_END if first < 0 else first + random.randint(1, 60_000)
            fetch.wanted = first, random.choice((stop, TO_THE_END))
            have = (_clipped(pair, len(fetch.asked_for)) for pair in fetch.have)
            fetch.have = tuple(pair for pair in have if pair[0] < pair[1])

    def _change_under_way(self) -> None:
        """What happens to the path, the server and all clients while they are at it."""
        random = self._random
        self.changes: list[tuple[float, str]] = []
        if random.random() < 0.2:
            kinds = ("narrower", "narrower down", "narrower up", "slower", "way back")
            self.changes.append((10 ** random.uniform(-2, 0.5), random.choice(kinds)))
        self.strangers_at: list[float] = []
        if random.random() < 0.2:
            count = random.randint(1, 5 if self.seed >= SMALL_FROM else 30)
            self.strangers_at = sorted(10 ** random.uniform(-2, 0.7) for _ in range(count))
        stills = random.random() < 0.15 and not self._dead
        if stills and random.random() < 0.3:
            self.changes.append((10 ** random.uniform(-2, 0.5), "server stands still"))
        for fetch in self.fetches:
            events = []
            if stills and random.random() < 0.7:
                events.append((fetch.begins + 10 ** random.uniform(-2, 0.5), "stands still"))
            while random.random() < 0.15:
                events.append((fetch.begins + 10 ** random.uniform(-2, 0.5), "other address"))
            fetch.events = tuple(sorted(events))
            if random.random() < 0.2 and fetch.fault in ("", "vanish"):
                fetch.is_upload, fetch.have = True, ()

    def _shape(self) -> Shape:
        random, gaps = self._random, self._dead
        cut: Callable[[float], bool] | None = None
        if gaps and random.random() < 0.8:
            cut = lambda now: any(begin <= now < end for begin, end in gaps)  # noqa: E731
        delay_s = 10 ** random.uniform(-4, -0.5)
        rate = random.choice((inf, inf, 10 ** random.uniform(5.5, 8)))
        return Shape(
            delay_s=delay_s,
            rate_bytes_per_s=rate,
            queue_bytes=random.choice((inf, 30_000, 300_000)),
            mtu_payload=random.choice(_PATHS),
            loss=self.loss * random.choice((0.3, 1.0)),
            duplicate=random.choice((0.0, 0.0, 0.1)),
            reorder=random.choice((0.0, 0.0, 0.2)),
            reorder_s=delay_s,
            corrupt=random.choice((0.0, 0.0, 0.0, 0.03)),
            jitter_s=random.choice((0.0, 0.0, delay_s / 2, 3 * delay_s)),
            dead=cut,
        )

    def _fetch(self, n: int) -> Fetch:
        random = self._random
        chunk_size = random.choice(_CHUNK_SIZES)
        largest = 20_000 if self.seed >= SMALL_FROM else 300_000
        size = random.choice((random.randrange(3_000), random.randrange(largest)))
        if random.random() < 0.3:
            size -= size % chunk_size
        size = min(size, 2_000 * chunk_size)
        fetch = Fetch(
            f"file-{n}", random.randbytes(size), chunk_size, begins=random.choice((0.0, 0.3 * n))
        )
        if random.random() < 0.2:
            ends = sorted(random.randrange(size + 1) for _ in range(2 * random.randint(1, 8)))
            fetch.have = tuple(zip(ends[::2], ends[1::2], strict=True))
        if (self.seed + n) % 4 == 0:
            self._dig(fetch)
        if random.random() < 0.1:
            fetch.rate = random.randrange(100_000, 2_000_000)
        if random.random() < 0.2:
            fetch.room = random.randrange(8_000, 100_000)
            fetch.reads_bytes_per_s = random.choice((inf, 10 ** random.uniform(5.5, 7.5)))
        if random.random() < 0.1:
            faults = ("read", "shorter", "changed", "full", "no sink", "missing", "vanish")
            fetch.fault, fetch.fault_at = random.choice(faults), random.randrange(size + 1)
            if fetch.fault == "vanish":
                fetch.vanishes_at = fetch.begins + random.uniform(0, 1)
        return fetch

    def _dig(self, fetch: Fetch) -> None:
        """Make a file sparse, by draws that leave all others of the seed as they are."""
        draw, content = Random(self.seed), bytearray(fetch.content)
        for _ in range(draw.randint(1, 6)):
            start = draw.randrange(len(content) + 1)
            stop = min(len(content), start + draw.randrange(40_000))
            content[start:stop] = bytes(stop - start)
        fetch.content, fetch.is_sparse = bytes(content), True

    # -------------------------------------------------------------------------------- running

    def run(self) -> SimNet:
        """Play it, and see that everything holds that must."""
        self.net = net = SimNet(
            {},
            seed=self.seed,
            down=self.down,
            up=self.up,
            admission=Admission(max_sessions=self.max_sessions),
        )
        for fetch in self.fetches:
            if fetch.fault in ("read", "shorter", "changed"):
                source: MemorySource = BrokenSource(fetch.content, fetch.fault, fetch.fault_at)
            else:
                source = MemorySource(fetch.content)
            if fetch.is_sparse:
                source.note_holes()
            if fetch.fault != "missing" and not fetch.is_upload:
                net.sources[fetch.name] = source
        moments = [(fetch.begins, self._begin, fetch) for fetch in self.fetches]
        moments += [(f.vanishes_at, self._vanish, f) for f in self.fetches if f.vanishes_at < inf]
        if self.stops_at < inf:
            moments.append((self.stops_at, self._stop, self.fetches[0]))
        for fetch in self.fetches:
            for at, event in fetch.events:
                moments.append((at, partial(self._happen, event), fetch))
        for at, change in self.changes:
            moments.append((at, partial(self._change, change), self.fetches[0]))
        moments += [(at, self._send_junk, self.fetches[0]) for at in self.strangers_at]
        for moment, act, fetch in sorted(moments, key=lambda one: one[0]):
            net.run_to(max(net.now, moment))
            act(fetch)
        net.run(until=LONGEST_S)
        net.run_until_quiet(until=net.now + LONGEST_S)
        for fetch in self.fetches:
            self._judge(fetch)
        self._judge_server()
        return net

    def _happen(self, event: str, fetch: Fetch) -> None:
        client = fetch.client
        if client is None or client.outcome or client.address not in self.net.clients:
            return
        if event == "stands still":
            self.net.suspend(client, 20.0)
        else:
            self.net.readdress(client)

    def _change(self, change: str, _fetch: Fetch) -> None:
        net, random = self.net, self._random
        mtu = random.choice((1200, 1280, 1392))
        down, up = net.down.shape, net.up.shape
        if change == "server stands still":
            net.suspend_server(20.0)
        elif change == "slower":
            slow = 10 ** random.uniform(5, 6.5)
            net.down.shape = replace(down, delay_s=2 * down.delay_s, rate_bytes_per_s=slow)
        elif change == "way back":
            net.up.shape = replace(up, loss=max(up.loss, random.uniform(0.1, 0.5)))
        else:
            if change != "narrower up":
                net.down.shape = replace(down, mtu_payload=min(down.mtu_payload, mtu))
            if change != "narrower down":
                net.up.shape = replace(up, mtu_payload=min(up.mtu_payload, mtu))

    def _send_junk(self, _fetch: Fetch) -> None:
        """A stranger sends what a client has sent, whole or damaged, or noise, to the server."""
        net, random = self.net, self._random
        seen = net.up.sent or [b""]
        junk = bytearray(random.choice((random.choice(seen), random.randbytes(1_200))))
        if junk and random.random() < 0.5:
            junk[random.randrange(len(junk))] ^= 1 << random.randrange(8)
        net.inject(bytes(junk), net.up, f"stranger-{random.randrange(3)}", SERVER)

    def _begin(self, fetch: Fetch) -> None:
        if fetch.is_upload:
            fetch.client = self.net.put(
                fetch.name,
                fetch.content,
                address=f"client of {fetch.name}",
                sparse=fetch.is_sparse,
                connect_timeout_s=45.0,
            )
            return
        inbox = Inbox(fetch.room, fetch.reads_bytes_per_s)

        def open_sink(handshake: HandshakeResult) -> OpenedSink:
            if fetch.fault == "no sink":
                raise LocalWriteFailed("the folder is read-only")
            size = handshake.accept.size
            assert fetch.client is not None
            sink = fetch.client.sink
            if sink is None:  # or the server has changed, and the sink has what came before
                room = fetch.fault_at if fetch.fault == "full" else inf
                fetch.client.sink = sink = FullSink(size, room)
                for start, stop in fetch.have:
                    sink.content[start:stop] = fetch.asked_for[start:stop]
            return OpenedSink(sink, present_in(sink.content, handshake))

        fetch.client = self.net.get(
            fetch.name,
            address=f"client of {fetch.name}",
            chunk_size=fetch.chunk_size,
            have=fetch.have,
            role=Role.RANGE if fetch.wanted else Role.GET,
            wanted=fetch.wanted or (0, 0),
            sparse=fetch.is_sparse,
            max_rate_bytes_per_s=fetch.rate,
            open_sink=open_sink,
            inbox=inbox,
            connect_timeout_s=45.0,
        )

    def _vanish(self, fetch: Fetch) -> None:
        assert fetch.client is not None
        if fetch.client.outcome is None:
            self.net.vanish(fetch.client)

    def _stop(self, _fetch: Fetch) -> None:
        self.net.listener.draining = True
        self.net.listener.abort_all(PartialTransfer("the server is stopping"))

    # ---------------------------------------------------------------------------- what must hold

    def _judge(self, fetch: Fetch) -> None:
        assert fetch.client is not None
        outcome = fetch.client.outcome
        if isinstance(outcome, Completed) and not outcome.confirmed:
            assert fetch.is_upload
            stored = self.net.stored.get(fetch.name) == fetch.content  # and all FIN_ACKs were lost
            assert stored or not self.survivable, "the server never said that it has it"
        elif isinstance(outcome, Completed) and fetch.is_upload:
            assert self.net.stored[fetch.name] == fetch.content, "stored, and wrong"
        elif isinstance(outcome, Completed):
            assert fetch.client.sink is not None
            assert bytes(fetch.client.sink.content) == fetch.asked_for, "verified, and wrong"
            assert fetch.fault not in ("missing", "no sink")
        elif isinstance(outcome, Failed):
            assert isinstance(outcome.error, UdpftError)
            assert not self.survivable, f"it gave up: {outcome.error}"
        else:
            assert fetch.fault == "vanish", "it never ended"

    def _judge_server(self) -> None:
        listener = self.net.listener
        assert len(listener) == 0
        assert not listener._by_hello
        assert not listener._creation.admission._of_host
        assert listener._creation.admission._sessions == 0
        asked_for = {ended.name for ended in self.net.ended}
        uploads = {fetch.name for fetch in self.fetches if fetch.is_upload}
        for name in asked_for - uploads:
            assert self.net.sources[name].closed
        outcomes = {fetch.name: fetch.client.outcome for fetch in self.fetches if fetch.client}
        done = {
            name for name, one in outcomes.items() if isinstance(one, Completed) and one.confirmed
        }
        # A client whose every packet was lost may have a file of one flight for all that; and what
        # a server that stops, or makes room, has cut off may have arrived already.
        well = {ended.name for ended in self.net.ended if not _is_failure(ended)}
        assert done <= well or self.stops_at < inf, (
            "the client has it, and the server says that it failed"
        )


def _clipped(pair: tuple[int, int], size: int) -> tuple[int, int]:
    return min(pair[0], size), min(pair[1], size)


def _is_failure(ended: Outcome) -> bool:
    one_flight = ended.size < INITIAL_WINDOW_PACKETS * 16_344
    made_room = isinstance(ended.error, ServerBusy)
    return not (
        ended.error is None or made_room or (isinstance(ended.error, TimedOut) and one_flight)
    )
