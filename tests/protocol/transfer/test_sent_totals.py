"""Totals of a sender: each chunk counts once, and each repeat of one as resent."""

from __future__ import annotations

from tests.protocol.transfer.sending import Sending, to_the_end
from udpft.testing.network import random_bytes


def test_totals_count_repeats_and_the_bytes_of_all_packets() -> None:
    net = Sending(random_bytes(50_000))
    to_the_end(net, lost=frozenset({3, 7}))
    totals = net.sender.totals
    assert totals.packets == net.chunk_count + totals.resent
    assert totals.resent >= 2
    assert totals.n_bytes >= 50_000 + 24 * totals.packets
