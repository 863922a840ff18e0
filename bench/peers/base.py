"""Description of a peer: how its server starts, how it fetches a file, how its output is read.

A peer only describes commands; the runner starts them, on whichever hosts it likes. ``python`` as
a command's first word is the Python of that host, which finds this package. To add a peer:
one file in this folder with a class as below and a ``PEERS`` list; nothing else is to be edited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.result import Scenario


@dataclass(frozen=True)
class Place:
    """Where a peer works.

    root: the folder to serve. work: a folder of its own, on either host.
    server, client: addresses of the ends. port: of the daemon, free in both protocols.
    """

    root: Path
    work: Path
    server: str
    client: str
    port: int
    mtu: int


@dataclass(frozen=True)
class Said:
    """What a client's output tells beyond its time.

    size_bytes, seconds: of a ceiling, which moves no file: what it moved, and in what time.
    resent_share: of what was sent, the share sent again; negative where it does not say.
    """

    size_bytes: int = 0
    seconds: float = 0.0
    resent_share: float = -1.0


class Peer:
    """One way to move a file. Subclasses say how; the defaults are those of most.

    label: its name in every table. kind: see `bench.result.ModeInfo`.
    what: one line on how it is run.
    programs: what must be installed at both ends; ``python:NAME`` is a module.
    transport: of the port on which its daemon listens.
    pushes: the daemon is the receiver's, and the sender's command moves the file.
    one_shot: the daemon ends after one transfer, and is started anew for each.
    tcp_controller: the congestion controller that TCP is given; empty: the kernel's own choice.
    usual_rate, usual_start_s: bytes per second, and seconds before the first, roughly: they say
        how many rounds there are, how much is left and what is too long, and no result.
    fears_loss: takes every loss for congestion, for the same ends.
    """

    label: str
    kind: Literal["udpft", "tcp", "udp", "ceiling"] = "udp"
    what: str = ""
    programs: Sequence[str] = ()
    transport: Literal["tcp", "udp"] = "udp"
    pushes: bool = False
    one_shot: bool = False
    tcp_controller: str = ""
    usual_rate: float = 2e8
    usual_start_s: float = 0.02
    fears_loss: bool = False

    def daemon(self, place: Place, name: str) -> list[str]:
        """The daemon's command. ``name`` is the file's; only one-shot daemons need to know it."""
        raise NotImplementedError

    def transfer(self, place: Place, name: str, destination: Path) -> list[str]:
        """The command that moves the file, and exits with 0 when it is complete."""
        raise NotImplementedError

    def files(self, place: Place) -> Mapping[str, str]:
        """Files that the daemon needs in ``place.work``: name and text."""
        del place
        return {}

    def probe(self) -> list[str]:
        """A command that fails where this peer cannot be had although its programs are there."""
        return []

    def unfit_for(self, scenario: Scenario) -> str:
        """Why this peer cannot take part in a scenario; empty if it can."""
        del scenario
        return ""

    def read(self, output: str) -> Said:
        """What the output of ``transfer`` tells."""
        del output
        return Said()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label!r}>"
