"""Sender of a file under test, and a receiver played by the test."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from xxhash import xxh3_64_digest, xxh3_128

from udpft.errors import UdpftError
from udpft.protocol.contract import Batch, Event, Failed, TransferIds
from udpft.protocol.params import MAX_BURST_BYTES
from udpft.protocol.ranges import RangeSet
from udpft.protocol.transfer.chunk_queue import ChunkQueue
from udpft.protocol.transfer.flow import SendLimits
from udpft.protocol.transfer.sender import Sender
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.data import BurstReader, BurstWriter
from udpft.protocol.wire.fin import Fin, encode_fin
from udpft.protocol.wire.packet import PacketType, decode_untrusted
from udpft.testing.network import MemorySource, random_bytes

CHUNK = 64
OURS, THEIRS, NONCE = 11, 22, 33
IDLE_S = 10.0
RTT_S = 0.020
CONTENT = random_bytes(40 * CHUNK + 5)


@dataclass(frozen=True)
class Data:
    """One DATA packet that was sent."""

    packet: int
    chunk: int
    content: bytes
    ack_request: bool


class Sending:
    """A sender of a file, and a hand that plays its receiver."""

    def __init__(
        self,
        content: bytes = CONTENT,
        *,
        prelude: bytes = b"",
        have: RangeSet | None = None,
        max_rate_bytes_per_s: int = 0,
        source: MemorySource | None = None,
        idle_timeout_s: float = IDLE_S,
    ) -> None:
        self.source = source or MemorySource(content)
        self.chunk_count = len(content) // CHUNK + 1
        self.sender = Sender(
            TransferIds(THEIRS, OURS, NONCE),
            ChunkQueue(
                self.source,
                len(content),
                BurstWriter(CHUNK, bytearray(MAX_BURST_BYTES), NONCE),
                have,
            ),
            now=0.0,
            random=Random(1),
            prelude=prelude,
            limits=SendLimits(200_000, max_rate_bytes_per_s, idle_timeout_s),
        )
        self.arrived = RangeSet()
        self.chunks: dict[int, bytes] = {}
        self.fins: list[bytes] = []

    def sent(self, now: float) -> tuple[list[Data], list[bytes]]:
        """What leaves now: DATA, and control packets."""
        data: list[Data] = []
        control: list[bytes] = []
        while transmit := self.sender.poll_transmit(now):
            buffer = bytearray(transmit.data)
            batch = Batch(buffer, len(buffer), transmit.segment_size)
            contents = BurstReader(THEIRS, CHUNK, NONCE).read_untrusted(batch)
            for burst in contents.bursts:
                for i, slot in enumerate(burst.slots):
                    last = i == len(burst.slots) - 1
                    numbers = burst.first_packet + i, burst.first_chunk + i
                    data.append(Data(*numbers, bytes(slot), burst.ack_request and last))
            control += [bytes(buffer[at : at + size]) for at, size in contents.strays]
        self.fins += [one for one in control if one[0] == PacketType.FIN]
        return data, control

    def data(self, now: float) -> list[Data]:
        return self.sent(now)[0]

    def control(self, now: float) -> list[bytes]:
        return self.sent(now)[1]

    def receive(self, datagram: bytes, now: float) -> None:
        self.sender.handle_datagrams(Batch.of(datagram), now)

    def ack(self, packets: list[Data], now: float, *, room: int = 200_000, drops: int = 0) -> None:
        """Acknowledge these packets, and all earlier ones that were."""
        for one in packets:
            self.arrived.add(one.packet, one.packet + 1)
            self.chunks[one.chunk] = one.content
        first_missing = min(set(range(self.chunk_count + 1)) - set(self.chunks))
        ack = Ack(0.0, room, first_missing, drops, self.arrived.newest(64))
        self.receive(encode_ack(ack, OURS, NONCE), now)

    def fin_ack(self, now: float, *, digest: bytes = b"") -> None:
        fin = Fin(self.source.size, digest or digest_of(self.source.content))
        self.receive(encode_fin(PacketType.FIN_ACK, fin, OURS, NONCE), now)

    def events(self) -> list[Event]:
        events = []
        while event := self.sender.poll_event():
            events.append(event)
        return events

    def failure(self) -> UdpftError:
        [event] = self.events()
        assert isinstance(event, Failed)
        return event.error

    def pass_time(self, now: float, until: float) -> list[tuple[float, Data]]:
        """Let a silent peer's timers run; what is sent meanwhile, and when."""
        sent = []
        while (at := self.sender.next_timeout()) is not None and at <= until:
            now = max(now, at)
            self.sender.handle_timeout(now)
            sent += [(now, one) for one in self.data(now)]
        return sent


def digest_of(content: bytes) -> bytes:
    hashes = [
        xxh3_64_digest(content[at : at + CHUNK])
        for at in range(0, len(content) // CHUNK * CHUNK + 1, CHUNK)
    ]
    return xxh3_128(b"".join(hashes)).digest()


def type_of(datagram: bytes) -> PacketType:
    return decode_untrusted(memoryview(datagram), NONCE).type


def to_the_end(net: Sending, now: float = 0.0, *, lost: frozenset[int] = frozenset()) -> float:
    """Acknowledge all that comes but the packets lost, until FIN is said and nothing is missing."""
    while not net.events():
        data, control = net.sent(now)
        got = [one for one in data if one.packet not in lost]
        now += RTT_S
        if got:
            net.ack(got, now)
        elif PacketType.FIN in map(type_of, control):
            break
        net.sender.handle_timeout(now)
    return now
