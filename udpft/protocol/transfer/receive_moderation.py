"""Receive moderation: how long a receiver may let datagrams wait, and take them in together.

What a slow, far path costs a receiver is a wake for each packet. Network cards with many of them
wait for some, or for a moment, before they interrupt; so does this. A rest is far shorter than the
round trip, and none is taken where packets come seldom or by the burst, before the sender has
measured the path, and near the end of the file.
"""

from __future__ import annotations

from math import inf
from typing import Final

from udpft.protocol.params import MAX_ACK_DELAY_S

MAX_REST_S: Final = MAX_ACK_DELAY_S
"""Seconds of a rest, at most: as long as an acknowledgement may wait."""

_RTT_SHARE = 1 / 16
"""Part of the round trip that a rest takes at most."""

_MAX_PACKETS = 64
"""Packets that may come in a rest: more of them cost no less each."""

_MIN_PACKETS = 4
"""Packets that must be expected in a rest: for fewer, the rest itself is a wake too many."""

_ROOM_SHARE = 1 / 4
"""Part of the receive buffer that they may fill."""

_PATH_SHARE = 1 / 2
"""Part of what the path holds that the receive buffer holds at least where rests are taken: a
smaller one bounds what is in flight, and each rest would take its length's worth from that."""

_MIN_RTT_S: Final = 0.016
"""Seconds of round trip below which no rest is taken: it would be of less than a millisecond."""

_BEGINNING_RTTS = 4
"""Round trips in which no rest is taken, from the first packet on, and after a pause of one: the
sender's packet trains tell the path's rate by when each of their ends arrives."""

_MEASURED_RTTS = 1 / 4
"""Round trips over which the rate is measured."""


class ReceiveModeration:
    """Rests of one receiver. Times in seconds on the driver's clock.

    Args:
        rtt_s: the path's round trip; 0 where it is unknown, and no rest is taken.
        room: bytes that the receive buffer holds.
        packet_size: bytes of a full packet.

    Attributes:
        longest_s: the longest rest; 0 where none is taken.
        rest_until: when the socket is to be read next; set with each packet that comes.
    """

    __slots__ = (
        "_came",
        "_came_at",
        "_fastest",
        "_max_packets",
        "_measured_at",
        "_packets_per_s",
        "_rests_from",
        "_rtt_s",
        "longest_s",
        "rest_until",
    )

    def __init__(self, rtt_s: float, room: int, packet_size: int) -> None:
        self._rtt_s = rtt_s
        self.longest_s = min(MAX_REST_S, _RTT_SHARE * rtt_s) if rtt_s >= _MIN_RTT_S else 0.0
        self._max_packets = min(_MAX_PACKETS, int(_ROOM_SHARE * room) // packet_size)
        # Packets per second of a path that holds more than is well with so small a buffer
        self._fastest = room / packet_size / (_PATH_SHARE * rtt_s) if rtt_s else 0.0
        self._came = 0  # packets since the rate was measured last
        self._came_at = -inf  # when the last one came
        self._measured_at = -inf  # when the rate was measured last
        self._packets_per_s = 0.0
        self._rests_from = inf  # when the beginning is over
        self.rest_until = 0.0

    def note(self, packets: int, missing: int, now: float) -> None:
        """Take in packets that have come, and see how long to rest.

        ``missing`` is how many chunks have not come: no rest waits for the last of them.
        """
        if not self.longest_s:
            return
        if now > self._came_at + self._rtt_s:
            self._rests_from = now + _BEGINNING_RTTS * self._rtt_s
            self._measured_at, self._came, self._packets_per_s = now, 0, 0.0
        self._came_at = now
        self._came += packets
        elapsed_s = now - self._measured_at
        if elapsed_s >= _MEASURED_RTTS * self._rtt_s and elapsed_s > 0:
            self._packets_per_s = self._came / elapsed_s
            self._measured_at, self._came = now, 0
        if now < self._rests_from or not 0 < self._packets_per_s <= self._fastest:
            return
        rest_s = min(self.longest_s, self._max_packets / self._packets_per_s)
        expected = rest_s * self._packets_per_s
        if _MIN_PACKETS <= expected < missing:
            self.rest_until = now + rest_s
