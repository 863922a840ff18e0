"""Namespaces as a place to measure in: the path does what was asked of it. Takes root."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest

from bench import traced
from bench.contestant import Contestant
from bench.peers.udpft import Udpft
from bench.result import Scenario
from bench.runner import prove
from bench.where import hosts
from bench.where.hosts import HostFailed, tcp_controller
from bench.where.netns import Netns, netns

_TOOLS = ("ip", "ethtool", "iptables")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root"),
    pytest.mark.skipif(
        not all(map(shutil.which, _TOOLS)), reason=f"not all of {', '.join(_TOOLS)} are installed"
    ),
]

LOSSY = Scenario("lossy", "loss", 200_000, mtu=1500, loss=0.1)
FAR = Scenario("far", "rtt", 100_000, mtu=1500, loss=0.1, rtt_s=0.02, rate_bit_per_s=1e8)


@pytest.fixture
def ground() -> Iterator[Netns]:
    with netns(seed=1) as ground:
        yield ground


@pytest.mark.parametrize("scenario", [LOSSY, FAR], ids=lambda scenario: scenario.name)
def test_a_path_is_impaired_as_asked(ground: Netns, scenario: Scenario) -> None:
    with ground.join(scenario) as joined:
        proof = prove(scenario, joined)
        assert 1 <= proof.loss_run < 1.2 / 0.9  # each datagram is lost on its own
        assert proof.means == ("firewall" if scenario is LOSSY else proof.means)
        assert proof.means != "none"
        assert abs(proof.loss - 0.1) < 0.02
        assert proof.rtt_s >= scenario.rtt_s
        contestant = Contestant(Udpft(), scenario, joined)
        sample = contestant.fetch(0, seed=1, warm_up=False)
        assert sample.error == ""


def test_a_transfer_is_looked_at_while_it_goes(ground: Netns) -> None:
    trace = traced.measured(ground, size_bytes=3_000_000)
    moments = len(trace.at_s)
    assert moments == len(trace.goodput_bytes_per_s) == len(trace.window_bytes) > 3
    assert list(trace.at_s) == sorted(trace.at_s)
    assert 0 < max(trace.goodput_bytes_per_s) < 1.5 * traced.RATE_BYTES_PER_S
    assert min(trace.window_bytes) > 0
    assert trace.what.startswith("measured, ")


def test_losing_whole_batches_is_no_proof(ground: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    """The share would be right; with the offloads on, what goes through the firewall is 32 each."""
    monkeypatch.setattr(hosts, "single_packets", lambda *_: contextlib.nullcontext())
    with ground.join(LOSSY) as joined:
        proof = prove(LOSSY, joined)
    assert proof.loss_run >= 32
    assert not proof.holds_for(LOSSY)


def test_a_controller_is_the_route_s_for_as_long_as_it_is_wanted(ground: Netns) -> None:
    with ground.join(Scenario("lan", "lan", 1)) as joined:
        address, server = joined.server_address, joined.server
        before = server.run("ip", "route", "show")
        with tcp_controller(server, address, "reno"):
            assert "congctl reno" in server.run("ip", "route", "show")
        assert server.run("ip", "route", "show") == before
        with pytest.raises(HostFailed), tcp_controller(server, "192.0.2.1", "reno"):
            pass
