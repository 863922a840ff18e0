"""Acknowledgement schedule of a receiver: what has arrived, and when to say so (RFC 9000, 13.2).

An acknowledgement is due at once when a packet is missing, when the sender asks, when packets come
after a pause, and after every `ACK_EVERY_BYTES`; else after `MAX_ACK_DELAY_S`. Each of them
repeats ranges that the last few have named, so one that is lost costs nothing. A packet that comes
late, far behind the newest, is named as often as any other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from udpft.protocol.params import (
    ACK_EVERY_BYTES,
    ACK_EVERY_ROOM,
    ACK_REPEATS,
    MAX_ACK_DELAY_S,
    MAX_ACK_RANGES,
)
from udpft.protocol.ranges import RangeSet
from udpft.protocol.transfer.receive_moderation import ReceiveModeration
from udpft.protocol.wire.ack import Ack
from udpft.protocol.wire.data import Burst

ReceiveQueue = Callable[[], tuple[int, int]]
"""Asks a socket: bytes that it has room for, and datagrams that it has dropped for want of it."""


_KEPT_RANGES = 1_024
"""Ranges of packet numbers that are kept, the newest: jitter of 300 ms makes so many of what 10,000
packets a second are."""


_VANISHED_GAPS = 3
_VANISHED_PACKETS = 12
_VANISHED_RATIO = 2
"""Gaps before packets that came nearly alone, packets in them, and how many times as many as came,
from which what leaves together is taken not to arrive."""

_NEARLY_ALONE = 2
"""Packets in a row in one batch that may have come one by one: a probe has two."""


class AckSchedule:
    """Packet numbers that have arrived, and the time of the next acknowledgement.

    Args:
        receive_queue: asks the socket.
        packet_size: bytes of a full DATA packet.
        now: seconds on the driver's clock.
        rtt_s: the path's round trip; 0 where it is unknown.

    Attributes:
        bundles_vanish: whether what comes together at this end is lost on its way in, and only what
            comes alone arrives. Never taken back.
        due_at: when the next acknowledgement is due, in seconds; inf while nothing is to be said.
        earlier_packets: packets that the sender used in earlier sessions of the same transfer.
        skipped: packet numbers of this session that no packet had; known from FIN on.
    """

    __slots__ = (
        "_came_together",
        "_every",
        "_largest_at",
        "_late",
        "_late_reported",
        "_moderation",
        "_packets",
        "_receive_queue",
        "_reported",
        "_unacknowledged",
        "bundles_vanish",
        "due_at",
        "earlier_packets",
        "skipped",
    )

    def __init__(
        self, receive_queue: ReceiveQueue, packet_size: int, now: float, rtt_s: float = 0.0
    ) -> None:
        self._receive_queue = receive_queue
        room = receive_queue()[0]
        self._moderation = ReceiveModeration(rtt_s, room, packet_size)
        self._every = min(ACK_EVERY_BYTES, int(room * ACK_EVERY_ROOM)) // packet_size
        self._packets = RangeSet()
        # One past the largest packet number in each of the last reports, the oldest first
        self._reported = deque([0] * ACK_REPEATS, maxlen=ACK_REPEATS)
        # Numbers of packets that others have overtaken: since the last report, and in each of those
        self._late: list[int] = []
        self._late_reported: deque[list[int]] = deque(maxlen=ACK_REPEATS)
        self._unacknowledged = 0  # packets since the last report
        self._came_together = False  # whether a burst has ever come in one batch
        self._largest_at = now  # when the largest packet number came
        self.bundles_vanish = False
        self.due_at = inf
        self.earlier_packets = 0
        self.skipped = 0

    def __bool__(self) -> bool:
        """Whether any packet has come in this session."""
        return bool(self._packets)

    @property
    def packets_sent(self) -> int:
        """Packets that the sender has used, as far as their numbers tell."""
        return self._packets.stop - self.skipped + self.earlier_packets

    def note(self, burst: Burst, now: float) -> None:
        """Take in the packet numbers of a burst, and see when to acknowledge them."""
        count = len(burst.slots)
        packets = self._packets
        end = burst.first_packet + count
        newest = packets.stop
        pause_s = MAX_ACK_DELAY_S + self._moderation.longest_s
        after_a_pause = not newest or now > self._largest_at + pause_s
        if end > newest:
            self._largest_at = now
        else:
            self._late.append(burst.first_packet)
        if burst.first_packet != newest or burst.ack_request or after_a_pause:
            self.due_at = now  # a gap, the past, a new train: the sender should know at once
        packets.add(burst.first_packet, end)
        if count > _NEARLY_ALONE:
            self._came_together = True
        self._unacknowledged += count
        if self._unacknowledged >= self._every:
            self.due_at = now
        elif self.due_at == inf:
            self.due_at = now + MAX_ACK_DELAY_S

    @property
    def rest_until(self) -> float:
        """When the socket is to be read next, see `ReceiveModeration`."""
        return self._moderation.rest_until

    def rest(self, packets: int, missing: int, now: float) -> None:
        """See how long to let datagrams wait, after so many packets; so many chunks are missing."""
        self._moderation.note(packets, missing, now)
        if now < self.due_at < self._moderation.rest_until:
            self.due_at = self._moderation.rest_until  # what comes until then is told with the rest

    def report(self, first_missing: int, now: float) -> Ack:
        """The acknowledgement: the newest ranges, those already reported often left out.

        ``first_missing`` is the first chunk that has not arrived.
        """
        if not self._came_together and len(self._packets) >= _VANISHED_GAPS:
            came = self._packets.total
            missing = self._packets.stop - came
            enough = max(_VANISHED_PACKETS, _VANISHED_RATIO * came)
            self.bundles_vanish |= missing >= enough
        room, drops = self._receive_queue()
        oldest = self._reported[0]
        newest = self._packets.newest(MAX_ACK_RANGES)
        ranges = [pair for pair in newest if pair[1] > oldest] or newest[:1]
        if self._late or self._late_reported:
            ranges = self._with_late(ranges)
        self._reported.append(self._packets.stop)
        self._packets.drop_oldest(_KEPT_RANGES)
        self._unacknowledged = 0
        self.due_at = inf
        return Ack(now - self._largest_at, room, first_missing, drops, ranges)

    def _with_late(self, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Add to a report's ranges those of packets that came late, since the last few reports."""
        reported = self._late_reported
        reported.append(self._late)
        self._late = []
        if not any(reported):
            reported.clear()
            return ranges
        around = (self._packets.around(number) for late in reported for number in late)
        late = {pair for pair in around if pair}.difference(ranges)
        room = max(1, MAX_ACK_RANGES - len(late))
        return sorted({*ranges[:room], *late}, reverse=True)[:MAX_ACK_RANGES]

    def begin_again(self, now: float) -> None:
        """Go on with another session, whose packet numbers begin anew."""
        self.earlier_packets += self._packets.stop - self.skipped
        self.skipped = 0
        self._packets = RangeSet()
        self._late.clear()
        self._late_reported.clear()
        self._reported.extend([0] * ACK_REPEATS)
        self._unacknowledged = 0
        self.due_at = inf
        self._largest_at = now
