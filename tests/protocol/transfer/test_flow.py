"""Flow control of a sender: windows, bursts and pace."""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

import pytest

from udpft.protocol.params import MAX_BURST_BYTES, MAX_BURST_INTERVAL_S
from udpft.protocol.recovery.congestion import Phase
from udpft.protocol.transfer.flow import FlowControl, SendLimits
from udpft.protocol.wire.ack import Ack
from udpft.protocol.wire.data import BurstWriter

WRITER = BurstWriter(2048, bytearray(MAX_BURST_BYTES))
ROOM = 4_000_000
RTT_S = 0.02


class Congestion(NamedTuple):
    """What a congestion controller says, in packets and seconds."""

    phase: Phase = Phase.CRUISE
    window: int = 1_000
    bandwidth: float = 10_000.0
    pacing_rate: float = 10_000.0
    burst_limit: float = 100.0
    burst_packets: int = 10_000


class Queue(NamedTuple):
    """What waits to be sent."""

    first_pass_over: bool = False
    any_lost: bool = False


def flow(room: int = ROOM, rate: int = 0, **congestion: Any) -> FlowControl:
    """Flow control that has heard of a room, and of the path."""
    control = FlowControl(WRITER, SendLimits(room, rate), now=0.0)
    control.note_room(ack(room))
    control.decide(Congestion(**congestion), RTT_S)  # type: ignore[arg-type]
    return control


def ack(room: int = ROOM, drops: int = 0) -> Ack:
    return Ack(0.0, room, 0, drops, [(0, 1)])


def allowance(control: FlowControl, in_flight: int, now: float = 0.0, **queue: bool) -> int:
    return control.allowance(in_flight, Queue(**queue), now)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------- windows


def test_the_congestion_window_binds_where_the_receiver_has_room() -> None:
    assert flow(window=500).window == 500


def test_the_receivers_room_binds_where_it_is_smaller() -> None:
    control = flow(room=100 * WRITER.packet_size, bandwidth=0.0)
    assert 60 <= control.window <= 100
    more = flow(room=100 * WRITER.packet_size, bandwidth=1_000.0)  # what the path itself holds
    assert more.window == pytest.approx(control.window + 1_000 * RTT_S, abs=1)


def test_an_estimate_that_still_grows_counts_for_less() -> None:
    room = 10 * WRITER.packet_size
    assert flow(room=room, phase=Phase.STARTUP).window < flow(room=room).window


def test_a_receiver_without_room_gets_a_few_packets_all_the_same() -> None:
    assert flow(room=0, bandwidth=0.0).window == 2


def test_a_buffer_that_overflows_is_believed_less_and_then_more_again() -> None:
    room = 100 * WRITER.packet_size
    control = flow(room=room, bandwidth=0.0)
    before = control.window
    windows = []
    for drops in (3, 8, 20):
        control.note_room(ack(room, drops))
        control.decide(Congestion(bandwidth=0.0), RTT_S)  # type: ignore[arg-type]
        windows.append(control.window)
    assert before > windows[0] > windows[1] > windows[2]
    assert control.receiver_drops == 20
    for _ in range(5_000):
        control.note_room(ack(room, 20))
    control.decide(Congestion(bandwidth=0.0), RTT_S)  # type: ignore[arg-type]
    assert before - 1 <= control.window <= before


def test_what_a_socket_dropped_before_the_transfer_is_nobodys_fault() -> None:
    control = FlowControl(WRITER, SendLimits(ROOM), now=0.0)
    control.note_room(ack(drops=1_000))
    assert control.receiver_drops == 0


# ---------------------------------------------------------------------------- bursts and pace


def test_before_anything_is_known_of_the_path_nothing_leaves() -> None:
    control = FlowControl(WRITER, SendLimits(ROOM), now=0.0)
    assert allowance(control, 0, now=10 * MAX_BURST_INTERVAL_S) == 0


def test_the_users_limit_is_never_passed() -> None:
    assert flow().rate == 10_000
    assert flow(rate=100 * WRITER.packet_size).rate == pytest.approx(100)
    assert flow(pacing_rate=inf).rate == inf


@pytest.mark.parametrize(
    ("packets_per_s", "burst"),
    [
        (4, 2),  # half a second of it: one by one would cost twice as much
        (20, 5),
        (100, 10),  # as many as every path takes
        (1_000, 20),
        (3_000, 60),
    ],
)
def test_a_slow_limit_makes_small_bursts_and_few_of_them(packets_per_s: int, burst: int) -> None:
    control = flow(rate=packets_per_s * WRITER.packet_size)
    assert control.burst == burst
    assert control.burst < flow().burst


def test_a_burst_at_the_users_limit_is_none_that_the_path_would_not_take() -> None:
    control = flow(rate=1_000 * WRITER.packet_size, burst_packets=6, burst_limit=6.0)
    assert control.burst == 6
    assert flow(rate=10**9 * WRITER.packet_size).burst == flow().burst


def test_a_burst_is_of_whole_sends_and_fits_the_buffer() -> None:
    for window in (1, 50, 500, 5_000):
        burst = flow(window=window).burst
        assert burst % WRITER.send_capacity == 0
        assert WRITER.send_capacity <= burst <= WRITER.capacity


def test_after_a_burst_the_pace_is_waited_for() -> None:
    control = flow()
    count = allowance(control, 0)
    assert count == control.burst
    control.note_sent(count, count, 0.0)
    assert control.ready_at > 0.0
    assert allowance(control, count, control.ready_at - 1e-6) == 0
    assert allowance(control, count, control.ready_at) == control.burst


def test_a_window_that_is_full_lets_nothing_leave() -> None:
    control = flow(window=500)
    assert allowance(control, 500) == 0
    assert allowance(control, 600) == 0


def test_a_window_that_opens_by_little_waits_unless_it_is_urgent() -> None:
    control = flow(window=500)
    in_flight = 500 - control.burst + 1
    assert control.burst >= WRITER.send_capacity
    assert allowance(control, in_flight) == 0
    assert allowance(control, in_flight, first_pass_over=True) == control.burst - 1


def test_a_receiver_has_room_for_longer_bursts_while_it_does_not_limit_the_window() -> None:
    room = 100 * WRITER.packet_size
    limit = flow(room=room, bandwidth=0.0).window
    for window, longest in ((limit, limit - 5), (limit + 1, WRITER.send_capacity)):
        control = flow(room=room, bandwidth=0.0, window=window, burst_limit=limit - 5.0)
        assert control.longest == longest


def test_who_comes_late_sends_what_fell_due_meanwhile() -> None:
    control = flow(window=500, burst_limit=400.0, burst_packets=WRITER.send_capacity)
    in_time = allowance(control, 0)
    late = allowance(control, 0, now=10 * MAX_BURST_INTERVAL_S)
    assert in_time == WRITER.send_capacity
    assert in_time < late <= control.longest


# ------------------------------------------------------------------ a user's rate below the path's

LIMIT = 100 * WRITER.packet_size
"""Bytes per second of a user's rate: 100 packets."""


def limited(*, room: int = ROOM, **congestion: Any) -> FlowControl:
    return flow(room, LIMIT, **{"window": 6, "burst_packets": 2, "bandwidth": 95.0, **congestion})


def test_a_path_that_carries_the_users_rate_takes_ten_packets_at_once_and_twice_in_flight() -> None:
    control = limited()
    assert (control.burst, control.window) == (10, 20)


def test_one_that_does_not_yet_carry_it_takes_what_it_is_known_to_take() -> None:
    control = limited(bandwidth=80.0)
    assert (control.burst, control.window) == (2, 6)


def test_so_does_one_where_congestion_has_halved_the_bursts() -> None:
    assert limited(burst_limit=4.0).burst == 4


def test_an_experiment_is_made_in_the_shortest_bursts_all_the_same() -> None:
    assert limited(phase=Phase.EXPERIMENT).burst == 2


def test_a_small_receive_buffer_is_not_filled_by_such_a_burst() -> None:
    assert limited(room=8 * WRITER.packet_size, bandwidth=95.0).burst <= 4
