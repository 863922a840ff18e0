"""Estimator of the round-trip time (RFC 9002, 5), of its smallest value and its jitter."""

from __future__ import annotations

from udpft.protocol.params import GRANULARITY_S, INITIAL_RTT_S, MAX_ACK_DELAY_S

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


class RttEstimator:
    """Latest, smallest and smoothed round trip, and its mean deviation.

    All in seconds, and all guesses until the first sample; each sample changes them.
    """

    __slots__ = (
        "_minima",
        "_samples",
        "latest_s",
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
        what even the smallest of the last samples took too long.
        """
        jitter_s = _JITTER_VARIATIONS * self.variation_s
        spread_s = min(self.smoothed_rtt_s - self.min_rtt_s, jitter_s)
        return max(0.0, spread_s - (min(self._minima) - self.min_rtt_s))

    def loss_delay_s(self, time_threshold: float) -> float:
        """How long after a later packet's delivery an earlier one is lost (RFC 9002, 6.1.2)."""
        return max(time_threshold * max(self.smoothed_rtt_s, self.latest_s), GRANULARITY_S)
