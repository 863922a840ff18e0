"""Budget of hashing in one turn."""

from __future__ import annotations

from udpft.protocol.transfer.work_budget import BURSTS_A_TURN, WorkBudget


def test_the_first_one_takes_it_all_until_the_next_turn() -> None:
    work = WorkBudget()
    assert [work.take(), work.take()] == [BURSTS_A_TURN, 0]
    work.refill()
    work.refill()
    assert [work.take(), work.take()] == [BURSTS_A_TURN, 0]


def test_hosts_take_turns_however_many_transfers_each_has() -> None:
    work = WorkBudget()
    stranger, other = work.share_of("stranger"), work.share_of("other")
    taken = {"stranger": 0, "other": 0}
    for _ in range(10):
        for _ in range(500):
            taken["stranger"] += stranger.take()
        taken["other"] += other.take()
        work.refill()
    assert taken == {"stranger": 5 * BURSTS_A_TURN, "other": 5 * BURSTS_A_TURN}


def test_who_waits_and_does_not_come_back_holds_nobody_up() -> None:
    work = WorkBudget()
    assert [work.share_of(n).take() for n in range(4)] == [BURSTS_A_TURN, 0, 0, 0]
    taken = 0
    for _ in range(4):
        work.refill()
        taken += work.share_of("here").take()
    assert taken == BURSTS_A_TURN  # once the three that have left lost their places
    assert not work._waiting
