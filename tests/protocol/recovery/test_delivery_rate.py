"""Delivery rate samples: packets over the longer of the times of sending and acknowledging."""

from __future__ import annotations

import pytest

from udpft.protocol.recovery.delivery_rate import DeliveryRate, FlightState


def test_a_steady_flow_is_measured_at_its_rate() -> None:
    delivery = DeliveryRate(0.0)
    for turn in range(1, 20):  # 10 packets each 10 ms, acknowledged 20 ms later
        flight = delivery.state
        rate = delivery.sample(10, turn * 0.01, flight, 0.005, turn * 0.01 + 0.02).packets_per_s
        if turn > 1:
            assert rate == pytest.approx(1_000)
    assert delivery.delivered == 190


def test_acknowledgements_that_come_together_are_no_faster_path() -> None:
    delivery = DeliveryRate(0.0)
    first = delivery.state
    delivery.sample(10, 0.0, first, 0.0, 0.1)
    assert delivery.sample(10, 0.1, first, 0.0, 0.1).packets_per_s == pytest.approx(20 / 0.1)


def test_a_burst_that_left_at_once_is_as_fast_as_it_was_acknowledged() -> None:
    delivery = DeliveryRate(0.0)
    assert delivery.sample(10, 0.0, delivery.state, 0.0, 0.05).packets_per_s == pytest.approx(200)


def test_a_sample_over_less_than_a_round_trip_is_no_good_and_is_counted_all_the_same() -> None:
    delivery = DeliveryRate(0.0)
    assert delivery.sample(10, 0.001, delivery.state, 0.01, 0.002).packets_per_s == 0.0
    delivery.begin_flight(0.002)
    assert (
        delivery.sample(10, 0.002, delivery.state, 0.0, 0.002).packets_per_s == 0.0
    )  # no time at all
    assert delivery.delivered == 20


def test_a_pause_is_not_part_of_the_next_flight() -> None:
    delivery = DeliveryRate(0.0)
    delivery.sample(10, 0.0, delivery.state, 0.0, 0.1)
    delivery.begin_flight(60.0)
    assert delivery.state == FlightState(10, 60.0, 60.0)
    assert delivery.sample(5, 60.0, delivery.state, 0.0, 60.05).packets_per_s == pytest.approx(100)
