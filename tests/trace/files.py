"""Reading of traces in tests: what a capture and a file of events say was sent and received."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

Event = dict[str, Any]


class Captured(NamedTuple):
    """Datagram of a capture, with its ports and its time."""

    source: int
    destination: int
    payload: bytes
    at_us: int


def captured_in(path: Path) -> list[Captured]:
    """The datagrams of a capture, in its order. All are of IPv4."""
    data, found = path.read_bytes(), []
    while data:
        kind, length = struct.unpack_from("<II", data)
        if kind == 6:
            _, high, low, size, _ = struct.unpack_from("<IIIII", data, 8)
            packet = data[28 : 28 + size]
            source, destination = struct.unpack_from(">HH", packet, 20)
            found.append(Captured(source, destination, packet[28:], high << 32 | low))
        data = data[length:]
    return found


def events_in(path: Path) -> list[Event]:
    """The events of a file, without its header."""
    records = path.read_bytes().split(b"\x1e")
    assert records[0] == b""
    assert all(record.endswith(b"\n") for record in records[1:])
    return [json.loads(record) for record in records[2:]]


def header_in(path: Path) -> Event:
    """The header of a file of events."""
    header: Event = json.loads(path.read_bytes().split(b"\x1e")[1])
    return header


def named(events: Iterable[Event], name: str) -> Iterator[Event]:
    """The data of all events of a name."""
    return (event["data"] for event in events if event["name"] == name)


def numbers_of(events: Iterable[Event]) -> list[int]:
    """Packet numbers of DATA in the data of events, in their order."""
    return [
        number
        for data in events
        for first, last in data.get("packets", ())
        for number in range(first, last + 1)
    ]


def packets_of(events: Iterable[Event]) -> list[str | int]:
    """Packets in the data of events, in order: the check of a control packet, a DATA's number."""
    found: list[str | int] = []
    for data in events:
        found += numbers_of([data]) or [data["id"]]
    return found


def named_packet(datagram: bytes) -> str | int:
    """Name of a datagram, as `packets_of` has it."""
    if datagram[0] == 0x84:
        return int.from_bytes(datagram[8:12], "little")
    return datagram[8:16].hex()
