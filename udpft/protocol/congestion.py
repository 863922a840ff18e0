"""How fast to send: a model of the path in the manner of BBR, with loss judged by experiment.

Theory of operation
-------------------
The controller keeps two numbers of the path: ``bandwidth``, the highest delivery rate seen in the
last two probing cycles, and ``min_rtt_s``. It paces at the bandwidth and keeps about two
bandwidth-delay products in flight (draft-ietf-ccwg-bbr).

The delay in that product is ``base_rtt_s``: the smallest round trip, and what jitter adds to it.
On a short path the hosts add most of it: a process that waits for its turn on a busy processor is
late by milliseconds, where the wire takes a tenth of one. A window that knew only of the wire
would be empty while its ends wait, the delivery rate would look small, and the window with it.

Loss is where it differs. A lossy radio link and a full queue both lose packets; slowing down
helps one and only costs on the other. So the controller keeps a *baseline*, the share of packets
that the path loses whatever the rate, and when loss exceeds the baseline it makes an experiment:
one round at half the rate. If loss falls, or half the rate brings nearly as much as the whole, or
the queue still stands, it was congestion, and the bandwidth is cut to 0.85, or to what was
delivered where that is less. If not, what was seen is the path's nature and goes into the
baseline, and the pacing rate is raised by it, so that the goodput stays.

Time is cut into *epochs*: a phase, or one round trip of a longer one. Packets are counted, acked
or lost, for the epoch in which they were sent; when acknowledgements come from a later epoch the
earlier one is closed and judged.

    phase         pacing gain   ends
    STARTUP       2.77          bandwidth flat for three rounds, or loss leaps up
    DRAIN         0.36          in flight at one bandwidth-delay product
    CRUISE        1             the time between probes is over; or excess loss, an experiment
    PROBE_UP      1.25          a round trip, and: excess loss, or 1.25 products in flight
    PROBE_DOWN    0.5           a round trip; what it loses is the experiment's result
                                left out after a probe that a limit from outside cut short
    PROBE_RTT     1             200 ms at half a product in flight, each 10 s without a new minimum

Units: packets, seconds, packets per second. Packets of a transfer are all of one size.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from math import inf, sqrt
from random import Random

from udpft.protocol.params import (
    GRANULARITY_S,
    INITIAL_WINDOW_PACKETS,
    MAX_BURST_INTERVAL_S,
    MIN_BURST_INTERVAL_S,
    MIN_WINDOW_PACKETS,
)


class Phase(Enum):
    """What the controller is doing; the value is the pacing gain."""

    STARTUP = 2.77
    DRAIN = 0.36
    CRUISE = 1.0
    PROBE_UP = 1.25
    PROBE_DOWN = 0.5
    PROBE_RTT = 1.0001  # a member of its own, not an alias of CRUISE


MIN_RATE = 20.0
"""Packets per second that are always sent: the path is never given up by the controller."""

MAX_BASELINE = 0.5
"""The largest share of packets taken for the path's own loss."""

_BASELINE_MIN_PACKETS = 20
_EXCESS_MIN_LOST = 6
_EXCESS_MARGIN = 0.02
_CRUISE_MIN_PACKETS = 100
_EXPERIMENT_MIN_PACKETS = 20
_EXPERIMENT_MIN_LOST = 6  # expected, if nothing was cured
_EXPERIMENT_MAX_RTTS = 8
_CURED = 0.6  # loss below this share of what prompted the experiment: backing off cured it
_NO_LESS = 1.5  # the share that arrives grew so much that half the rate brought as much: a queue
_STANDING_QUEUE = 1.5  # round trips this much above the least: the queue did not drain
_BACK_OFF = 0.85
_AT_THE_LIMIT = 0.9  # share of a limit from outside, such as a user's: measuring it is not exact
_STALE_MIN_RTT_S = 10.0
_PROBE_RTT_S = 0.2
_MAX_CYCLE_S = 3.0
_MAX_CYCLE_RTTS = 63


@dataclass(slots=True)
class _Epoch:
    phase: Phase
    bandwidth: float
    acked: int = 0
    lost: int = 0
    min_rtt_s: float = inf

    @property
    def loss(self) -> float:
        """The share of packets lost."""
        return self.lost / (self.acked + self.lost)

    @property
    def kept(self) -> float:
        """The share of packets that arrived."""
        return self.acked / (self.acked + self.lost)


class CongestionController:
    """See the module's docstring. ``random`` spreads the probes of flows that share a path.
    ``max_rate``: packets per second that are never exceeded, whatever is decided here.

    What it decides, in packets and packets per second: ``pacing_rate``, infinite until there is
    an estimate; ``burst_packets``, a millisecond's worth at most; ``window``, how many may be in
    flight; ``bandwidth_delay_product``, how many fill the path and no queue; ``baseline_loss``,
    the share of packets lost that is believed to be the path's nature.
    """

    pacing_rate: float
    burst_packets: int
    window: int
    bandwidth_delay_product: float

    def __init__(self, random: Random, max_rate: float = inf) -> None:
        self._random = random
        self._max_rate = max_rate
        self.epoch = 0
        self._begin()

    def _begin(self) -> None:
        self.phase = Phase.STARTUP
        self.bandwidth = 0.0
        self.min_rtt_s = inf
        self.base_rtt_s = 0.0
        self._epochs: deque[_Epoch] = deque([_Epoch(Phase.STARTUP, 0.0)])
        self._maxima = [0.0, 0.0]  # highest delivery rate of this probing cycle and the last
        self.baseline_loss = 0.0
        self._baseline_lost = 0.0
        self._baseline_total = 0.0
        self._full_bandwidth = 0.0
        self._flat_rounds = 0
        self._next_round = 0
        self._cruise_acked = 0
        self._cruise_lost = 0
        self._experiment: _Epoch | None = None  # what prompted it
        self._phase_began = 0.0
        self._cycle_began = 0.0
        self._cycle_s = 0.0
        self._min_rtt_seen = 0.0
        self._probe_rtt_until: float | None = None
        self._decide()

    # ------------------------------------------------------------------------ what it decides

    def _decide(self) -> None:
        """Set what follows from the model. Once an acknowledgement, for it is read each burst."""
        if not self.bandwidth:
            self.bandwidth_delay_product = float(INITIAL_WINDOW_PACKETS)
            self.pacing_rate = inf
            self.burst_packets = self.window = INITIAL_WINDOW_PACKETS
            return
        corrected = self.bandwidth / (1 - self.baseline_loss)
        self.bandwidth_delay_product = corrected * self.base_rtt_s
        self.pacing_rate = max(MIN_RATE, self.phase.value * corrected)
        # Long bursts spare the hosts, but overflow the shallow queues of longer paths.
        share = min(
            1.0, max(MIN_BURST_INTERVAL_S / MAX_BURST_INTERVAL_S, 0.001 / max(self.min_rtt_s, 1e-6))
        )
        self.burst_packets = burst = max(2, int(self.bandwidth * share * MAX_BURST_INTERVAL_S))
        if self.phase is Phase.PROBE_RTT:
            window = 0.5 * self.bandwidth_delay_product
        else:
            # Bursts under way, and hosts that are late: on a short path, most of the window.
            window = 2 * self.bandwidth_delay_product + 3 * burst
        self.window = max(MIN_WINDOW_PACKETS, int(window))

    # ------------------------------------------------------------------------- what it learns

    def on_tally(self, tally: dict[int, list[int]]) -> None:
        """Count packets acked and lost: ``{epoch: [acked, lost]}``, from one acknowledgement."""
        oldest = self.epoch - len(self._epochs) + 1
        newest_acked = -1
        for number, (acked, lost) in tally.items():
            if acked:
                newest_acked = max(newest_acked, number)
            if number >= oldest:
                epoch = self._epochs[number - oldest]
                epoch.acked += acked
                epoch.lost += lost
        while oldest < newest_acked:
            self._close(self._epochs.popleft())
            oldest += 1

    def on_ack(
        self,
        now: float,
        *,
        epoch: int,
        rtt_s: float,
        lateness_s: float,
        delivery_rate: float,
        sent_at_delivered: int,
        delivered: int,
        in_flight: int,
    ) -> None:
        """Take in one acknowledgement, after its tally.

        Args:
            now: seconds.
            epoch: in which the newest packet acknowledged left.
            rtt_s: round trip of the newest packet acknowledged.
            lateness_s: what jitter adds to the smallest round trip.
            delivery_rate: packets per second, 0 where the sample is no good.
            sent_at_delivered: packets that had been delivered when that packet left.
            delivered: packets delivered by now.
            in_flight: packets in flight now.
        """
        oldest = self.epoch - len(self._epochs) + 1
        if epoch >= oldest and rtt_s < self._epochs[epoch - oldest].min_rtt_s:
            self._epochs[epoch - oldest].min_rtt_s = rtt_s
        probe = self._epochs[-1]
        suspicious = self.phase is Phase.PROBE_UP and self._excess(probe.acked, probe.lost)
        if delivery_rate and not (suspicious and delivery_rate > self.bandwidth):
            if delivery_rate > self._maxima[0]:
                self._maxima[0] = delivery_rate
            self.bandwidth = max(self._maxima)
        stale = now - self._min_rtt_seen > _STALE_MIN_RTT_S and self._min_rtt_seen > 0
        if rtt_s <= 1.02 * self.min_rtt_s or (stale and self.phase is Phase.PROBE_RTT):
            self.min_rtt_s = rtt_s if stale else min(rtt_s, self.min_rtt_s)
            self._min_rtt_seen = now
        self.base_rtt_s = self.min_rtt_s + lateness_s
        if sent_at_delivered >= self._next_round:
            self._next_round = delivered
            if self.phase is Phase.STARTUP:
                self._enter(Phase.STARTUP, now)
        if self.phase is Phase.STARTUP and (self._flat_rounds >= 3 or self._overshot()):
            self._enter(Phase.DRAIN, now)
        self._advance(now, rtt_s, in_flight, suspicious=suspicious, stale=stale)
        self._decide()

    def on_persistent_congestion(self) -> None:
        """The path was dead for a while: it may have become another one. Begin again, slowly."""
        self.epoch += 1  # packets sent before count for nothing
        self._begin()

    # ------------------------------------------------------------------------------- verdicts

    def _overshot(self) -> bool:
        """Whether loss has leapt up in STARTUP, as it does where the rate outgrew the path.

        Each ACK asks anew, so more certainty is asked for than of a verdict given once.
        """
        return any(
            epoch.phase is Phase.STARTUP and self._excess(epoch.acked, epoch.lost, deviations=3)
            for epoch in self._epochs
        )

    def _excess(self, acked: int, lost: int, deviations: int = 2) -> bool:
        """Whether loss is beyond the baseline, by a margin and some standard deviations."""
        total, baseline = acked + lost, self.baseline_loss
        if lost < _EXCESS_MIN_LOST:
            return False
        deviation = sqrt((baseline + 0.01) * (1 - baseline) / total)
        return lost / total - baseline > _EXCESS_MARGIN + deviations * deviation

    def _close(self, epoch: _Epoch) -> None:
        """Judge an epoch, a round trip after its last packet left."""
        acked, lost = epoch.acked, epoch.lost
        total, excess = acked + lost, self._excess(acked, lost)
        if epoch.phase is Phase.STARTUP is self.phase:
            if self.bandwidth >= 1.25 * self._full_bandwidth:
                self._full_bandwidth = self.bandwidth
                self._flat_rounds = 0
                self._learn_baseline(1.0, lost, total)
            else:
                self._flat_rounds += 1
        elif epoch.phase is Phase.PROBE_UP:
            if excess:
                self._set_bandwidth(min(self.bandwidth, epoch.bandwidth))
            if not excess and self.bandwidth > 1.1 * epoch.bandwidth:
                self._cycle_s = 0.0
            else:
                longest = min(_MAX_CYCLE_S, _MAX_CYCLE_RTTS * self.base_rtt_s)
                self._cycle_s = min(longest, max(2 * self._cycle_s, 8 * self.base_rtt_s))
        elif epoch.phase is Phase.PROBE_DOWN:
            prompt, self._experiment = self._experiment, None
            if prompt is None:
                if total >= _EXPERIMENT_MIN_PACKETS and not excess:
                    self._learn_baseline(0.7, lost, total)
            elif self._was_congestion(prompt, epoch):
                delivered = self.bandwidth * prompt.kept / (1 - self.baseline_loss)
                self._set_bandwidth(min(_BACK_OFF * self.bandwidth, delivered))
            else:
                self._learn_baseline(0.3, lost + prompt.lost, total + prompt.acked + prompt.lost)
        elif epoch.phase is Phase.CRUISE:
            self._cruise_acked += acked
            self._cruise_lost += lost
            seen = self._cruise_acked + self._cruise_lost
            if seen >= _CRUISE_MIN_PACKETS:
                if self.phase is Phase.CRUISE and self._excess(
                    self._cruise_acked, self._cruise_lost
                ):
                    self._experiment = _Epoch(
                        Phase.CRUISE, self.bandwidth, self._cruise_acked, self._cruise_lost
                    )
                self._cruise_acked = self._cruise_lost = 0

    def _was_congestion(self, prompt: _Epoch, result: _Epoch) -> bool:
        """Whether an experiment shows a queue behind the loss that prompted it.

        Half the rate lost less; or brought as much as the whole; or left the queue standing.
        """
        total = result.acked + result.lost
        return (
            result.lost < _CURED * prompt.loss * total
            or result.acked > _NO_LESS * prompt.kept * total
            or result.min_rtt_s > _STANDING_QUEUE * self.base_rtt_s + GRANULARITY_S
        )

    def _learn_baseline(self, keep: float, lost: int, total: int) -> None:
        self._baseline_lost = keep * self._baseline_lost + lost
        self._baseline_total = keep * self._baseline_total + total
        if self._baseline_total > _BASELINE_MIN_PACKETS:
            share = self._baseline_lost / self._baseline_total
            self.baseline_loss = min(MAX_BASELINE, share)

    def _set_bandwidth(self, bandwidth: float) -> None:
        self.bandwidth = bandwidth
        self._maxima = [bandwidth, 0.0]

    def _conclusive(self) -> bool:
        """Whether the experiment, if there is one, has seen packets enough to tell."""
        if self._experiment is None:
            return True
        seen = self._epochs[-1].acked + self._epochs[-1].lost
        return seen * self._experiment.loss >= _EXPERIMENT_MIN_LOST

    # --------------------------------------------------------------------------------- phases

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase = phase
        self._phase_began = now
        self.epoch += 1
        self._epochs.append(_Epoch(phase, self.bandwidth))
        if phase is Phase.PROBE_UP and self._maxima[0]:
            self._maxima = [0.0, self._maxima[0]]

    def _advance(
        self, now: float, rtt_s: float, in_flight: int, *, suspicious: bool, stale: bool
    ) -> None:
        """Leave the phase where its time has come."""
        phase, elapsed, base_rtt = self.phase, now - self._phase_began, self.base_rtt_s
        if phase is Phase.DRAIN:
            if in_flight <= self.bandwidth_delay_product:
                self._cycle_began = now
                self._cycle_s = self._random.uniform(2, 8) * base_rtt
                self._enter(Phase.CRUISE, now)
        elif phase is Phase.PROBE_UP:
            full = in_flight >= 1.25 * self.bandwidth_delay_product
            if elapsed > base_rtt and (suspicious or full or elapsed > 3 * rtt_s):
                # At a limit from outside, nothing was sent that would have to drain.
                limited = self.bandwidth >= _AT_THE_LIMIT * self._max_rate and not suspicious
                self._cycle_began = now
                self._enter(Phase.CRUISE if limited else Phase.PROBE_DOWN, now)
        elif phase is Phase.PROBE_DOWN:
            if elapsed > base_rtt and (
                self._conclusive() or elapsed > _EXPERIMENT_MAX_RTTS * rtt_s
            ):
                self._cycle_began = now
                self._enter(Phase.CRUISE, now)
        elif phase is Phase.CRUISE:
            probe = now - self._cycle_began > max(self._cycle_s, 2 * base_rtt)
            if stale:
                self._probe_rtt_until = None
                self._enter(Phase.PROBE_RTT, now)
            elif self._experiment:
                self._enter(Phase.PROBE_DOWN, now)
            elif probe:
                self._enter(Phase.PROBE_UP, now)
            elif elapsed > base_rtt:
                self._enter(Phase.CRUISE, now)
        elif phase is Phase.PROBE_RTT:
            if self._probe_rtt_until is None:
                if in_flight <= max(MIN_WINDOW_PACKETS, 0.55 * self.bandwidth_delay_product):
                    self._probe_rtt_until = now + max(_PROBE_RTT_S, base_rtt)
            elif now > self._probe_rtt_until:
                self._min_rtt_seen = self._cycle_began = now
                self._enter(Phase.CRUISE, now)
