"""Doctor: its findings about a machine and about a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loopback import closed_port
from udpft.api import RunningServer, connect
from udpft.diagnosis.doctor import (
    Finding,
    State,
    device_to,
    examine_machine,
    examine_path,
    judge_buffer,
    judge_bursts,
    judge_clock,
    judge_device,
    judge_docker,
    judge_kernel,
    judge_key,
    judge_loss,
    judge_offloads,
    judge_path,
    judge_processors,
    judge_round_trips,
)
from udpft.errors import PortClosed
from udpft.net.kernel import Device, Feature, Kernel

RMEM = ("receive buffer", "net.core.rmem_max")
CARD = Device("eth0", 1500, bridge=False, leads_out=False)
INSIDE = Device("eth0", 1500, bridge=False, leads_out=True)
DOCKER = Device("docker0", 1500, bridge=True, leads_out=False)


def test_the_usual_limit_is_named_with_the_lines_that_mend_it() -> None:
    finding = judge_buffer(*RMEM, limit=212_992, got=212_992)
    assert finding.state is State.BETTER
    assert "212,992 bytes (208 KiB): net.core.rmem_max allows no more" in finding.message
    assert "4,194,304" in finding.message
    assert finding.remedies == (
        "sysctl -w net.core.rmem_max=4194304",
        "echo net.core.rmem_max=4194304 >> /etc/sysctl.d/90-udpft.conf",
    )
    assert finding.facts["limit_bytes"] == 212_992


def test_a_limit_that_a_container_does_not_see_shows_in_what_it_gets() -> None:
    finding = judge_buffer(*RMEM, limit=None, got=212_992)
    assert finding.state is State.BETTER
    assert "the host's net.core.rmem_max" in finding.message
    assert judge_buffer(*RMEM, limit=None, got=4 << 20).state is State.OK


def test_a_buffer_without_room_for_a_burst_is_broken() -> None:
    assert judge_buffer(*RMEM, limit=4096, got=4096).state is State.BROKEN


def test_a_buffer_as_asked_for_is_fine() -> None:
    assert judge_buffer(*RMEM, limit=64 << 20, got=4 << 20).remedies == ()
    send = judge_buffer("send buffer", "net.core.wmem_max", 1 << 20, 1 << 20)
    assert send.state is State.OK


@pytest.mark.parametrize(
    ("cuts", "joins", "state", "words"),
    [
        (True, True, State.OK, "GSO and GRO"),
        (False, False, State.BETTER, "neither cuts"),
        (True, False, State.BETTER, "does not join"),
        (False, True, State.BETTER, "does not cut"),
    ],
)
def test_the_kernels_offloads(cuts: bool, joins: bool, state: State, words: str) -> None:
    finding = judge_kernel(cuts, joins)
    assert finding.state is state
    assert words in finding.message


def test_a_device_too_narrow_is_broken() -> None:
    narrow = judge_device(Device("tun0", 1000, bridge=False, leads_out=False))
    assert (narrow.state, narrow.remedies) == (State.BROKEN, ("ip link set tun0 mtu 1500",))
    assert judge_device(CARD).state is State.OK
    wide = judge_device(Device("lo", 65_536, bridge=False, leads_out=False))
    assert "65,507" in wide.message


def test_an_offload_that_could_be_on_is_to_be_switched_on() -> None:
    off, on = Feature(on=False, available=True), Feature(on=True, available=True)
    lacks = Feature(on=False, available=False)
    offloads = {"tx-udp-segmentation": off, "rx-gro": off, "tx-tcp-segmentation": on}
    finding = judge_offloads(CARD, offloads)
    assert finding.state is State.BETTER
    assert finding.remedies == (
        "ethtool -K eth0 tx-udp-segmentation on",
        "ethtool -K eth0 rx-gro on",
    )
    assert finding.facts["rx-gro"] is False
    assert judge_offloads(INSIDE, offloads | {"tx-udp-segmentation": on}).state is State.OK
    assert judge_offloads(CARD, {"tx-udp-segmentation": lacks, "rx-gro": on}).remedies == ()
    assert "unknown" in judge_offloads(CARD, None).message


@pytest.mark.parametrize(
    ("devices", "uplink", "state", "mtu"),
    [
        ([CARD, DOCKER], CARD, State.BETTER, 9000),
        ([DOCKER], Device("eth0", 1400, bridge=False, leads_out=False), State.BETTER, 1400),
        ([INSIDE], INSIDE, State.BETTER, 9000),
        ([CARD, Device("br-0123456789ab", 9000, bridge=True, leads_out=False)], CARD, "ok", None),
        ([CARD, Device("br-office", 1500, bridge=True, leads_out=False)], CARD, "ok", None),
        ([], None, "ok", None),
    ],
)
def test_dockers_networks(
    devices: list[Device], uplink: Device | None, state: str, mtu: int | None
) -> None:
    [finding] = judge_docker(devices, uplink)
    assert finding.state == state
    option = "docker network create -o com.docker.network.driver.mtu"
    assert finding.remedies == ((f"{option}={mtu} NAME",) if mtu else ())


def test_processors_are_for_workers() -> None:
    assert judge_processors(1).message == "1 may be used"
    several = judge_processors(4)
    assert (several.state, several.facts) == (State.OK, {"usable": 4})
    assert "`udpft serve --workers auto`" in several.message


def test_the_clock() -> None:
    assert judge_clock("tsc", ["tsc"], 5e-8, 1e-9).state is State.OK
    assert judge_clock(None, [], 5e-8, 1e-9).state is State.OK
    slow = judge_clock("hpet", ["tsc", "hpet"], 2e-6, 1e-9)
    assert slow.state is State.BETTER
    assert slow.remedies[0].startswith("echo tsc > /sys/")
    assert judge_clock("hpet", ["hpet"], 2e-6, 1e-9).remedies == ()
    assert "steps of 4 ms" in judge_clock("jiffies", [], 5e-8, 0.004).message


def test_the_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("")
    path.chmod(0o644)
    readable = judge_key(str(path))
    assert (readable.state, readable.remedies) == (State.BETTER, (f"chmod 600 {path}",))
    path.chmod(0o600)
    assert judge_key(str(path)).state is State.OK
    assert judge_key(None).state is State.OK


@pytest.mark.parametrize(
    ("largest", "device", "state", "words"),
    [
        (16_368, None, State.OK, "16,368 bytes pass"),
        (1_472, CARD, State.OK, "chunks have 1,448 bytes instead of 2048"),
        (1_392, CARD, State.BETTER, "eth0 would carry 1,472"),
        (1_200, Device("tun", 1000, False, False), State.OK, "1,200 bytes pass"),
    ],
)
def test_the_path(largest: int, device: Device | None, state: State, words: str) -> None:
    finding = judge_path(largest, device, ip_version=4)
    assert finding.state is state
    assert words in finding.message


def test_round_trips_and_loss() -> None:
    assert judge_round_trips([0.003, 0.001, 0.002]).message == "2 ms, from 1 ms to 3 ms"
    assert judge_loss(20, 0).state is State.OK
    assert judge_loss(20, 1).state is State.BETTER


def test_bursts_that_vanish() -> None:
    assert judge_bursts({"here": False, "there": False}).state is State.OK
    finding = judge_bursts({"here": False, "there": True})
    assert finding.state is State.BETTER
    assert "vanish on their way there, and go one by one" in finding.message
    assert finding.facts == {"bursts_vanish_here": False, "bursts_vanish_there": True}


def test_this_machine_is_examined_without_a_server() -> None:
    findings = list(examine_machine(Kernel()))
    topics = [finding.topic for finding in findings]
    assert topics[:3] == ["receive buffer", "send buffer", "kernel"]
    assert topics[-1] == "clock"
    assert all(finding.message for finding in findings)


def test_what_a_kernel_hides_is_no_obstacle(tmp_path: Path) -> None:
    findings = list(examine_machine(Kernel(tmp_path, tmp_path)))
    assert [finding.topic for finding in findings] == [
        "receive buffer",
        "send buffer",
        "kernel",
        "Docker",
        "processors",
        "clock",
    ]


def test_a_path_is_examined(server: RunningServer) -> None:
    with connect(server.address) as client:
        assert device_to(client) == "lo"
        findings: dict[str, Finding] = {one.topic: one for one in examine_path(client, Kernel())}
    assert list(findings) == ["server", "path", "round trip", "loss", "bursts"]
    assert findings["bursts"].state is State.OK
    assert findings["bursts"].facts == {"bursts_vanish_here": False}, "it takes no uploads"
    assert findings["path"].facts["datagram_bytes"] == 16_368
    assert findings["loss"].facts == {"pings": 20, "lost": 0}


def test_a_server_that_is_not_there() -> None:
    with connect(closed_port()) as client, pytest.raises(PortClosed, match="nothing listens"):
        list(examine_path(client, Kernel()))
