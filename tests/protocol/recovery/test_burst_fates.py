"""Paths that drop whole bursts, or all but their first packet; and those that only look like it."""

from __future__ import annotations

from random import Random

import pytest

from udpft.protocol.recovery.burst_fates import BEHEADED_AFTER_WHOLE, BurstFates


class Path:
    """Bursts and single packets, numbered as a sender would."""

    def __init__(self) -> None:
        self.fates = BurstFates()
        self._next = 0

    def send(self, count: int, lost: int) -> None:
        self.fates.note(self._next, count, lost)
        self._next += count

    def vanish(self, count: int = 8) -> None:
        self.send(count, (1 << count) - 1)

    def single(self) -> None:
        self.send(1, 0)


def test_bursts_lost_whole_between_single_packets_vanish() -> None:
    path = Path()
    path.vanish()
    path.single()
    path.vanish()
    path.single()
    path.vanish()
    path.single()
    assert not path.fates.bursts_vanish
    path.vanish()
    path.single()
    assert path.fates.bursts_vanish
    assert not path.fates.only_first_passes


def test_a_path_that_was_cut_for_a_while_is_not_suspected() -> None:
    path = Path()
    path.single()
    for _ in range(20):
        path.vanish()
        path.send(1, 1)
    path.single()
    path.send(8, 0)
    for _ in range(20):
        path.vanish()
        path.send(1, 1)
    path.single()
    path.single()
    assert not path.fates.bursts_vanish


def test_any_part_of_a_burst_that_arrives_ends_the_suspicion() -> None:
    path = Path()
    for _ in range(10):
        path.single()
        path.vanish()
        path.single()
        path.send(8, 0b1111_0110)
    assert not path.fates.bursts_vanish


@pytest.mark.parametrize("count", [2, 3, 10])
def test_where_only_the_first_arrives_each_time_bursts_are_too_long(count: int) -> None:
    path = Path()
    for _ in range(9):
        path.send(count, (1 << count) - 2)
    assert path.fates.only_first_passes
    assert not path.fates.bursts_vanish


def test_four_bursts_in_a_row_and_eight_packets_are_no_chance() -> None:
    for count, bursts in ((10, 4), (3, 4), (2, 8)):
        path = Path()
        for _ in range(bursts - 1):
            path.send(count, (1 << count) - 2)
        assert not path.fates.only_first_passes
        path.send(count, (1 << count) - 2)
        assert path.fates.only_first_passes


def test_one_burst_that_passes_ends_the_count_of_beheaded_ones() -> None:
    path = Path()
    for _ in range(9):
        for _ in range(3):
            path.send(10, 0b11_1111_1110)
        path.send(10, 0)
    assert not path.fates.only_first_passes


def test_a_full_queue_that_has_room_for_one_of_two_is_no_policer() -> None:
    path = Path()
    path.send(10, 0)
    for _ in range(BEHEADED_AFTER_WHOLE - 1):
        path.send(2, 0b10)
    assert not path.fates.only_first_passes


def test_a_path_that_becomes_a_policers_is_found_in_the_end() -> None:
    path = Path()
    path.send(10, 0)
    for _ in range(BEHEADED_AFTER_WHOLE):
        path.send(2, 0b10)
    assert path.fates.only_first_passes


def test_chance_is_neither() -> None:
    random, path = Random(1), Path()
    for _ in range(2_000):
        count = random.choice([1, 4, 10])
        path.send(count, sum((random.random() < 0.5) << bit for bit in range(count)))
    assert not path.fates.bursts_vanish
    assert not path.fates.only_first_passes
