"""iperf3, which moves zeros from memory to memory: what the path carries with no file at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench.peers.base import Peer, Place, Said
from bench.result import Scenario

_SECONDS = "1"


@dataclass(frozen=True, repr=False)
class Iperf(Peer):
    """iperf3 from server to client (``--reverse``), for a second."""

    label: str = "iperf3 TCP"
    what: str = "no file: TCP from memory to memory for a second"
    udp: bool = False
    kind = "ceiling"
    programs = ("iperf3",)
    transport = "tcp"  # of its control connection, whatever it measures

    def daemon(self, place: Place, name: str) -> list[str]:  # noqa: ARG002
        return ["iperf3", "--server", "--bind", place.server, "--port", str(place.port)]

    def transfer(self, place: Place, name: str, destination: Path) -> list[str]:  # noqa: ARG002
        where = ["--client", place.server, "--port", str(place.port), "--reverse", "--json"]
        size = min(8192, place.mtu - 28)
        udp = ["--udp", "--bitrate", "0", "--length", str(size)] if self.udp else []
        return ["iperf3", *where, "--time", _SECONDS, *udp]

    def unfit_for(self, scenario: Scenario) -> str:
        if scenario.clients > 1:
            return "iperf3 serves one client at a time"
        if self.udp and scenario.is_impaired:
            return "UDP without congestion control only fills the queue"
        return ""

    def read(self, output: str) -> Said:
        """What arrived; what UDP lost is not counted."""
        end = json.loads(output)["end"]
        if not self.udp:
            received = end["sum_received"]
            return Said(received["bytes"], received["seconds"])
        total = end["sum"]
        arrived = total["packets"] - total["lost_packets"]
        return Said(round(total["bytes"] * arrived / total["packets"]), total["seconds"])


PEERS = [
    Iperf(),
    Iperf(
        label="iperf3 UDP", what="no file: UDP as fast as it leaves, what arrives counted", udp=True
    ),
]
