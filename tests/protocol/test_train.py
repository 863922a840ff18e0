"""What a burst that comes apart tells: the rate between its first and its last acknowledgement."""

from __future__ import annotations

import pytest

from udpft.protocol.train import PacketTrain


def test_two_acknowledgements_of_one_burst_tell_the_rate() -> None:
    train = PacketTrain()
    train.acknowledged(5.0, 0.100, 21)
    assert train.rate == 0.0
    train.acknowledged(5.0, 0.103, 30)
    assert train.rate == pytest.approx(9 / 0.003)


def test_those_of_two_bursts_tell_nothing() -> None:
    train = PacketTrain()
    train.acknowledged(5.0, 0.100, 21)
    train.acknowledged(5.1, 0.110, 30)
    assert train.rate == 0.0


def test_two_at_one_moment_tell_nothing() -> None:
    train = PacketTrain()
    train.acknowledged(0.0, 0.100, 21)
    train.acknowledged(0.0, 0.100, 30)
    assert train.rate == 0.0
