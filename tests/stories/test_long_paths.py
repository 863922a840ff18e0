"""Paths that are slow, uneven, or gone for a while."""

from __future__ import annotations

from typing import Any

import pytest

from udpft.errors import TimedOut
from udpft.protocol.client.download import Download
from udpft.protocol.recovery.loss_detection import SentHistory
from udpft.testing.network import Inbox, Shape, SimNet, SimulatedClient, random_bytes

SEEDS = [1, 2, 3]
SIZE = 2**20 + 3
CONTENT = random_bytes(SIZE)
LARGE = random_bytes(5 * 2**20 + 3)
SLOW = 1e6


@pytest.mark.parametrize("seed", SEEDS)
def test_a_satellites_round_trip_with_jitter_costs_few_repeats(seed: int) -> None:
    satellite = Shape(delay_s=0.7, jitter_s=0.1)
    net = SimNet({"file": CONTENT}, seed=seed, down=satellite, up=satellite)
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    net.run_until_quiet()
    [ended] = net.ended
    assert ended.error is None
    assert ended.traffic.packets_resent <= 0.03 * SIZE / client.chunk_size


@pytest.mark.parametrize("seed", SEEDS)
def test_a_satellites_round_trip_with_loss_and_a_rate(seed: int) -> None:
    satellite = Shape(delay_s=0.75, loss=0.02, rate_bytes_per_s=2e6, queue_bytes=1e6)
    net = SimNet({"file": CONTENT}, seed=seed, down=satellite, up=satellite)
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert net.down.sent_bytes <= 1.3 * SIZE / 0.98


@pytest.mark.parametrize("loss", [0.0, 0.01])
def test_a_far_path_wakes_its_ends_for_many_packets_at_a_time(
    loss: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Shape(
        delay_s=0.05, loss=loss, rate_bytes_per_s=12.5e6, queue_bytes=1.25e6, mtu_payload=1_472
    )
    content = random_bytes(30_000_000)
    net = SimNet({"file": content}, seed=1, down=far, up=far)
    client = net.get("file", inbox=Inbox(4e6))
    sends = counted(monkeypatch, SentHistory, "add")
    reads = counted(monkeypatch, Download, "handle_datagrams")
    net.run()
    assert client.content == content
    packets = len(content) / client.chunk_size
    assert len(sends) < packets / 8
    assert len(reads) < packets / 8


def counted(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[None]:
    """A list that grows with each call of a method."""
    calls: list[None] = []
    method = getattr(owner, name)

    def counting(*args: Any) -> Any:
        calls.append(None)
        return method(*args)

    monkeypatch.setattr(owner, name, counting)
    return calls


@pytest.mark.parametrize("seed", SEEDS)
def test_after_ten_dead_seconds_it_goes_on_within_two(seed: int) -> None:
    def dead(now: float) -> bool:
        return 1 <= now < 11

    net = SimNet(
        {"file": LARGE},
        seed=seed,
        down=Shape(rate_bytes_per_s=SLOW, queue_bytes=100_000, dead=dead),
        up=Shape(dead=dead),
    )
    client = net.get("file")
    net.run_to(11.0)
    before = bytes_received(client)
    assert 0 < before < len(LARGE)
    net.run_to(13.0)
    assert bytes_received(client) > before + 100_000
    net.run()
    assert client.content == LARGE
    assert net.down.sent_bytes <= 1.3 * len(LARGE)


@pytest.mark.parametrize("begins", [0.0, 0.015, 0.03])
def test_three_dead_seconds_during_the_handshake_only_delay_it(begins: float) -> None:
    def dead(now: float) -> bool:
        return begins <= now < begins + 3

    net = SimNet({"file": CONTENT}, down=Shape(dead=dead), up=Shape(dead=dead))
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert client.ended_at < begins + 5


@pytest.mark.parametrize("begins", [0.031, 0.041, 0.065])
def test_ten_dead_seconds_right_after_the_handshake_only_delay_it(begins: float) -> None:
    # While ACCEPT and the first DATA, or their acknowledgement, are on their way.
    def dead(now: float) -> bool:
        return begins <= now < begins + 10

    down = Shape(rate_bytes_per_s=SLOW, dead=dead)
    net = SimNet({"file": CONTENT}, down=down, up=Shape(dead=dead))
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert client.ended_at < begins + 10 + 2 + 1.5 * SIZE / SLOW


def test_where_no_more_data_comes_both_give_up_at_their_idle_timeouts() -> None:
    net = SimNet({"file": LARGE}, down=Shape(rate_bytes_per_s=SLOW), idle_timeout_s=20.0)
    client = net.get("file", idle_timeout_s=10.0)
    net.run_to(1.0)
    before = bytes_received(client)
    net.down.shape = net.up.shape = Shape(loss=1.0)
    net.run()
    assert isinstance(client.error, TimedOut)
    assert 10.9 <= client.ended_at <= 12
    assert bytes_received(client) >= before > 0, "what had come is there for a resume"
    net.run_until_quiet()
    [ended] = net.ended
    assert isinstance(ended.error, TimedOut)
    assert ended.seconds <= 22
    assert net.sources["file"].closed


def test_where_acknowledgements_stop_the_server_gives_up_and_says_so() -> None:
    net = SimNet({"file": LARGE}, down=Shape(rate_bytes_per_s=SLOW), idle_timeout_s=10.0)
    client = net.get("file")
    net.run_to(1.0)
    sent_before = net.down.sent_bytes
    net.up.shape = Shape(loss=1.0)
    net.run()
    assert isinstance(client.error, TimedOut)
    assert str(client.error) == "the server gave up: the client stopped answering"
    assert [ended.seconds <= 12 for ended in net.ended] == [True]
    assert client.ended_at <= 43, "it looked for another server longer than its patience"
    assert net.down.sent_bytes <= sent_before + 300_000, "it went on sending to nobody"


def test_no_answer_at_all_ends_at_the_connect_timeout() -> None:
    net = SimNet({"file": CONTENT}, up=Shape(loss=1.0))
    client = net.get("file", connect_timeout_s=3.0)
    net.run()
    assert isinstance(client.error, TimedOut)
    assert client.ended_at == pytest.approx(3.0)


def test_a_fast_path_that_becomes_slow_and_long_still_brings_the_file() -> None:
    net = SimNet({"file": LARGE}, down=Shape(rate_bytes_per_s=20e6), up=Shape())
    client = net.get("file")
    net.run_to(0.1)
    net.down.shape = Shape(delay_s=0.2, rate_bytes_per_s=2e6, queue_bytes=200_000)
    net.run()
    assert client.content == LARGE
    assert net.down.sent_bytes <= 1.3 * len(LARGE)


@pytest.mark.parametrize("rtt_s", [0.04, 0.1, 0.3])
def test_the_start_overflows_no_queue_that_holds_what_the_path_does(rtt_s: float) -> None:
    rate = 12.5e6
    path = Shape(rtt_s / 2, rate_bytes_per_s=rate, queue_bytes=rate * rtt_s, mtu_payload=1472)
    net = SimNet({"file": LARGE}, down=path, up=path)
    client = net.get("file", inbox=Inbox(4e6))
    net.run()
    assert client.content == LARGE
    assert net.down.overflowed == 0
    assert client.ended_at < 5 * rtt_s + len(LARGE) / (0.9 * rate)


def bytes_received(client: SimulatedClient) -> int:
    assert client.download.receiver is not None
    return client.download.receiver.bytes_received
