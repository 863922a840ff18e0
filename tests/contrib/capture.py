"""Captures for tests: datagrams written as pcapng, and read by tshark with our dissector."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from udpft.trace.pcapng import UdpAddress, head_of, ip_packet, packet_block

DISSECTOR = Path(__file__).parents[2] / "contrib/wireshark/udpft.lua"

needs_tshark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed (Debian: apt install tshark)"
)

SERVER = UdpAddress.of("192.0.2.1", 9000)
CLIENT = UdpAddress.of("192.0.2.2", 40_000)


class Field(NamedTuple):
    """Field of a packet as tshark shows it: a name, and its value in words."""

    name: str
    show: str


class Dissected(NamedTuple):
    """Packet of one of our protocols in a frame, with all fields below it, at any depth."""

    frame: int
    protocol: str
    fields: list[Field]

    def all(self, name: str) -> list[str]:
        """The values of all fields of a name."""
        return [field.show for field in self.fields if field.name == name]

    def one(self, name: str) -> str:
        """The value of the one field of a name."""
        [show] = self.all(name)
        return show


def capture(path: Path, datagrams: Iterable[tuple[UdpAddress, UdpAddress, bytes]]) -> Path:
    """Write a capture: source, destination and payload of each datagram, a millisecond apart."""
    blocks = [head_of("of a test", "test")]
    for number, (source, destination, payload) in enumerate(datagrams):
        blocks.append(packet_block(1_000 * number, ip_packet(source, destination, payload)))
    path.write_bytes(b"".join(blocks))
    return path


def tshark(path: Path, *arguments: str) -> str:
    """Output of tshark with the dissector. It has nothing to complain of."""
    command = ["tshark", "-X", f"lua_script:{DISSECTOR}", "-r", str(path), *arguments]
    # A text that tshark cuts off may end in the middle of a character.
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=110, check=False
    )
    # Of root it says only that lua is not run for it; that is a setting of old versions.
    words = [line for line in done.stderr.splitlines() if "Running as user" not in line]
    assert done.returncode == 0, done.stderr
    assert words == [], done.stderr
    return done.stdout


def dissect(path: Path, *arguments: str) -> list[Dissected]:
    """All packets of our protocols in a capture. No frame is malformed, and no script failed."""
    found = []
    for frame, packet in enumerate(
        ElementTree.fromstring(tshark(path, "-T", "pdml", *arguments)), 1
    ):
        names = {node.get("name") for node in packet.iter()}
        assert not {"_ws.malformed", "_ws.lua.error", "_ws.lua.text"} & names, f"frame {frame}"
        for protocol in packet.iter("proto"):
            name = protocol.get("name") or ""
            if name.startswith("udpft"):
                fields = [
                    Field(node.get("name") or "", node.get("show") or "")
                    for node in protocol.iter("field")
                ]
                found.append(Dissected(frame, name, fields))
    return found
