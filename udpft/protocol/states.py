"""Transition tables: the states of an object, and the events that lead from one to another.

An object whose behaviour changes over time has an enum of its states, an enum of what can happen
to it, and one `TransitionTable`, which it executes: `TransitionTable.follow` is the only way from
a state to the next. What is not in the table cannot happen; that it does is a bug, and raises.
The tables in docs/architecture.md are made of these. (h11's ``_state.py`` has the same idea.)
"""

from collections.abc import Iterable
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


class ImpossibleTransition(Exception):
    """An event has come that the state's rows do not have. A bug, never a peer's doing."""


class Transition(NamedTuple, Generic[S, E]):
    """One row of a table. ``meaning``: what has happened, in words, for the documents."""

    state: S
    event: E
    target: S
    meaning: str = ""


class TransitionTable(Generic[S, E]):
    """All transitions of one kind of object.

    Args:
        initial: the states in which one may begin.
        rows: (state, event, next state, meaning); of a state and an event there is one at most.
    """

    __slots__ = ("_targets", "initial", "rows")

    def __init__(self, initial: Iterable[S], rows: Iterable[tuple[S, E, S, str]]) -> None:
        self.initial = tuple(initial)
        self.rows = tuple(Transition(*row) for row in rows)
        self._targets = {(row.state, row.event): row.target for row in self.rows}
        assert len(self._targets) == len(self.rows), "two rows of one state and one event"

    def follow(self, state: S, event: E) -> S:
        """The state that an event leads to.

        Raises:
            ImpossibleTransition: there is no such row.
        """
        try:
            return self._targets[state, event]
        except KeyError:
            raise ImpossibleTransition(f"{event.name} in {state.name}") from None

    def has(self, state: S, event: E) -> bool:
        """Whether an event can happen in a state."""
        return (state, event) in self._targets
