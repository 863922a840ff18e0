"""Flow control of a sender: how much may be in flight, and in a burst, and when the next may leave.

What may be in flight is bounded by the congestion controller's window, and by the room that the
receiver last reported, with what the path itself holds. What leaves together is bounded by the
pace, and by what a receive buffer takes without keeping its sender waiting.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from udpft.protocol.params import (
    IDLE_TIMEOUT_S,
    INITIAL_RECEIVE_ROOM,
    INITIAL_WINDOW_PACKETS,
    MAX_BURST_INTERVAL_S,
    MAX_BURST_PACKETS,
)
from udpft.protocol.recovery.congestion import CongestionController, Phase
from udpft.protocol.recovery.pacing import Pacer
from udpft.protocol.transfer.chunk_queue import ChunkQueue
from udpft.protocol.transfer.work_budget import WorkShare
from udpft.protocol.wire.ack import Ack
from udpft.protocol.wire.data import BurstWriter

_MIN_FLOW_WINDOW = 2
"""Packets that may always be in flight, however small the receiver's room."""

_ROOM_SHARE = 0.75
"""Share of the receiver's room that is used: its report is old, and the pipe's content a guess."""

_MIN_ROOM_SHARE = 0.1
"""Share of the room below which no overflow pushes."""

_ROOM_SHARE_CUT = 0.7
"""What is left of the share after each overflow of the receiver's buffer."""

_ROOM_SHARE_REPORTS = 1000
"""Reports without an overflow in which the share goes most of its way back to `_ROOM_SHARE`."""

_STARTUP_PIPE = 0.75
"""Share of the estimated pipe that counts while the estimate still grows."""

_BURSTS_A_ROOMY_WINDOW = 4
_BURSTS_A_SMALL_WINDOW = 2
"""Bursts that fill a window: four keep both ends at work; where the receiver's buffer limits it,
two of whole sends cost less."""

_LIMITED_INTERVAL_S = 0.02
"""Seconds' worth of the user's rate in one burst, where the path takes as much at once: what a
transfer below its path's rate costs is a wake of both ends for each burst."""

_SLOW_INTERVAL_S = 0.25
"""The same of a burst that is no longer than the `INITIAL_WINDOW_PACKETS` that every path takes."""

_CARRIED_SHARE = 0.9
"""Share of the user's rate that the path has delivered, from which on the rate is the user's, and a
burst no shorter for what the path is known to carry."""


class SendLimits(NamedTuple):
    """Limits of a sender that its peer and its user set.

    ``receive_room``: bytes that the receiver's socket holds, from its HELLO or ACCEPT.
    ``max_rate_bytes_per_s``: the pace is never faster; 0 for no limit. Counts UDP payload.
    ``idle_timeout_s``: seconds without progress after which the transfer has failed. ``work``: the
    server's budget of hashing what the peer holds; None where there is nobody else to look after.
    """

    receive_room: int = INITIAL_RECEIVE_ROOM
    max_rate_bytes_per_s: int = 0
    idle_timeout_s: float = IDLE_TIMEOUT_S
    work: WorkShare | None = None


NO_LIMITS = SendLimits()


class FlowControl:
    """Windows, burst lengths and pace of one sender. Units: packets, packets per second, seconds.

    Args:
        writer: the send buffer, which knows how many packets a send and a burst take.
        limits: the peer's and the user's.
        now: seconds on the driver's clock.

    Attributes:
        window: packets that may be in flight; set with each ACK.
        burst: packets that leave together, where the window lets them; set with each ACK.
        longest: packets that may leave together where the sender is late; set with each ACK.
        rate: packets per second of the pace; set with each ACK.
        passes_one: whether the path passes one packet at a time, so that none leave together. Set
            by the sender.
        receiver_drops: datagrams that the receiver's buffer had no room for, in this transfer.
    """

    __slots__ = (
        "_known_drops",
        "_least_burst",
        "_limited_burst",
        "_max_packets_per_s",
        "_open_since",
        "_pacer",
        "_receive_room",
        "_room_share",
        "_shut",
        "_writer",
        "burst",
        "longest",
        "passes_one",
        "rate",
        "receiver_drops",
        "window",
    )

    def __init__(self, writer: BurstWriter, limits: SendLimits, now: float) -> None:
        self._writer = writer
        self._max_packets_per_s = limits.max_rate_bytes_per_s / writer.packet_size or inf
        # Packets of a burst by the user's rate: so many always, and so many where there is room
        self._least_burst = _burst_at(self._max_packets_per_s, MAX_BURST_INTERVAL_S)
        self._limited_burst = max(
            _burst_at(self._max_packets_per_s, _LIMITED_INTERVAL_S),
            min(INITIAL_WINDOW_PACKETS, _burst_at(self._max_packets_per_s, _SLOW_INTERVAL_S)),
        )
        self._pacer = Pacer()
        self._receive_room = limits.receive_room  # bytes, as last reported
        self._room_share = _ROOM_SHARE  # of the room; falls when the buffer overflows
        self._known_drops: int | None = None  # at the last ACK; the socket may be older than this
        self._open_since = now  # when the windows opened for a burst; inf while they are closed
        self._shut = False  # the window opens by too little at a time to be worth a burst
        self.window = 0
        self.burst = 0
        self.longest = 0
        self.passes_one = False
        self.rate = inf
        self.receiver_drops = 0

    @property
    def ready_at(self) -> float:
        """When the pace lets the next burst leave."""
        return self._pacer.ready_at

    # ----------------------------------------------------------------------------- what is known

    def note_room(self, ack: Ack) -> None:
        """Believe the receiver's room, less so after each time that its buffer overflowed."""
        self._receive_room = ack.room
        known, self._known_drops = self._known_drops, ack.drops
        if known is not None and ack.drops != known:
            self.receiver_drops += max(0, ack.drops - known)
            self._room_share = max(_MIN_ROOM_SHARE, self._room_share * _ROOM_SHARE_CUT)
        else:
            self._room_share += (_ROOM_SHARE - self._room_share) / _ROOM_SHARE_REPORTS

    def decide(self, congestion: CongestionController, min_rtt_s: float) -> None:
        """Set the limits of what may be in flight and in a burst, which change with each ACK."""
        writer = self._writer
        # The receiver's buffer, and what the path itself holds.
        known = _STARTUP_PIPE if congestion.phase is Phase.STARTUP else 1.0
        pipe = known * congestion.bandwidth * min_rtt_s
        flow_window = int(self._receive_room * self._room_share / writer.packet_size + pipe)
        self.window = max(_MIN_FLOW_WINDOW, min(congestion.window, flow_window))
        self.rate = min(congestion.pacing_rate, self._max_packets_per_s)
        roomy = congestion.window <= flow_window
        # A small buffer filled by one burst would leave its sender nothing to do meanwhile.
        longest = max(writer.send_capacity, int(congestion.burst_limit) if roomy else 0)
        self.longest = min(writer.capacity, longest, flow_window)
        parts = _BURSTS_A_ROOMY_WINDOW if roomy else _BURSTS_A_SMALL_WINDOW
        sends = max(1, self.window // parts // writer.send_capacity)
        burst = min(writer.capacity, sends * writer.send_capacity, congestion.burst_packets)
        limited = min(self._limited_burst, self.window // _BURSTS_A_ROOMY_WINDOW)
        self.burst = min(burst, max(self._least_burst, limited))
        carried = congestion.bandwidth >= _CARRIED_SHARE * self._max_packets_per_s
        if carried and congestion.phase is not Phase.EXPERIMENT:
            # The path carries the user's rate: its estimate tells no more than that.
            first = min(INITIAL_WINDOW_PACKETS, int(congestion.burst_limit), self._limited_burst)
            together = min(first, flow_window // _BURSTS_A_SMALL_WINDOW)
            if together > self.burst:
                self.burst = together
                self.window = max(self.window, _BURSTS_A_SMALL_WINDOW * together)
        if self.passes_one:
            self.burst = self.longest = 1

    def note_in_flight(self, in_flight: int, now: float) -> None:
        """Note what is in flight after an ACK: the windows may have opened for a burst."""
        if self._open_since == inf and self.window - in_flight >= self.burst:
            self._open_since = now

    # -------------------------------------------------------------------------------- the next

    def allowance(self, in_flight: int, queue: ChunkQueue, now: float) -> int:
        """Packets of the next burst: all that fell due, where a busy server's turn comes late."""
        if now < self._pacer.ready_at:
            return 0
        allowed = self.window_room(in_flight, queue)
        late_s = self._pacer.late_s(now, self._open_since)
        if allowed == self.burst and late_s > MAX_BURST_INTERVAL_S:
            # In time, they would have been sent one by one, and acknowledged by now.
            in_window = max(self.window, self.longest) - in_flight
            return max(allowed, int(min(late_s * self.rate, in_window, self.longest)))
        return allowed

    def window_room(self, in_flight: int, queue: ChunkQueue) -> int:
        """Packets of the next burst that the windows allow, whatever the pace says.

        ``queue`` tells whether what waits is urgent: it was lost, or everything has left once.
        """
        room, burst = self.window - in_flight, self.burst
        if room >= burst and not self._shut:
            return burst
        fast = burst >= self._writer.send_capacity
        urgent = queue.first_pass_over or (queue.any_lost and not fast)
        if room <= 0 or (room < in_flight and not urgent):
            # A window that opens by a few packets at a time would make every burst a small one;
            # and on a fast path each ACK would draw one burst, and each burst one ACK.
            self._shut = fast
            return 0
        self._shut = False
        return min(room, burst)

    def note_sent(self, count: int, in_flight: int, now: float) -> None:
        """Account for a burst of so many packets; ``in_flight`` counts them."""
        self._pacer.sent(count, self.rate, now, self._pacer.late_s(now, self._open_since))
        if self.window - in_flight < self.burst:
            self._open_since = inf


def _burst_at(packets_per_s: float, interval_s: float) -> int:
    """Packets of a burst at the user's rate, for an interval."""
    return int(max(_MIN_FLOW_WINDOW, min(MAX_BURST_PACKETS, packets_per_s * interval_s)))
