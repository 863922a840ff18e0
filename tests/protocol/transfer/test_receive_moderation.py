"""Receive moderation: when a receiver lets datagrams wait, and for how long."""

from __future__ import annotations

import pytest

from udpft.protocol.transfer.receive_moderation import MAX_REST_S, ReceiveModeration

ROOM = 4_000_000
PACKET_SIZE = 1_472
RTT_S = 0.1
MANY = 1_000_000


def play(
    moderation: ReceiveModeration, packets_per_s: float, seconds: float, *, since: float = 0.0
) -> int:
    """Let single packets come; return how often the socket was read."""
    waiting, reads = 0, 0
    for number in range(int(packets_per_s * seconds)):
        now = since + number / packets_per_s
        waiting += 1
        if now >= moderation.rest_until:
            moderation.note(waiting, MANY, now)
            waiting = 0
            reads += 1
    return reads


def moderated(*, rtt_s: float = RTT_S, room: int = ROOM) -> ReceiveModeration:
    return ReceiveModeration(rtt_s, room, PACKET_SIZE)


def test_a_steady_stream_over_a_far_path_is_read_every_few_milliseconds() -> None:
    moderation = moderated()
    play(moderation, 8_000, 1.0)
    assert play(moderation, 8_000, 1.0, since=1.0) == pytest.approx(1.0 / MAX_REST_S, rel=0.1)


def test_the_first_round_trips_are_read_packet_by_packet() -> None:
    assert play(moderated(), 8_000, 4 * RTT_S) == 8_000 * 4 * RTT_S


def test_so_they_are_after_a_pause_longer_than_a_round_trip() -> None:
    moderation = moderated()
    play(moderation, 8_000, 1.0)
    assert play(moderation, 8_000, RTT_S, since=1.0 + 2 * RTT_S) == 8_000 * RTT_S


@pytest.mark.parametrize("rtt_s", [0.0, 0.000_1, 0.010])
def test_a_short_path_and_one_of_unknown_length_know_no_rest(rtt_s: float) -> None:
    assert play(moderated(rtt_s=rtt_s), 8_000, 1.0) == 8_000


def test_packets_that_come_seldom_are_not_kept_waiting() -> None:
    assert play(moderated(), 400, 2.0) == 800


def test_a_rest_is_shorter_where_the_receive_buffer_is_small() -> None:
    room = 40 * PACKET_SIZE
    moderation = moderated(rtt_s=0.05, room=room)
    play(moderation, 1_500, 1.0)
    reads = play(moderation, 1_500, 1.0, since=1.0)
    assert 1_500 / reads * PACKET_SIZE <= 0.3 * room


def test_no_rest_is_taken_where_the_buffer_bounds_what_is_in_flight() -> None:
    assert play(moderated(room=300 * PACKET_SIZE), 8_000, 1.0) == 8_000


def test_nothing_waits_for_the_last_packets_of_a_file() -> None:
    moderation = moderated()
    play(moderation, 8_000, 1.0)
    moderation.rest_until = 0.0
    moderation.note(1, 10, 1.0)
    assert moderation.rest_until == 0.0
