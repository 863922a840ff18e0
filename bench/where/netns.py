"""Two network namespaces on this host, joined by a veth pair or a shaped link. Takes root."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.links import LinkShape, Namespace, netem, shaped_link, veth_pair
from bench.links.namespaces import DEVICE
from bench.result import Scenario
from bench.where.hosts import Host, Joined, Unavailable, lossy_firewall
from bench.where.loopback import memory_folder


class Netns:
    """A new pair of namespaces for each scenario, on one folder in memory."""

    name = "netns"

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed

    @contextlib.contextmanager
    def join(self, scenario: Scenario) -> Iterator[Joined]:
        """Namespaces and the path of a scenario between them."""
        with contextlib.ExitStack() as stack:
            if scenario.is_shaped:
                there, back = link_shapes(scenario, self._seed)
                link = stack.enter_context(shaped_link(there, back, mtu=scenario.mtu))
                client, server = link.left, link.right
                means = "netem" if netem.available() else "emulator"
            else:
                client, server = stack.enter_context(veth_pair(scenario.mtu))
                means = "none"
            ends = [stack.enter_context(self._host(end)) for end in (client, server)]
            if scenario.loss and not scenario.is_shaped:
                devices = [(end, DEVICE) for end in ends]
                stack.enter_context(lossy_firewall(devices, scenario.loss))
                means = "firewall"
            yield Joined(ends[0], ends[1], client.address, server.address, means)

    def _host(self, end: Namespace) -> Host:
        return Host(end.command([sys.executable, "-m", "bench.agent"]), self._folder)


@contextlib.contextmanager
def netns(seed: int) -> Iterator[Netns]:
    """A place to measure in.

    Raises:
        Unavailable: this process is not root.
    """
    if os.geteuid() != 0:
        raise Unavailable("network namespaces take root; --where loopback does not")
    with memory_folder() as folder:
        yield Netns(Path(folder), seed)


def link_shapes(scenario: Scenario, seed: int) -> tuple[LinkShape, LinkShape]:
    """Both directions of a scenario's path: half the round trip each, a queue of one of them.

    A queue of at least 64 packets: a shorter one overflows by the first burst of anybody.
    """
    rate_bit_per_s = scenario.rate_bit_per_s or math.inf
    queue_bytes = max(rate_bit_per_s / 8 * scenario.rtt_s, 64.0 * scenario.mtu)
    there, back = (
        LinkShape(
            rate_bit_per_s=rate_bit_per_s,
            delay_s=scenario.rtt_s / 2,
            queue_bytes=queue_bytes,
            loss=scenario.loss,
            seed=seed + direction,
        )
        for direction in (0, 1)
    )
    return there, back
