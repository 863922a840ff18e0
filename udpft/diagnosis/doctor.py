"""Examination of what limits transfers, on this machine and on the path to a server.

What could be better comes with the lines for a shell that mend it. Facts come from `net.kernel` and
from `Client.probe_path`; here they are judged. Each ``judge_`` function
makes one `Finding` of some facts and touches nothing, so that a test can hand it any machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, NamedTuple

from udpft.client.client import Client
from udpft.errors import UdpftError
from udpft.keys import readable_by_others
from udpft.net import kernel
from udpft.net.kernel import Device, Feature, Kernel
from udpft.net.udp import RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES
from udpft.protocol.params import (
    CHUNK_SIZE,
    DATA_HEADER_SIZE,
    MAX_SEND_BYTES,
    MAX_UDP_PAYLOAD,
    MIN_DATAGRAM_SIZE,
    PROBE_SIZES,
)
from udpft.units import format_seconds

_JUMBO_MTU = 9000
_BURSTS_BYTES = 1 << 16
"""Bytes of a transfer that shows whether bursts pass: some of them on any path."""
_SLOW_ROUND_TRIP_S = 0.3
"""Round trip from which that is not tried: the path may be slow, too, and take a minute."""
_SLOW_CLOCK_S = 1e-6
"""A reading of the clock that takes longer is a system call; a burst needs several."""
_HEADERS = {4: 28, 6: 48}
"""Bytes of IP's and UDP's headers, by IP's version."""
_DOCKER_BRIDGE = re.compile(r"docker\d+|br-[0-9a-f]{12}")
_OFFLOADS = ("tx-udp-segmentation", "rx-gro", "tx-tcp-segmentation")


class State(StrEnum):
    """Verdict on one thing."""

    OK = "ok"
    BETTER = "could be better"
    BROKEN = "broken"


class Finding(NamedTuple):
    """One thing that was looked at. ``remedies``: lines for a shell; ``facts``: for programs."""

    topic: str
    state: State
    message: str
    remedies: tuple[str, ...] = ()
    facts: dict[str, Any] = {}  # noqa: RUF012  # never changed


# ------------------------------------------------------------------------------- this machine


def examine_machine(system: Kernel, device: str | None = None) -> Iterator[Finding]:
    """Examine this machine, without a server.

    Args:
        system: where the kernel describes itself.
        device: by which packets leave; that of the default route unless given.
    """
    got = kernel.buffers_for(RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES)
    limits = [system.limit(f"net.core.{side}mem_max") for side in "rw"]
    yield judge_buffer("receive buffer", "net.core.rmem_max", limits[0], got[0])
    yield judge_buffer("send buffer", "net.core.wmem_max", limits[1], got[1])
    yield judge_kernel(*kernel.try_offloads())
    devices = system.devices()
    by_name = {one.name: one for one in devices}
    uplink = by_name.get(system.default_device() or "")
    used = by_name.get(device, uplink) if device else uplink
    if used:
        yield judge_device(used)
        yield judge_offloads(used, kernel.offloads_of(used.name))
    yield from judge_docker(devices, uplink)
    yield judge_processors(kernel.usable_processors())
    source, available = system.clock_sources()
    yield judge_clock(source, available, kernel.clock_cost_s(), kernel.clock_resolution_s())


def judge_buffer(topic: str, sysctl: str, limit: int | None, got: int) -> Finding:
    """Whether a socket's buffer is as large as udpft asks for; ``limit`` is None where hidden."""
    asked = RECEIVE_BUFFER_BYTES if topic == "receive buffer" else SEND_BUFFER_BYTES
    has = got if limit is None else min(got, limit)
    facts = {"sysctl": sysctl, "limit_bytes": limit, "got_bytes": got, "asked_bytes": asked}
    if has >= asked:
        return Finding(topic, State.OK, f"{has:,} bytes, as many as udpft asks for", (), facts)
    whose = sysctl if limit is not None else f"the host's {sysctl}"
    return Finding(
        topic,
        State.BETTER if has >= MAX_SEND_BYTES else State.BROKEN,
        f"{has:,} bytes ({has / 1024:,.0f} KiB): {whose} allows no more, "
        f"and udpft asks for {asked:,}",
        (
            f"sysctl -w {sysctl}={asked}",
            f"echo {sysctl}={asked} >> /etc/sysctl.d/90-udpft.conf",
        ),
        facts,
    )


def judge_kernel(cuts: bool, joins: bool) -> Finding:
    """Whether one system call can carry many datagrams."""
    facts = {"segmentation": cuts, "coalescing": joins}
    if cuts and joins:
        told = "it cuts bursts into datagrams and joins them again (UDP GSO and GRO)"
        return Finding("kernel", State.OK, told, (), facts)
    lacks = "neither cuts bursts into datagrams nor joins them"
    if cuts or joins:
        lacks = f"does not {'join datagrams to bursts' if cuts else 'cut bursts into datagrams'}"
    told = f"it {lacks}; Linux does both since 5.0. Transfers work, and are slower"
    return Finding("kernel", State.BETTER, told, (), facts)


def judge_device(device: Device) -> Finding:
    """Whether the datagrams of a transfer fit through a device in one piece."""
    carries = min(device.mtu - _HEADERS[4], MAX_UDP_PAYLOAD)
    facts = {"device": device.name, "mtu": device.mtu}
    if carries < MIN_DATAGRAM_SIZE:
        needed = MIN_DATAGRAM_SIZE + _HEADERS[6]
        told = f"{device.name}: MTU {device.mtu}, and udpft needs {needed}"
        remedy = f"ip link set {device.name} mtu 1500"
        return Finding("device", State.BROKEN, told, (remedy,), facts)
    told = f"{device.name}: MTU {device.mtu}, datagrams of {carries:,} bytes"
    return Finding("device", State.OK, told, (), facts)


def judge_offloads(device: Device, offloads: dict[str, Feature] | None) -> Finding:
    """Whether a device does what it could. What it has not is no fault: the kernel does it."""
    if offloads is None:
        told = f"{device.name}: unknown, ethtool's interface does not answer here"
        return Finding("offloads", State.OK, told, (), {"device": device.name})
    known = {name: offloads[name] for name in _OFFLOADS if name in offloads}
    facts = {"device": device.name} | {name: feature.on for name, feature in known.items()}
    told = ", ".join(f"{name} {'on' if one.on else 'off'}" for name, one in known.items())
    # In a container GRO is off, and what the host has joined comes in joined.
    idle = [n for n, one in known.items() if one.available and not one.on]
    idle = [n for n in idle if n != "rx-gro" or not device.leads_out]
    remedies = tuple(f"ethtool -K {device.name} {name} on" for name in idle)
    state = State.BETTER if remedies else State.OK
    return Finding("offloads", state, f"{device.name}: {told}", remedies, facts)


def judge_docker(devices: list[Device], uplink: Device | None) -> Iterator[Finding]:
    """Whether Docker's networks carry datagrams as large as they could."""
    bridges = [one for one in devices if one.bridge and _DOCKER_BRIDGE.fullmatch(one.name)]
    inside = [uplink] if uplink and uplink.leads_out and not bridges else []
    for device in bridges or inside:
        facts = {"device": device.name, "mtu": device.mtu}
        mtu = _JUMBO_MTU
        told = f"{device.name}: MTU {device.mtu}"
        if device.mtu >= _JUMBO_MTU:
            yield Finding("Docker", State.OK, told, (), facts)
            continue
        if uplink and device.mtu > uplink.mtu:
            mtu = uplink.mtu
            told += f", and {uplink.name} carries {mtu}: to other hosts, {mtu} is safer"
        else:
            told += f"; between containers of one host, {mtu} is faster"
        remedy = f"docker network create -o com.docker.network.driver.mtu={mtu} NAME"
        yield Finding("Docker", State.BETTER, told, (remedy,), facts)
    if not bridges and not inside:
        yield Finding("Docker", State.OK, "none of its networks is to be seen from here")


def judge_processors(usable: int) -> Finding:
    """Judge how many processors there are for the workers of a server."""
    told = f"{usable} may be used"
    if usable > 1:
        told += "; a server uses one of them, and all with `udpft serve --workers auto`"
    return Finding("processors", State.OK, told, (), {"usable": usable})


def judge_clock(
    source: str | None, available: list[str], cost_s: float, resolution_s: float
) -> Finding:
    """Whether the clock, which is read several times a burst, is cheap and fine enough."""
    told = f"{source or 'of unknown source'}, {cost_s * 1e9:.0f} ns a reading"
    facts = {"source": source, "cost_s": cost_s, "resolution_s": resolution_s}
    if resolution_s > 1e-6:
        told += f", in steps of {format_seconds(resolution_s)}"
    elif cost_s <= _SLOW_CLOCK_S:
        return Finding("clock", State.OK, told, (), facts)
    remedies: tuple[str, ...] = ()
    if source != "tsc" and "tsc" in available:
        folder = "/sys/devices/system/clocksource/clocksource0"
        remedies = (f"echo tsc > {folder}/current_clocksource",)
    return Finding("clock", State.BETTER, f"{told}: pacing is coarse", remedies, facts)


# ------------------------------------------------------------------------------ the key, the path


def judge_key(key_file: str | None) -> Finding:
    """Judge the key. One that cannot be read has ended the examination before."""
    if key_file is None:
        told = "none, which is right for networks that you trust; `udpft key` makes one"
        return Finding("key", State.OK, told)
    from udpft.keys import fastest_suite

    facts = {"key_file": key_file, "suite": fastest_suite().name}
    if readable_by_others(key_file):
        told, remedy = f"others can read {key_file}", f"chmod 600 {key_file}"
        return Finding("key", State.BETTER, told, (remedy,), facts)
    return Finding("key", State.OK, f"{key_file}, with {fastest_suite().name}", (), facts)


def examine_path(client: Client, system: Kernel) -> Iterator[Finding]:
    """Examine the path to a server.

    Raises:
        NetworkError: it is not there, or does not answer.
        VersionMismatch: it speaks another version of the protocol.
    """
    source = client.source_host()
    probe = client.probe_path()
    name = kernel.device_of(source)
    device = next((one for one in system.devices() if one.name == name), None)
    version = 6 if ":" in source else 4
    yield Finding("server", State.OK, f"{client.server} speaks udpft")
    yield judge_path(probe.largest_answered, device, version)
    yield judge_round_trips(probe.round_trips_s)
    yield judge_loss(probe.sent, probe.lost)
    if min(probe.round_trips_s) < _SLOW_ROUND_TRIP_S:
        yield from examine_bursts(client)


def examine_bursts(client: Client) -> Iterator[Finding]:
    """Examine whether bursts pass, each way that the server takes a small transfer of no file."""
    singly = {}
    for way, transfer in (("here", client.fetch_synthetic), ("there", client.store_synthetic)):
        try:
            singly[way] = transfer(_BURSTS_BYTES).sent_singly
        except UdpftError:
            continue  # it takes no uploads, or is too old to be measured, or is busy
    if singly:
        yield judge_bursts(singly)


def device_to(client: Client) -> str | None:
    """The device by which packets leave for a client's server. Raises PortClosed: there is none."""
    return kernel.device_of(client.source_host())


def judge_path(largest: int, device: Device | None, ip_version: int) -> Finding:
    """Whether the path carries what the device at this end of it does, and so a chunk."""
    headers = _HEADERS[ip_version]
    facts = {"datagram_bytes": largest, "path_mtu_min": largest + headers}
    told = f"datagrams of {largest:,} bytes pass"
    if largest < CHUNK_SIZE + DATA_HEADER_SIZE:
        told += f", so chunks have {largest - DATA_HEADER_SIZE:,} bytes instead of {CHUNK_SIZE}"
    fits = [size for size in PROBE_SIZES if device and size + headers <= device.mtu]
    if device and fits and largest < fits[0]:
        told += f"; {device.name} would carry {fits[0]:,}, and something on the way does not"
        return Finding("path", State.BETTER, told, (), facts)
    return Finding("path", State.OK, told, (), facts)


def judge_bursts(singly: dict[str, bool]) -> Finding:
    """Whether packets that leave together arrive: by the ways that were tried."""
    vanish = [way for way, is_so in singly.items() if is_so]
    facts = {f"bursts_vanish_{way}": is_so for way, is_so in singly.items()}
    if not vanish:
        return Finding("bursts", State.OK, "packets that leave together arrive", (), facts)
    told = (
        f"packets that leave together vanish on their way {' and '.join(vanish)}, and go one by "
        "one, which is slow: a firewall's rule on lengths, a driver, a tunnel or PPPoE"
    )
    return Finding("bursts", State.BETTER, told, (), facts)


def judge_round_trips(round_trips_s: list[float]) -> Finding:
    """Tell how far away the server is: nothing that could be wrong."""
    ordered = sorted(round_trips_s)
    least, middle, most = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    told = f"{format_seconds(middle)}, from {format_seconds(least)} to {format_seconds(most)}"
    facts = {"rtt_s": middle, "rtt_min_s": least, "rtt_max_s": most}
    return Finding("round trip", State.OK, told, (), {n: round(v, 6) for n, v in facts.items()})


def judge_loss(sent: int, lost: int) -> Finding:
    """Whether the path loses packets, there or back."""
    facts = {"pings": sent, "lost": lost}
    told = f"{lost} of {sent} pings were not answered"
    if not lost:
        return Finding("loss", State.OK, f"all of {sent} pings were answered", (), facts)
    told += ": a crowded queue, a weak radio link, a firewall that limits rates"
    return Finding("loss", State.BETTER, told, (), facts)
