"""Simulated network in memory: a server and its clients, seeded links, and a virtual clock.

Both ends are the real ones: `Listener` on one side, any number of `Download` and `Upload` on the
other. A transfer of minutes runs in a second, and a seed replays exactly.

Loss, reordering and the like happen to single datagrams, as on a wire; a burst is taken apart
where it enters the link. What arrives waits in a receive buffer, and is read from it as one
batch where the sizes allow, as a socket does.

A story is four lines::

    net = SimNet({"file": content}, seed=1, down=Shape(loss=0.05))
    client = net.get("file")
    net.run()
    assert client.content == content
"""

from __future__ import annotations

from udpft.testing.network.files import (
    MemoryPlace,
    MemorySink,
    MemorySource,
    present_in,
    random_bytes,
)
from udpft.testing.network.links import Inbox, Link, Shape
from udpft.testing.network.simulation import SERVER, SimNet, SimulatedClient

__all__ = [
    "SERVER",
    "Inbox",
    "Link",
    "MemoryPlace",
    "MemorySink",
    "MemorySource",
    "Shape",
    "SimNet",
    "SimulatedClient",
    "present_in",
    "random_bytes",
]
