"""Stories of datagrams that come out of order, twice, or damaged."""

from __future__ import annotations

import pytest

from udpft.errors import TimedOut
from udpft.testing.network import Inbox, Shape, SimNet, random_bytes

SEEDS = [1, 2, 3]
SIZE = 5 * 2**20 + 3
CONTENT = random_bytes(SIZE)
PACKET_S = 2_100 / 10e6
"""Seconds that a packet takes at 10 MB/s."""


@pytest.mark.parametrize("seed", SEEDS)
def test_reordering_within_fifty_packets_is_no_loss(seed: int) -> None:
    disorder = Shape(rate_bytes_per_s=10e6, reorder=0.25, reorder_s=50 * PACKET_S)
    net = SimNet({"file": CONTENT}, seed=seed, down=disorder, up=disorder)
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert net.down.sent_bytes <= 1.3 * SIZE


@pytest.mark.parametrize("rate", [1.25e6, 5e6])
@pytest.mark.parametrize("seed", SEEDS)
def test_jitter_of_three_times_the_delay_costs_less_than_half_of_the_rate(
    seed: int, rate: float
) -> None:
    content = random_bytes(int(4 * rate))
    seconds = []
    for delay_s, jitter_s in [(0.2, 0.0), (0.05, 0.3)]:  # the same in the mean
        down = Shape(delay_s, rate, rate, jitter_s=jitter_s)
        up = Shape(delay_s, jitter_s=jitter_s)
        net = SimNet({"file": content}, seed=seed, down=down, up=up)
        client = net.get("file", inbox=Inbox(4e6))
        net.run()
        assert client.content == content
        seconds.append(client.ended_at)
        net.run_until_quiet()
        assert net.ended[0].traffic.packets_resent <= 50
    assert seconds[1] <= 2 * seconds[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_duplicates_draw_no_data(seed: int) -> None:
    twice = Shape(duplicate=0.25)
    net = SimNet({"file": CONTENT}, seed=seed, down=twice, up=twice)
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert client.download.receiver is not None
    assert client.download.receiver.duplicate_packets > 300
    assert net.down.sent_bytes <= 1.05 * SIZE


@pytest.mark.parametrize("seed", SEEDS)
def test_reordering_duplication_and_loss_together(seed: int) -> None:
    bad = Shape(
        rate_bytes_per_s=10e6, reorder=0.25, reorder_s=50 * PACKET_S, duplicate=0.25, loss=0.05
    )
    net = SimNet({"file": CONTENT}, seed=seed, down=bad, up=bad)
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert net.down.sent_bytes <= 1.3 * SIZE / 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_byte_in_every_tenth_datagram_is_a_loss_and_nothing_worse(seed: int) -> None:
    damaging = Shape(corrupt=0.1)
    net = SimNet({"file": CONTENT}, seed=seed, down=damaging, up=damaging)
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert net.down.corrupted > 200
    assert net.down.sent_bytes <= 1.3 * SIZE / 0.9
    net.run_until_quiet()
    assert [ended.error for ended in net.ended] == [None]


def test_where_every_datagram_is_damaged_the_client_gives_up_in_time() -> None:
    net = SimNet({"file": CONTENT}, down=Shape(corrupt=1.0), up=Shape(corrupt=1.0))
    client = net.get("file")
    net.run()
    assert isinstance(client.error, TimedOut)
    assert client.ended_at <= 40
    assert not net.ended, "a damaged HELLO opened a file"


@pytest.mark.parametrize("seed", SEEDS)
def test_where_every_datagram_is_damaged_from_the_middle_on_both_give_up_in_time(seed: int) -> None:
    paced = Shape(rate_bytes_per_s=10e6)
    net = SimNet({"file": CONTENT}, seed=seed, down=paced, up=paced)
    client = net.get("file")
    net.run_to(0.2)
    net.down.shape = net.up.shape = Shape(rate_bytes_per_s=10e6, corrupt=1.0)
    net.run()
    assert isinstance(client.error, TimedOut)
    assert client.ended_at <= 40
    net.run_until_quiet()
    [ended] = net.ended
    assert isinstance(ended.error, TimedOut)
    assert ended.seconds <= 40
