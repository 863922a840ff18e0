"""Facts from the kernel: from the real one, and from one drawn up in a folder."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.ipv6 import needs_ipv6
from udpft.net import kernel
from udpft.net.address import Address
from udpft.net.kernel import Device, Kernel


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def drawn(tmp_path: Path) -> Kernel:
    """A host with a card, a bridge and a container's end."""
    write(tmp_path / "proc/sys/net/core/rmem_max", "212992\n")
    write(
        tmp_path / "proc/net/route",
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
        "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n",
    )
    for number, (name, mtu, link) in enumerate(
        [("eth0", "1400\n", 1), ("docker0", "1500\n", 2), ("veth1", "1500\n", 77)], 1
    ):
        folder = tmp_path / "sys/class/net" / name
        write(folder / "mtu", mtu)
        write(folder / "ifindex", f"{number}\n")
        write(folder / "iflink", f"{link}\n")
    (tmp_path / "sys/class/net/docker0/bridge").mkdir()
    write(tmp_path / "sys/class/net/bonding_masters", "")  # a file among the folders
    clock = tmp_path / "sys/devices/system/clocksource/clocksource0"
    write(clock / "current_clocksource", "hpet\n")
    write(clock / "available_clocksource", "tsc hpet acpi_pm \n")
    return Kernel(tmp_path / "proc", tmp_path / "sys")


def test_limits_devices_and_clocks_are_read(drawn: Kernel) -> None:
    assert drawn.limit("net.core.rmem_max") == 212_992
    assert drawn.default_device() == "eth0"
    assert drawn.clock_sources() == ("hpet", ["tsc", "hpet", "acpi_pm"])
    assert drawn.devices() == [
        Device("docker0", 1500, bridge=True, leads_out=False),
        Device("eth0", 1400, bridge=False, leads_out=False),
        Device("veth1", 1500, bridge=False, leads_out=True),
    ]


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    hidden = Kernel(tmp_path / "proc", tmp_path / "sys")
    assert hidden.limit("net.core.rmem_max") is None
    assert hidden.default_device() is None
    assert hidden.devices() == []
    assert hidden.clock_sources() == (None, [])
    write(tmp_path / "proc/sys/net/core/rmem_max", "no number")
    assert hidden.limit("net.core.rmem_max") is None


def test_this_kernel_describes_itself() -> None:
    loopback = next(one for one in Kernel().devices() if one.name == "lo")
    assert loopback.mtu >= 1500
    assert not loopback.leads_out
    assert kernel.device_of("127.0.0.1") == "lo"
    assert kernel.source_of(Address("127.0.0.1", 9)) == "127.0.0.1"
    assert 0 < kernel.clock_cost_s() < 0.001
    assert kernel.clock_resolution_s() <= 0.001


@needs_ipv6
def test_the_device_of_an_ipv6_address() -> None:
    assert kernel.device_of("::1") == "lo"
    assert kernel.device_of("fe80::1%eth7") == "eth7"


def test_an_address_that_is_not_this_machines_has_no_device() -> None:
    assert kernel.device_of("192.0.2.77") is None


def test_offloads_are_those_of_the_device() -> None:
    offloads = kernel.offloads_of("lo")
    if offloads is None:
        pytest.skip("ethtool's interface does not answer here")
    assert offloads["tx-scatter-gather"].on
    assert {"tx-udp-segmentation", "rx-gro", "tx-tcp-segmentation"} <= set(offloads)
    assert kernel.offloads_of("no-such-device") is None


def test_offloads_are_tried() -> None:
    cuts, joins = kernel.try_offloads()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert joins is kernel._accepts(sock, kernel.UDP_GRO)
    assert cuts or not joins  # what has the younger of the two has the other one too


def test_a_socket_gets_what_it_asks_for_up_to_the_limit() -> None:
    assert kernel.buffers_for(65_536, 32_768) == (65_536, 32_768)
    limit = Kernel().limit("net.core.rmem_max")
    got, _ = kernel.buffers_for(1 << 30, 65_536)
    assert got < 1 << 30
    assert limit is None or got == limit
