"""SRT's file mode: srt-file-transmit, with UDT's congestion control."""

from __future__ import annotations

from pathlib import Path

from bench.peers.base import Peer, Place
from bench.result import Scenario


class Srt(Peer):
    """srt-file-transmit at both ends; the sender waits for one receiver, and ends."""

    label = "srt-file-transmit"
    what = "SRT in file mode, as it comes"
    programs = ("srt-file-transmit",)
    one_shot = True
    usual_rate = 5e7
    usual_start_s = 0.3

    def daemon(self, place: Place, name: str) -> list[str]:
        target = f"srt://{place.server}:{place.port}?mode=listener"
        return ["srt-file-transmit", "-q", f"file://{place.root / name}", target]

    def transfer(self, place: Place, name: str, destination: Path) -> list[str]:  # noqa: ARG002
        source = f"srt://{place.server}:{place.port}?mode=caller"
        return ["srt-file-transmit", "-q", source, f"file://{destination}"]

    def unfit_for(self, scenario: Scenario) -> str:
        return "it serves one client and ends" if scenario.clients > 1 else ""


PEERS = [Srt()]
