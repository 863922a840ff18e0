"""The judge of loss: tallies by epoch, experiments, and cuts that heavy loss draws."""

from __future__ import annotations

import pytest

from udpft.protocol.params import GRANULARITY_S
from udpft.protocol.recovery.loss_baseline import LossBaseline
from udpft.protocol.recovery.loss_differentiation import Epoch, LossDifferentiation, Verdict
from udpft.protocol.recovery.phases import Phase

RTT_S = 0.1


class Case:
    """A judge, its baseline, and a controller's values to judge by."""

    def __init__(self, *phases: Phase, first_epoch: int = 0, bandwidth: float = 1_000.0) -> None:
        self.baseline = LossBaseline()
        self.judge = LossDifferentiation(self.baseline, first_epoch)
        for phase in phases:
            self.judge.begin(phase, bandwidth, 8.0)

    def cruise(
        self,
        acked: int,
        lost: int,
        *,
        phase: Phase = Phase.CRUISE,
        bandwidth: float = 1_000.0,
        burst_limit: float = 8.0,
    ) -> tuple[Verdict, Epoch]:
        epoch = Epoch(Phase.CRUISE, 0.0, 0.0, acked, lost)
        return self.judge.judge_cruise(epoch, phase, bandwidth, burst_limit)

    def experiment(self, acked: int, lost: int, *, min_rtt_s: float = RTT_S) -> Epoch | None:
        """Prompted by 20 lost of 100."""
        prompt = Epoch(Phase.CRUISE, 1_000.0, 8.0, 80, 20)
        result = Epoch(Phase.EXPERIMENT, 1_000.0, 8.0, acked, lost, min_rtt_s, prompt)
        return self.judge.judge_experiment(result, RTT_S)


# --------------------------------------------------------------------------------------- tallies


def test_packets_count_for_the_epoch_in_which_they_were_sent() -> None:
    case = Case(Phase.STARTUP, Phase.STARTUP, Phase.DRAIN)
    assert case.judge.count({0: [3, 1], 1: [0, 2]}) == ()
    first, second = case.judge.count({2: [1, 0], 0: [1, 0]})
    assert (first.phase, first.acked, first.lost) == (Phase.STARTUP, 4, 1)
    assert (second.phase, second.acked, second.lost) == (Phase.STARTUP, 0, 2)


def test_an_epoch_is_over_when_a_later_one_has_a_packet_acknowledged() -> None:
    case = Case(Phase.CRUISE, Phase.CRUISE)
    assert case.judge.count({1: [0, 5]}) == ()  # lost packets tell of no order
    assert [epoch.phase for epoch in case.judge.count({1: [1, 0]})] == [Phase.CRUISE]


def test_packets_of_an_epoch_that_is_over_count_for_nothing() -> None:
    case = Case(Phase.CRUISE, Phase.PROBE_UP, first_epoch=7)
    case.judge.count({6: [5, 5], 8: [1, 0]})
    assert case.judge.count({7: [5, 5]}) == ()
    case.judge.begin(Phase.PROBE_DOWN, 0.0, 0.0)
    (over,) = case.judge.count({9: [1, 0]})
    assert (over.phase, over.acked, over.lost) == (Phase.PROBE_UP, 1, 0)


def test_round_trips_are_those_of_the_epoch_in_which_the_packet_was_sent() -> None:
    case = Case(Phase.CRUISE, Phase.PROBE_UP, Phase.PROBE_DOWN)
    assert case.judge.note_rtt(0, 0.3) is Phase.CRUISE
    assert case.judge.note_rtt(1, 0.2) is Phase.PROBE_UP
    assert case.judge.note_rtt(0, 0.4) is Phase.CRUISE
    cruise, probe_up = case.judge.count({2: [1, 0]})
    assert (cruise.min_rtt_s, probe_up.min_rtt_s) == (0.3, 0.2)


def test_the_round_trip_of_an_epoch_that_is_over_is_no_other_s() -> None:
    case = Case(Phase.CRUISE, Phase.PROBE_UP)
    case.judge.count({1: [1, 0]})
    assert case.judge.note_rtt(0, 0.001) is Phase.PROBE_UP
    case.judge.note_rtt(1, 0.2)
    case.judge.begin(Phase.PROBE_DOWN, 0.0, 0.0)
    (over,) = case.judge.count({2: [1, 0]})
    assert over.min_rtt_s == 0.2


# --------------------------------------------------------------------------- the epoch under way


def test_the_epoch_under_way_may_exceed_the_baseline_already() -> None:
    case = Case(Phase.CRUISE, Phase.PROBE_UP)
    case.judge.count({0: [50, 50]})
    assert not case.judge.exceeds_already()
    case.judge.count({1: [80, 20]})
    assert case.judge.exceeds_already()


def test_loss_leaps_where_it_is_a_fifth_above_the_baseline_and_not_by_chance() -> None:
    case = Case(Phase.STARTUP, Phase.STARTUP)
    case.judge.count({1: [80, 20]})
    assert not case.judge.loss_leapt()
    case.judge.count({1: [0, 10]})
    assert case.judge.loss_leapt()


@pytest.mark.parametrize(("phase", "bandwidth"), [(Phase.STARTUP, 0.0), (Phase.DRAIN, 1_000.0)])
def test_loss_before_anything_is_known_or_after_startup_is_no_leap(
    phase: Phase, bandwidth: float
) -> None:
    case = Case(phase, bandwidth=bandwidth)
    case.judge.count({0: [50, 50]})
    assert not case.judge.loss_leapt()


def test_an_experiment_is_conclusive_when_six_would_have_been_lost() -> None:
    case = Case(Phase.CRUISE)
    case.cruise(95, 10)  # prompts one, about 9.5 %
    case.judge.begin(Phase.EXPERIMENT, 500.0, 8.0)
    case.judge.count({1: [62, 0]})
    assert not case.judge.experiment_is_conclusive()
    case.judge.count({1: [1, 0]})
    assert case.judge.experiment_is_conclusive()


# ----------------------------------------------------------------------- learning the baseline


def test_startup_teaches_the_baseline_while_loss_is_not_heavy() -> None:
    case = Case()
    case.judge.learn_from_startup(Epoch(Phase.STARTUP, 0.0, 0.0, 91, 9))
    assert case.baseline.loss == 0.0
    case.judge.learn_from_startup(Epoch(Phase.STARTUP, 0.0, 0.0, 92, 8))
    assert case.baseline.loss == pytest.approx(0.08)


def test_a_probe_s_end_teaches_the_baseline_what_is_usual_and_nothing_else() -> None:
    case = Case()
    case.judge.learn_from_probe_down(Epoch(Phase.PROBE_DOWN, 0.0, 0.0, 18, 1))  # too few
    case.judge.learn_from_probe_down(Epoch(Phase.PROBE_DOWN, 0.0, 0.0, 80, 20))  # in excess
    assert case.baseline.loss == 0.0
    case.judge.learn_from_probe_down(Epoch(Phase.PROBE_DOWN, 0.0, 0.0, 98, 2))
    assert case.baseline.loss == pytest.approx(0.02)
    case.judge.learn_from_probe_down(Epoch(Phase.PROBE_DOWN, 0.0, 0.0, 20, 0))  # just enough
    assert case.baseline.loss < 0.02


# ----------------------------------------------------------------------------------- experiments


@pytest.mark.parametrize(
    ("acked", "lost", "min_rtt_s"),
    [
        (89, 11, RTT_S),  # loss fell from 20 % to less than 12
        (80, 20, 1.5 * RTT_S + 2 * GRANULARITY_S),  # the queue stands
    ],
)
def test_loss_that_falls_with_the_rate_or_stands_in_a_queue_is_congestion(
    acked: int, lost: int, min_rtt_s: float
) -> None:
    case = Case()
    congestion = case.experiment(acked, lost, min_rtt_s=min_rtt_s)
    assert congestion is not None
    assert congestion.loss == pytest.approx(0.2)
    assert case.judge.found_congestion
    assert case.baseline.loss == 0.0


def test_half_the_rate_that_brings_as_much_as_the_whole_shows_congestion() -> None:
    case = Case()
    prompt = Epoch(Phase.CRUISE, 1_000.0, 8.0, 20, 80)
    # 50 % lost are not less than 0.6 of 80 %; but of half as many packets as many arrive.
    result = Epoch(Phase.EXPERIMENT, 1_000.0, 8.0, 50, 50, RTT_S, prompt)
    assert case.judge.judge_experiment(result, RTT_S) is prompt


def test_loss_that_stays_is_the_path_s_nature() -> None:
    case = Case()
    assert case.experiment(82, 18) is None
    assert not case.judge.found_congestion
    assert case.baseline.loss == pytest.approx(38 / 200)


def test_an_experiment_makes_the_judge_forget_what_it_had_counted_before() -> None:
    case = Case()
    case.cruise(60, 30)
    case.experiment(89, 11)
    verdict, seen = case.cruise(99, 1)
    assert (verdict, seen.total) == (Verdict.NO_CHANGE, 100)
    assert case.judge.prompt is None


# ---------------------------------------------------------------------------------------- cruise


def test_cruise_is_judged_by_the_hundred_packets() -> None:
    case = Case()
    case.cruise(40, 5)
    assert case.judge.prompt is None
    case.cruise(50, 5)
    assert case.judge.prompt is not None
    assert (case.judge.prompt.acked, case.judge.prompt.lost) == (90, 10)


def test_the_prompt_is_the_next_experiment_s_and_no_other_s() -> None:
    case = Case()
    case.cruise(95, 10)
    prompt = case.judge.prompt
    case.judge.begin(Phase.CRUISE, 0.0, 0.0)
    case.judge.begin(Phase.EXPERIMENT, 0.0, 0.0)
    assert case.judge.prompt is None
    case.judge.begin(Phase.CRUISE, 0.0, 0.0)
    cruise, experiment = case.judge.count({2: [1, 0]})
    assert cruise.prompt is None
    assert experiment.prompt is prompt


def test_usual_loss_changes_nothing() -> None:
    case = Case()
    assert case.cruise(98, 2)[0] is Verdict.NO_CHANGE
    assert case.judge.prompt is None


def test_cruise_that_is_over_meanwhile_is_not_judged() -> None:
    case = Case()
    assert case.cruise(50, 50, phase=Phase.PROBE_UP)[0] is Verdict.NO_CHANGE
    assert not case.judge.found_congestion
    assert case.cruise(60, 0)[0] is Verdict.NO_CHANGE  # nor counted later


def test_heavy_loss_is_congestion_at_once() -> None:
    case = Case()
    verdict, seen = case.cruise(70, 30)
    assert verdict is Verdict.CONGESTION
    assert seen.kept == pytest.approx(0.7)
    assert case.judge.found_congestion
    assert case.judge.prompt is None


def test_cuts_that_do_not_move_the_loss_were_in_vain() -> None:
    case = Case()
    for bandwidth, burst_limit in ((1_000.0, 8.0), (850.0, 4.0), (722.0, 2.0)):
        verdict, _ = case.cruise(70, 30, bandwidth=bandwidth, burst_limit=burst_limit)
        assert verdict is Verdict.CONGESTION
    verdict, before = case.cruise(75, 25, bandwidth=614.0, burst_limit=2.0)
    assert verdict is Verdict.CUTS_IN_VAIN
    assert (before.bandwidth, before.burst_limit) == (1_000.0, 8.0)
    assert case.baseline.loss == pytest.approx(0.25)


def test_cuts_that_move_the_loss_go_on() -> None:
    case = Case()
    for _ in range(3):
        case.cruise(60, 40)
    assert case.cruise(75, 25)[0] is Verdict.CONGESTION  # less than 0.8 of 40 %


def test_cuts_are_counted_anew_once_loss_was_not_heavy() -> None:
    case = Case()
    for _ in range(3):
        case.cruise(70, 30)
    case.cruise(99, 1)
    verdicts = [case.cruise(70, 30, bandwidth=500.0)[0] for _ in range(4)]
    assert verdicts == [Verdict.CONGESTION] * 3 + [Verdict.CUTS_IN_VAIN]
