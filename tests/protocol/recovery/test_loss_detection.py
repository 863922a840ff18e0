"""Loss detection by the rule of RFC 9002, 6.1, against a model that keeps each packet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.protocol.params import PACKET_THRESHOLD
from udpft.protocol.recovery.delivery_rate import FlightState
from udpft.protocol.recovery.loss_detection import (
    BREAKER_S,
    CircuitBreaker,
    SentBurst,
    SentHistory,
    Verdicts,
)

LOSS_DELAY_S = 0.1


def burst(first: int, chunks: Sequence[int], sent_at: float, epoch: int = 0) -> SentBurst:
    """Packets from ``first`` on that left together, all of them outstanding."""
    stop = first + len(chunks)
    return SentBurst(
        first=first,
        stop=stop,
        chunks=chunks,
        sent_at=sent_at,
        flight=FlightState(0, 0.0, 0.0),
        epoch=epoch,
        outstanding=(1 << len(chunks)) - 1,
    )


def history_of(*bursts: SentBurst) -> SentHistory:
    history = SentHistory()
    for one in bursts:
        history.add(one)
    return history


def chunks_in(runs: list[tuple[int, int]]) -> list[int]:
    return sorted(chunk for start, stop in runs for chunk in range(start, stop))


# ---------------------------------------------------------------------------------- the model


@dataclass
class SentPacket:
    chunk: int
    sent_at: float
    state: str = "outstanding"  # then "acked", or "lost", or "late": lost and acked after all


class Model:
    """Each packet by itself, and the rule as RFC 9002 writes it."""

    def __init__(self) -> None:
        self.packets: list[SentPacket] = []
        self.largest_acked = -1

    def acknowledge(self, ranges: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
        """The packets newly acknowledged, and the chunks of those that had been taken for lost."""
        named = sorted(number for start, stop in ranges for number in range(start, stop))
        acked = [number for number in named if self.packets[number].state == "outstanding"]
        late = [number for number in named if self.packets[number].state == "lost"]
        for number in acked:
            self.packets[number].state = "acked"
        for number in late:
            self.packets[number].state = "late"
        self.largest_acked = max(self.largest_acked, named[-1])
        return acked, sorted(self.packets[number].chunk for number in late)

    def overtaken_since(self, ranges: list[tuple[int, int]]) -> float:
        """When the first packet left of those that an acknowledgement shows to be overtaken."""
        news = {
            number: self.packets[number]
            for start, stop in ranges
            for number in range(start, stop)
            if self.packets[number].state in ("outstanding", "lost")
        }
        bounds = {
            "outstanding": self.largest_acked - PACKET_THRESHOLD,
            "lost": self.largest_acked - 1,
        }
        return min((p.sent_at for n, p in news.items() if n <= bounds[p.state]), default=inf)

    def judge(self, now: float) -> list[int]:
        """The chunks of packets that are lost by now."""
        lost = []
        for number, packet in enumerate(self.packets[: self.largest_acked + 1]):
            overdue = number <= self.largest_acked - PACKET_THRESHOLD
            if packet.state == "outstanding" and (overdue or packet.sent_at + LOSS_DELAY_S <= now):
                packet.state = "lost"
                lost.append(packet.chunk)
        return sorted(lost)

    @property
    def in_flight(self) -> int:
        return sum(packet.state == "outstanding" for packet in self.packets)


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, object]]:
    """Bursts, acknowledgements of what was sent, and time passing, in any order."""
    kinds = draw(st.lists(st.sampled_from(["send", "send", "ack", "wait"]), max_size=30))
    result: list[tuple[str, object]] = []
    sent = 0
    for kind in kinds:
        if kind == "send":
            count = draw(st.integers(1, 12))
            first = draw(st.integers(0, 1_000))
            in_step = draw(st.booleans())
            chunks = (
                range(first, first + count) if in_step else [first + 3 * i for i in range(count)]
            )
            result.append(("send", chunks))
            sent += count
        elif kind == "ack" and sent:
            bounds = draw(st.sets(st.integers(0, sent), min_size=2, max_size=8))
            ordered = sorted(bounds)[: len(bounds) // 2 * 2]
            pairs = list(zip(ordered[::2], ordered[1::2], strict=True))
            result.append(("ack", pairs[::-1]))
        elif kind == "wait":
            result.append(("wait", draw(st.sampled_from([0.001, 0.03, 0.2]))))
    return result


@given(steps())
def test_every_verdict_is_that_of_the_rule(story: list[tuple[str, object]]) -> None:
    history, model, now, sent = SentHistory(), Model(), 0.0, 0
    for kind, what in story:
        if kind == "send":
            assert isinstance(what, (range, list))
            history.add(burst(sent, what, now))
            model.packets += [SentPacket(chunk, now) for chunk in what]
            sent += len(what)
            continue
        if kind == "wait":
            assert isinstance(what, float)
            now += what
            verdicts = Verdicts()
        else:
            assert isinstance(what, list)
            verdicts = history.acknowledge(what)
            overtaken = model.overtaken_since(what)
            acked, late_chunks = model.acknowledge(what)
            assert verdicts.overtaken_since == overtaken
            assert verdicts.late == len(late_chunks)
            assert verdicts.acked == len(acked)
            assert chunks_in(verdicts.late_chunks) == late_chunks
            assert verdicts.largest_is_new == (what[0][1] - 1 in acked)
            if acked:
                assert verdicts.newest is not None
                assert verdicts.newest.first <= acked[-1] < verdicts.newest.stop
        look_again = history.judge(now, LOSS_DELAY_S, verdicts)
        assert chunks_in(verdicts.lost_chunks) == model.judge(now)
        assert history.packets_in_flight == model.in_flight
        waiting = [p for p in model.packets[: model.largest_acked + 1] if p.state == "outstanding"]
        if waiting:
            assert look_again == waiting[0].sent_at + LOSS_DELAY_S
        else:
            assert look_again is None or look_again > now
        totals = [sum(counts) for counts in zip(*verdicts.tally.values(), strict=True)]
        late = verdicts.late  # it had been counted as lost
        assert (totals or [0, 0]) == [verdicts.acked + late, verdicts.lost - late]


# --------------------------------------------------------------------------------- by example


def test_three_packets_after_it_make_a_packet_lost() -> None:
    history = history_of(burst(0, range(10), sent_at=0.0))
    verdicts = history.acknowledge([(3, 4)])
    history.judge(0.001, LOSS_DELAY_S, verdicts)
    assert verdicts.lost_chunks == [(0, 1)]
    assert history.packets_in_flight == 8


def test_time_makes_a_packet_lost_that_few_packets_followed() -> None:
    history = history_of(burst(0, range(5, 8), sent_at=0.0))
    verdicts = history.acknowledge([(1, 2)])
    assert history.judge(0.05, LOSS_DELAY_S, verdicts) == LOSS_DELAY_S
    assert not verdicts.lost_chunks
    later = Verdicts()
    assert history.judge(LOSS_DELAY_S, LOSS_DELAY_S, later) is None
    assert later.lost_chunks == [(5, 6)], "the last packet is after all that was acknowledged"


def test_without_an_acknowledgement_nothing_is_ever_lost() -> None:
    history = history_of(burst(0, range(5), sent_at=0.0))
    verdicts = Verdicts()
    assert history.judge(1e6, LOSS_DELAY_S, verdicts) is None
    assert not verdicts.lost


def test_a_packet_acknowledged_after_all_was_late_and_is_counted_so() -> None:
    history = history_of(burst(0, range(50), sent_at=0.5))
    history.judge(0.501, LOSS_DELAY_S, history.acknowledge([(20, 30)]))
    late = history.acknowledge([(2, 3)])
    assert late.late_chunks == [(2, 3)]
    assert (late.acked, late.late) == (0, 1)
    assert late.tally == {0: [1, -1]}
    assert late.overtaken_since == 0.5
    assert late.sent_sum_s == 0.5


def test_where_overtakers_do_not_count_only_time_makes_a_packet_lost() -> None:
    history = history_of(burst(0, range(5_000), sent_at=0.0))
    history.counts_overtakers = False
    verdicts = history.acknowledge([(4_999, 5_000)])
    assert history.judge(0.001, LOSS_DELAY_S, verdicts) == LOSS_DELAY_S
    assert verdicts.lost == 0
    history.judge(LOSS_DELAY_S, LOSS_DELAY_S, verdicts)
    assert verdicts.lost == 4_999


def test_times_of_all_packets_acknowledged_are_added_up() -> None:
    history = history_of(burst(0, range(4), sent_at=1.0), burst(4, range(4), sent_at=2.0))
    verdicts = history.acknowledge([(2, 5)])
    assert verdicts.sent_sum_s == 2 * 1.0 + 2.0


def test_a_verdict_is_counted_for_the_epoch_in_which_the_packet_left() -> None:
    history = history_of(burst(0, range(4), 0.0, epoch=1), burst(4, range(4, 8), 0.0, epoch=2))
    verdicts = history.acknowledge([(3, 8)])
    history.judge(0.001, LOSS_DELAY_S, verdicts)
    assert verdicts.tally == {1: [1, 3], 2: [4, 0]}


def test_chunks_out_of_step_are_named_one_by_one() -> None:
    history = history_of(burst(0, [7, 3, 9], 0.0), burst(3, range(20, 24), 0.0))
    verdicts = history.acknowledge([(6, 7)])
    history.judge(0.001, LOSS_DELAY_S, verdicts)
    assert verdicts.lost_chunks == [(7, 8), (3, 4), (9, 10), (20, 21)]


# ------------------------------------------------------------------------------------- probing


def test_the_oldest_are_given_up_to_probe_with() -> None:
    history = history_of(burst(0, range(3), 0.0), burst(3, range(3, 6), 0.0))
    history.acknowledge([(0, 1)])
    assert chunks_in(history.give_up_oldest(3)) == [1, 2, 3]
    assert history.packets_in_flight == 2
    assert chunks_in(history.give_up_oldest(10)) == [4, 5]
    assert history.give_up_oldest(10) == []


def test_what_was_given_up_counts_if_it_arrives_after_all() -> None:
    history = history_of(burst(0, range(3), 0.0))
    history.give_up_oldest(2)
    late = history.acknowledge([(0, 3)])
    assert chunks_in(late.late_chunks) == [0, 1]
    assert late.tally == {0: [1, 0]}, "nobody had counted them as lost"
    assert late.overtaken_since == inf


# ------------------------------------------------------------------------------------- memory


def test_lost_packets_are_remembered_for_a_while_and_then_forgotten() -> None:
    history = history_of(burst(0, range(10), sent_at=1.0))
    history.judge(1.0, LOSS_DELAY_S, history.acknowledge([(9, 10)]))
    history.give_up_oldest(10)
    history.forget(before=0.5)
    assert history.acknowledge([(0, 1)]).late_chunks
    history.forget(before=1.5)
    assert not history.acknowledge([(1, 2)]).late_chunks


def test_a_long_transfer_is_judged_like_a_short_one() -> None:
    # Settled records are dropped on the way; what is outstanding must not be.
    history = SentHistory()
    lost = 0
    for n in range(3_000):
        history.add(burst(10 * n, range(10 * n, 10 * n + 10), sent_at=n * 0.01))
        verdicts = history.acknowledge([(10 * n + 1, 10 * n + 10)])
        history.judge(n * 0.01, LOSS_DELAY_S, verdicts)
        assert verdicts.acked == 9
        assert verdicts.lost_chunks == [(10 * n, 10 * n + 1)]
        lost += verdicts.lost
        history.forget(before=n * 0.01 - 0.05)
    assert lost == 3_000
    assert history.packets_in_flight == 0
    assert history.acknowledge([(10 * 2_999, 10 * 2_999 + 1)]).late_chunks
    assert not history.acknowledge([(10, 11)]).late_chunks


# -------------------------------------------------------------------------------- circuit breaker


@pytest.mark.parametrize(
    ("acked", "lost", "trips"), [(1, 60, True), (10, 60, False), (1, 40, False)]
)
def test_the_breaker_trips_where_nearly_everything_is_lost_for_long(
    acked: int, lost: int, trips: bool
) -> None:
    breaker = CircuitBreaker(100.0)
    assert not breaker.trips(0, lost, 101.0)
    assert breaker.trips(acked, 0, 100.0 + BREAKER_S) is trips
    assert not breaker.trips(0, 1_000, 101.0 + BREAKER_S), "it begins to count anew"


# ---------------------------------------------------------------- numbers that no packet has


def with_a_skip() -> SentHistory:
    """Packets 0 to 3, then 5 to 8: number 4 was skipped."""
    history = history_of(burst(0, range(4), 0.0))
    history.skip(4)
    history.add(burst(5, range(4, 8), 0.0))
    return history


@pytest.mark.parametrize(
    ("ranges", "told"),
    [
        ([(0, 4)], False),
        ([(5, 9)], False),
        ([(5, 9), (0, 4)], False),
        ([(4, 5)], True),
        ([(3, 5)], True),
        ([(4, 6)], True),
        ([(0, 9)], True),
        ([(6, 9), (0, 5)], True),
    ],
)
def test_ranges_that_name_a_skipped_number_are_told(
    ranges: list[tuple[int, int]], told: bool
) -> None:
    assert with_a_skip().names_skipped(ranges) is told


def test_a_skipped_number_is_remembered_for_longer_than_its_packets_are_in_flight() -> None:
    history = history_of()
    for number in range(0, 64_000, 1_000):
        history.skip(number)
    assert history.names_skipped([(0, 1)])
    history.skip(64_000)
    assert not history.names_skipped([(0, 1)])  # and memory is bounded
    assert history.names_skipped([(1_000, 1_001)])


def test_a_skipped_number_has_overtaken_nothing() -> None:
    # Two packets behind number 3 came: it may be late. The third makes it lost.
    history = with_a_skip()
    verdicts = history.acknowledge([(5, 7), (0, 3)])
    history.judge(0.0, LOSS_DELAY_S, verdicts)
    assert verdicts.lost == 0
    verdicts = history.acknowledge([(5, 8), (0, 3)])
    history.judge(0.0, LOSS_DELAY_S, verdicts)
    assert chunks_in(verdicts.lost_chunks) == [3]
    assert history.packets_in_flight == 1
