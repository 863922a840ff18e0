"""One direction of a link in virtual time: rate, delay, queue, and what chance does."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bench.links.shape import LinkCounters, LinkShape, OneWayLink, exchange_words

PACKET = bytes(1250)  # 10,000 bits: 10 ms at 1 Mbit/s
EVER_S = 1e6


def numbered(n_packets: int, size: int = 100) -> list[bytes]:
    return [i.to_bytes(size, "little") for i in range(n_packets)]


def deliver(shape: LinkShape, packets: list[bytes], gap_s: float = 0.0) -> list[bytes]:
    """Offer the packets one gap apart; return all that arrive, in order."""
    link = OneWayLink(shape)
    for i, packet in enumerate(packets):
        link.offer(packet, i * gap_s)
    return link.take(EVER_S)


def arrivals_s(link: OneWayLink) -> list[float]:
    """Take all packets, one moment after the other; return those moments."""
    moments = []
    while (due_s := link.next_due_s()) < math.inf:
        moments += [due_s] * len(link.take(due_s))
    return moments


class TestTiming:
    def test_a_packet_takes_its_time_on_the_wire_and_then_the_delay(self) -> None:
        link = OneWayLink(LinkShape(rate_bit_per_s=1e6, delay_s=0.05))
        link.offer(PACKET, 7.0)
        assert link.next_due_s() == pytest.approx(7.06)
        assert link.take(7.0599) == []
        assert link.take(7.0601) == [PACKET]
        assert link.next_due_s() == math.inf

    def test_packets_offered_at_once_leave_one_after_the_other(self) -> None:
        link = OneWayLink(LinkShape(rate_bit_per_s=1e6))
        for _ in range(3):
            link.offer(PACKET, 0.0)
        assert arrivals_s(link) == pytest.approx([0.01, 0.02, 0.03])

    def test_an_idle_wire_saves_nothing_up(self) -> None:
        link = OneWayLink(LinkShape(rate_bit_per_s=1e6))
        for now_s in (0.0, 5.0, 5.0):
            link.offer(PACKET, now_s)
        assert arrivals_s(link) == pytest.approx([0.01, 5.01, 5.02])

    def test_hours_into_the_clock_a_full_link_still_carries_its_rate(self) -> None:
        link = OneWayLink(LinkShape(rate_bit_per_s=500e6, queue_bytes=100_000))
        n_packets, start_s = 100_000, 1e6
        for i in range(n_packets):  # twice what the link carries
            link.offer(PACKET, start_s + i * 10e-6)
        n_bits = 8 * sum(map(len, link.take(start_s + 1.0)))
        assert n_bits == pytest.approx(500e6, rel=0.001)

    def test_without_a_rate_only_the_delay_counts(self) -> None:
        link = OneWayLink(LinkShape(delay_s=0.02))
        for _ in range(1000):
            link.offer(PACKET, 1.0)
        assert link.next_due_s() == pytest.approx(1.02)
        assert len(link.take(1.0201)) == 1000


class TestQueue:
    def test_it_holds_its_bytes_and_drops_the_next_packet(self) -> None:
        link = OneWayLink(LinkShape(rate_bit_per_s=1e6, queue_bytes=10 * len(PACKET)))
        for _ in range(11):
            link.offer(PACKET, 0.0)
        assert link.counters.dropped == 1
        assert link.counters.queue_max_bytes == 10 * len(PACKET)
        assert len(link.take(EVER_S)) == 10

    def test_the_last_to_come_is_dropped(self) -> None:
        first, second, third = numbered(3)
        shape = LinkShape(rate_bit_per_s=1e6, queue_bytes=250)
        assert deliver(shape, [first, second, third]) == [first, second]

    def test_a_packet_that_has_left_makes_room(self) -> None:
        link = OneWayLink(LinkShape(rate_bit_per_s=1e6, queue_bytes=2 * len(PACKET)))
        for now_s in (0.0, 0.0, 0.009, 0.010):
            link.offer(PACKET, now_s)
        assert link.counters.dropped == 1
        assert arrivals_s(link) == pytest.approx([0.01, 0.02, 0.03])

    def test_a_small_packet_fits_where_a_large_one_does_not(self) -> None:
        link = OneWayLink(LinkShape(rate_bit_per_s=1e6, queue_bytes=2000))
        for size in (1250, 1250, 700):
            link.offer(bytes(size), 0.0)
        assert [len(p) for p in link.take(EVER_S)] == [1250, 700]

    def test_an_idle_wire_takes_any_packet(self) -> None:
        assert deliver(LinkShape(rate_bit_per_s=1e6, queue_bytes=0), [PACKET]) == [PACKET]

    def test_a_rate_the_wire_carries_never_fills_it(self) -> None:
        shape = LinkShape(rate_bit_per_s=1e6, queue_bytes=2 * len(PACKET))
        assert len(deliver(shape, [PACKET] * 1000, gap_s=0.01)) == 1000


class TestChance:
    def test_the_share_lost_is_the_share_asked_for(self) -> None:
        packets = numbered(5000)
        lost = [
            1 - len(deliver(LinkShape(loss=0.1, seed=seed), packets)) / len(packets)
            for seed in range(20)
        ]
        assert sum(lost) / len(lost) == pytest.approx(0.1, abs=0.004)  # 4 standard deviations
        assert len(set(lost)) > 1

    def test_the_same_seed_loses_the_same_packets(self) -> None:
        packets, shape = numbered(1000), LinkShape(loss=0.3, seed=5)
        assert deliver(shape, packets) == deliver(shape, packets)
        assert deliver(shape, packets) != deliver(replace(shape, seed=6), packets)

    @pytest.mark.parametrize(("loss", "n_left"), [(0.0, 100), (1.0, 0)])
    def test_none_and_all_are_exact(self, loss: float, n_left: int) -> None:
        assert len(deliver(LinkShape(loss=loss), numbered(100))) == n_left

    def test_a_lost_packet_has_cost_its_time_on_the_wire(self) -> None:
        link = OneWayLink(LinkShape(rate_bit_per_s=1e6, loss=1.0))
        link.offer(PACKET, 0.0)
        link.reshape(LinkShape(rate_bit_per_s=1e6))
        link.offer(PACKET, 0.0)
        assert arrivals_s(link) == pytest.approx([0.02])

    def test_a_reordered_packet_is_overtaken_and_arrives(self) -> None:
        packets = numbered(1000)
        shape = LinkShape(reorder=0.05, reorder_s=0.0035)
        arrived = deliver(shape, packets, gap_s=0.001)
        assert arrived != packets
        assert sorted(arrived) == sorted(packets)
        overtaken_by = [arrived.index(p) - i for i, p in enumerate(packets)]
        assert max(overtaken_by) == 3

    def test_a_duplicate_arrives_twice(self) -> None:
        first, second = numbered(2)
        arrived = deliver(LinkShape(duplicate=1.0), [first, second])
        assert arrived == [first, first, second, second]

    def test_every_packet_is_accounted_for(self) -> None:
        link = OneWayLink(
            LinkShape(1e6, 0.01, 5000, loss=0.1, reorder=0.1, duplicate=0.1, corrupt=0.1)
        )
        for i, packet in enumerate(numbered(2000)):
            link.offer(packet, i * 0.0005)  # 1.6 Mbit/s
        counters = link.counters
        link.take(EVER_S)
        assert min(counters.lost, counters.dropped, counters.reordered, counters.duplicated) > 0
        arrived = counters.delivered - counters.duplicated
        assert counters.offered == arrived + counters.lost + counters.dropped == 2000
        assert counters.delivered_bytes == 100 * counters.delivered


class TestCorruption:
    def checksum(self, packet: bytes) -> int:
        """RFC 1071, up to a packet that is all zero."""
        return sum(memoryview(packet).cast("H")) % 0xFFFF

    def test_it_changes_the_payload_and_no_checksum(self) -> None:
        packet = bytes(i % 251 for i in range(1500))
        for draw in (0.0, 0.4, 0.999):
            damaged = exchange_words(packet, draw)
            assert damaged != packet
            assert damaged[:80] == packet[:80]
            assert self.checksum(damaged) == self.checksum(packet)

    @pytest.mark.parametrize("packet", [b"", bytes(60), bytes(83), bytes(1500)])
    def test_without_two_different_words_there_is_nothing_to_exchange(self, packet: bytes) -> None:
        assert exchange_words(packet, 0.5) == packet

    def test_only_damaged_packets_count(self) -> None:
        link = OneWayLink(LinkShape(corrupt=1.0))
        link.offer(bytes(1500), 0.0)
        link.offer(bytes(i % 251 for i in range(1500)), 0.0)
        assert link.counters.corrupted == 1


class TestReshape:
    def test_what_is_under_way_keeps_its_time_and_its_order(self) -> None:
        first, second = numbered(2)
        link = OneWayLink(LinkShape(delay_s=0.1))
        link.offer(first, 0.0)
        link.reshape(LinkShape(delay_s=0.01))
        link.offer(second, 0.001)
        assert link.next_due_s() == pytest.approx(0.1)
        assert link.take(0.1001) == [first, second]

    def test_from_a_full_queue_to_no_limit(self) -> None:
        link = OneWayLink(LinkShape(rate_bit_per_s=1e3))
        link.offer(PACKET, 0.0)
        link.reshape(LinkShape())
        link.offer(PACKET, 0.5)
        assert len(arrivals_s(link)) == 2


class TestCounters:
    def test_a_packet_taken_too_late_is_told(self) -> None:
        link = OneWayLink(LinkShape(delay_s=0.01))
        link.offer(PACKET, 0.0)
        link.offer(PACKET, 0.006)
        link.take(0.0165)
        assert link.counters.late == 1
        assert link.counters.late_max_s == pytest.approx(0.0065)

    def test_a_difference_keeps_maxima(self) -> None:
        earlier = LinkCounters(offered=5, lost=1, queue_max_bytes=100)
        later = LinkCounters(offered=9, lost=4, queue_max_bytes=300)
        assert later.since(earlier) == LinkCounters(offered=4, lost=3, queue_max_bytes=300)


@pytest.mark.parametrize(
    "wrong",
    [{"rate_bit_per_s": 0}, {"delay_s": -1.0}, {"loss": 1.1}, {"duplicate": -0.1}, {"loss": 5}],
)
def test_impossible_shapes_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LinkShape(**wrong)  # type: ignore[arg-type]
