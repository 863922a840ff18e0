"""The phases' table: the controller follows each row of it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest

from tests.protocol.recovery.bottleneck import Path
from udpft.protocol.recovery import congestion
from udpft.protocol.recovery.congestion import CongestionController
from udpft.protocol.recovery.delivery_rate import RateSample
from udpft.protocol.recovery.phases import PHASES, Phase, PhaseEvent
from udpft.protocol.states import ImpossibleTransition, Transition, TransitionTable

Row = Transition[Phase, PhaseEvent]


class Recorder(TransitionTable[Phase, PhaseEvent]):
    """The table, with a record of the rows that were followed."""

    def __init__(self) -> None:
        super().__init__(PHASES.initial, PHASES.rows)
        self.followed: list[tuple[Phase, PhaseEvent, Phase]] = []

    def follow(self, state: Phase, event: PhaseEvent) -> Phase:
        target = super().follow(state, event)
        self.followed.append((state, event, target))
        return target


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(congestion, "PHASES", recorder)
    return recorder


def clean_path(path: Path, controller: CongestionController) -> Iterator[None]:
    """Nothing is lost, and the round trip becomes longer after a while."""
    for _ in range(200):
        yield from path.acknowledgements(controller)
    path.rtt_s *= 2
    while path.now < 40.0:
        yield from path.acknowledgements(controller)


def path_that_comes_to_lose(path: Path, controller: CongestionController) -> Iterator[None]:
    """A radio link that becomes worse."""
    for _ in range(100):
        yield from path.acknowledgements(controller)
    path.loss = 0.05
    for _ in range(100):
        yield from path.acknowledgements(controller)


def path_that_is_outgrown(path: Path, controller: CongestionController) -> Iterator[None]:
    """Half of what is sent is lost, as soon as the window has grown a little."""
    for _ in range(3):
        yield from path.acknowledgements(controller)
    controller.on_tally({controller.epoch: [10, 90]})
    controller.on_ack(
        path.now,
        epoch=controller.epoch,
        rtt_s=path.rtt_s,
        lateness_s=0.0,
        sample=RateSample(0.0, 0, path.delivered),
        in_flight=1_000_000,
    )
    yield
    path.loss = 0.5
    for _ in range(20):
        yield from path.acknowledgements(controller)


Story = Callable[[Path, CongestionController], Iterator[None]]
STORIES: dict[PhaseEvent, Story] = {
    PhaseEvent.LOSS_LEAPT: path_that_is_outgrown,
    PhaseEvent.LOSS_WAS_LATE: path_that_is_outgrown,
    PhaseEvent.LOSS_IN_EXCESS: path_that_comes_to_lose,
    PhaseEvent.EXPERIMENT_ENDED: path_that_comes_to_lose,
}


def name_of(row: Row) -> str:
    return f"{row.event.name} in {row.state.name}"


@pytest.mark.parametrize("row", PHASES.rows, ids=name_of)
def test_the_controller_follows_every_row(row: Row, recorder: Recorder) -> None:
    controller, path = CongestionController(Random(1)), Path(200_000.0, 0.020)
    dies = row.event is PhaseEvent.PERSISTENT_CONGESTION
    was_late = row.event is PhaseEvent.LOSS_WAS_LATE
    story = STORIES.get(row.event, clean_path)
    if dies and row.state is Phase.EXPERIMENT:
        story = path_that_comes_to_lose
    for _ in story(path, controller):
        if dies and controller.phase is row.state:
            epoch = controller.epoch
            controller.on_persistent_congestion()
            assert controller.epoch == epoch + 1
            assert controller.bandwidth == 0.0
        if was_late and controller.phase is row.state:
            controller.on_late(path.now)
        if row[:3] in recorder.followed:
            break
    assert row[:3] in recorder.followed
    assert controller.phase is recorder.followed[-1][2]


@pytest.mark.parametrize("story", [clean_path, path_that_comes_to_lose, path_that_is_outgrown])
def test_each_transition_begins_an_epoch_where_the_last_one_ended(
    story: Story, recorder: Recorder
) -> None:
    controller, path = CongestionController(Random(1)), Path(200_000.0, 0.020)
    for _ in story(path, controller):
        assert controller.epoch == len(recorder.followed)
    states = [Phase.STARTUP, *(target for _, _, target in recorder.followed)]
    assert [state for state, _, _ in recorder.followed] == states[:-1]


def test_every_phase_can_be_entered_and_leads_back_to_cruise() -> None:
    targets = {row.target for row in PHASES.rows}
    assert targets == set(Phase)
    for phase in Phase:
        seen: set[Phase] = set()
        ahead = {phase}
        while ahead:
            seen |= ahead
            ahead = {
                row.target
                for row in PHASES.rows
                if row.state in ahead and row.event is not PhaseEvent.PERSISTENT_CONGESTION
            } - seen
        assert Phase.CRUISE in seen, phase


def test_every_event_can_happen_and_every_row_says_what_it_means() -> None:
    assert {row.event for row in PHASES.rows} == set(PhaseEvent)
    assert all(row.meaning for row in PHASES.rows)


def test_what_has_no_row_cannot_happen() -> None:
    with pytest.raises(ImpossibleTransition, match="PROBE_DUE in EXPERIMENT"):
        PHASES.follow(Phase.EXPERIMENT, PhaseEvent.PROBE_DUE)


def test_the_gains_are_those_of_the_draft() -> None:
    gains = {phase: phase.pacing_gain for phase in Phase}
    assert gains.pop(Phase.PROBE_RTT) == pytest.approx(1.0, abs=0.001)
    assert gains == {
        Phase.STARTUP: 2.77,
        Phase.DRAIN: 0.36,
        Phase.CRUISE: 1.0,
        Phase.PROBE_UP: 1.25,
        Phase.PROBE_DOWN: 0.75,
        Phase.EXPERIMENT: 0.5,
    }


def test_only_loss_that_ended_startup_and_was_just_seen_is_taken_back() -> None:
    controller, path = CongestionController(Random(1)), Path(200_000.0, 0.020)
    controller.on_late(path.now)
    assert controller.epoch == 0
    for _ in path_that_is_outgrown(path, controller):
        if controller.phase in (Phase.EXPERIMENT, Phase.PROBE_UP):
            break
    epoch = controller.epoch
    controller.on_late(path.now)
    assert controller.epoch == epoch
    assert controller.phase in (Phase.EXPERIMENT, Phase.PROBE_UP)
