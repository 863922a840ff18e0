"""Metrics page of all workers: a process of its own, which counts what the supervisor tells."""

from __future__ import annotations

import os
from collections.abc import Sequence
from socket import socket as Socket

from udpft.net.address import Address
from udpft.net.udp import drops_of
from udpft.server.metrics import Metrics
from udpft.server.workers.ledger import Ledger
from udpft.server.workers.messages import Channel, served_of


def show(address: Address, sockets: Sequence[Socket], ledger: Ledger, channel: Channel) -> None:
    """Show the metrics of all workers until the supervisor has no more to tell.

    Raises:
        UsageError: the address cannot be bound, or a package is missing.
    """
    supervisor = os.getppid()
    with Metrics(
        address,
        transfers=lambda: ledger.transfers,
        drops=lambda: sum(map(drops_of, sockets)),
        processes=lambda: [supervisor, *ledger.process_ids()],
    ) as page:
        channel.tell("ready", address=str(page.address))
        while message := channel.receive():
            page.count(served_of(message))
