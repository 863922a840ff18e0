"""Links and inboxes of a simulated network: one direction of a path, and a receive buffer."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Container
from dataclasses import dataclass
from math import inf
from random import Random

from udpft.protocol.params import MAX_BATCH_BYTES
from udpft.protocol.wire.packet import PacketType

_HEADER_BYTES = 28
"""Bytes of the headers of IPv4 and UDP, which a datagram takes on the link besides its payload."""


@dataclass(frozen=True)
class Shape:
    """Properties of one direction of a link. Shares are from 0 to 1, of all datagrams.

    ``delay_s``: of every datagram, and up to ``jitter_s`` more. ``queue_bytes``: room of the queue
    before the link; ``burst_bytes``: of its token bucket, which pass at once after a pause;
    ``mtu_payload``: bytes of UDP payload in the largest datagram that passes.
    ``loss``, ``duplicate``, ``reorder``, ``corrupt``: shares; ``reorder_s``: seconds by which a
    reordered datagram is late, at most. ``lose`` names datagrams that are lost by their place in
    the order in which they enter the link, from 0 on; ``dead``: whether the link is cut at a time.
    """

    delay_s: float = 0.010
    rate_bytes_per_s: float = inf
    queue_bytes: float = inf
    burst_bytes: float = 0.0
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
    """One direction of a link, at work.

    Args:
        shape: its properties.
        random: draws the fate of each datagram.

    Attributes:
        shape: as given; another one may take its place at any time.
        sent: all datagrams that entered the link, arrived or not, in order.
        lost: datagrams lost by chance, by name, by their size or on a dead link.
        overflowed: datagrams that the queue had no room for.
        corrupted: datagrams that arrived with a byte changed.
        longest_wait_s: seconds that a datagram has waited in the queue, the longest so far.
    """

    def __init__(self, shape: Shape, random: Random) -> None:
        self.shape = shape
        self._random = random
        self._free_at = -inf
        """Seconds on the virtual clock: when the link has sent what is in its queue."""
        self.sent: list[bytes] = []
        self.lost = 0
        self.overflowed = 0
        self.corrupted = 0
        self.longest_wait_s = 0.0

    @property
    def sent_bytes(self) -> int:
        """Bytes of UDP payload that entered the link."""
        return sum(map(len, self.sent))

    def packets(self, type_: PacketType) -> list[bytes]:
        """List the packets of one type that entered the link, in order."""
        return [datagram for datagram in self.sent if datagram[0] == type_]

    def packet_counts(self) -> Counter[PacketType]:
        """Count the packets of each type that entered the link."""
        return Counter(PacketType(datagram[0]) for datagram in self.sent)

    def carry(self, datagram: bytes, now: float) -> list[tuple[float, bytes]]:
        """Carry a datagram; return its arrivals, none, one or two: the time, and the bytes."""
        shape, random = self.shape, self._random
        place = len(self.sent)
        self.sent.append(datagram)
        if len(datagram) > shape.mtu_payload or (shape.dead and shape.dead(now)):
            self.lost += 1
            return []
        begin = max(now - shape.burst_bytes / shape.rate_bytes_per_s, self._free_at)
        if (begin - now) * shape.rate_bytes_per_s > shape.queue_bytes:
            self.overflowed += 1
            return []
        self.longest_wait_s = max(self.longest_wait_s, begin - now)
        self._free_at = begin + (len(datagram) + _HEADER_BYTES) / shape.rate_bytes_per_s
        if random.random() < shape.loss or place in shape.lose:
            self.lost += 1
            return []
        at = max(now, self._free_at) + shape.delay_s
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
    """Receive buffer of a socket: datagrams that wait take room, and later ones are dropped.

    Args:
        capacity_bytes: of payload that the buffer holds.
        read_bytes_per_s: rate at which the socket's owner reads.

    Attributes:
        dropped: datagrams so far that the buffer had no room for.
        suspended_until: seconds on the virtual clock until which the owner's process stands still.
    """

    def __init__(self, capacity_bytes: float = inf, read_bytes_per_s: float = inf) -> None:
        self.capacity_bytes = capacity_bytes
        self.read_bytes_per_s = read_bytes_per_s
        self.dropped = 0
        self.suspended_until = 0.0
        self._waiting: deque[tuple[str, bytes]] = deque()
        """Datagrams in the buffer with their sources, oldest first."""
        self._waiting_bytes = 0
        """Bytes of their payload."""
        self._busy_until = 0.0
        """Seconds on the virtual clock: when the owner has read the last batch."""

    def put(self, source: str, datagram: bytes) -> None:
        """Put a datagram that arrives into the buffer, or drop it."""
        if self._waiting_bytes + len(datagram) > self.capacity_bytes:
            self.dropped += 1
        else:
            self._waiting_bytes += len(datagram)
            self._waiting.append((source, datagram))

    def ready_at(self) -> float:
        """Time at which the next batch may be read; inf where there is none."""
        return max(self._busy_until, self.suspended_until) if self._waiting else inf

    def take(self, now: float) -> tuple[str, list[bytes]]:
        """Take the next batch: datagrams of one source and size, the last one perhaps shorter."""
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
        """Receive queue of a connected socket: bytes that it holds in all, datagrams dropped."""
        return int(self.capacity_bytes), self.dropped
