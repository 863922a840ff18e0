"""Namespaces as a place to measure in: the path does what was asked of it. Takes root."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from bench.peers.udpft import Udpft
from bench.result import Scenario
from bench.runner import Contestant, prove
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
        assert proof.means == ("firewall" if scenario is LOSSY else proof.means)
        assert proof.means != "none"
        assert abs(proof.loss - 0.1) < 0.02
        assert proof.rtt_s >= scenario.rtt_s
        contestant = Contestant(Udpft(), scenario, joined)
        sample = contestant.fetch(0, seed=1, warm_up=False)
        assert sample.error == ""


def test_a_controller_is_the_route_s_for_as_long_as_it_is_wanted(ground: Netns) -> None:
    with ground.join(Scenario("lan", "lan", 1)) as joined:
        address, server = joined.server_address, joined.server
        before = server.run("ip", "route", "show")
        with tcp_controller(server, address, "reno"):
            assert "congctl reno" in server.run("ip", "route", "show")
        assert server.run("ip", "route", "show") == before
        with pytest.raises(HostFailed), tcp_controller(server, "192.0.2.1", "reno"):
            pass
