"""Facts from the kernel about this machine: network limits, devices, offloads, clock, processors.

Facts only; what to make of them is `udpft.diagnosis.doctor`'s. All of it can be read by anybody,
and what cannot be read (another system, a container that hides it) is None.
"""

from __future__ import annotations

import array
import fcntl
import ipaddress
import os
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from udpft.net.address import Address, resolve
from udpft.net.udp import UDP_GRO, UDP_SEGMENT

_SIOCETHTOOL = 0x8946
_ETHTOOL_STRINGS, _ETHTOOL_COUNTS, _ETHTOOL_FEATURES = 0x1B, 0x37, 0x3A
_FEATURE_NAMES = 4
"""The string set ETH_SS_FEATURES."""
_NAME_BYTES = 32
# struct ifreq, as SIOCETHTOOL reads it: the device's name, a pointer, up to the union's size
_REQUEST = struct.Struct("16sP16x")
# struct ethtool_sset_info: command u32, reserved u32, mask of sets u64, one count u32
_COUNTS = struct.Struct("=IIQI")
# struct ethtool_gstrings: command u32, string set u32, number of strings u32; then the strings
_STRINGS = struct.Struct("=III")
# struct ethtool_gfeatures: command u32, number of blocks u32; then the blocks
_FEATURES = struct.Struct("=II")
# struct ethtool_get_features_block: available u32, requested u32, active u32, never changed u32
_BLOCK = struct.Struct("=IIII")


def usable_processors() -> int:
    """Number of processors that this process may use."""
    if count := getattr(os, "process_cpu_count", None):  # Python 3.13
        return count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Device:
    """Network device.

    ``mtu``: bytes. ``bridge``: it joins others. ``leads_out``: it has its other end elsewhere, as a
    container's device has it on the host.
    """

    name: str
    mtu: int
    bridge: bool
    leads_out: bool


@dataclass(frozen=True)
class Feature:
    """State of a device's offload: whether it is on, and whether it could be switched on."""

    on: bool
    available: bool


@dataclass(frozen=True)
class Kernel:
    """The kernel's description of itself, in the file systems ``proc`` and ``sys``."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")

    def limit(self, name: str) -> int | None:
        """Read a number below ``/proc/sys``, by its sysctl name."""
        return _number(_text(self.proc / "sys" / name.replace(".", "/")))

    def devices(self) -> list[Device]:
        """List all devices, in the order of their names."""
        found = []
        folder = self.sys / "class/net"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            mtu = _number(_text(path / "mtu"))
            if mtu is not None:
                ends = {_text(path / "ifindex"), _text(path / "iflink")}
                bridge = (path / "bridge").exists()
                found.append(Device(path.name, mtu, bridge, leads_out=len(ends) > 1))
        return found

    def default_device(self) -> str | None:
        """Name of the default route's device."""
        for line in (_text(self.proc / "net/route") or "").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 7 and fields[1] == fields[7] == "00000000":
                return fields[0]
        return None

    def clock_sources(self) -> tuple[str | None, list[str]]:
        """Current source of the monotonic clock, and all sources that it could have."""
        folder = self.sys / "devices/system/clocksource/clocksource0"
        available = _text(folder / "available_clocksource") or ""
        return _text(folder / "current_clocksource"), available.split()


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def source_of(server: Address) -> str:
    """Source address of datagrams to a server. Raises OSError, HostNotFound."""
    family, sockaddr = resolve(server)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(sockaddr)
        return str(sock.getsockname()[0])


def device_of(host: str) -> str | None:
    """Name of the device with one of this machine's own addresses, as `getsockname` gives it."""
    _, _, zone = host.partition("%")
    if zone:
        return zone
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        lines = (_text(Path("/proc/net/if_inet6")) or "").splitlines()
        owned = {fields[0]: fields[-1] for fields in map(str.split, lines)}
        return owned.get(address.packed.hex())
    if address.is_loopback:
        return "lo"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            request = struct.pack("16s24x", name.encode())
            try:
                answer = fcntl.ioctl(sock, 0x8915, request)  # SIOCGIFADDR
            except OSError:  # it has no address
                continue
            if answer[20:24] == address.packed:
                return name
    return None


def offloads_of(device: str) -> dict[str, Feature] | None:
    """Offloads of a device, by the names that ``ethtool -k`` gives them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            counts = _ethtool(
                sock, device, _COUNTS.pack(_ETHTOOL_COUNTS, 0, 1 << _FEATURE_NAMES, 0)
            )
            n_names = _COUNTS.unpack(counts)[3]
            head = _STRINGS.pack(_ETHTOOL_STRINGS, _FEATURE_NAMES, n_names)
            strings = _ethtool(sock, device, head + bytes(n_names * _NAME_BYTES))
            n_blocks = -(-n_names // 32)
            head = _FEATURES.pack(_ETHTOOL_FEATURES, n_blocks)
            features = _ethtool(sock, device, head + bytes(n_blocks * _BLOCK.size))
        except OSError:
            return None
    blocks = list(_BLOCK.iter_unpack(features[_FEATURES.size :]))
    found = {}
    for number in range(n_names):
        at = _STRINGS.size + number * _NAME_BYTES
        name = strings[at : at + _NAME_BYTES].partition(b"\0")[0].decode()
        available, _, active, _ = blocks[number // 32]
        bit = 1 << number % 32
        found[name] = Feature(on=bool(active & bit), available=bool(available & bit))
    return found


def _ethtool(sock: socket.socket, device: str, question: bytes) -> bytes:
    """Ask ethtool's interface one question; the kernel writes the answer over it."""
    buffer = array.array("B", question)
    fcntl.ioctl(sock, _SIOCETHTOOL, _REQUEST.pack(device.encode(), buffer.buffer_info()[0]))
    return buffer.tobytes()


def try_offloads() -> tuple[bool, bool]:
    """Try on loopback whether the kernel cuts a burst into datagrams, and whether it joins them."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(1.0)
        sender.connect(receiver.getsockname())
        joins = _accepts(receiver, UDP_GRO)
        control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", 100))]
        try:
            sender.sendmsg([bytes(200)], control)
            data, ancillary, _, _ = receiver.recvmsg(1000, socket.CMSG_SPACE(4))
        except OSError:
            return False, joins
        told = any(kind == UDP_GRO for _, kind, _ in ancillary)
        return told or len(data) == 100, told


def _accepts(sock: socket.socket, option: int) -> bool:
    try:
        sock.setsockopt(socket.IPPROTO_UDP, option, 1)
    except OSError:
        return False
    return True


def buffers_for(receive_bytes: int, send_bytes: int) -> tuple[int, int]:
    """Bytes of receive and send buffer that a socket gets when it asks for these."""
    got = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for option, asked in ((socket.SO_RCVBUF, receive_bytes), (socket.SO_SNDBUF, send_bytes)):
            sock.setsockopt(socket.SOL_SOCKET, option, asked)
            # Linux counts its own bookkeeping too: it doubles what it gives (socket(7)).
            got.append(sock.getsockopt(socket.SOL_SOCKET, option) // 2)
    return got[0], got[1]


def clock_cost_s() -> float:
    """Seconds that one reading of the monotonic clock takes, the best of a few tries."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(200):
            time.monotonic()
        best = min(best, time.perf_counter() - began)
    return best / 200


def clock_resolution_s() -> float:
    """Seconds between two times that the monotonic clock can tell apart."""
    info: Any = time.get_clock_info("monotonic")
    return float(info.resolution)
