"""Round-trip time, estimated as in RFC 9002, section 5."""

from __future__ import annotations

from udpft.protocol.params import GRANULARITY_S, INITIAL_RTT_S, MAX_ACK_DELAY_S

_RECENT_SAMPLES = 8


class RttEstimator:
    """Latest, smallest and smoothed round trip, and its mean deviation; all in seconds."""

    __slots__ = (
        "_minima",
        "_samples",
        "latest_s",
        "min_rtt_s",
        "smoothed_rtt_s",
        "variation_s",
    )

    def __init__(self) -> None:
        self._samples = 0
        self._minima = (INITIAL_RTT_S, INITIAL_RTT_S)  # of the last samples, and those before
        self.latest_s = INITIAL_RTT_S
        self.min_rtt_s = INITIAL_RTT_S
        self.smoothed_rtt_s = INITIAL_RTT_S
        self.variation_s = INITIAL_RTT_S / 2

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
            self.min_rtt_s = self.smoothed_rtt_s = sample_s
            self.variation_s = sample_s / 2
            return
        if sample_s < self.min_rtt_s:
            self.min_rtt_s = sample_s
        adjusted = sample_s - (ack_delay_s if ack_delay_s < MAX_ACK_DELAY_S else MAX_ACK_DELAY_S)
        if adjusted < self.min_rtt_s:
            adjusted = sample_s
        deviation = abs(self.smoothed_rtt_s - adjusted)
        self.variation_s += (deviation - self.variation_s) / 4
        self.smoothed_rtt_s += (adjusted - self.smoothed_rtt_s) / 8

    @property
    def pto_s(self) -> float:
        """Probe timeout before any back-off (RFC 9002, 6.2.1)."""
        return self.smoothed_rtt_s + max(4 * self.variation_s, GRANULARITY_S) + MAX_ACK_DELAY_S

    @property
    def lateness_s(self) -> float:
        """What a round trip takes beyond the smallest because of jitter and hosts that are late.

        Jitter makes round trips differ, a queue makes all of them long. So no more than twice the
        mean deviation counts, which is the mean of what is spread evenly above the smallest; less
        what even the smallest of the last samples took too long.
        """
        spread_s = min(self.smoothed_rtt_s - self.min_rtt_s, 2 * self.variation_s)
        return max(0.0, spread_s - (min(self._minima) - self.min_rtt_s))

    def loss_delay_s(self, time_threshold: float) -> float:
        """How long after a later packet's delivery an earlier one is lost (RFC 9002, 6.1.2)."""
        return max(time_threshold * max(self.smoothed_rtt_s, self.latest_s), GRANULARITY_S)
