"""uftp, which sends to receivers that wait: over UDP, meant for multicast, used with one."""

from __future__ import annotations

from pathlib import Path

from bench.peers.base import Peer, Place
from bench.result import Scenario


class Uftp(Peer):
    """uftp to uftpd, as fast as it leaves: its rate is for the user to choose."""

    label = "uftp"
    what = "unicast, no rate limit and no congestion control (-R -1), 4 MB buffers"
    programs = ("uftp", "uftpd")
    pushes = True
    usual_rate = 4e7
    usual_start_s = 0.3

    def daemon(self, place: Place, name: str) -> list[str]:  # noqa: ARG002
        words = ["-p", str(place.port), "-B", "4000000", "-D", str(place.work), "-I", place.client]
        return ["uftpd", "-d", *words]  # -d: in the foreground

    def transfer(self, place: Place, name: str, destination: Path) -> list[str]:
        block = str(min(8192, place.mtu - 100))
        words = ["-p", str(place.port), "-B", "4000000", "-b", block, "-M", place.client]
        words += ["-I", place.server, "-R", "-1", "-r", "0.05:0.01:1", "-q"]
        return ["uftp", *words, "-D", destination.name, str(place.root / name)]

    def unfit_for(self, scenario: Scenario) -> str:
        if scenario.clients > 1:
            return "it serves many receivers by multicast, which no other mode does"
        return "it needs a rate chosen by hand" if scenario.is_shaped else ""


PEERS = [Uftp()]
