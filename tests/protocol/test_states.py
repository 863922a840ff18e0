"""Transition tables lead where their rows say, and nowhere else."""

from __future__ import annotations

from enum import Enum, auto

import pytest

from udpft.protocol.states import ImpossibleTransition, TransitionTable


class Door(Enum):
    OPEN = auto()
    CLOSED = auto()


class Act(Enum):
    PUSH = auto()
    PULL = auto()


DOOR = TransitionTable(
    [Door.CLOSED],
    [
        (Door.CLOSED, Act.PULL, Door.OPEN, "somebody comes"),
        (Door.OPEN, Act.PUSH, Door.CLOSED, "somebody has gone"),
    ],
)


def test_an_event_leads_to_the_state_of_its_row() -> None:
    assert DOOR.follow(Door.CLOSED, Act.PULL) is Door.OPEN
    assert DOOR.follow(Door.OPEN, Act.PUSH) is Door.CLOSED


def test_what_has_no_row_cannot_happen() -> None:
    assert not DOOR.has(Door.CLOSED, Act.PUSH)
    with pytest.raises(ImpossibleTransition, match="PUSH in CLOSED"):
        DOOR.follow(Door.CLOSED, Act.PUSH)


def test_a_state_and_an_event_have_one_row() -> None:
    with pytest.raises(AssertionError):
        TransitionTable([Door.OPEN], [*DOOR.rows, (Door.OPEN, Act.PUSH, Door.OPEN, "it jams")])
