"""Delivery rate samples of a sender (draft-ietf-ccwg-bbr, 4.1).

A sample is what was delivered between the sending of a packet and its acknowledgement, divided by
the longer of the times in which it was sent and acknowledged.
"""

from __future__ import annotations

from typing import NamedTuple


class FlightState(NamedTuple):
    """State of the delivery when a burst leaves, kept with the burst.

    ``delivered``: packets delivered by then. ``delivered_at``: when the newest of them was, or when
    the flight began. ``first_sent_at``: when the newest packet acknowledged by then had left.
    """

    delivered: int
    delivered_at: float
    first_sent_at: float


class RateSample(NamedTuple):
    """Sample of the delivery, drawn by one acknowledgement.

    ``packets_per_s``: the delivery rate; 0 where the sample is no good. ``prior_delivered``:
    packets that had been delivered when the newest packet acknowledged left. ``delivered``:
    packets delivered by now.
    """

    packets_per_s: float
    prior_delivered: int
    delivered: int


class DeliveryRate:
    """Delivery of one sender's packets.

    Attributes:
        state: what the next burst keeps; changes with each ACK of something new, and when a flight
            begins.
    """

    __slots__ = ("state",)

    def __init__(self, now: float) -> None:
        self.state = FlightState(0, now, now)

    @property
    def delivered(self) -> int:
        """Packets delivered so far."""
        return self.state.delivered

    def begin_flight(self, now: float) -> None:
        """Begin a flight: nothing was on its way."""
        self.state = FlightState(self.state.delivered, now, now)

    def sample(
        self, acked: int, sent_at: float, flight: FlightState, min_rtt_s: float, now: float
    ) -> RateSample:
        """Note packets delivered, and draw a sample.

        Args:
            acked: packets that an ACK has newly acknowledged.
            sent_at: when the newest of them left.
            flight: the state then.
            min_rtt_s: the shortest round trip: a sample over less is no good.
            now: seconds.
        """
        interval_s = max(sent_at - flight.first_sent_at, now - flight.delivered_at)
        delivered = self.state.delivered + acked
        self.state = FlightState(delivered, now, sent_at)
        good = interval_s >= min_rtt_s and interval_s > 0
        rate = (delivered - flight.delivered) / interval_s if good else 0.0
        return RateSample(rate, flight.delivered, delivered)
