"""Transition tables as a whole: every row can be walked, and nothing else ever happens."""

from __future__ import annotations

from collections import defaultdict, deque
from enum import Enum
from random import Random
from typing import Any

import pytest

from tests.protocol.machines import MACHINES
from udpft.errors import PartialTransfer
from udpft.protocol.contract import Completed
from udpft.protocol.states import ImpossibleTransition, Transition, TransitionTable
from udpft.testing.network import Shape, SimNet, random_bytes

Table = TransitionTable[Any, Any]
ROWS = [(name, row) for name, table in MACHINES.items() for row in table.rows]
TRANSFERS = 300

LEAST_SEEN = 1 / 4
"""Share of its rows that each class follows in them, at least: most of the others take faults."""


def ways_to(table: Table, state: Enum) -> tuple[Enum, list[Enum]]:
    """A state in which the object may begin, and events that lead from there to another one."""
    waiting = deque((begin, begin, list[Enum]()) for begin in table.initial)
    known = set(table.initial)
    while waiting:
        begin, at, events = waiting.popleft()
        if at is state:
            return begin, events
        for row in table.rows:
            if row.state is at and row.target not in known:
                known.add(row.target)
                waiting.append((begin, row.target, [*events, row.event]))
    raise AssertionError(f"nothing leads to {state}")


@pytest.mark.parametrize(
    ("name", "row"), ROWS, ids=lambda one: one if isinstance(one, str) else one.event.name
)
def test_every_row_can_be_walked_from_a_beginning(name: str, row: Transition[Any, Any]) -> None:
    table = MACHINES[name]
    state, events = ways_to(table, row.state)
    for event in [*events, row.event]:
        state = table.follow(state, event)
    assert state is row.target
    assert row.meaning


@pytest.mark.parametrize("name", MACHINES)
def test_what_has_no_row_raises(name: str) -> None:
    table = MACHINES[name]
    states, events = (type(table.rows[0].state), type(table.rows[0].event))
    listed = {(row.state, row.event) for row in table.rows}
    missing = [(s, e) for s in states for e in events if (s, e) not in listed]
    assert missing
    for state, event in missing:
        with pytest.raises(ImpossibleTransition):
            table.follow(state, event)


@pytest.mark.parametrize("name", MACHINES)
def test_every_state_and_every_event_has_a_row(name: str) -> None:
    table = MACHINES[name]
    reached = {*table.initial, *(row.target for row in table.rows)}
    assert reached == set(type(table.rows[0].state))
    assert {row.event for row in table.rows} == set(type(table.rows[0].event))


# ----------------------------------------------------------------------- in simulated transfers


def bad_path(random: Random) -> Shape:
    """A path that loses, repeats, damages and delays a little, and is dead for a while or not."""
    begins, lasts_s = random.uniform(0.0, 0.3), random.choice((0.0, 0.0, 0.0, 3.0))
    return Shape(
        delay_s=random.uniform(0.001, 0.03),
        rate_bytes_per_s=random.choice((2e5, 5e6)),
        queue_bytes=30_000,
        loss=random.choice((0.0, random.uniform(0.0, 0.2))),
        duplicate=random.choice((0.0, 0.1)),
        reorder=random.choice((0.0, 0.1)),
        corrupt=random.choice((0.0, 0.05)),
        dead=lambda now: begins < now < begins + lasts_s,
    )


def play(seed: int) -> None:
    """One transfer, up or down; the server may be killed and started again under way."""
    random = Random(seed)
    content = random_bytes(random.choice((0, 5, 60_000, 300_000)), seed)
    net = SimNet({"file": content}, seed=seed, down=bad_path(random), up=bad_path(random))
    upload = random.random() < 0.4
    client = net.put("file", content) if upload else net.get("file")
    event = random.choice(("", "", "restart", "stop"))
    if event:
        net.run_to(random.uniform(0.02, 0.4))
        if event == "restart":
            net.restart_server()
        else:
            net.listener.abort_all(PartialTransfer("the server is stopping"))
    net.run()
    if isinstance(client.outcome, Completed) and not upload:
        assert client.content == content


@pytest.fixture(scope="module")
def followed() -> dict[int, set[tuple[Enum, Enum]]]:
    """The rows that were followed in all of these transfers, by the table's id."""
    seen: dict[int, set[tuple[Enum, Enum]]] = defaultdict(set)
    follow = TransitionTable.follow

    def recording(table: Table, state: Any, event: Any) -> Any:
        target = follow(table, state, event)
        seen[id(table)].add((state, event))
        return target

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransitionTable, "follow", recording)
        for seed in range(TRANSFERS):
            play(seed)
    return seen


@pytest.mark.parametrize("name", MACHINES)
def test_no_other_transition_happens_in_300_transfers(
    name: str, followed: dict[int, set[tuple[Enum, Enum]]]
) -> None:
    table = MACHINES[name]
    rows = {(row.state, row.event) for row in table.rows}
    seen = followed[id(table)]
    assert seen <= rows
    assert len(seen) >= LEAST_SEEN * len(rows), f"not seen: {rows - seen}"
