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
one round at half the rate, in the shortest bursts. If loss falls, or half the rate brings nearly
as much as the whole, or the queue still stands, it was congestion: the bandwidth is cut to 0.85,
or to what was delivered where that is less, and bursts to half their length, for a shallow queue
may carry the rate and not the burst. If not, what was seen is the path's nature and goes into the
baseline, and the pacing rate is raised by it, so that the goodput stays.

An experiment of one among many moves little. So loss far beyond the baseline cuts the rate at once,
up to three times: where several do it, the loss falls. Where it stays, the rate is given back. And
on a lossy path only probes raise the bandwidth: what is sent faster to make up for loss is
delivered faster in any lucky moment.

Slow start costs a long path most: from ten packets to a thousand it takes seven round trips. So
the first bursts are trains of ten packets and more, which come apart at the bottleneck and so tell
what it carries (`train`). Nearly up to that the window grows sixteenfold in a round trip; and the
rate stays below 1.25 times that until more was delivered, lest a shallow queue overflow.

Time is cut into *epochs*: a phase, or one round trip of a longer one. Packets are counted, acked
or lost, for the epoch in which they were sent; when acknowledgements come from a later epoch the
earlier one is closed and judged.

    phase         pacing gain   ends
    STARTUP       2.77 to 10    bandwidth flat for three rounds, or loss leaps up
    DRAIN         0.36          in flight at one bandwidth-delay product
    CRUISE        1             the time between probes is over; or loss is in excess
    PROBE_UP      1.25          a round trip and four bursts, and: excess loss, or 1.25 products
    PROBE_DOWN    0.75          as long, which drains what PROBE_UP has queued
    EXPERIMENT    0.5           a round trip or more, until enough was seen to tell
    PROBE_RTT     1             200 ms at half a product in flight, each 10 s without a new minimum

Units: packets, seconds, packets per second. Packets of a transfer are all of one size.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from math import inf
from random import Random

from udpft.protocol.params import (
    GRANULARITY_S,
    INITIAL_WINDOW_PACKETS,
    MAX_BURST_INTERVAL_S,
    MAX_BURST_PACKETS,
    MIN_BURST_INTERVAL_S,
    MIN_WINDOW_PACKETS,
)
from udpft.protocol.recovery.loss_baseline import LossBaseline
from udpft.protocol.recovery.packet_train import PacketTrain


class Phase(Enum):
    """What the controller is doing; the value is the pacing gain."""

    STARTUP = 2.77
    DRAIN = 0.36
    CRUISE = 1.0
    PROBE_UP = 1.25
    PROBE_DOWN = 0.75
    EXPERIMENT = 0.5
    PROBE_RTT = 1.0001  # a member of its own, not an alias of CRUISE


_RAISING = {Phase.STARTUP, Phase.PROBE_UP}

MIN_RATE = 20.0
"""Packets per second that are always sent: the path is never given up by the controller."""

MIN_BURST_PACKETS = 2
"""Packets that leave together, at least: one by one would cost the hosts twice as much."""

_HEAVY = 0.08  # beyond the baseline: the rate is cut before anything else is tried
_HEAVY_CUTS = 3  # to 0.61 at most
_UNMOVED = 0.8  # loss above this share of the heaviest: the cuts have not moved it
_TRAIN_ROUNDS = 2  # the first of which often finds the receiver busy opening its file
_LEAP = 0.2  # beyond the baseline: a rate that doubles loses a half, where it outgrows the path
_CRUISE_MIN_PACKETS = 100
_EXPERIMENT_MIN_PACKETS = 20
_EXPERIMENT_MIN_LOST = 6  # expected, if nothing was cured
_EXPERIMENT_MAX_RTTS = 8
_CURED = 0.6  # loss below this share of what prompted the experiment: backing off cured it
_NO_LESS = 1.5  # the share that arrives grew so much that half the rate brought as much: a queue
_STANDING_QUEUE = 1.5  # round trips this much above the least: the queue did not drain
_BACK_OFF = 0.85
_STALE_MIN_RTT_S = 10.0
_LEAST_RTT_S = 1e-6  # a clock may tell of none
_PROBE_BURSTS = 4
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
    prompt: _Epoch | None = None  # of an experiment: the loss that it is about

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

    What it decides, in packets and packets per second: ``pacing_rate``, infinite until there is
    an estimate; ``burst_packets``, a millisecond's worth at most, and ``burst_limit``, what it may
    be where the sender is late; ``window``, how many may be in flight; ``bandwidth_delay_product``,
    how many fill the path and no queue; ``baseline``, what of the loss is believed to be the path's
    nature.
    """

    pacing_rate: float
    burst_packets: int
    window: int
    bandwidth_delay_product: float

    def __init__(self, random: Random) -> None:
        self._random = random
        self.epoch = 0
        self._begin()

    def _begin(self) -> None:
        self.phase = Phase.STARTUP
        self.bandwidth = 0.0
        self.min_rtt_s = inf
        self.base_rtt_s = 0.0
        self._epochs: deque[_Epoch] = deque([_Epoch(Phase.STARTUP, 0.0)])
        self._maxima = [0.0, 0.0]  # highest delivery rate of this probing cycle and the last
        self.baseline = LossBaseline()
        self.burst_limit = float(MIN_BURST_PACKETS)
        self._bursts_were_cut = False
        self._train = PacketTrain()
        self._full_bandwidth = self._cycle_s = self._min_rtt_seen = 0.0
        self._flat_rounds = self._next_round = 0
        self._cruise_acked = self._cruise_lost = self._heavy_cuts = 0
        self._heaviest = self._epochs[0]
        self._heaviest_burst = self.burst_limit
        self._prompt: _Epoch | None = None  # of an experiment that is due
        self._phase_began = 0.0
        self._cycle_began = 0.0
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
        corrected = self.bandwidth / (1 - self.baseline.loss)
        self.bandwidth_delay_product = product = corrected * self.base_rtt_s
        self.pacing_rate = max(MIN_RATE, self.phase.value * corrected)
        burst = MIN_BURST_PACKETS
        if self.phase is not Phase.EXPERIMENT:
            burst = max(burst, int(min(self._longest_burst(), self.burst_limit)))
        if self.wants_train:
            burst = self._train.length
        self.burst_packets = burst
        # Bursts under way, and hosts that are late: on a short path, most of the window.
        window = 2 * product + 3 * burst
        if self.phase is Phase.STARTUP:
            # What may leave before anything is known may leave in any round trip.
            ramp = self._train.window(self.base_rtt_s, waits=self.wants_train)
            pace = self._train.pace(ramp, self.base_rtt_s)
            highest = self._train.highest_rate(self.bandwidth)
            self.pacing_rate = max(MIN_RATE, min(highest, max(self.pacing_rate, pace)))
            window = max(window, INITIAL_WINDOW_PACKETS, ramp)
            window = min(window, highest * self.base_rtt_s + 3 * burst)
        elif self.phase is Phase.PROBE_RTT:
            window = 0.5 * product
        self.window = max(MIN_WINDOW_PACKETS, int(window))

    def _longest_burst(self) -> float:
        """Packets in a burst as the rate allows. Long ones spare the hosts, and overflow queues."""
        interval_s = 0.001 * MAX_BURST_INTERVAL_S / max(self.min_rtt_s, _LEAST_RTT_S)
        return self.bandwidth * min(MAX_BURST_INTERVAL_S, max(MIN_BURST_INTERVAL_S, interval_s))

    @property
    def wants_train(self) -> bool:
        """Whether a burst's ends should draw ACKs, to see how far it comes apart on its way."""
        return self.phase is Phase.STARTUP and self.epoch <= _TRAIN_ROUNDS

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
        sampled = self._epochs[max(0, epoch - oldest)]
        if epoch >= oldest and rtt_s < sampled.min_rtt_s:
            sampled.min_rtt_s = rtt_s
        if sampled.phase not in _RAISING and self.baseline.loss > 0:
            delivery_rate = min(delivery_rate, self.bandwidth)
        probe = self._epochs[-1]
        excess = self.baseline.exceeded(probe.acked, probe.lost)
        suspicious = excess and self.phase is Phase.PROBE_UP
        if delivery_rate and not (suspicious and delivery_rate > self.bandwidth):
            if delivery_rate > self._maxima[0]:
                self._maxima[0] = delivery_rate
            self.bandwidth = max(self._maxima)
        stale = now - self._min_rtt_seen > _STALE_MIN_RTT_S and self._min_rtt_seen > 0
        if rtt_s <= 1.02 * self.min_rtt_s or (stale and self.phase is Phase.PROBE_RTT):
            self.min_rtt_s = rtt_s if stale else min(rtt_s, self.min_rtt_s)
            self._min_rtt_seen = now
        self.base_rtt_s = max(_LEAST_RTT_S, self.min_rtt_s + lateness_s)
        if self.phase is Phase.STARTUP:
            if epoch <= _TRAIN_ROUNDS:
                self._train.acknowledged(now - rtt_s, rtt_s, delivered)
            self._train.delivered(delivered)
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
        """Whether loss has leapt up in STARTUP, as where the rate outgrew the path; not by chance.

        What was lost before anything was known, as the way back may have been, tells nothing.
        """
        return any(
            epoch.phase is Phase.STARTUP
            and epoch.bandwidth > 0
            and self.baseline.exceeded(epoch.acked, epoch.lost, margin=_LEAP, deviations=3)
            for epoch in self._epochs
        )

    def _close(self, epoch: _Epoch) -> None:
        """Judge an epoch, a round trip after its last packet left."""
        acked, lost = epoch.acked, epoch.lost
        total, excess = acked + lost, self.baseline.exceeded(acked, lost)
        if not excess and (epoch.phase is Phase.PROBE_UP or not self._bursts_were_cut):
            self.burst_limit = 2 * min(self.burst_limit, float(MAX_BURST_PACKETS))
        if epoch.phase is Phase.STARTUP is self.phase:
            if self.bandwidth >= 1.25 * self._full_bandwidth:
                self._full_bandwidth = self.bandwidth
                self._flat_rounds = 0
                if lost <= _HEAVY * total:
                    self.baseline.learn(1.0, lost, total)
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
            if total >= _EXPERIMENT_MIN_PACKETS and not excess:
                self.baseline.learn(0.7, lost, total)
        elif epoch.phase is Phase.EXPERIMENT:
            prompt = epoch.prompt
            assert prompt is not None
            self._cruise_acked = self._cruise_lost = 0  # of the time before it
            if self._was_congestion(prompt, epoch):
                self._back_off(prompt)
            else:
                self.baseline.learn(0.3, lost + prompt.lost, total + prompt.acked + prompt.lost)
        elif epoch.phase is Phase.CRUISE:
            self._cruise_acked += acked
            self._cruise_lost += lost
            if self._cruise_acked + self._cruise_lost >= _CRUISE_MIN_PACKETS:
                if self.phase is Phase.CRUISE:
                    self._judge_cruise(
                        _Epoch(epoch.phase, self.bandwidth, self._cruise_acked, self._cruise_lost)
                    )
                self._cruise_acked = self._cruise_lost = 0

    def _judge_cruise(self, seen: _Epoch) -> None:
        """Loss in excess prompts an experiment; heavy loss is answered at once."""
        if not self.baseline.exceeded(seen.acked, seen.lost, margin=_HEAVY):
            self._heavy_cuts = 0
            if self.baseline.exceeded(seen.acked, seen.lost):
                self._prompt = seen
            return
        if self._heavy_cuts == 0:
            self._heaviest, self._heaviest_burst = seen, self.burst_limit
        if self._heavy_cuts < _HEAVY_CUTS or seen.loss < _UNMOVED * self._heaviest.loss:
            self._heavy_cuts += 1
            self._back_off(seen)
        else:
            self._heavy_cuts = 0
            self._set_bandwidth(self._heaviest.bandwidth)
            self.burst_limit = self._heaviest_burst
            self.baseline.learn(0.3, seen.lost, seen.acked + seen.lost)

    def _back_off(self, seen: _Epoch) -> None:
        """Congestion: to 0.85, or to what was delivered; and bursts half as long."""
        delivered = self.bandwidth * seen.kept / (1 - self.baseline.loss)
        self._set_bandwidth(min(_BACK_OFF * self.bandwidth, delivered))
        longest = min(self.burst_limit, self._longest_burst())
        self.burst_limit = max(MIN_BURST_PACKETS, longest / 2)
        self._bursts_were_cut = True

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

    def _set_bandwidth(self, bandwidth: float) -> None:
        self.bandwidth = bandwidth
        self._maxima = [bandwidth, 0.0]

    def _conclusive(self) -> bool:
        """Whether the experiment has seen packets enough to tell."""
        epoch = self._epochs[-1]
        assert epoch.prompt is not None
        return (epoch.acked + epoch.lost) * epoch.prompt.loss >= _EXPERIMENT_MIN_LOST

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
        # On a short path a burst takes longer than a round trip, and a probe is some of them.
        probed = elapsed > max(base_rtt, _PROBE_BURSTS * self.burst_packets / self.pacing_rate)
        if phase is Phase.DRAIN:
            if in_flight <= self.bandwidth_delay_product:
                self._cycle_began = now
                self._cycle_s = self._random.uniform(2, 8) * base_rtt
                self._enter(Phase.CRUISE, now)
        elif phase is Phase.PROBE_UP:
            full = in_flight >= 1.25 * self.bandwidth_delay_product
            if probed and (suspicious or full or elapsed > 3 * rtt_s):
                self._enter(Phase.PROBE_DOWN, now)
        elif phase is Phase.PROBE_DOWN:
            if probed:
                self._cycle_began = now
                self._enter(Phase.CRUISE, now)
        elif phase is Phase.EXPERIMENT:
            told = self._conclusive() or elapsed > _EXPERIMENT_MAX_RTTS * rtt_s
            if elapsed > base_rtt and told:
                self._cycle_began = now
                self._enter(Phase.CRUISE, now)
        elif phase is Phase.CRUISE:
            probe = now - self._cycle_began > max(self._cycle_s, 2 * base_rtt)
            if stale:
                self._probe_rtt_until = None
                self._enter(Phase.PROBE_RTT, now)
            elif self._prompt:
                self._enter(Phase.EXPERIMENT, now)
                self._epochs[-1].prompt, self._prompt = self._prompt, None
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
