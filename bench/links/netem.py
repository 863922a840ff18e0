"""A link shaped by the kernel's netem on a veth pair, where the kernel has it.

It differs from ``OneWayLink`` in places: the draws are not seeded, loss comes before the
bottleneck instead of after it, the queue is counted in packets, and a reordered packet skips the
delay instead of being held back.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from bench.links.namespaces import DEVICE, Namespace, namespace_pair, veth_pair
from bench.links.shape import LinkCounters, LinkShape

_UNLIMITED_PACKETS = 1_000_000


@functools.cache
def available() -> bool:
    """Whether this kernel has netem, found out in a namespace of its own."""
    with namespace_pair() as (namespace, _):
        try:
            namespace.run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
        except subprocess.CalledProcessError:
            return False
    return True


def arguments(shape: LinkShape, mtu: int) -> list[str]:
    """The words of ``tc qdisc … netem`` that come nearest to a shape."""
    words = ["limit", str(_limit_packets(shape, mtu)), "delay", f"{shape.delay_s * 1e6:.0f}us"]
    if shape.rate_bit_per_s < math.inf:
        words += ["rate", f"{shape.rate_bit_per_s:.0f}bit"]
    for word in ("loss", "duplicate", "corrupt", "reorder"):
        share = getattr(shape, word)
        if share:
            words += [word, f"{share:.6%}"]
    return words


def _limit_packets(shape: LinkShape, mtu: int) -> int:
    """Netem's limit holds what waits and what is under way, in packets taken as full ones."""
    room_bytes = shape.queue_bytes + shape.rate_bit_per_s / 8 * shape.delay_s
    return _UNLIMITED_PACKETS if not room_bytes < math.inf else max(1, math.ceil(room_bytes / mtu))


@dataclass(frozen=True)
class NetemLink:
    """Two namespaces and the shaped veth pair between them."""

    left: Namespace
    right: Namespace
    mtu: int

    def reshape(self, left_to_right: LinkShape, right_to_left: LinkShape) -> None:
        """Set both directions, the counters with them."""
        for end, shape in ((self.left, left_to_right), (self.right, right_to_left)):
            with contextlib.suppress(subprocess.CalledProcessError):
                end.run("tc", "qdisc", "delete", "dev", DEVICE, "root")
            words = arguments(shape, self.mtu)
            end.run("tc", "qdisc", "add", "dev", DEVICE, "root", "netem", *words)

    def counters(self) -> tuple[LinkCounters, LinkCounters]:
        """What the directions have done; netem tells neither lost from dropped nor the rest."""
        return _counters(self.left), _counters(self.right)


def _counters(end: Namespace) -> LinkCounters:
    statistics = json.loads(end.run("tc", "-s", "-j", "qdisc", "show", "dev", DEVICE))[0]
    delivered, dropped = statistics["packets"], statistics["drops"]
    return LinkCounters(
        offered=delivered + dropped,
        delivered=delivered,
        delivered_bytes=statistics["bytes"],
        dropped=dropped,
    )


@contextlib.contextmanager
def netem_link(
    left_to_right: LinkShape, right_to_left: LinkShape, *, mtu: int = 1500
) -> Iterator[NetemLink]:
    """Two namespaces joined by a veth pair of these shapes, every packet on its own."""
    with veth_pair(mtu, offloads=False) as (left, right):
        link = NetemLink(left, right, mtu)
        link.reshape(left_to_right, right_to_left)
        yield link
