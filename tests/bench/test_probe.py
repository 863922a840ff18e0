"""Path probe: numbered datagrams over loopback, and the loss and round trip read off them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.agent import Agent
from bench.probe import losses


@pytest.mark.parametrize(
    ("gone", "share", "run"),
    [
        (set(), 0.0, 0.0),
        ({3}, 0.1, 1.0),
        ({0, 1, 2, 7}, 0.4, 2.0),
        (set(range(10)), 1.0, 10.0),
    ],
)
def test_losses_are_a_share_and_so_many_in_a_row(gone: set[int], share: float, run: float) -> None:
    assert losses(set(range(10)) - gone, 10) == (share, run)


def test_nothing_asked_is_nothing_lost() -> None:
    assert losses(set(), 0) == (0.0, 0.0)


def test_a_path_that_loses_nothing_is_seen_to(tmp_path: Path) -> None:
    """100 is no multiple of a batch: the last one is short."""
    agent = Agent()
    port = agent.free_port()
    where = ["127.0.0.1", str(port)]
    agent.start("probe", ["python", "-m", "bench.probe", "serve", *where], str(tmp_path))
    try:
        assert agent.await_listening("probe", port, "udp", timeout_s=30) == ""
        command = ["python", "-m", "bench.probe", "measure", *where, "100", "8000"]
        [ended] = agent.run([command], timeout_s=30)
    finally:
        agent.close()
    assert ended["error"] == ""
    seen = json.loads(ended["output"])
    assert (seen["loss"], seen["loss_run"]) == (0.0, 0.0)
    assert 0 < seen["rtt_s"] < 5
