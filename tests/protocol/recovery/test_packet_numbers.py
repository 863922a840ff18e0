"""Packet numbers: which are skipped, and how often."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from udpft.protocol.params import INITIAL_WINDOW_PACKETS, MAX_PACKETS
from udpft.protocol.recovery.packet_numbers import FIRST_SKIP, MAX_SKIP_DISTANCE, PacketNumbers


def skips(seed: int, packets: int, burst: int = 8) -> list[int]:
    """Numbers skipped by the time so many packets have left, in bursts of one length."""
    numbers, skipped = PacketNumbers(Random(seed)), []
    while numbers.next < packets:
        if (number := numbers.skip()) is not None:
            skipped.append(number)
        numbers.next += burst
    assert numbers.skipped == len(skipped)
    return skipped


def test_numbers_begin_at_zero() -> None:
    numbers = PacketNumbers(Random(1))
    assert numbers.skip() is None
    assert numbers.next == 0


def test_which_number_is_skipped_cannot_be_known_beforehand() -> None:
    firsts = {skips(seed, 300, burst=1)[0] for seed in range(200)}
    assert len(firsts) > 70
    assert min(firsts) >= FIRST_SKIP // 2 > 3 * INITIAL_WINDOW_PACKETS
    assert max(firsts) < FIRST_SKIP // 2 + FIRST_SKIP


def test_numbers_are_skipped_one_at_a_time_and_between_bursts() -> None:
    for seed in range(20):
        numbers = PacketNumbers(Random(seed))
        for _ in range(500):
            before = numbers.next
            number = numbers.skip()
            assert number in (None, before)
            assert numbers.next == before + (number is not None)
            assert numbers.skip() is None
            numbers.next += 64


def test_the_more_has_left_the_rarer_a_skip_but_never_rarer_than_its_limit() -> None:
    for seed in range(20):
        at = skips(seed, 1_000_000, burst=64)
        assert len(at) <= 17  # a gigabyte and a half costs so few acknowledgements
        for before, after in pairwise(at):
            assert after - before < 1.5 * MAX_SKIP_DISTANCE + 64 + 1
            assert after < 8 * max(before, FIRST_SKIP)


def test_all_numbers_of_a_transfer_skip_few_enough_for_their_count_in_fin() -> None:
    assert MAX_PACKETS / MAX_SKIP_DISTANCE < 2**16
