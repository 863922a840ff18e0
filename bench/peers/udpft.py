"""udpft itself, in each of its modes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers.base import Peer, Place, Said
from bench.result import Scenario

_KEY = "key"


@dataclass(frozen=True, repr=False)
class Udpft(Peer):
    """``udpft get`` with some options, from ``udpft serve`` with others."""

    label: str = "udpft"
    what: str = "reliable, chunks of 2048 bytes where the path carries them whole"
    get_options: Sequence[str] = ()
    serve_options: Sequence[str] = ()
    kind = "udpft"
    programs = ("python:xxhash", "python:click")
    usual_rate = 4e8
    usual_start_s = 0.1

    def daemon(self, place: Place, name: str) -> list[str]:  # noqa: ARG002
        where = ["--host", place.server, "--port", str(place.port)]
        command = ["python", "-m", "udpft", "-q", "serve", str(place.root), *where]
        return [*command, *self._with_key(self.serve_options, place)]

    def transfer(self, place: Place, name: str, destination: Path) -> list[str]:
        where = ["-s", f"{place.server}:{place.port}", "-o", str(destination), "--json"]
        command = ["python", "-m", "udpft", "get", name, *where]
        return [*command, *self._with_key(self.get_options, place)]

    def _with_key(self, options: Sequence[str], place: Place) -> list[str]:
        return [str(place.work / _KEY) if option == _KEY else option for option in options]

    def read(self, output: str) -> Said:
        """The share resent, where chunks are numbered."""
        for line in output.splitlines():
            said = json.loads(line)
            if said.get("event") == "done" and said.get("chunk_size") and said.get("verified"):
                chunks = said["bytes"] // said["chunk_size"] + 1
                resent = said["resent_packets"]
                return Said(resent_share=resent / (chunks + resent))
        return Said()


@dataclass(frozen=True, repr=False)
class Plain(Udpft):
    """The plain protocol, which makes nothing good."""

    usual_rate = 5e7

    def unfit_for(self, scenario: Scenario) -> str:
        return "plain loses what the path loses" if scenario.is_impaired else ""


@dataclass(frozen=True, repr=False)
class Keyed(Udpft):
    """Reliable, every datagram encrypted."""

    def files(self, place: Place) -> dict[str, str]:
        """A key that is no secret, at both ends."""
        del place
        return {_KEY: bytes(range(32)).hex() + "\n"}

    def probe(self) -> list[str]:
        return ["python", "-m", "udpft", "key", "--help"]


PEERS = [
    Udpft(),
    Udpft(label="udpft again", what="the same once more: what differs between the two is noise"),
    Udpft(
        label="udpft auto",
        what="reliable, chunks as large as the path carries",
        get_options=("--chunk-size", "auto"),
    ),
    Keyed(
        label="udpft keyed",
        what="reliable, each datagram authenticated and encrypted",
        get_options=("--key-file", _KEY),
        serve_options=("--key-file", _KEY),
    ),
    Plain(
        label="udpft plain",
        what="no acknowledgements, paced at 50 MB/s; a file that is not whole is a failure",
        get_options=("--mode", "plain"),
        serve_options=("--plain-rate", "50M"),
    ),
]
