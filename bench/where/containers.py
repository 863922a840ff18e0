"""Two containers on the bridges of ``compose.yml``: services ``bench-server``, ``bench-client``.

The engine's command line does all of it. A path with a delay or a rate is netem's where the kernel
has it; else the link emulator's, which reaches into the containers' namespaces, and for that takes
root on the machine on which the engine runs.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.links import Namespace, emulated_link, netem
from bench.links.namespaces import run
from bench.result import Scenario
from bench.where.hosts import Host, HostFailed, Joined, Unavailable, lossy_firewall, single_packets
from bench.where.netns import link_shapes

REPOSITORY = Path(__file__).parents[2]
SERVICES = ("bench-client", "bench-server")
_SAID_AT_MOST = 1_000
FOLDER = Path("/bench")
"""In memory, in both containers: see compose.yml."""


class Containers:
    """The two containers, running, and an agent in each."""

    name = "containers"

    def __init__(self, hosts: tuple[Host, Host], ids: tuple[str, str], seed: int) -> None:
        self._hosts, self._ids, self._seed = hosts, ids, seed

    @contextlib.contextmanager
    def join(self, scenario: Scenario) -> Iterator[Joined]:
        """The containers, on the bridge of the scenario's MTU, or on a link of its shape."""
        client, server = self._hosts
        devices = [device_of_mtu(host, scenario.mtu) for host in self._hosts]
        addresses = [address for _, address in devices]
        with contextlib.ExitStack() as stack:
            means = "none"
            ends = [(host, name) for host, (name, _) in zip(self._hosts, devices, strict=True)]
            if scenario.is_shaped and _has_netem(client):
                stack.enter_context(_netem(ends, scenario, self._seed))
                means = "netem"
            elif scenario.is_shaped:
                left, right = stack.enter_context(_emulator(self._ids, scenario, self._seed))
                addresses = [left.address, right.address]
                means = "emulator"
            elif scenario.loss:
                stack.enter_context(lossy_firewall(ends, scenario.loss))
                means = "firewall"
            yield Joined(client, server, addresses[0], addresses[1], means)


@contextlib.contextmanager
def containers(seed: int) -> Iterator[Containers]:
    """Build the image, start both containers, and remove them on leaving.

    Raises:
        Unavailable: there is no engine, or it cannot build or start them.
    """
    compose = compose_command()
    print("building the image: minutes, the first time", file=sys.stderr)
    _check(compose, "build", "bench-client")
    try:
        _check(compose, "up", "-d", "--no-build", *SERVICES)
        with contextlib.ExitStack() as stack:
            ids = [_check(compose, "ps", "-q", service).strip() for service in SERVICES]
            agent = ["python", "-m", "bench.agent", "--container"]
            hosts = [
                stack.enter_context(Host(["docker", "exec", "-i", one, *agent], FOLDER))
                for one in ids
            ]
            yield Containers((hosts[0], hosts[1]), (ids[0], ids[1]), seed)
    finally:
        _remove(compose)


def compose_command() -> list[str]:
    """``docker compose`` or its forerunner, with the profile; raises Unavailable."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            found = subprocess.run([*command, "version"], capture_output=True)
            if found.returncode == 0:
                return [*command, "--profile", "bench"]
    raise Unavailable("there is no docker compose here; --where netns or loopback do without")


def _check(compose: Sequence[str], *words: str) -> str:
    """Run compose and return what it printed; raises Unavailable with the end of what it said."""
    ended = subprocess.run([*compose, *words], cwd=REPOSITORY, capture_output=True, text=True)
    if ended.returncode:
        said = (ended.stdout + ended.stderr).strip()[-_SAID_AT_MOST:]
        raise Unavailable(f"compose {words[0]} failed: {said}")
    return ended.stdout


def _remove(compose: Sequence[str]) -> None:
    """Remove the containers, and their networks where nobody else is on them."""
    asked = subprocess.run(
        [*compose, "ps", "-q", *SERVICES], cwd=REPOSITORY, capture_output=True, text=True
    )
    form = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"
    networks: set[str] = set()
    for one in asked.stdout.split():
        with contextlib.suppress(subprocess.CalledProcessError):
            networks |= set(run("docker", "inspect", "--format", form, one).split())
    removal = [*compose, "rm", "-s", "-f", "-v", *SERVICES]
    subprocess.run(removal, cwd=REPOSITORY, capture_output=True)
    for network in networks:
        subprocess.run(["docker", "network", "rm", network], capture_output=True)


def device_of_mtu(host: Host, mtu: int) -> tuple[str, str]:
    """The device of this MTU in a container, and its IPv4 address; raises Unavailable."""
    for link in json.loads(host.run("ip", "-j", "-4", "address", "show")):
        addresses = [one["local"] for one in link["addr_info"]]
        if link["mtu"] == mtu and addresses and ipaddress.ip_address(addresses[0]).is_private:
            return str(link["ifname"]), str(addresses[0])
    raise Unavailable(f"the containers share no network of MTU {mtu}")


def _has_netem(host: Host) -> bool:
    try:
        host.run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "0ms")
    except HostFailed:
        return False
    host.run("tc", "qdisc", "delete", "dev", "lo", "root")
    return True


@contextlib.contextmanager
def _netem(ends: Sequence[tuple[Host, str]], scenario: Scenario, seed: int) -> Iterator[None]:
    """Shape what leaves each end."""
    shapes = link_shapes(scenario, seed)
    with contextlib.ExitStack() as stack:
        for (host, device), shape in zip(ends, shapes, strict=True):
            stack.enter_context(single_packets(host, device))
            words = netem.arguments(shape, scenario.mtu)
            host.run("tc", "qdisc", "replace", "dev", device, "root", "netem", *words)
            stack.callback(host.run, "tc", "qdisc", "delete", "dev", device, "root")
        yield


@contextlib.contextmanager
def _emulator(
    ids: Sequence[str], scenario: Scenario, seed: int
) -> Iterator[tuple[Namespace, Namespace]]:
    """Lay an emulated link between the containers, beside their bridges."""
    if os.geteuid() != 0:
        raise Unavailable("the kernel has no netem, and the link emulator takes root")
    with contextlib.ExitStack() as stack:
        ends = []
        for side, (one, address) in enumerate(zip(ids, ("10.77.0.1", "10.77.0.2"), strict=True)):
            pid = run("docker", "inspect", "--format", "{{.State.Pid}}", one).strip()
            name = f"udpft-bench-{os.getpid()}-{side}"
            try:
                run("ip", "netns", "attach", name, pid)
            except subprocess.CalledProcessError as error:
                raise Unavailable(
                    "the kernel has no netem, and the containers are on another machine"
                ) from error
            stack.callback(run, "ip", "netns", "delete", name)  # the name only
            ends.append(Namespace(name, address))
        there, back = link_shapes(scenario, seed)
        link = stack.enter_context(
            emulated_link(there, back, mtu=scenario.mtu, ends=(ends[0], ends[1]))
        )
        yield link.left, link.right
