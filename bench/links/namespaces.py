"""Two network namespaces as two hosts, and commands that run inside them. Linux, root, iproute2.

Namespaces are named ``udpft-PID-N-left`` and ``-right`` after the process that made them. What a
crashed process left behind is swept away when the next pair is made.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DEVICE = "link0"
"""Name of the joining device, in either namespace."""

NETWORK = "10.77.0.0/24"
"""The private network (RFC 1918) of the two addresses."""

OFFLOADS = ("tso", "gso", "gro", "tx-udp-segmentation")
"""What lets many packets pass as one, by ethtool's names; off, each packet is lost singly."""

_FORGET_METRICS = "net.ipv4.tcp_no_metrics_save=1"
"""A TCP connection must not begin with what the last one, perhaps another's, learnt of the path."""

_NAME = re.compile(r"udpft-(\d+)-\d+-(?:left|right)")
_serial = itertools.count()


@dataclass(frozen=True)
class Namespace:
    """A network namespace with one address on ``DEVICE``. An empty name is the host itself."""

    name: str
    address: str

    def command(self, command: Sequence[str]) -> list[str]:
        """The command that runs ``command`` inside; it replaces itself, so the pid stays."""
        return ["ip", "netns", "exec", self.name, *command] if self.name else list(command)

    def run(self, *command: str) -> str:
        """Run a command inside to its end and return what it wrote.

        Raises:
            subprocess.CalledProcessError: it failed; standard error is in ``.stderr``.
        """
        return run(*self.command(command))

    def choose_tcp_controller(self, name: str) -> None:
        """Give TCP connections from now on this congestion controller; empty: the kernel's own.

        It becomes an attribute of the route, because ``net.ipv4.tcp_congestion_control`` takes in
        a namespace only what the host's ``tcp_allowed_congestion_control`` lists.
        """
        route = [NETWORK, "dev", DEVICE, "proto", "kernel", "scope", "link", "src", self.address]
        choice = ["congctl", name] if name else []
        run("ip", "-n", self.name, "route", "change", *route, *choice)

    def switch_offloads(self, *names: str, on: bool) -> None:
        """Switch ``DEVICE``'s offloads on or off, by ethtool's names (see ``OFFLOADS``)."""
        words = [word for name in names for word in (name, "on" if on else "off")]
        self.run("ethtool", "-K", DEVICE, *words)

    def pids(self) -> list[int]:
        """The processes that run inside."""
        return [int(pid) for pid in run("ip", "netns", "pids", self.name).split()]


LOOPBACK = Namespace(name="", address="127.0.0.1")
"""The host itself, in the place of a namespace."""


def run(*command: str) -> str:
    """Run a command to its end and return its output; raises CalledProcessError if it fails."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def namespace_pair() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces with loopback up and nothing else yet; gone on leaving, processes included."""
    sweep()
    base = f"udpft-{os.getpid()}-{next(_serial)}"
    pair = Namespace(f"{base}-left", "10.77.0.1"), Namespace(f"{base}-right", "10.77.0.2")
    try:
        for namespace in pair:
            run("ip", "netns", "add", namespace.name)
            run("ip", "-n", namespace.name, "link", "set", "lo", "up")
            namespace.run("sysctl", "-q", "-w", _FORGET_METRICS)
        yield pair
    finally:
        for namespace in pair:
            delete(namespace)


@contextlib.contextmanager
def veth_pair(mtu: int, *, offloads: bool = True) -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces joined by a veth pair of this MTU, offloads as the kernel has them or off."""
    with namespace_pair() as (left, right):
        ends = f"v{os.getpid()}l", f"v{os.getpid()}r"
        run("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for namespace, end in zip((left, right), ends, strict=True):
            adopt(namespace, end, mtu)
            if not offloads:
                namespace.switch_offloads(*OFFLOADS, on=False)
        yield left, right


def adopt(namespace: Namespace, device: str, mtu: int) -> None:
    """Move a device into a namespace as its ``DEVICE``, give it the address, and bring it up."""
    run("ip", "link", "set", device, "netns", namespace.name, "name", DEVICE)
    quiet = "addrgenmode", "none"  # no IPv6 address, so no router solicitations on the link
    run("ip", "-n", namespace.name, "link", "set", DEVICE, "mtu", str(mtu), *quiet)
    run("ip", "-n", namespace.name, "link", "set", DEVICE, "up")
    address = f"{namespace.address}/{NETWORK.partition('/')[2]}"
    run("ip", "-n", namespace.name, "address", "add", address, "dev", DEVICE)


def delete(namespace: Namespace) -> None:
    """Delete a namespace if it exists, and end what still runs inside."""
    with contextlib.suppress(subprocess.CalledProcessError):
        for pid in namespace.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run("ip", "netns", "delete", namespace.name)


def sweep() -> None:
    """Delete the namespaces whose maker is no longer alive."""
    for line in run("ip", "netns", "list").splitlines():
        match = _NAME.match(line)
        if match and not Path("/proc", match[1]).exists():
            delete(Namespace(match[0], address=""))
