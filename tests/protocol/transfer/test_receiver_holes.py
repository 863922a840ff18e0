"""Receiver of chunks with ever more holes between them: what it follows, and for how long."""

from __future__ import annotations

import pytest

from tests.protocol.transfer.test_receiver import Receiving
from udpft.protocol.contract import Verified
from udpft.protocol.wire.error import ErrorCode, decode_error_untrusted
from udpft.protocol.wire.packet import PacketType


def test_holes_are_followed_up_to_a_number_and_the_first_is_filled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("udpft.protocol.transfer.receiver.MAX_CHUNK_RANGES", 3)
    net = Receiving()
    for packet, chunk in enumerate((1, 3, 5, 7, 9)):
        net.feed(packet, [chunk], 0.0)
    assert list(net.receiver.chunks) == [(1, 2), (3, 4), (5, 6)]
    ack = net.ack(0.0)
    assert ack
    assert ack.ranges == [(0, 3)], "what was dropped was acknowledged"
    net.feed(5, range(3), 0.1)
    assert list(net.receiver.chunks) == [(0, 4), (5, 6)]
    net.feed(8, range(4, 11), 0.2)
    net.receive(net.fin(), 0.2)
    assert isinstance(net.receiver.poll_event(), Verified)


def test_who_sends_on_and_never_what_is_missing_breaks_the_protocol(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("udpft.protocol.transfer.receiver.MAX_CHUNK_RANGES", 2)
    monkeypatch.setattr("udpft.protocol.transfer.receiver.MAX_BEYOND", 3)
    net = Receiving()
    for packet, chunk in enumerate((1, 3, 5, 7, 9)):
        net.feed(packet, [chunk], 0.0)
    net.feed(5, [0], 0.0)  # what was missing: all is well
    for packet, chunk in enumerate((5, 7, 9), 6):
        net.feed(packet, [chunk], 0.0)
    assert not net.receiver.ended
    net.feed(9, [5], 0.0)
    assert net.receiver.ended
    [error] = [
        decode_error_untrusted(packet)
        for packet in net.sent(0.0)
        if packet.type is PacketType.ERROR
    ][:1]
    assert error.code == ErrorCode.VIOLATION


def test_one_batch_has_so_many_bursts_taken_in_and_the_rest_is_as_if_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("udpft.protocol.transfer.receiver.MAX_BURSTS_A_BATCH", 2)
    net = Receiving()
    net.feed(0, [0, 2, 4, 6], 0.0)
    assert list(net.receiver.chunks) == [(0, 1), (2, 3)]
