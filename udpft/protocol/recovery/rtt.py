"""Estimator of the round-trip time (RFC 9002, 5), of its smallest value and its jitter.

The samples are those of packets that none has overtaken. Where jitter is so large that packets
overtake each other, these are the fast ones, and tell nothing of the others. So there, and only
there, two more numbers are kept: what all packets take in the mean, and what those take at most
that others overtake.
"""

from __future__ import annotations

from math import inf

from udpft.protocol.params import (
    CONNECT_TIMEOUT_S,
    GRANULARITY_S,
    INITIAL_RTT_S,
    MAX_ACK_DELAY_S,
    MAX_PTO_S,
    TIME_THRESHOLD,
)

_RECENT_SAMPLES = 8
"""Samples, and as many before them, of which the smallest tells whether a queue stands now."""

_SMOOTHING = 8
"""Samples over which the round trip is smoothed: each has an eighth of the weight (RFC 9002,
5.3)."""

_VARIATION_SMOOTHING = 4
"""The same for the deviation: a quarter (RFC 9002, 5.3)."""

_FIRST_VARIATION_SHARE = 1 / 2
"""Deviation after one sample, as a share of it (RFC 9002, 5.3)."""

_PTO_VARIATIONS = 4
"""Deviations that a probe timeout allows for (RFC 9002, 6.2.1)."""

_JITTER_VARIATIONS = 2
"""Mean deviations that jitter makes up at most: where round trips are spread evenly above the
smallest, their mean is twice the mean deviation above it."""


_REORDERING_S = 10.0
"""Seconds for which a packet that was overtaken counts, and as long again at most. Reordering may
end as it began, with the path's load or with its way."""

_MEAN_SMOOTHING = 16
"""Acknowledgements over which the mean of all packets is smoothed: out of order, each draws one."""

_MAX_LATE_RTTS = 2
"""Smoothed round trips for which a packet may be late that is not lost; or `MAX_PTO_S`."""


class RttEstimator:
    """Latest, smallest and smoothed round trip, and its mean deviation.

    All in seconds, and all guesses until the first sample; each sample changes them.
    """

    __slots__ = (
        "_late",
        "_late_since",
        "_minima",
        "_samples",
        "latest_s",
        "mean_s",
        "min_rtt_s",
        "smoothed_rtt_s",
        "variation_s",
    )

    def __init__(self) -> None:
        self.latest_s = INITIAL_RTT_S
        """The last sample, the peer's delay included (RFC 9002's latest_rtt)."""

        self.min_rtt_s = INITIAL_RTT_S
        """The smallest sample, the peer's delay included (min_rtt)."""

        self.smoothed_rtt_s = INITIAL_RTT_S
        """Moving mean of the samples, without the peer's delay (smoothed_rtt)."""

        self.variation_s = INITIAL_RTT_S * _FIRST_VARIATION_SHARE
        """Moving mean of their deviation from that (rttvar)."""

        self._samples = 0
        """Samples until now."""

        self._minima = (INITIAL_RTT_S, INITIAL_RTT_S)
        """Smallest of the last samples, eight at most, and of the eight before them."""

        self.mean_s = 0.0
        """Moving mean of what all packets took, those overtaken too; 0 while none is."""

        self._late = (0.0, 0.0)
        """Longest time that an overtaken packet took in the last `_REORDERING_S` at most, and in as
        long before them; 0 where there was none."""

        self._late_since = -inf
        """Seconds on the clock: when the first of these times began."""

    def begin_with(self, handshake_s: float) -> None:
        """Take the handshake's round trip for the first guess (RFC 9002, 6.2.2).

        Only where it is longer: a client has more to do with ACCEPT than a server with HELLO, and
        what is sent again too early costs most where the path is slow. Two of these round trips
        are enough for a full packet each way, where HELLO took one. A peer may say anything, so
        no more is believed than what a client waits for an answer.
        """
        handshake_s = min(handshake_s, CONNECT_TIMEOUT_S)
        self.smoothed_rtt_s = max(self.smoothed_rtt_s, handshake_s)
        self.variation_s = max(self.variation_s, handshake_s / _PTO_VARIATIONS)

    def update(self, sample_s: float, ack_delay_s: float) -> None:
        """Take in one sample, of the largest packet newly acknowledged (RFC 9002, 5.3).

        The peer's delay is taken off, but never more than it may delay, nor below the minimum.
        """
        self.latest_s = sample_s
        newer, older = self._minima
        if self._samples % _RECENT_SAMPLES == 0:
            self._minima = sample_s, newer
        elif sample_s < newer:
            self._minima = sample_s, older
        self._samples += 1
        if self._samples == 1:
            self.min_rtt_s = sample_s
            self.smoothed_rtt_s = sample_s
            self.variation_s = sample_s * _FIRST_VARIATION_SHARE
            return
        if sample_s < self.min_rtt_s:
            self.min_rtt_s = sample_s
        adjusted = sample_s - (ack_delay_s if ack_delay_s < MAX_ACK_DELAY_S else MAX_ACK_DELAY_S)
        if adjusted < self.min_rtt_s:
            adjusted = sample_s
        deviation = abs(self.smoothed_rtt_s - adjusted)
        self.variation_s += (deviation - self.variation_s) / _VARIATION_SMOOTHING
        self.smoothed_rtt_s += (adjusted - self.smoothed_rtt_s) / _SMOOTHING

    def note_overtaken(self, now: float, longest_s: float, mean_s: float) -> None:
        """Take in what packets took that have just been acknowledged, on a path that may reorder.

        Args:
            now: seconds.
            longest_s: of those that `PACKET_THRESHOLD` others have overtaken; 0 without any.
            mean_s: of all.
        """
        newer, older = self._late
        if now >= self._late_since + _REORDERING_S:
            long_ago = now >= self._late_since + 2 * _REORDERING_S
            newer, older = 0.0, 0.0 if long_ago else newer
            self._late_since = now
        self._late = max(newer, longest_s), older
        if not self.reorders:
            self.mean_s = 0.0
        elif self.mean_s:
            self.mean_s += (mean_s - self.mean_s) / _MEAN_SMOOTHING
        else:
            self.mean_s = mean_s

    @property
    def reorders(self) -> bool:
        """Whether packets have lately been overtaken by as many as make one lost elsewhere."""
        return self._late != (0.0, 0.0)

    @property
    def pto_s(self) -> float:
        """Probe timeout before any back-off (RFC 9002, 6.2.1)."""
        patience_s = max(_PTO_VARIATIONS * self.variation_s, GRANULARITY_S)
        return self.smoothed_rtt_s + patience_s + MAX_ACK_DELAY_S

    @property
    def lateness_s(self) -> float:
        """What a round trip takes beyond the smallest because of jitter and hosts that are late.

        Jitter makes round trips differ, a queue makes all of them long. So no more than twice the
        mean deviation counts, which is the mean of what is spread evenly above the smallest; less
        what even the smallest of the last samples took too long. Where packets overtake each other,
        the mean of all of them is known.
        """
        if self.mean_s:
            return max(0.0, self.mean_s - min(self._minima))
        jitter_s = _JITTER_VARIATIONS * self.variation_s
        spread_s = min(self.smoothed_rtt_s - self.min_rtt_s, jitter_s)
        return max(0.0, spread_s - (min(self._minima) - self.min_rtt_s))

    @property
    def loss_delay_s(self) -> float:
        """How long after its departure a packet is lost that was overtaken (RFC 9002, 6.1.2)."""
        rtt_s = max(self.smoothed_rtt_s, self.latest_s)
        late_s = min(max(self._late), max(_MAX_LATE_RTTS * rtt_s, MAX_PTO_S))
        return max(TIME_THRESHOLD * rtt_s, TIME_THRESHOLD * late_s, GRANULARITY_S)
