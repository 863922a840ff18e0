"""Congestion controller: a model of the path in the manner of BBR, with loss judged by experiment.

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
what it carries (`packet_train`). Nearly up to that the window grows sixteenfold in a round trip;
and the rate stays below 1.25 times that until more was delivered, lest a shallow queue overflow.

Time is cut into *epochs*: a phase, or one round trip of a longer one. Packets are counted, acked
or lost, for the epoch in which they were sent; when acknowledgements come from a later epoch the
earlier one is over, and is judged (`loss_differentiation`). Every transition from a phase to
another, or to the next epoch of the same, is a row of `phases.PHASES`.

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

from math import inf
from random import Random
from typing import Final

from udpft.protocol.params import INITIAL_WINDOW_PACKETS
from udpft.protocol.recovery.burst_length import MIN_BURST_PACKETS, BurstLength
from udpft.protocol.recovery.delivery_rate import RateSample
from udpft.protocol.recovery.loss_baseline import LossBaseline
from udpft.protocol.recovery.loss_differentiation import Epoch, LossDifferentiation, Verdict
from udpft.protocol.recovery.packet_train import PacketTrain
from udpft.protocol.recovery.phases import PHASES, Phase, PhaseEvent

__all__ = ["MIN_RATE", "CongestionController", "Phase"]

MIN_RATE = 20.0
"""Packets per second that are always sent: the path is never given up by the controller."""

MIN_WINDOW_PACKETS: Final = 4
"""Packets that may always be in flight: two to send, two that draw an acknowledgement."""

# ------------------------------------------------------------------------------ window and bursts

_WINDOW_GAIN = 2
"""Bandwidth-delay products in flight: one on its way, one that makes up for ACKs which are late or
lost (DefaultCwndGain; draft-ietf-ccwg-bbr, 5.6.1)."""

_BURSTS_UNDER_WAY = 3
"""Bursts in flight beyond that: one at the sender, one at the receiver, one between (BBR's
offload_budget; 5.5.8). With hosts that are late they are, on a short path, most of the window."""

_BACK_OFF = 0.85
"""Factor by which congestion cuts the bandwidth: gentler than a half, as CUBIC's 0.7 is (RFC 9438,
4.6), for the cut may be made three times in a row."""

# ------------------------------------------------------------------------------ smallest round trip

_MIN_RTT_EXPIRES_S = 10.0
"""Seconds without a new minimum after which the smallest round trip is measured anew
(MinRTTFilterLen; draft-ietf-ccwg-bbr, 5.5.7)."""

_MIN_RTT_TOLERANCE = 1.02
"""Multiple of the smallest round trip that still confirms it: no two are equal to the last bit."""

_LEAST_RTT_S = 1e-6
"""Seconds that a round trip takes at least: a coarse clock may tell of none, and it divides."""

_PROBE_RTT_S = 0.2
"""Seconds for which PROBE_RTT holds its small window, or a round trip if that is longer
(ProbeRTTDuration; draft-ietf-ccwg-bbr, 5.3.4)."""

_PROBE_RTT_WINDOW_GAIN = 0.5
"""Bandwidth-delay products in flight in PROBE_RTT (ProbeRTTCwndGain; 5.3.4)."""

_PROBE_RTT_REACHED = 0.55
"""Bandwidth-delay products in flight from which that window counts as reached: a burst more."""

# ---------------------------------------------------------------------------------------- STARTUP

_TRAIN_ROUNDS = 2
"""Number of the last epoch whose bursts are packet trains. The first often finds the receiver busy
opening its file."""

_PLATEAU_GROWTH = 1.25
"""Growth of the bandwidth in a round trip below which STARTUP has come to a plateau
(draft-ietf-ccwg-bbr, 5.3.1)."""

_PLATEAU_ROUNDS = 3
"""Rounds in a row without such growth that end STARTUP (5.3.1): one may be bad luck."""

# ----------------------------------------------------------------------------------------- probes

_FIRST_CYCLE_RTTS = (2, 8)
"""Round trips from STARTUP to the first probe, between these: by chance, lest flows that begin
together probe together (draft-ietf-ccwg-bbr, 5.3.3)."""

_MIN_CYCLE_RTTS = 2
"""Round trips between two probes, at least: the last one is judged by then."""

_VAIN_CYCLE_RTTS = 8
"""Round trips between two probes after one that found nothing, at least: probes cost others."""

_CYCLE_GROWTH = 2
"""Factor by which the time between probes grows with each that found nothing."""

_MAX_CYCLE_S = 3.0
"""Seconds between two probes, at most: BBR waits 2 to 3 (5.3.3)."""

_MAX_CYCLE_RTTS = 63
"""Round trips between two probes, at most: a Reno flow grows by a packet in each, so beside it on
a path of some 60 packets neither takes all (5.3.3, on coexistence)."""

_PROBE_FOUND_GROWTH = 1.1
"""Growth of the bandwidth in a probe that makes the next due at once: there is more to be found."""

_PROBE_BURSTS = 4
"""Bursts that a probe takes at least: on a short path one takes longer than a round trip."""

_PROBE_FULL = 1.25
"""Bandwidth-delay products in flight that end a probe: the gain has built its queue (5.3.3)."""

_MAX_PROBE_RTTS = 3
"""Round trips, as long as the latest, after which a probe ends, whatever is in flight: the window
may allow no more."""

_MAX_EXPERIMENT_RTTS = 8
"""Round trips, as long as the latest, after which an experiment ends, conclusive or not: it costs
half the rate."""

_RAISING = (Phase.STARTUP, Phase.PROBE_UP)
"""Phases whose packets may raise the bandwidth on a path that loses packets."""


class _FullPipe:
    """Estimator of whether the rate has reached what the path carries (BBR's full_bw; 5.3.1)."""

    __slots__ = ("_bandwidth", "_flat_rounds", "leapt")

    def __init__(self) -> None:
        self._bandwidth = 0.0
        """Packets per second after the last round in which the bandwidth grew."""

        self._flat_rounds = 0
        """Rounds since then."""

        self.leapt = False
        """Whether loss has just ended STARTUP, and nothing but DRAIN and CRUISE came after it."""

    def grew(self, bandwidth: float) -> bool:
        """Take in the bandwidth after a round of STARTUP; tell whether it grew by a quarter."""
        if bandwidth >= _PLATEAU_GROWTH * self._bandwidth:
            self._bandwidth = bandwidth
            self._flat_rounds = 0
            return True
        self._flat_rounds += 1
        return False

    def is_reached(self) -> bool:
        """Whether the bandwidth has come to a plateau."""
        return self._flat_rounds >= _PLATEAU_ROUNDS


class _ProbeCycle:
    """Time between two probes for more bandwidth."""

    __slots__ = ("_began_at", "_length_s", "_random")

    def __init__(self, random: Random) -> None:
        self._random = random
        """Chance, for the time to the first probe."""

        self._began_at = 0.0
        """Seconds on the clock: when CRUISE last began after another phase."""

        self._length_s = 0.0
        """Seconds from there to the next probe; changes with each probe that is over."""

    def begin(self, now: float) -> None:
        """Begin to wait for the next probe."""
        self._began_at = now

    def draw_first(self, base_rtt_s: float) -> None:
        """Draw the time to the first probe."""
        self._length_s = self._random.uniform(*_FIRST_CYCLE_RTTS) * base_rtt_s

    def hurry(self) -> None:
        """Make the next probe due soon: the last one has found more bandwidth."""
        self._length_s = 0.0

    def lengthen(self, base_rtt_s: float) -> None:
        """Wait longer for the next probe: the last one has found nothing."""
        longest = min(_MAX_CYCLE_S, _MAX_CYCLE_RTTS * base_rtt_s)
        longer = max(_CYCLE_GROWTH * self._length_s, _VAIN_CYCLE_RTTS * base_rtt_s)
        self._length_s = min(longest, longer)

    def is_over(self, now: float, base_rtt_s: float) -> bool:
        """Whether the next probe is due."""
        return now - self._began_at > max(self._length_s, _MIN_CYCLE_RTTS * base_rtt_s)


class CongestionController:
    """Pace, window and burst length of one sender. See the module's docstring.

    Args:
        random: spreads the probes of flows that share a path.
    """

    # What it decides; once an acknowledgement, for it is read with each burst.

    pacing_rate: float
    """Packets per second at which to send; infinite until there is an estimate."""

    window: int
    """Packets that may be in flight."""

    burst_packets: int
    """Packets of the next burst."""

    bandwidth_delay_product: float
    """Packets that fill the path, and no queue."""

    # The model of the path; it changes with acknowledgements.

    bandwidth: float
    """Packets per second delivered: the highest of the last two probing cycles; 0 until known.
    Congestion cuts it."""

    min_rtt_s: float
    """Smallest round trip in seconds; infinite until known. Measured anew after ten seconds without
    one as small."""

    base_rtt_s: float
    """Seconds of ``min_rtt_s`` and what jitter adds to it; 0 until known."""

    baseline: LossBaseline
    """Share of packets that is believed to be lost by the path's nature; the judge teaches it."""

    _maxima: list[float]
    """Packets per second: the highest delivery rate of this probing cycle, and of the last one
    (BBR's MaxBwFilter). A cycle begins with PROBE_UP."""

    _min_rtt_seen_at: float
    """Seconds on the clock: when a round trip last was as small as the smallest; 0 if never."""

    _bursts: BurstLength
    """Longest bursts that the path takes."""

    _train: PacketTrain
    """Estimate of the bottleneck's rate, from the packet trains of STARTUP."""

    _judge: LossDifferentiation
    """Tallies of the epochs, and judgement of their loss."""

    # The phase; it changes as `PHASES` says.

    phase: Phase
    """The controller's state."""

    epoch: int
    """Number of the epoch under way; grows with each transition."""

    _epoch_began_at: float
    """Seconds on the clock: when the epoch under way began."""

    _next_round_delivered: int
    """Packets delivered from which a round trip is over (BBR's next_round_delivered; 5.5.1): so
    many had been as it began, and the packet that left then is acknowledged."""

    _full_pipe: _FullPipe
    """Whether STARTUP has found the path's bandwidth; each of its rounds counts."""

    _cycle: _ProbeCycle
    """Time to the next probe; it begins as CRUISE does."""

    _probe_rtt_done_at: float | None
    """Seconds on the clock: when PROBE_RTT has held its window long enough; None until that window
    is reached."""

    def __init__(self, random: Random) -> None:
        self._cycle = _ProbeCycle(random)
        self._begin(PHASES.initial[0], 0)

    def _begin(self, phase: Phase, epoch: int) -> None:
        """Begin as if nothing were known."""
        self.phase = phase
        self.epoch = epoch
        self._epoch_began_at = 0.0
        self.bandwidth = 0.0
        self._maxima = [0.0, 0.0]
        self.min_rtt_s = inf
        self.base_rtt_s = 0.0
        self._min_rtt_seen_at = 0.0
        self._bursts = BurstLength()
        self.baseline = LossBaseline()
        self._judge = LossDifferentiation(self.baseline, epoch)
        self._judge.begin(phase, self.bandwidth, self.burst_limit)
        self._train = PacketTrain()
        self._full_pipe = _FullPipe()
        self._next_round_delivered = 0
        self._probe_rtt_done_at = None
        self._decide()

    # ------------------------------------------------------------------------ what it decides

    def _decide(self) -> None:
        """Set what follows from the model. Once an acknowledgement, for it is read each burst."""
        if not self.bandwidth:
            self.bandwidth_delay_product = float(INITIAL_WINDOW_PACKETS)
            self.pacing_rate = inf
            self.burst_packets = INITIAL_WINDOW_PACKETS
            self.window = INITIAL_WINDOW_PACKETS
            return
        phase = self.phase
        corrected = self.bandwidth / (1 - self.baseline.loss)
        product = corrected * self.base_rtt_s
        self.bandwidth_delay_product = product
        self.pacing_rate = max(MIN_RATE, phase.pacing_gain * corrected)
        burst = MIN_BURST_PACKETS
        if phase is not Phase.EXPERIMENT:
            longest = self._bursts.longest(self.bandwidth, self.min_rtt_s)
            burst = max(burst, int(min(longest, self.burst_limit)))
        if self.wants_train:
            burst = self._train.length
        self.burst_packets = burst
        window = _WINDOW_GAIN * product + _BURSTS_UNDER_WAY * burst
        if phase is Phase.STARTUP:
            # What may leave before anything is known may leave in any round trip.
            ramp = self._train.window(self.base_rtt_s, waits=self.wants_train)
            pace = self._train.pace(ramp, self.base_rtt_s)
            highest = self._train.highest_rate(self.bandwidth)
            self.pacing_rate = max(MIN_RATE, min(highest, max(self.pacing_rate, pace)))
            window = max(window, INITIAL_WINDOW_PACKETS, ramp)
            window = min(window, highest * self.base_rtt_s + _BURSTS_UNDER_WAY * burst)
        elif phase is Phase.PROBE_RTT:
            window = _PROBE_RTT_WINDOW_GAIN * product
        self.window = max(MIN_WINDOW_PACKETS, int(window))

    @property
    def burst_limit(self) -> float:
        """Packets that a burst may have where the sender is late."""
        return self._bursts.limit

    @property
    def wants_train(self) -> bool:
        """Whether a burst's ends should draw ACKs, to see how far it comes apart on its way."""
        return self.phase is Phase.STARTUP and self.epoch <= _TRAIN_ROUNDS

    # ------------------------------------------------------------------------- what it learns

    def on_tally(self, tally: dict[int, list[int]]) -> None:
        """Count packets acked and lost: ``{epoch: [acked, lost]}``, from one acknowledgement."""
        for epoch in self._judge.count(tally):
            self._learn_from(epoch)

    def on_ack(
        self,
        now: float,
        *,
        epoch: int,
        rtt_s: float,
        lateness_s: float,
        sample: RateSample,
        in_flight: int,
    ) -> None:
        """Take in one acknowledgement, after its tally.

        Args:
            now: seconds.
            epoch: in which the newest packet acknowledged left.
            rtt_s: round trip of the newest packet acknowledged.
            lateness_s: what jitter adds to the smallest round trip.
            sample: of the delivery.
            in_flight: packets in flight now.
        """
        judge = self._judge
        sent_in = judge.note_rtt(epoch, rtt_s)
        suspicious = self.phase is Phase.PROBE_UP and judge.exceeds_already()
        self._update_bandwidth(sample.packets_per_s, sent_in, suspicious=suspicious)
        expired = now - self._min_rtt_seen_at > _MIN_RTT_EXPIRES_S and self._min_rtt_seen_at > 0
        self._update_min_rtt(now, rtt_s, expired=expired)
        self.base_rtt_s = max(_LEAST_RTT_S, self.min_rtt_s + lateness_s)
        if self.phase is Phase.STARTUP:
            if epoch <= _TRAIN_ROUNDS:
                self._train.acknowledged(now - rtt_s, rtt_s, sample.delivered)
            self._train.delivered(sample.delivered)
        if sample.prior_delivered >= self._next_round_delivered:
            self._next_round_delivered = sample.delivered
            if self.phase is Phase.STARTUP:
                self._enter(PhaseEvent.ROUND_ENDED, now)
        if self.phase is Phase.STARTUP:
            if self._full_pipe.is_reached():
                self._enter(PhaseEvent.BANDWIDTH_PLATEAU, now)
            elif judge.loss_leapt():
                self._enter(PhaseEvent.LOSS_LEAPT, now)
        event = self._event_due(now, rtt_s, in_flight, suspicious=suspicious, expired=expired)
        if event is not None:
            self._enter(event, now)
        self._decide()

    def on_persistent_congestion(self) -> None:
        """The path was dead for a while: it may have become another one. Begin again, slowly."""
        # With a new epoch: packets sent before count for nothing.
        self._begin(PHASES.follow(self.phase, PhaseEvent.PERSISTENT_CONGESTION), self.epoch + 1)

    def on_late(self, now: float) -> None:
        """Packets that had counted as lost have arrived: where they ended STARTUP, it goes on."""
        if self._full_pipe.leapt:
            self._full_pipe = _FullPipe()
            self._judge.forgive()
            self._enter(PhaseEvent.LOSS_WAS_LATE, now)

    def _update_bandwidth(self, delivery_rate: float, sent_in: Phase, *, suspicious: bool) -> None:
        """Take in a delivery rate, 0 for none (BBRUpdateMaxBw; 5.5.5).

        On a lossy path only probes raise the bandwidth, and those not that lose in excess.
        """
        if sent_in not in _RAISING and self.baseline.loss > 0:
            delivery_rate = min(delivery_rate, self.bandwidth)
        if delivery_rate and not (suspicious and delivery_rate > self.bandwidth):
            if delivery_rate > self._maxima[0]:
                self._maxima[0] = delivery_rate
            self.bandwidth = max(self._maxima)

    def _update_min_rtt(self, now: float, rtt_s: float, *, expired: bool) -> None:
        """Take in a round trip (BBRUpdateMinRTT; 5.5.7)."""
        if rtt_s <= _MIN_RTT_TOLERANCE * self.min_rtt_s or (
            expired and self.phase is Phase.PROBE_RTT
        ):
            self.min_rtt_s = rtt_s if expired else min(rtt_s, self.min_rtt_s)
            self._min_rtt_seen_at = now

    # ------------------------------------------------------------------ of epochs that are over

    def _learn_from(self, epoch: Epoch) -> None:
        """Learn from an epoch, a round trip after its last packet left."""
        judge, phase = self._judge, epoch.phase
        excess = judge.exceeds(epoch)
        if not excess and (phase is Phase.PROBE_UP or not judge.found_congestion):
            self._bursts.lengthen()
        if not excess and phase in _RAISING:
            self._bursts.note_queue((epoch.standing_rtt_s - self.min_rtt_s) * self.bandwidth)
        if phase is Phase.STARTUP:
            if self.phase is Phase.STARTUP and self._full_pipe.grew(self.bandwidth):
                judge.learn_from_startup(epoch)
        elif phase is Phase.PROBE_UP:
            if excess:
                self._set_bandwidth(min(self.bandwidth, epoch.bandwidth))
            if not excess and self.bandwidth > _PROBE_FOUND_GROWTH * epoch.bandwidth:
                self._cycle.hurry()
            else:
                self._cycle.lengthen(self.base_rtt_s)
        elif phase is Phase.PROBE_DOWN:
            judge.learn_from_probe_down(epoch)
        elif phase is Phase.EXPERIMENT:
            congestion = judge.judge_experiment(epoch, self.base_rtt_s)
            if congestion is not None:
                self._back_off(congestion)
        elif phase is Phase.CRUISE:
            verdict, seen = judge.judge_cruise(epoch, self.phase, self.bandwidth, self.burst_limit)
            if verdict is Verdict.CONGESTION:
                self._back_off(seen)
            elif verdict is Verdict.CUTS_IN_VAIN:
                self._set_bandwidth(seen.bandwidth)
                self._bursts.limit = seen.burst_limit

    def _back_off(self, seen: Epoch) -> None:
        """Congestion: to 0.85, or to what was delivered; and bursts half as long."""
        delivered = self.bandwidth * seen.kept / (1 - self.baseline.loss)
        self._set_bandwidth(min(_BACK_OFF * self.bandwidth, delivered))
        self._bursts.shorten(self._bursts.longest(self.bandwidth, self.min_rtt_s))

    def _set_bandwidth(self, bandwidth: float) -> None:
        self.bandwidth = bandwidth
        self._maxima = [bandwidth, 0.0]

    # --------------------------------------------------------------------------------- phases

    def _enter(self, event: PhaseEvent, now: float) -> None:
        """Follow an event to the next phase, or to the next epoch of the same."""
        before, phase = self.phase, PHASES.follow(self.phase, event)
        self.phase = phase
        pipe = self._full_pipe
        settles = pipe.leapt and phase in (Phase.DRAIN, Phase.CRUISE)
        pipe.leapt = event is PhaseEvent.LOSS_LEAPT or settles
        self._epoch_began_at = now
        self.epoch += 1
        self._judge.begin(phase, self.bandwidth, self.burst_limit)
        if phase is Phase.PROBE_UP and self._maxima[0]:
            self._maxima = [0.0, self._maxima[0]]
        elif phase is Phase.PROBE_RTT:
            self._probe_rtt_done_at = None
        elif phase is Phase.CRUISE and before is not Phase.CRUISE:
            self._cycle.begin(now)
            if before is Phase.DRAIN:
                self._cycle.draw_first(self.base_rtt_s)
            elif before is Phase.PROBE_RTT:
                self._min_rtt_seen_at = now

    def _event_due(
        self, now: float, rtt_s: float, in_flight: int, *, suspicious: bool, expired: bool
    ) -> PhaseEvent | None:
        """The event that ends the phase, where its time has come. STARTUP's are not among them."""
        phase, elapsed, base_rtt_s = self.phase, now - self._epoch_began_at, self.base_rtt_s
        ended: PhaseEvent | None = None
        if phase is Phase.CRUISE:
            if expired:
                ended = PhaseEvent.MIN_RTT_EXPIRED
            elif self._judge.prompt is not None:
                ended = PhaseEvent.LOSS_IN_EXCESS
            elif self._cycle.is_over(now, base_rtt_s):
                ended = PhaseEvent.PROBE_DUE
            elif elapsed > base_rtt_s:
                ended = PhaseEvent.ROUND_ENDED
        elif phase is Phase.PROBE_UP:
            full = in_flight >= _PROBE_FULL * self.bandwidth_delay_product
            enough = suspicious or full or elapsed > _MAX_PROBE_RTTS * rtt_s
            if enough and elapsed > self._probe_s():
                ended = PhaseEvent.PROBE_ENDED
        elif phase is Phase.PROBE_DOWN:
            if elapsed > self._probe_s():
                ended = PhaseEvent.PROBE_ENDED
        elif phase is Phase.DRAIN:
            if in_flight <= self.bandwidth_delay_product:
                ended = PhaseEvent.QUEUE_DRAINED
        elif phase is Phase.EXPERIMENT:
            if elapsed > base_rtt_s and (
                self._judge.experiment_is_conclusive() or elapsed > _MAX_EXPERIMENT_RTTS * rtt_s
            ):
                ended = PhaseEvent.EXPERIMENT_ENDED
        elif phase is Phase.PROBE_RTT and self._min_rtt_is_measured(now, in_flight):
            ended = PhaseEvent.MIN_RTT_MEASURED
        return ended

    def _probe_s(self) -> float:
        """Seconds that a probe takes at least, and what drains its queue."""
        # On a short path a burst takes longer than a round trip, and a probe is some of them.
        return max(self.base_rtt_s, _PROBE_BURSTS * self.burst_packets / self.pacing_rate)

    def _min_rtt_is_measured(self, now: float, in_flight: int) -> bool:
        """Whether PROBE_RTT has held its window for long enough (BBRCheckProbeRTTDone; 5.3.4)."""
        if self._probe_rtt_done_at is not None:
            return now > self._probe_rtt_done_at
        reached = _PROBE_RTT_REACHED * self.bandwidth_delay_product
        if in_flight <= max(MIN_WINDOW_PACKETS, reached):
            self._probe_rtt_done_at = now + max(_PROBE_RTT_S, self.base_rtt_s)
        return False
