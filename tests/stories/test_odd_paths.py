"""Paths as they are in the field: deep queues, policers, ways back that lose, modems.

What must come of each is said as a multiple of the time that the bottleneck takes for the file.
"""

from __future__ import annotations

import pytest

from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import Inbox, Shape, SimNet, random_bytes

SEEDS = [1, 2]
RATE = 1.25e6
IDEAL_S = 4.0
CONTENT = random_bytes(int(IDEAL_S * RATE))
FREE = Shape(0.02)


def transfer(seed: int, path: Shape, way_back: Shape, *, upload: bool) -> SimNet:
    """A transfer whose content goes by ``path``; by the one link or the other."""
    down, up = (way_back, path) if upload else (path, way_back)
    net = SimNet({"file": CONTENT}, seed=seed, down=down, up=up)
    if upload:
        client = net.put("file", CONTENT)
        net.run()
        assert net.stored == {"file": CONTENT}
    else:
        client = net.get("file", inbox=Inbox(4e6))
        net.run()
        assert client.content == CONTENT
    net.now = client.ended_at
    return net


@pytest.mark.parametrize("upload", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_queue_of_five_seconds_is_not_filled(seed: int, upload: bool) -> None:
    net = transfer(seed, Shape(0.02, RATE, 5 * RATE), FREE, upload=upload)
    link = net.up if upload else net.down
    assert net.now <= 1.15 * IDEAL_S
    assert link.longest_wait_s <= 0.2
    assert link.overflowed == 0


@pytest.mark.parametrize("upload", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_policer_with_a_bucket_of_one_packet_passes_most_of_its_rate_once_it_is_known(
    seed: int, upload: bool
) -> None:
    net = transfer(seed, Shape(0.02, RATE, 0.0, mtu_payload=1472), FREE, upload=upload)
    link = net.up if upload else net.down
    assert net.now <= 5.0 + 1.5 * IDEAL_S
    assert link.sent_bytes <= 1.2 * len(CONTENT)


@pytest.mark.parametrize("upload", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_half_of_the_acknowledgements_lost_costs_a_third_at_most(seed: int, upload: bool) -> None:
    path, way_back = Shape(0.02, RATE, 50_000), Shape(0.02, loss=0.5)
    net = transfer(seed, path, way_back, upload=upload)
    link = net.up if upload else net.down
    assert net.now <= 1.5 * IDEAL_S
    assert link.sent_bytes <= 1.1 * len(CONTENT)


@pytest.mark.parametrize("upload", [False, True])
@pytest.mark.parametrize(("bits_per_s", "longest_s"), [(9_600, 8.05), (19_200, 4.2), (28_800, 2.8)])
@pytest.mark.parametrize("queue_s", [3.0, 60.0])
def test_a_small_file_comes_over_a_modem(
    bits_per_s: int, longest_s: float, queue_s: float, upload: bool
) -> None:
    # Nothing that leaves in vain stands in the queue before anything else.
    rate = bits_per_s / 8
    modem = Shape(0.001, rate, queue_s * rate + 1_600, mtu_payload=1472)
    content = random_bytes(4_000)
    net = SimNet({"file": content}, down=modem, up=modem)
    if upload:
        client = net.put("file", content, connect_timeout_s=30.0, largest=1472)
        net.run()
        assert net.stored == {"file": content}
    else:
        client = net.get("file", connect_timeout_s=30.0, largest=1472)
        net.run()
        assert client.content == content
    assert client.ended_at <= longest_s
    assert net.down.sent_bytes + net.up.sent_bytes <= 13_500


def test_four_thousand_bytes_at_9600_bits_take_less_than_eight_seconds() -> None:
    modem = Shape(0.001, 1_200.0, mtu_payload=1472)
    content = random_bytes(4_000)
    net = SimNet({"file": content}, down=modem, up=modem)
    client = net.get("file", connect_timeout_s=30.0, largest=1472)
    net.run()
    assert client.content == content
    assert client.ended_at <= 8.0
    assert client.download.resent_packets == 0


@pytest.mark.parametrize("mtu", [1464, 1448, 1392])
@pytest.mark.parametrize("rtt_s", [0.001, 0.04, 0.2, 0.6])
def test_paths_a_little_narrower_than_ethernet_keep_their_size(mtu: int, rtt_s: float) -> None:
    path = Shape(rtt_s / 2, mtu_payload=mtu)
    net = SimNet({"file": CONTENT[:20_000]}, down=path, up=path)
    client = net.get("file", largest=1472)
    net.run()
    assert client.chunk_size == {1464: 1424, 1448: 1424, 1392: 1368}[mtu]
    assert client.ended_at <= 4.2 * rtt_s + 0.05


def test_a_lost_hello_is_seldom_taken_for_a_narrow_path() -> None:
    path = Shape(0.02, mtu_payload=1472, loss=0.1)
    sizes = []
    for seed in range(100):
        net = SimNet({"file": b"x"}, seed=seed, down=path, up=path)
        client = net.get("file", largest=1472)
        net.run()
        sizes.append(client.chunk_size)
    assert sum(size < 1448 for size in sizes) <= 8


@pytest.mark.parametrize("upload", [False, True])
@pytest.mark.parametrize(("bits_per_s", "longest_s"), [(9_600, 6.7), (19_200, 3.6), (28_800, 2.4)])
def test_the_first_hello_may_find_a_full_token_bucket(
    bits_per_s: int, longest_s: float, upload: bool
) -> None:
    # It is answered at once, as on the fastest path; what follows stands in a queue.
    rate = bits_per_s / 8
    modem = Shape(0.0001, rate, 3 * rate + 1_600, burst_bytes=1_600, mtu_payload=1472)
    content = random_bytes(4_000)
    net = SimNet({"file": content}, down=modem, up=modem)
    client = net.put("file", content, largest=1472) if upload else net.get("file", largest=1472)
    net.run()
    assert (net.stored["file"] if upload else client.content) == content
    assert client.ended_at <= longest_s
    assert net.up.packet_counts()[PacketType.HELLO] <= 5


@pytest.mark.parametrize("upload", [False, True])
def test_over_a_modem_nothing_is_sent_again_that_only_takes_long(upload: bool) -> None:
    rate = 1_200.0
    modem = Shape(0.01, rate, 50 * rate, mtu_payload=1472)
    content = random_bytes(40_000)
    net = SimNet({"file": content}, down=modem, up=modem)
    client = net.put("file", content, largest=1472) if upload else net.get("file", largest=1472)
    net.run()
    assert (net.stored["file"] if upload else client.content) == content
    assert client.ended_at <= 40.0
    link = net.up if upload else net.down
    assert link.sent_bytes <= 1.2 * len(content)
