"""Timers of a sender: its patience."""

from __future__ import annotations

from math import inf

from udpft.protocol.transfer.sender_timers import HASHING_PATIENCE_S, SenderTimers
from udpft.protocol.transfer.work_budget import BURSTS_A_TURN, WorkBudget


def test_patience_counts_from_the_last_progress() -> None:
    timers = SenderTimers(now=5.0, idle_timeout_s=30.0)
    assert timers.patience_ends_at == 35.0
    timers.heard_at = 20.0  # an ACK with nothing new in it
    assert timers.patience_ends_at == 35.0
    timers.progress_at = 20.0
    assert timers.patience_ends_at == 50.0


def test_nothing_is_due_before_anything_is_sent() -> None:
    timers = SenderTimers(now=5.0, idle_timeout_s=30.0)
    assert timers.loss_at == inf
    assert (timers.ptos, timers.probes) == (0, 0)


def test_a_disk_is_blamed_before_the_peer_is() -> None:
    timers = SenderTimers(10.0, 8.0)
    assert timers.patience_ends_at == 18.0
    assert timers.disk_patience_ends_at == 16.0
    timers.progress_at = 20.0
    assert timers.patience_ends_at == 28.0


def test_hashing_goes_on_at_once_when_the_peer_speaks() -> None:
    timers = SenderTimers(now=5.0, idle_timeout_s=30.0)
    timers.hash_at = inf
    timers.note_peer(8.0)
    assert (timers.spoken_at, timers.hash_at) == (8.0, 8.0)
    timers.hash_at = 7.0
    timers.note_peer(9.0)
    assert timers.hash_at == 7.0


def test_a_server_hashes_for_a_peer_that_speaks_as_long_as_its_turn_allows() -> None:
    timers, budget = SenderTimers(now=5.0, idle_timeout_s=30.0), WorkBudget()
    work = budget.share_of(None)
    assert timers.bursts_to_hash(work, 5.0) == BURSTS_A_TURN
    budget.refill()
    assert timers.bursts_to_hash(work, 5.0) == 0  # the others have their turn first
    assert timers.bursts_to_hash(work, 5.1) == BURSTS_A_TURN
    assert timers.bursts_to_hash(work, 5.2) == 0
    budget.refill()
    assert timers.bursts_to_hash(work, 5.0 + HASHING_PATIENCE_S) == 0
    timers.note_peer(20.0)
    assert timers.bursts_to_hash(work, 20.0) == BURSTS_A_TURN


def test_it_waits_for_itself_while_its_disk_or_its_own_hashing_keeps_it() -> None:
    timers = SenderTimers(now=5.0, idle_timeout_s=30.0)
    for source_at, hash_at, hashes, waits in (
        (0.0, 6.0, False, False),
        (0.0, 6.0, True, True),
        (0.0, inf, True, False),  # for the peer to speak
        (6.0, inf, False, True),
    ):
        timers.source_at, timers.hash_at = source_at, hash_at
        assert timers.waits_for_itself(hashes=hashes) is waits
