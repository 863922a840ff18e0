"""Links and inboxes of the simulated network: rate, queue, faults, and batches that are read."""

from __future__ import annotations

from math import inf
from random import Random

import pytest

from udpft.protocol.params import MAX_BATCH_BYTES
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import Inbox, Link, Shape

DATAGRAM = bytes([PacketType.DATA]) + bytes(999)
ON_THE_LINK = len(DATAGRAM) + 28


def link(**shape: object) -> Link:
    return Link(Shape(**shape), Random(1))  # type: ignore[arg-type]


def test_a_datagram_arrives_after_its_time_at_the_rate_and_the_delay() -> None:
    path = link(delay_s=0.5, rate_bytes_per_s=ON_THE_LINK)
    assert path.carry(DATAGRAM, 2.0) == [(3.5, DATAGRAM)]
    assert path.carry(DATAGRAM, 2.0) == [(4.5, DATAGRAM)]  # it waits for the one before
    assert path.longest_wait_s == 1.0


def test_a_full_queue_drops_what_comes_next_until_it_has_drained() -> None:
    path = link(delay_s=0.0, rate_bytes_per_s=ON_THE_LINK, queue_bytes=ON_THE_LINK)
    arrivals = [len(path.carry(DATAGRAM, 0.0)) for _ in range(3)]
    assert (arrivals, path.overflowed, path.lost) == ([1, 1, 0], 1, 0)
    assert path.carry(DATAGRAM, 1.0) == [(3.0, DATAGRAM)]


def test_datagrams_are_lost_by_place_by_size_and_on_a_dead_link() -> None:
    path = link(lose={1}, mtu_payload=len(DATAGRAM), dead=lambda now: now >= 9.0)
    arrivals = [
        len(path.carry(datagram, now))
        for datagram, now in [(DATAGRAM, 0.0), (DATAGRAM, 0.0), (DATAGRAM + b"x", 0.0)]
    ]
    assert (arrivals, path.carry(DATAGRAM, 9.0), path.lost) == ([1, 0, 0], [], 3)


def test_what_enters_is_counted_whether_it_arrives_or_not() -> None:
    path = link(loss=1.0)
    fin = bytes([PacketType.FIN]) + bytes(9)
    for datagram in (DATAGRAM, fin, DATAGRAM):
        assert path.carry(datagram, 0.0) == []
    assert path.packets(PacketType.DATA) == [DATAGRAM, DATAGRAM]
    assert path.packet_counts() == {PacketType.DATA: 2, PacketType.FIN: 1}
    assert path.sent_bytes == 2 * len(DATAGRAM) + len(fin)


def test_a_corrupted_datagram_differs_in_one_byte_and_a_duplicate_in_none() -> None:
    path = link(corrupt=1.0, duplicate=1.0)
    (_, first), (_, second) = path.carry(DATAGRAM, 0.0)
    assert first == second
    assert sum(a != b for a, b in zip(first, DATAGRAM, strict=True)) == path.corrupted == 1


@pytest.mark.parametrize("shape", [{"jitter_s": 0.5}, {"reorder": 1.0, "reorder_s": 0.5}])
def test_late_datagrams_are_late_by_no_more_than_they_may(shape: dict[str, float]) -> None:
    path = link(delay_s=1.0, **shape)
    times = [path.carry(DATAGRAM, 0.0)[0][0] for _ in range(50)]
    assert 1.0 <= min(times) < 1.1 < 1.4 < max(times) <= 1.5


def test_a_seed_replays_exactly() -> None:
    shape = {"loss": 0.3, "duplicate": 0.3, "corrupt": 0.3, "jitter_s": 0.3, "reorder": 0.3}
    first, second = link(**shape), link(**shape)
    for _ in range(50):
        assert first.carry(DATAGRAM, 0.0) == second.carry(DATAGRAM, 0.0)


def test_an_inbox_drops_what_it_has_no_room_for() -> None:
    inbox = Inbox(capacity_bytes=10)
    for datagram in (b"123456", b"12345", b"1234"):
        inbox.put("a", datagram)
    assert inbox.state() == (10, 1)
    assert inbox.take(0.0) == ("a", [b"123456", b"1234"])
    inbox.put("a", b"1234567890")  # there is room again
    assert inbox.dropped == 1


def test_a_batch_is_of_one_source_and_one_size_and_ends_with_a_shorter_one() -> None:
    inbox = Inbox()
    for source, datagram in [
        ("a", b"11"),
        ("a", b"22"),
        ("a", b"3"),
        ("a", b"4"),
        ("b", b"5"),
        ("b", b"66"),
    ]:
        inbox.put(source, datagram)
    batches = [inbox.take(0.0) for _ in range(4)]
    assert batches == [("a", [b"11", b"22", b"3"]), ("a", [b"4"]), ("b", [b"5"]), ("b", [b"66"])]
    assert inbox.ready_at() == inf


def test_a_batch_is_no_larger_than_a_driver_receives() -> None:
    inbox = Inbox()
    for _ in range(MAX_BATCH_BYTES // 1000 + 1):
        inbox.put("a", bytes(1000))
    assert len(inbox.take(0.0)[1]) == MAX_BATCH_BYTES // 1000
    assert len(inbox.take(0.0)[1]) == 1


def test_a_slow_reader_takes_its_time_for_each_batch() -> None:
    inbox = Inbox(read_bytes_per_s=100.0)
    inbox.put("a", bytes(50))
    assert inbox.ready_at() == 0.0
    inbox.take(7.0)
    inbox.put("a", bytes(50))
    assert inbox.ready_at() == 7.5
