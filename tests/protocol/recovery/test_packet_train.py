"""Packet trains: the rate between the first and the last acknowledgement of a burst."""

from __future__ import annotations

from math import inf

import pytest

from udpft.protocol.params import INITIAL_WINDOW_PACKETS, MAX_SEND_PACKETS
from udpft.protocol.recovery.packet_train import PacketTrain


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


def test_the_middle_one_of_all_trains_counts() -> None:
    train = PacketTrain()
    delivered, rates = 0, []
    for number, took_s in enumerate((0.009, 0.0001, 0.003)):
        train.acknowledged(float(number), 0.100, delivered + 1)
        train.acknowledged(float(number), 0.100 + took_s, delivered + 10)
        delivered += 10
        rates.append(train.rate)
    assert rates == [pytest.approx(9 / took_s) for took_s in (0.009, 0.009, 0.003)]


def test_a_longer_train_counts_for_more() -> None:
    train = PacketTrain()
    delivered = 0
    for number, (packets, took_s) in enumerate(((9, 0.009), (9, 0.008), (40, 0.010), (9, 0.001))):
        train.acknowledged(float(number), 0.100, delivered + 1)
        train.acknowledged(float(number), 0.100 + took_s, delivered + 1 + packets)
        delivered += packets + 1
    assert train.rate == pytest.approx(40 / 0.010)


def test_a_train_is_as_long_as_a_millisecond_carries() -> None:
    assert PacketTrain().length == INITIAL_WINDOW_PACKETS
    for took_s, length in ((0.009, INITIAL_WINDOW_PACKETS), (0.0003, 30), (1e-6, MAX_SEND_PACKETS)):
        train = PacketTrain()
        train.acknowledged(5.0, 0.100, 1)
        train.acknowledged(5.0, 0.100 + took_s, 10)
        assert train.length == pytest.approx(length, abs=1)


def test_the_window_grows_with_what_is_delivered_up_to_what_the_path_holds() -> None:
    train = PacketTrain()
    assert train.window(0.1, waits=True) == 10
    train.delivered(10)
    blind = train.window(0.1, waits=True)
    assert blind == pytest.approx(27.7)
    assert train.window(0.1, waits=False) == 0
    train.acknowledged(5.0, 0.100, 11)
    train.acknowledged(5.0, 0.103, 20)
    train.delivered(20)
    assert train.window(0.1, waits=True) == pytest.approx(blind + 150)
    train.delivered(2000)
    assert train.window(0.1, waits=False) == pytest.approx(0.85 * train.rate * 0.1)


def test_a_window_leaves_in_haste_but_no_faster_than_the_path() -> None:
    train = PacketTrain()
    assert train.pace(10, 0.1) == pytest.approx(400)
    train.acknowledged(5.0, 0.100, 11)
    train.acknowledged(5.0, 0.103, 20)
    assert train.pace(50, 0.1) == pytest.approx(2000)
    assert train.pace(300, 0.1) == pytest.approx(train.rate) == pytest.approx(3000)


def test_the_first_window_may_leave_in_any_round_trip() -> None:
    train = PacketTrain()
    train.acknowledged(5.0, 0.1, 1)
    train.acknowledged(5.0, 1.1, 10)  # nine packets a second
    assert train.pace(train.window(0.1, waits=False), 0.1) == pytest.approx(277)


def test_not_much_more_than_trains_say_is_tried_until_it_was_delivered() -> None:
    train = PacketTrain()
    assert train.highest_rate(1e6) == inf
    train.acknowledged(5.0, 0.100, 11)
    train.acknowledged(5.0, 0.103, 20)
    assert train.highest_rate(train.rate) == pytest.approx(1.25 * train.rate)
    assert train.highest_rate(1.2 * train.rate) == inf
