"""All peers, that is programs that move a file: each module here brings its ``PEERS``."""

from __future__ import annotations

import importlib
import pkgutil

from bench.peers.base import Peer, Place, Said

__all__ = ["Peer", "Place", "Said", "all_peers"]

ORDER = ("udpft", "http", "sendfile", "uftp", "tftp", "srt", "quic", "iperf")
"""How modules come in tables; those not named here come last."""


def all_peers() -> list[Peer]:
    """All peers, in the order of the tables."""
    found = {one.name for one in pkgutil.iter_modules(__path__)} - {"base"}
    names = [name for name in ORDER if name in found] + sorted(found - set(ORDER))
    peers: list[Peer] = []
    for name in names:
        peers += getattr(importlib.import_module(f"{__name__}.{name}"), "PEERS", [])
    return peers
