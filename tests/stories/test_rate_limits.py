"""Rate limits: a transfer keeps to them, neither above nor much below."""

from __future__ import annotations

from dataclasses import replace

import pytest

from udpft.protocol.recovery.loss_detection import SentBurst, SentHistory
from udpft.testing.network import Shape, SimNet, random_bytes


@pytest.mark.parametrize("delay_s", [0.000_1, 0.005, 0.050])
@pytest.mark.parametrize("rate", [300_000, 5_000_000])
def test_a_limit_binds_within_five_percent(rate: int, delay_s: float) -> None:
    content = random_bytes(4 * rate)
    path = Shape(delay_s=delay_s, rate_bytes_per_s=100e6, queue_bytes=200_000)
    net = SimNet({"file": content}, seed=1, down=path, up=path)
    client = net.get("file", max_rate_bytes_per_s=rate)
    net.run_to(1.0)
    before = net.down.sent_bytes
    net.run_to(3.0)
    assert net.down.sent_bytes - before == pytest.approx(2 * rate, rel=0.05)
    net.run()
    assert client.content == content


@pytest.mark.parametrize("delay_s", [0.005, 0.050])
@pytest.mark.parametrize("rate", [500_000, 2_000_000])
def test_below_a_far_paths_rate_ten_packets_leave_together(
    rate: int, delay_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    bursts: list[SentBurst] = []
    add = SentHistory.add

    def noting(history: SentHistory, burst: SentBurst) -> None:
        bursts.append(burst)
        add(history, burst)

    monkeypatch.setattr(SentHistory, "add", noting)
    content = random_bytes(6 * rate)
    path = Shape(delay_s=delay_s, rate_bytes_per_s=100e6, queue_bytes=200_000)
    net = SimNet({"file": content}, seed=1, down=path, up=path)
    client = net.get("file", max_rate_bytes_per_s=rate)
    net.run()
    assert client.content == content
    assert len(bursts) < len(content) / client.chunk_size / 8


def test_a_path_that_becomes_slower_than_the_limit_is_not_flooded() -> None:
    content = random_bytes(8_000_000)
    fast = Shape(delay_s=0.010, rate_bytes_per_s=10e6, queue_bytes=100_000)
    net = SimNet({"file": content}, seed=2, down=fast, up=fast)
    client = net.get("file", max_rate_bytes_per_s=2_000_000)
    net.run_to(2.0)
    net.down.shape = replace(fast, rate_bytes_per_s=1e6, queue_bytes=20_000)
    net.run()
    assert client.content == content
    assert client.ended_at < 2.0 + 4.2 / 0.8
    assert net.down.sent_bytes < 1.15 * len(content)
