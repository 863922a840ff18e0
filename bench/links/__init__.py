"""Network paths to measure on: namespaces, veth pairs, and links with a shape."""

from __future__ import annotations

from contextlib import AbstractContextManager

from bench.links import netem
from bench.links.emulator import COALESCE_S, EmulatedLink, emulated_link
from bench.links.namespaces import LOOPBACK, Namespace, veth_pair
from bench.links.shape import LinkCounters, LinkShape, OneWayLink

__all__ = [
    "LOOPBACK",
    "EmulatedLink",
    "LinkCounters",
    "LinkShape",
    "Namespace",
    "OneWayLink",
    "emulated_link",
    "shaped_link",
    "veth_pair",
]


def shaped_link(
    left_to_right: LinkShape,
    right_to_left: LinkShape,
    *,
    mtu: int = 1500,
    coalesce_s: float = COALESCE_S,
) -> AbstractContextManager[EmulatedLink | netem.NetemLink]:
    """Two namespaces joined by a link of these shapes: the kernel's netem, else the emulator.

    Netem's ends never coalesce packets.
    """
    if netem.available():
        return netem.netem_link(left_to_right, right_to_left, mtu=mtu)
    return emulated_link(left_to_right, right_to_left, mtu=mtu, coalesce_s=coalesce_s)
