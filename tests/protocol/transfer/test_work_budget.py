"""Budget of hashing in one turn."""

from __future__ import annotations

from udpft.protocol.transfer.work_budget import BURSTS_A_TURN, WorkBudget


def test_the_first_one_takes_it_all_until_the_next_turn() -> None:
    work = WorkBudget()
    assert [work.take(), work.take()] == [BURSTS_A_TURN, 0]
    work.refill()
    work.refill()
    assert [work.take(), work.take()] == [BURSTS_A_TURN, 0]
