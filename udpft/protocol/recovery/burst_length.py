"""Length of bursts: as many packets leave together as the path's queue is known to take.

Each burst wakes both ends, and a wake costs them more than ten packets do. But what leaves together
waits together, in the bottleneck's queue; and where that is shallow, some of it is lost. A burst of
ten packets every path takes that is long enough to hold many of them (RFC 6928). A longer one, on a
far path, is a share of the queue that has been seen to stand in front of the bottleneck while
nothing was lost in excess. Congestion halves what a burst may have.
"""

from __future__ import annotations

from typing import Final

from udpft.protocol.params import INITIAL_WINDOW_PACKETS, MAX_BURST_INTERVAL_S, MAX_BURST_PACKETS

MIN_BURST_PACKETS: Final = 2
"""Packets that leave together, at least: one by one would cost the hosts twice as much."""

MIN_BURST_INTERVAL_S: Final = 0.000_2
"""Seconds' worth of the pacing rate in one burst on paths of 5 ms and more, whose queues may hold
less than the `MAX_BURST_INTERVAL_S` of shorter ones."""

_SHORT_PATH_RTT_S: Final = 0.001
"""Seconds of round trip up to which a burst may take `MAX_BURST_INTERVAL_S` at the rate; on a
longer path it is shorter in proportion, for the queues there may be shallow."""

_LEAST_RTT_S: Final = 1e-6
"""Seconds of round trip by which is divided, at least: a coarse clock may tell of none."""

_PATH_SHARE: Final = 1 / 8
"""Part of what the path holds that a burst of `INITIAL_WINDOW_PACKETS` takes at most."""

_QUEUE_SHARE: Final = 1 / 4
"""Part of the queue that a longer burst takes at most."""

_QUEUE_BURST_PACKETS: Final = 20
"""Packets of such a burst, at most: half of what TCP's segmentation offload lets leave."""

_STEP: Final = 2
"""Factor by which bursts become longer where nothing is lost, and shorter where much is."""


class BurstLength:
    """Length of one sender's bursts.

    Attributes:
        limit: packets that a burst may have where the sender is late. Doubled by epochs without
            loss in excess, halved by congestion.
    """

    __slots__ = ("_queue_packets", "limit")

    def __init__(self) -> None:
        self.limit = float(MIN_BURST_PACKETS)
        self._queue_packets = 0.0
        """Packets that have stood in the path's queue while nothing was lost in excess; halved by
        congestion."""

    def longest(self, bandwidth: float, min_rtt_s: float) -> float:
        """Packets in a burst as the rate and the queue allow, at so many packets per second."""
        interval_s = _SHORT_PATH_RTT_S * MAX_BURST_INTERVAL_S / max(min_rtt_s, _LEAST_RTT_S)
        paced = bandwidth * min(MAX_BURST_INTERVAL_S, max(MIN_BURST_INTERVAL_S, interval_s))
        first_window = min(INITIAL_WINDOW_PACKETS, _PATH_SHARE * bandwidth * min_rtt_s)
        queued = min(_QUEUE_BURST_PACKETS, _QUEUE_SHARE * self._queue_packets)
        return max(paced, first_window, queued)

    def note_queue(self, packets: float) -> None:
        """Note that so many packets stood in the queue, and nothing was lost in excess."""
        self._queue_packets = max(self._queue_packets, packets)

    def lengthen(self) -> None:
        """Let bursts become longer: nothing was lost in excess."""
        self.limit = _STEP * min(self.limit, float(MAX_BURST_PACKETS))

    def shorten(self, longest: float) -> None:
        """Let bursts become shorter than the longest one that left: there is congestion."""
        self.limit = max(MIN_BURST_PACKETS, min(self.limit, longest) / _STEP)
        self._queue_packets /= _STEP
