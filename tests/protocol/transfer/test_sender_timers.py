"""Timers of a sender: its patience."""

from __future__ import annotations

from math import inf

from udpft.protocol.transfer.sender_timers import SenderTimers


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
