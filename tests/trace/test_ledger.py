"""Ledger of DATA packets: what was lost, as one end can tell."""

from __future__ import annotations

from udpft.trace.ledger import Ledger
from udpft.trace.packets import Run


def test_a_sender_takes_for_lost_what_three_later_packets_have_overtaken() -> None:
    ledger = Ledger()
    ledger.note_sent([Run(0, 0, 10)])
    assert ledger.note_ack(((0, 4),)) == []
    assert ledger.note_ack(((5, 7), (0, 4))) == []
    assert ledger.note_ack(((5, 8), (0, 4))) == [Run(4, 4, 1)]
    assert ledger.note_ack(((5, 10), (0, 4))) == []
    assert (ledger.packets, ledger.lost, ledger.in_flight) == (10, 1, 0)


def test_it_knows_the_chunks_of_lost_packets_and_leaves_skipped_numbers_out() -> None:
    ledger = Ledger()
    ledger.note_sent([Run(0, 100, 3), Run(4, 7, 1), Run(5, 9, 5)])
    assert ledger.note_ack(((9, 10), (0, 1))) == [Run(1, 101, 2), Run(4, 7, 1), Run(5, 9, 2)]
    assert ledger.close() == [Run(7, 11, 2)]


def test_a_receiver_takes_for_lost_what_has_not_come_before_three_others() -> None:
    ledger = Ledger()
    assert ledger.note_received([Run(0, 0, 2)]) == []
    assert ledger.note_received([Run(3, 3, 2)]) == []
    assert ledger.note_received([Run(5, 5, 1)]) == [Run(2, -1, 1)]
    assert ledger.sends is False
    assert ledger.close() == []


def test_a_packet_that_is_late_in_time_is_not_lost() -> None:
    ledger = Ledger()
    ledger.note_received([Run(0, 0, 1)])
    ledger.note_received([Run(2, 2, 2)])
    assert ledger.note_received([Run(1, 1, 1)]) == []
    assert ledger.note_received([Run(4, 4, 5)]) == []


def test_the_end_shows_what_was_lost_last() -> None:
    ledger = Ledger()
    ledger.note_received([Run(0, 0, 1)])
    ledger.note_received([Run(2, 2, 1)])
    assert ledger.close() == [Run(1, -1, 1)]
