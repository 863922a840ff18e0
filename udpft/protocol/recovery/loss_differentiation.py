"""Loss differentiation: whether loss is congestion, or inherent to the path.

Theory of operation
-------------------
Time is cut into *epochs*: a phase of the controller, or one round trip of a longer one. Packets are
counted, acknowledged or lost, for the epoch in which they were sent; when acknowledgements come
from a later epoch the earlier one is over, and can be judged.

Loss of CRUISE is judged in portions of a hundred packets. Where it exceeds the baseline it is the
*prompt* of an experiment: one round at half the rate. If loss falls with it, or half the rate
brings nearly as much as the whole, or the queue still stands, it was congestion. If not, what was
seen goes into the baseline.

Loss far beyond the baseline is congestion until it has survived three cuts of the rate. Where they
have not moved it, they were in vain: it is the path's nature, and the rate from before them is the
right one.

Units: packets, seconds, packets per second; loss is a share of packets, from 0 to 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from udpft.protocol.params import GRANULARITY_S
from udpft.protocol.recovery.loss_baseline import LossBaseline
from udpft.protocol.recovery.phases import Phase

_LEAP_MARGIN = 0.2
"""Share of packets lost beyond the baseline that ends STARTUP: a rate that doubles in a round trip
loses a half, where it outgrows the path. BBR takes 0.02 (draft-ietf-ccwg-bbr, 5.3.1), which many a
radio link loses at any rate."""

_LEAP_DEVIATIONS = 3
"""Standard deviations by which the leap must exceed chance: STARTUP is not begun again, so more
than in other judgements."""

_HEAVY_MARGIN = 0.08
"""Share of packets lost beyond the baseline that cuts the rate before anything else is tried."""

_MAX_HEAVY_CUTS = 3
"""Cuts of the rate in a row that heavy loss draws: to 0.61 at most, by 0.85 each."""

_UNMOVED_SHARE = 0.8
"""Loss after the cuts, as a share of the heaviest, above which they have not moved it."""

_CRUISE_MIN_PACKETS = 100
"""Packets of CRUISE to judge at once: of so many, the six lost from which loss is judged at all are
less than heavy loss."""

_PROBE_DOWN_MIN_PACKETS = 20
"""Packets of a PROBE_DOWN from which the baseline may learn; fewer tell nothing of a share."""

_CONCLUSIVE_LOST = 6
"""Packets lost in an experiment, if nothing was cured, that make it conclusive: at so many, a
fall below `_CURED_SHARE` is hardly chance."""

_CURED_SHARE = 0.6
"""Loss in an experiment, as a share of its prompt's, below which half the rate has cured it."""

_NO_LESS_RATIO = 1.5
"""Growth of the share that arrives from which half the rate brings nearly as much as the whole, as
where a queue overflows. 2 would be exactly as much."""

_STANDING_QUEUE_RATIO = 1.5
"""Smallest round trip of an experiment, as a multiple of the base round trip, that tells of a queue
that half the rate did not drain."""

_STANDING_RTTS = 4
"""Newest round trips of an epoch of which the smallest tells of its queue, and not of jitter."""

_STARTUP_KEEP = 1.0
"""Weight of the past where the baseline learns from STARTUP: there is none but STARTUP's."""

_PROBE_DOWN_KEEP = 0.7
"""The same in PROBE_DOWN: a lesson comes with each probe, and the last few of them count."""

_VERDICT_KEEP = 0.3
"""The same after an experiment or cuts in vain: the path has changed, so what is new counts."""


@dataclass(slots=True)
class Epoch:
    """Tally of the packets sent in one phase, or in one round trip of it."""

    phase: Phase
    """The controller's phase in which they were sent."""

    bandwidth: float
    """Packets per second: the controller's estimate as the epoch began, or as it was judged."""

    burst_limit: float
    """Packets: the longest burst allowed at that moment."""

    acked: int = 0
    """Packets acknowledged; grows with ACKs, until the epoch is over."""

    lost: int = 0
    """Packets declared lost; grows until the epoch is over."""

    min_rtt_s: float = inf
    """Smallest round trip of its packets, in seconds; inf until one is known."""

    prompt: Epoch | None = None
    """The loss that an experiment is about; None in any other phase."""

    latest_rtts_s: tuple[float, ...] = ()
    """Round trips of its newest packets, in seconds, up to `_STANDING_RTTS`."""

    @property
    def standing_rtt_s(self) -> float:
        """Round trip that all of its newest packets took at least, in seconds; 0 until known."""
        rtts_s = self.latest_rtts_s
        return min(rtts_s) if len(rtts_s) == _STANDING_RTTS else 0.0

    @property
    def total(self) -> int:
        """Packets whose fate is known."""
        return self.acked + self.lost

    @property
    def loss(self) -> float:
        """Share of packets lost."""
        return self.lost / (self.acked + self.lost)

    @property
    def kept(self) -> float:
        """Share of packets that arrived."""
        return self.acked / (self.acked + self.lost)


class Verdict(Enum):
    """Consequence that the controller draws from loss in CRUISE."""

    NO_CHANGE = auto()
    """Loss is as usual, or too little is known, or an experiment will tell."""

    CONGESTION = auto()
    """Loss is heavy: the rate is to be cut."""

    CUTS_IN_VAIN = auto()
    """Cuts have not moved the loss: the rate from before them is to be restored."""


class LossDifferentiation:
    """Tallies of the epochs that are under way, and judgement of those that are over.

    Args:
        baseline: the path's own loss, which judgements compare with and teach.
        first_epoch: number of the first epoch.
    """

    __slots__ = (
        "_baseline",
        "_cruise_acked",
        "_cruise_lost",
        "_epochs",
        "_heaviest",
        "_heavy_cuts",
        "_oldest",
        "found_congestion",
        "prompt",
    )

    def __init__(self, baseline: LossBaseline, first_epoch: int) -> None:
        self._baseline = baseline
        """The path's own loss; learns from epochs of STARTUP and PROBE_DOWN, and from verdicts."""

        self._epochs: deque[Epoch] = deque()
        """Epochs that are not over, oldest first: one is added by `begin`, and leaves by `count`.
        The last of them is under way."""

        self._oldest = first_epoch
        """Number of the first in `_epochs`; grows as it leaves."""

        self._cruise_acked = 0
        """Packets of CRUISE acknowledged since the last judgement of it, or the last experiment."""

        self._cruise_lost = 0
        """Packets of CRUISE lost in that time."""

        self._heavy_cuts = 0
        """Cuts of the rate for heavy loss, in a row; 0 again once loss is not heavy, or they were
        in vain."""

        self._heaviest: Epoch | None = None
        """The heavy loss that drew the first of these cuts, with bandwidth and burst limit from
        before it; None until there was one."""

        self.prompt: Epoch | None = None
        """Loss in excess that an experiment is due about; None when that begins."""

        self.found_congestion = False
        """Whether any loss was judged to be congestion; stays so."""

    # ------------------------------------------------------------------------------- tallies

    def begin(self, phase: Phase, bandwidth: float, burst_limit: float) -> None:
        """Begin the next epoch. One of EXPERIMENT takes the prompt that is due."""
        epoch = Epoch(phase, bandwidth, burst_limit)
        if phase is Phase.EXPERIMENT:
            epoch.prompt, self.prompt = self.prompt, None
        self._epochs.append(epoch)

    def count(self, tally: dict[int, list[int]]) -> Sequence[Epoch]:
        """Count packets ``{epoch: [acked, lost]}``; return the epochs that are over by it.

        Those are the ones before the newest with a packet acknowledged, oldest first. Packets of
        epochs that were over before count for nothing.
        """
        oldest, epochs = self._oldest, self._epochs
        newest_acked = -1
        for number, (acked, lost) in tally.items():
            if acked and number > newest_acked:
                newest_acked = number
            if number >= oldest:
                epoch = epochs[number - oldest]
                epoch.acked += acked
                epoch.lost = max(0, epoch.lost + lost)
        if newest_acked <= oldest:
            return ()
        self._oldest = newest_acked
        return [epochs.popleft() for _ in range(newest_acked - oldest)]

    def note_rtt(self, number: int, rtt_s: float) -> Phase:
        """Take in a round trip of an epoch's packet; return the phase in which it was sent.

        Of an epoch that was over before nothing is known but that: the oldest stands for it.
        """
        if number < self._oldest:
            return self._epochs[0].phase
        epoch = self._epochs[number - self._oldest]
        if rtt_s < epoch.min_rtt_s:
            epoch.min_rtt_s = rtt_s
        epoch.latest_rtts_s = (*epoch.latest_rtts_s[1 - _STANDING_RTTS :], rtt_s)
        return epoch.phase

    # ------------------------------------------------------------------- the epoch under way

    def exceeds_already(self) -> bool:
        """Whether the epoch under way has lost more than the baseline."""
        epoch = self._epochs[-1]
        return self._baseline.exceeded(epoch.acked, epoch.lost)

    def experiment_is_conclusive(self) -> bool:
        """Whether the experiment under way has seen packets enough to tell."""
        epoch = self._epochs[-1]
        assert epoch.prompt is not None
        return epoch.total * epoch.prompt.loss >= _CONCLUSIVE_LOST

    def loss_leapt(self) -> bool:
        """Whether loss has leapt up in STARTUP, as where the rate outgrew the path; not by chance.

        What was lost before anything was known, as the way back may have been, tells nothing.
        """
        return any(
            epoch.phase is Phase.STARTUP
            and epoch.bandwidth > 0
            and self._baseline.exceeded(
                epoch.acked, epoch.lost, margin=_LEAP_MARGIN, deviations=_LEAP_DEVIATIONS
            )
            for epoch in self._epochs
        )

    def forgive(self) -> None:
        """Forget what the epochs under way have lost: it was only late."""
        for epoch in self._epochs:
            epoch.lost = 0

    # --------------------------------------------------------------------- epochs that are over

    def exceeds(self, epoch: Epoch) -> bool:
        """Whether an epoch has lost more than the baseline."""
        return self._baseline.exceeded(epoch.acked, epoch.lost)

    def learn_from_startup(self, epoch: Epoch) -> None:
        """Take an epoch's loss for the path's own, where it is not heavy: bandwidth still grew."""
        if epoch.lost <= _HEAVY_MARGIN * epoch.total:
            self._baseline.learn(_STARTUP_KEEP, epoch.lost, epoch.total)

    def learn_from_probe_down(self, epoch: Epoch) -> None:
        """Take an epoch's loss for the path's own, where it is as usual: there is no queue."""
        if epoch.total >= _PROBE_DOWN_MIN_PACKETS and not self.exceeds(epoch):
            self._baseline.learn(_PROBE_DOWN_KEEP, epoch.lost, epoch.total)

    def judge_experiment(self, result: Epoch, base_rtt_s: float) -> Epoch | None:
        """The loss that prompted an experiment, if that has shown it to be congestion."""
        prompt = result.prompt
        assert prompt is not None
        self._forget_cruise()  # what was counted is of the time before the experiment
        if _was_congestion(prompt, result, base_rtt_s):
            self.found_congestion = True
            return prompt
        lost, total = result.lost + prompt.lost, result.total + prompt.total
        self._baseline.learn(_VERDICT_KEEP, lost, total)
        return None

    def judge_cruise(
        self, epoch: Epoch, phase: Phase, bandwidth: float, burst_limit: float
    ) -> tuple[Verdict, Epoch]:
        """Judge the loss of CRUISE, if packets enough of it are known.

        Args:
            epoch: the epoch that is over.
            phase: the controller's, now: only in CRUISE is there anything to decide.
            bandwidth: the controller's, now, in packets per second.
            burst_limit: the controller's, now, in packets.

        Returns:
            The verdict, and the loss that it is about: the one seen; or, where cuts were in vain,
            the one before them.
        """
        self._cruise_acked += epoch.acked
        self._cruise_lost += epoch.lost
        if self._cruise_acked + self._cruise_lost < _CRUISE_MIN_PACKETS:
            return Verdict.NO_CHANGE, epoch
        seen = Epoch(Phase.CRUISE, bandwidth, burst_limit, self._cruise_acked, self._cruise_lost)
        self._forget_cruise()
        if phase is not Phase.CRUISE:
            return Verdict.NO_CHANGE, seen
        if self._baseline.exceeded(seen.acked, seen.lost, margin=_HEAVY_MARGIN):
            return self._judge_heavy(seen)
        self._heavy_cuts = 0
        if self.exceeds(seen):
            self.prompt = seen
        return Verdict.NO_CHANGE, seen

    def _judge_heavy(self, seen: Epoch) -> tuple[Verdict, Epoch]:
        """Heavy loss is congestion, until it has survived a few cuts of the rate."""
        if self._heavy_cuts == 0:
            self._heaviest = seen
        heaviest = self._heaviest
        assert heaviest is not None
        if self._heavy_cuts < _MAX_HEAVY_CUTS or seen.loss < _UNMOVED_SHARE * heaviest.loss:
            self._heavy_cuts += 1
            self.found_congestion = True
            return Verdict.CONGESTION, seen
        self._heavy_cuts = 0
        self._baseline.learn(_VERDICT_KEEP, seen.lost, seen.total)
        return Verdict.CUTS_IN_VAIN, heaviest

    def _forget_cruise(self) -> None:
        self._cruise_acked = 0
        self._cruise_lost = 0


def _was_congestion(prompt: Epoch, result: Epoch, base_rtt_s: float) -> bool:
    """Whether an experiment shows a queue behind the loss that prompted it.

    Half the rate lost less; or brought as much as the whole; or left the queue standing.
    """
    return (
        result.lost < _CURED_SHARE * prompt.loss * result.total
        or result.acked > _NO_LESS_RATIO * prompt.kept * result.total
        or result.min_rtt_s > _STANDING_QUEUE_RATIO * base_rtt_s + GRANULARITY_S
    )
