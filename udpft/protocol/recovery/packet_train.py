"""Packet trains: the bottleneck's rate, told by bursts that came apart on their way.

Packets that leave at one moment arrive one after another, as fast as the bottleneck lets them
through (Jain and Routhier, 1986). The first and the last ask for an acknowledgement, and the time
between the two tells its rate. Others' packets between them lower it, a host that sees to the first
of them late raises it; so the middle one of all trains counts, a longer one for more. And what ten
packets tell lets the next trains be as long as a millisecond carries, which a host's delays distort
less.

Up to what the path holds at that rate, the window may grow faster than where nothing is known.
"""

from __future__ import annotations

from math import inf

from udpft.protocol.params import INITIAL_WINDOW_PACKETS, MAX_BURST_INTERVAL_S, MAX_SEND_PACKETS

_SAME_MOMENT_S = 1e-6
"""Seconds between two packets' departures up to which they are of one train: the moment is computed
from the round trip, and loses its last bits."""

_BLIND_GROWTH = 2.77
"""Factor by which the window grows in a round trip while no rate is known: BBR's STARTUP gain
(draft-ietf-ccwg-bbr, 5.3.1)."""

_GROWTH = 16.0
"""The same where it is known: the first train's ten packets lead to a sixth of a path of 1,000."""

_HASTE = 4.0
"""Windows that are sent in a round trip: the sooner one has left, the sooner the next is known."""

_KNOWN_SHARE = 0.85
"""Share of what the path holds up to which the window grows so: others may use the path too, and
its queue may be shallow."""

_TRIED_RATIO = 1.25
"""Highest rate worth a try, as a multiple of what trains tell: too little shows, and no queue
overflows."""

_REFUTED_RATIO = 1.1
"""Bandwidth delivered, as a multiple of what trains tell, that proves them wrong: more than the
error of a delivery rate."""


_NEVER = -1.0
"""Seconds on the clock: before any train left."""


class PacketTrain:
    """Estimate of the bottleneck's rate, and of how far the window may grow for it."""

    __slots__ = (
        "_delivered",
        "_first_delivered",
        "_first_rtt_s",
        "_ramp",
        "_rates",
        "_sent_at",
        "rate",
    )

    def __init__(self) -> None:
        self.rate = 0.0
        """Packets per second that the bottleneck lets through; 0 until it is known. Changes with
        each acknowledgement of a train that is not its first."""

        self._rates: dict[float, tuple[float, int]] = {}
        """By the moment at which a train left: its rate in packets per second, and of how many
        packets. The latest acknowledgement of a train counts."""

        self._sent_at = _NEVER
        """Seconds on the clock: when the train left that is being acknowledged."""

        self._first_rtt_s = 0.0
        """Seconds of the round trip that its first acknowledgement told."""

        self._first_delivered = 0
        """Packets delivered by then."""

        self._ramp = float(INITIAL_WINDOW_PACKETS)
        """Packets to which the window has grown; grows with what is delivered."""

        self._delivered = 0
        """Packets delivered by the last acknowledgement."""

    def acknowledged(self, sent_at: float, rtt_s: float, delivered: int) -> None:
        """Take in an acknowledgement: when its newest packet left, how long ago, packets by now."""
        if abs(sent_at - self._sent_at) > _SAME_MOMENT_S:
            self._sent_at = sent_at
            self._first_rtt_s = rtt_s
            self._first_delivered = delivered
        elif rtt_s > self._first_rtt_s:
            packets = delivered - self._first_delivered
            self._rates[self._sent_at] = packets / (rtt_s - self._first_rtt_s), packets
            self.rate = self._middle()

    def _middle(self) -> float:
        """The rate that as many packets found too high as too low."""
        half = sum(packets for _, packets in self._rates.values()) / 2
        slower = 0
        for rate, packets in sorted(self._rates.values()):
            slower += packets
            if slower >= half:
                return rate
        return 0.0

    @property
    def length(self) -> int:
        """Packets of the next train."""
        known = int(self.rate * MAX_BURST_INTERVAL_S)
        return max(INITIAL_WINDOW_PACKETS, min(known, MAX_SEND_PACKETS))

    def delivered(self, delivered: int) -> None:
        """Let the window grow by what was delivered: so many packets by now."""
        growth = _GROWTH if self.rate else _BLIND_GROWTH
        self._ramp += (growth - 1) * (delivered - self._delivered)
        self._delivered = delivered

    def window(self, base_rtt_s: float, *, waits: bool) -> float:
        """Packets that may be in flight: no more than the path holds, where its rate is known.

        0 where it is not known, and no train is waited for any more.
        """
        if self.rate:
            return min(self._ramp, _KNOWN_SHARE * self.rate * base_rtt_s)
        return self._ramp if waits else 0.0

    def pace(self, window: float, base_rtt_s: float) -> float:
        """Packets per second at which to send a window: hastily, but no faster than the path.

        What may leave before anything is known may leave in any round trip.
        """
        slowest = _BLIND_GROWTH * INITIAL_WINDOW_PACKETS / base_rtt_s
        return max(slowest, min(self.rate or inf, _HASTE * window / base_rtt_s))

    def highest_rate(self, bandwidth: float) -> float:
        """Packets per second that are worth a try; inf where nothing is known.

        ``bandwidth`` is what was delivered, packets per second: where it is more than what trains
        say, they are wrong.
        """
        if not self.rate or bandwidth > _REFUTED_RATIO * self.rate:
            return inf
        return _TRIED_RATIO * self.rate
