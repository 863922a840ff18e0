"""Shape of a link: effects of one direction on packets, in virtual time, without a socket.

A packet passes three places in turn::

    offer ─> queue (drop-tail, bytes) ─> wire (rate, then loss) ─> path (delay, reordering) ─> take

Random loss comes after the bottleneck, so a lost packet has cost its time on the wire, and what a
perfect transfer can deliver is rate × (1 − loss). A size is that of the whole IP packet.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, fields, replace

_ROUNDING_BYTES = 0.5
"""Slack of the queue limit: hours on the clock leave the backlog exact to about 0.001 bytes."""

LATE_S = 0.001
"""A packet taken this long after it was due counts as late: the emulator, not the link, held it."""

_FIRST_PAYLOAD_WORD = 40
"""Where corruption may begin, in 16-bit words: behind IPv6 (40 bytes) and TCP with options (40)."""


@dataclass(frozen=True)
class LinkShape:
    """One direction of a link. The default is a perfect one.

    rate_bit_per_s: the bottleneck's rate, in bits of IP packets; infinite where there is none.
    delay_s: one way, from the packet's last bit on the wire to its arrival.
    queue_bytes: room of the bottleneck's queue, the packet being sent included. A packet that
        finds the wire idle is always taken.
    loss, reorder, duplicate, corrupt: the share of packets, 0 to 1, that it happens to, each
        drawn independently.
    reorder_s: how long a reordered packet is held back while those behind it overtake.
    seed: of the random draws; the same packets under the same seed meet the same fate.

    A corrupted packet has two different 16-bit words of its payload exchanged, which no Internet
    checksum notices (RFC 1071 sums are commutative). Packets without such words stay whole.
    """

    rate_bit_per_s: float = math.inf
    delay_s: float = 0.0
    queue_bytes: float = math.inf
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder_s: float = 0.005
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.rate_bit_per_s > 0:
            raise ValueError(f"rate_bit_per_s must be above 0, not {self.rate_bit_per_s}")
        for name in ("delay_s", "queue_bytes", "reorder_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative: {getattr(self, name)}")
        for name in ("loss", "reorder", "duplicate", "corrupt"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, not {getattr(self, name)}")


@dataclass
class LinkCounters:
    """What a direction has done so far, to prove that the impairment took place.

    offered = delivered − duplicated + lost + dropped + what is still under way. ``late`` counts
    packets taken more than ``LATE_S`` after they were due; ``overrun`` those that the kernel
    dropped because the emulator did not read in time. Where these two are not a tiny share of
    ``offered``, the machine was too slow for the shape and the figures are not the link's.
    """

    offered: int = 0
    offered_bytes: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    lost: int = 0
    dropped: int = 0
    reordered: int = 0
    duplicated: int = 0
    corrupted: int = 0
    queue_max_bytes: int = 0
    late: int = 0
    late_max_s: float = 0.0
    overrun: int = 0

    def since(self, earlier: LinkCounters) -> LinkCounters:
        """The difference to an earlier reading; maxima stay those of the whole time."""
        names = [f.name for f in fields(self) if "_max_" not in f.name]
        return replace(self, **{n: getattr(self, n) - getattr(earlier, n) for n in names})


class OneWayLink:
    """One direction of a link under a ``LinkShape``.

    The caller brings the time, in seconds of any clock that never goes back, and moves it on:
    ``offer`` each packet when it comes; ``take`` what is due; sleep until ``next_due_s``.
    """

    def __init__(self, shape: LinkShape) -> None:
        self.counters = LinkCounters()
        self._wire_free_s = -math.inf
        self._in_order: deque[tuple[float, bytes]] = deque()
        self._held_back: list[tuple[float, int, bytes]] = []
        self.reshape(shape)

    def reshape(self, shape: LinkShape) -> None:
        """Change the link; packets already taken in keep their time of arrival."""
        self.shape = shape
        self._random = random.Random(shape.seed).random
        self._bytes_per_s = shape.rate_bit_per_s / 8
        if self._bytes_per_s == math.inf:
            self._wire_free_s = -math.inf
        self._impairs = bool(shape.loss or shape.reorder or shape.duplicate or shape.corrupt)

    def offer(self, packet: bytes, now_s: float) -> None:
        """A packet enters at the near end, to be queued or dropped."""
        counters, size = self.counters, len(packet)
        counters.offered += 1
        counters.offered_bytes += size
        queue_bytes: float = size
        if self._wire_free_s > now_s:
            queue_bytes += (self._wire_free_s - now_s) * self._bytes_per_s
            if queue_bytes > self.shape.queue_bytes + _ROUNDING_BYTES:
                counters.dropped += 1
                return
            self._wire_free_s += size / self._bytes_per_s
        else:
            self._wire_free_s = now_s + size / self._bytes_per_s
        if queue_bytes > counters.queue_max_bytes:
            counters.queue_max_bytes = round(queue_bytes)
        due_s = self._wire_free_s + self.shape.delay_s
        if self._impairs:
            self._impair(packet, due_s)
        else:
            self._arrive(packet, due_s)

    def _impair(self, packet: bytes, due_s: float) -> None:
        """Lose, corrupt, hold back or duplicate a packet as its draws will have it."""
        shape, counters, draw = self.shape, self.counters, self._random
        if shape.loss and draw() < shape.loss:
            counters.lost += 1
            return
        if shape.corrupt and draw() < shape.corrupt:
            original, packet = packet, exchange_words(packet, draw())
            counters.corrupted += packet != original
        if shape.reorder and draw() < shape.reorder:
            counters.reordered += 1
            held_until_s = due_s + shape.reorder_s
            heapq.heappush(self._held_back, (held_until_s, counters.offered, packet))
        else:
            self._arrive(packet, due_s)
        if shape.duplicate and draw() < shape.duplicate:
            counters.duplicated += 1
            self._arrive(packet, due_s)

    def _arrive(self, packet: bytes, due_s: float) -> None:
        in_order = self._in_order
        if in_order and in_order[-1][0] > due_s:  # only after reshape() to a shorter delay
            due_s = in_order[-1][0]
        in_order.append((due_s, packet))

    def next_due_s(self) -> float:
        """When the next packet arrives at the far end; infinite if none is under way."""
        due_s = self._in_order[0][0] if self._in_order else math.inf
        if self._held_back and self._held_back[0][0] < due_s:
            return self._held_back[0][0]
        return due_s

    def take(self, now_s: float) -> list[bytes]:
        """The packets that have arrived at the far end by now, in order of arrival."""
        due_s = self.next_due_s()
        if due_s > now_s:
            return []
        counters, in_order, held_back = self.counters, self._in_order, self._held_back
        if now_s - due_s > counters.late_max_s:
            counters.late_max_s = now_s - due_s
        packets: list[bytes] = []
        while due_s <= now_s:
            if held_back and held_back[0][0] == due_s:
                packet = heapq.heappop(held_back)[2]
            else:
                packet = in_order.popleft()[1]
            packets.append(packet)
            counters.delivered_bytes += len(packet)
            counters.late += now_s - due_s > LATE_S
            due_s = self.next_due_s() if held_back else in_order[0][0] if in_order else math.inf
        counters.delivered += len(packets)
        return packets


def exchange_words(packet: bytes, draw: float) -> bytes:
    """Exchange two different 16-bit words of the payload, the place chosen by ``draw`` in [0, 1).

    An Internet checksum over the packet stays right. Without two such words: the packet as it was.
    """
    n_words = len(packet) // 2
    room = n_words - 1 - _FIRST_PAYLOAD_WORD
    if room < 1:
        return packet
    first = _FIRST_PAYLOAD_WORD + int(draw * room)
    words = memoryview(packet[: n_words * 2]).cast("H").tolist()
    for second in (*range(first + 1, n_words), *range(_FIRST_PAYLOAD_WORD, first)):
        if words[first] != words[second]:
            damaged = bytearray(packet)
            damaged[first * 2 : first * 2 + 2] = packet[second * 2 : second * 2 + 2]
            damaged[second * 2 : second * 2 + 2] = packet[first * 2 : first * 2 + 2]
            return bytes(damaged)
    return packet
