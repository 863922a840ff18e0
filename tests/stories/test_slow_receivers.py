"""Slow receivers, which are not flooded though the path would deliver more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from udpft.testing.network import Inbox, Shape, SimNet, random_bytes

SIZE = 2**20 + 3
CONTENT = random_bytes(SIZE)


@pytest.mark.parametrize("read_bytes_per_s", [0.5e6, 2e6, 10e6])
@pytest.mark.parametrize("delay_s", [0.000_1, 0.001])
def test_its_buffer_never_overflows(read_bytes_per_s: float, delay_s: float) -> None:
    path = Shape(delay_s=delay_s, rate_bytes_per_s=50e6)
    net = SimNet({"file": CONTENT}, down=path, up=path)
    inbox = Inbox(200_000, read_bytes_per_s)
    client = net.get("file", inbox=inbox)
    net.run()
    assert client.content == CONTENT
    assert inbox.dropped == 0
    assert net.down.sent_bytes <= 1.05 * SIZE


@pytest.mark.parametrize("read_bytes_per_s", [0.5e6, 2e6, 10e6])
def test_on_a_longer_path_it_overflows_little(read_bytes_per_s: float) -> None:
    # What is on the path comes on top of the room that the receiver had when it last spoke.
    path = Shape(delay_s=0.010, rate_bytes_per_s=50e6)
    net = SimNet({"file": CONTENT}, down=path, up=path)
    inbox = Inbox(200_000, read_bytes_per_s)
    client = net.get("file", inbox=inbox)
    net.run()
    assert client.content == CONTENT
    assert inbox.dropped * 2048 <= 0.05 * SIZE


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_small_buffer_that_overflows_makes_the_sender_careful(seed: int) -> None:
    net = SimNet({"file": CONTENT}, seed=seed, down=Shape(delay_s=0.001), up=Shape(delay_s=0.001))
    inbox = Inbox(30_000, 5e6)
    client = net.get("file", inbox=inbox)
    net.run()
    assert client.content == CONTENT
    assert net.down.sent_bytes <= 1.3 * SIZE


def test_a_receiver_that_stops_reading_for_a_while_gets_the_rest_afterwards() -> None:
    net = SimNet({"file": CONTENT}, down=Shape(rate_bytes_per_s=1e6))
    inbox = Inbox(200_000)
    client = net.get("file", inbox=inbox)
    net.run_to(0.3)
    inbox.read_bytes_per_s = 1e3  # the next batch keeps it busy for seconds
    net.run_to(0.35)
    inbox.read_bytes_per_s = 50e6
    net.run()
    assert client.content == CONTENT
    assert net.down.sent_bytes <= 1.3 * SIZE


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hosts_that_are_late_cost_no_more_than_half_the_rate(seed: int) -> None:
    """A busy processor answers up to 10 ms late, over a wire of 0.2 ms."""
    wire = Shape(delay_s=0.0001, rate_bytes_per_s=20e6, queue_bytes=400e3)
    content = random_bytes(10_000_000)
    net = SimNet({"file": content}, seed=seed, down=wire, up=replace(wire, jitter_s=0.010))
    client = net.get("file")
    net.run()
    assert client.content == content
    assert client.ended_at <= 2 * len(content) / wire.rate_bytes_per_s
