"""Model of what a page shows, made of the events of one end or of both.

Packets become *arrows*: who sent what, when it left and when it arrived, as far as the traces know,
and whether it was lost. The first `MAX_ARROWS` are told one by one, for the ladder; of all DATA the
bursts are told, for the charts. Times are milliseconds since the first event.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

Record = dict[str, Any]

MAX_ARROWS = 400
"""Packets in the ladder."""

_MAX_READ = 4 * MAX_ARROWS
"""Packets of each trace that are looked at for it: one that arrives is told later than it left."""

_MAX_SERIES = 20_000
"""Points of a figure; of a longer one, every other is left out until it fits."""

_SAME_CLOCK_MS = 5.0
"""Milliseconds below which two clocks count as one."""

_CLIENT, _SERVER = "client", "server"
_OTHER = {_CLIENT: _SERVER, _SERVER: _CLIENT}


class _Packet(NamedTuple):
    """Packet as one trace tells of it."""

    at_ms: float
    side: str
    sent: bool
    kind: str
    key: tuple[str, str, Any]
    label: str
    fields: Record
    data: str
    length: int

    @property
    def sender(self) -> str:
        """The end that sent it."""
        return self.side if self.sent else _OTHER[self.side]


def model_of(traces: Sequence[Sequence[Record]]) -> dict[str, Any]:
    """Make the model of the records of one trace, or of two of both ends."""
    sides = [str(records[0]["trace"]["vantage_point"]["type"]) for records in traces]
    shifted = _shifted(traces, sides)
    first = min((event["time"] for events in shifted for event in events), default=0.0)
    for events in shifted:
        for event in events:
            event["time"] = round(event["time"] - first, 3)
    arrows = _arrows(shifted, sides)
    last = max((event["time"] for events in shifted for event in events), default=0.0)
    data_sender = _data_sender(shifted, sides)
    return {
        "sides": sides,
        "duration": last,
        "began": traces[0][0]["trace"]["common_fields"]["reference_time"].get(
            "wall_clock_time", ""
        ),
        "summary": _summary(shifted, sides, last),
        "arrows": arrows[:MAX_ARROWS],
        "more": max(0, _count(shifted, sides) - len(arrows[:MAX_ARROWS])),
        "one_way": _one_way(shifted),
        "sender": data_sender,
        **_series(shifted, sides, data_sender),
        "stopped": [
            side
            for side, events in zip(sides, shifted, strict=True)
            if any(event["name"] == "udpft:trace_stopped" for event in events)
        ],
    }


# ----------------------------------------------------------------------------------------- clocks


def _shifted(traces: Sequence[Sequence[Record]], sides: Sequence[str]) -> list[list[Record]]:
    """Events of each trace, by the first one's clock."""
    events = [[dict(event) for event in records[1:]] for records in traces]
    if len(traces) < 2:
        return events
    walls = [
        datetime.fromisoformat(
            records[0]["trace"]["common_fields"]["reference_time"]["wall_clock_time"]
        ).timestamp()
        for records in traces
    ]
    offset = (walls[1] - walls[0]) * 1e3
    for event in events[1]:
        event["time"] += offset
    offset = _clock_error(events, sides)
    for event in events[1]:
        event["time"] -= offset
    return events


def _clock_error(events: Sequence[Sequence[Record]], sides: Sequence[str]) -> float:
    """How far the second clock is ahead: half of what the quickest packets each way differ by."""
    quickest: dict[str, float] = {}
    sent: dict[tuple[str, str, Any], float] = {}
    both = [
        packet
        for side, some in zip(sides, events, strict=True)
        for packet in _packets_in(some[:2_000], side)
    ]
    for packet in both:
        if packet.sent:
            sent.setdefault(packet.key, packet.at_ms)
    for packet in both:
        if not packet.sent and packet.key in sent:
            way_ms = packet.at_ms - sent[packet.key]
            quickest[packet.side] = min(way_ms, quickest.get(packet.side, way_ms))
    if len(quickest) < 2:
        return 0.0
    error = (quickest[sides[1]] - quickest[sides[0]]) / 2
    # Two processes of one machine share a clock: what they differ by is how long each was kept.
    return error if abs(error) > _SAME_CLOCK_MS or min(quickest.values()) < 0 else 0.0


# ---------------------------------------------------------------------------------------- packets


def _numbers(ranges: Iterable[Sequence[int]]) -> Iterator[int]:
    for first, last in ranges:
        yield from range(first, last + 1)


def _packets_in(events: Iterable[Record], side: str) -> Iterator[_Packet]:
    """Packets of a trace, one by one."""
    for event in events:
        if event["name"] not in ("transport:packet_sent", "transport:packet_received"):
            continue
        data, at_ms, group = event["data"], event["time"], event.get("group_id", "")
        sent = event["name"].endswith("sent")
        kind, raw = data["header"]["packet_type"], data["raw"]
        if kind == "DATA":
            yield from _data_packets(data, at_ms, side, sent, group)
            continue
        fields = dict(data.get("fields", {}))
        if "acked" in data:
            fields["acked"] = data["acked"]
        number = data["header"].get("packet_number")
        key = (group.partition(" ")[0], kind, data.get("id", number))
        label = _label(kind, fields, number)
        yield _Packet(
            at_ms, side, sent, kind, key, label, fields, raw.get("data", ""), raw["length"]
        )


def _data_packets(
    data: Record, at_ms: float, side: str, sent: bool, group: str
) -> Iterator[_Packet]:
    raw = data["raw"]
    each = raw.get("each") or ([raw["data"]] if "data" in raw else [])
    size = raw["datagram_size"]
    left = raw["length"]
    both = zip(_numbers(data["packets"]), _numbers(data["chunks"]), strict=True)
    for at, (number, chunk) in enumerate(both):
        length = min(size, left)
        left -= length
        fields = {"packet": number, "chunk": chunk}
        shown = each[at] if at < len(each) else ""
        label = f"DATA {number}, chunk {chunk}"
        key = (group, "DATA", number)
        yield _Packet(at_ms, side, sent, "DATA", key, label, fields, shown, length)


def _label(kind: str, fields: Record, number: int | None) -> str:
    if kind == "HELLO":
        cookie = ", cookie" if "cookie" in fields else ""
        return f"HELLO {fields['role']} {fields['name']!r}{cookie}"
    if kind == "ACCEPT":
        return f"ACCEPT {fields['size']:,} bytes, chunks of {fields['chunk_size']:,}"
    if kind == "ACK":
        said = [f"{a}" if a == b else f"{a} to {b}" for a, b in fields["acked"][:3]]
        more = ", …" if len(fields["acked"]) > 3 else ""
        return f"ACK {', '.join(said)}{more}; next chunk {fields['first_missing']}"
    if kind == "ERROR":
        return f"ERROR {fields['code']}"
    if kind == "PLAIN_REQUEST":
        return f"request {fields['name']!r}"
    if kind == "PLAIN_CHUNK":
        return f"chunk {number}"
    return kind


def _arrows(events: Sequence[Sequence[Record]], sides: Sequence[str]) -> list[Record]:
    """Arrows of the ladder, in the order of time."""
    lost = _lost_numbers(events)
    arrived: dict[tuple[str, tuple[str, str, Any]], deque[float]] = defaultdict(deque)
    packets: list[_Packet] = []
    is_whole = True
    for side, some in zip(sides, events, strict=True):
        first = list(islice(_packets_in(some, side), _MAX_READ))
        is_whole = is_whole and len(first) < _MAX_READ
        packets += first
    seen = {(packet.sender, packet.key) for packet in packets if packet.sent}
    for packet in packets:
        if not packet.sent:
            arrived[packet.sender, packet.key].append(packet.at_ms)
    arrows = []
    for packet in packets:
        name = (packet.sender, packet.key)
        if not packet.sent and name in seen:
            continue  # it is told where it was sent
        if packet.sent:
            left: float | None = packet.at_ms
            came = max(packet.at_ms, arrived[name].popleft()) if arrived[name] else None
            told = packet.kind == "DATA" and packet.key[::2] in lost
            gone = came is None and (told or (is_whole and len(sides) > 1))
        else:
            left, came, gone = None, packet.at_ms, False
        arrows.append(_arrow(packet, left, came, gone))
    arrows += _never_seen(events, sides, {packet.key for packet in packets})
    return sorted(arrows, key=_at_of)


def _count(events: Sequence[Sequence[Record]], sides: Sequence[str]) -> int:
    """Packets in all: those sent by the ends that were traced, and those that came from another."""
    ways = {"transport:packet_sent"}
    if len(sides) == 1:
        ways |= {"transport:packet_received"}
    both = (event for some in events for event in some if event["name"] in ways)
    return sum(event["data"].get("count", 1) for event in both)


def _at_of(arrow: Record) -> float:
    """When an arrow begins, as far as it was seen, or else ends."""
    return float(arrow["came"] if arrow["sent"] is None else arrow["sent"])


def _arrow(packet: _Packet, left: float | None, came: float | None, gone: bool) -> Record:
    return {
        "from": packet.sender,
        "kind": packet.kind,
        "label": packet.label,
        "sent": left,
        "came": came,
        "lost": gone,
        "length": packet.length,
        "fields": packet.fields,
        "data": packet.data,
    }


def _lost_numbers(events: Sequence[Sequence[Record]]) -> set[tuple[str, Any]]:
    return {
        (event["group_id"], number)
        for some in events
        for event in some
        if event["name"] == "transport:packet_lost"
        for number in _numbers(event["data"]["packets"])
    }


def _never_seen(
    events: Sequence[Sequence[Record]], sides: Sequence[str], seen: set[tuple[str, str, Any]]
) -> Iterator[Record]:
    """Arrows of packets that only a gap tells of, where the sender's trace is not there."""
    if len(sides) > 1:
        return
    for event in events[0]:
        if event["name"] != "transport:packet_lost" or "chunks" in event["data"]:
            continue
        for number in _numbers(event["data"]["packets"]):
            if (event["group_id"], "DATA", number) in seen:
                continue
            yield {
                "from": _OTHER[sides[0]],
                "kind": "DATA",
                "label": f"DATA {number}: lost, or skipped",
                "sent": None,
                "came": event["time"],
                "lost": True,
                "length": 0,
                "fields": {"packet": number},
                "data": "",
            }


# ---------------------------------------------------------------------------------------- figures


def _data_sender(events: Sequence[Sequence[Record]], sides: Sequence[str]) -> str:
    """The end that sends the file: it has sent most bytes of it."""
    counts: dict[str, int] = {_SERVER: 0, _CLIENT: 0}
    for side, some in zip(sides, events, strict=True):
        for event in some:
            data = event["data"]
            if data.get("header", {}).get("packet_type") not in ("DATA", "PLAIN_CHUNK"):
                continue
            if event["name"] == "transport:packet_sent":
                counts[side] += data["raw"]["length"]
            elif event["name"] == "transport:packet_received":
                counts[_OTHER[side]] += data["raw"]["length"]
    return max(counts, key=lambda side: counts[side])


def _series(events: Sequence[Sequence[Record]], sides: Sequence[str], sender: str) -> Record:
    """Figures over time, of the end that knows most of them: the one that sends the file."""
    of_sender = sides.index(sender) if sender in sides else 0
    bursts: list[list[float]] = []
    acked: list[list[float]] = []
    figures: list[list[Any]] = []
    phases: list[list[Any]] = []
    highest: dict[str, int] = {}
    latest: Record = {}
    way = "transport:packet_sent" if sides[of_sender] == sender else "transport:packet_received"
    for event in events[of_sender]:
        data, at_ms = event["data"], event["time"]
        kind = data.get("header", {}).get("packet_type")
        if kind == "DATA" and event["name"] == way:
            top = highest.get(event["group_id"], -1)
            share = data["raw"]["length"] / max(1, data["count"])
            for first, last in data["chunks"]:
                again = int(first <= top)
                bursts.append([at_ms, first, last, again, round(share * (last - first + 1))])
                top = max(top, last)
            highest[event["group_id"]] = top
        elif kind == "ACK":
            acked.append([at_ms, data["fields"]["first_missing"]])
        elif event["name"] == "recovery:metrics_updated":
            latest |= data
            figures.append(
                [
                    at_ms,
                    latest.get("congestion_window"),
                    latest.get("bytes_in_flight"),
                    latest.get("pacing_rate"),
                    latest.get("latest_rtt"),
                    latest.get("min_rtt"),
                ]
            )
        elif event["name"] == "recovery:congestion_state_updated":
            phases.append([at_ms, data["new"]])
    lost = [
        [event["time"], first, last]
        for event in events[of_sender]
        if event["name"] == "transport:packet_lost"
        for first, last in event["data"].get("chunks") or event["data"]["packets"]
    ]
    series = {"bursts": bursts, "acked": acked, "figures": figures, "lost": lost}
    return {**{name: _thinned(points) for name, points in series.items()}, "phases": phases}


def _thinned(points: list[Any]) -> list[Any]:
    while len(points) > _MAX_SERIES:
        points = points[::2]
    return points


def _one_way(events: Sequence[Sequence[Record]]) -> float:
    """Milliseconds that a packet takes, as far as one trace can tell: half a round trip."""
    hellos: dict[tuple[str, Any], float] = {}
    found: list[float] = []
    for some in events:
        for event in some:
            data = event["data"]
            kind = data.get("header", {}).get("packet_type")
            if kind == "HELLO" and event["name"].endswith("sent"):
                hellos.setdefault((event["group_id"], data["fields"]["attempt"]), event["time"])
            elif kind == "RETRY" and event["name"].endswith("received"):
                asked = hellos.get((event["group_id"], data["fields"]["attempt"]))
                found += [] if asked is None else [event["time"] - asked]
            elif event["name"] == "recovery:metrics_updated" and "min_rtt" in data:
                found.append(data["min_rtt"])
    return round(min(found, default=0.2) / 2, 3)


def _summary(
    events: Sequence[Sequence[Record]], sides: Sequence[str], duration_ms: float
) -> list[list[str]]:
    """What happened, in rows of two words or numbers each: for who cannot see a picture, too."""
    rows: list[list[str]] = []
    for event in events[0]:
        data = event["data"]
        kind = data.get("header", {}).get("packet_type")
        if kind in ("HELLO", "PLAIN_REQUEST"):
            role = data["fields"].get("role", "plain")
            rows.append(["Request", f"{role} {data['fields']['name']!r}"])
            break
    for event in events[0]:
        data = event["data"]
        if data.get("header", {}).get("packet_type") == "ACCEPT":
            fields = data["fields"]
            rows.append(["Size", f"{fields['size']:,} bytes in chunks of {fields['chunk_size']:,}"])
            break
    rows.append(["Time", f"{duration_ms / 1e3:.3f} s"])
    for side, some in zip(sides, events, strict=True):
        for way in ("sent", "received", "lost"):
            count = sum(
                event["data"].get("count", 1)
                for event in some
                if event["name"] == f"transport:packet_{way}"
            )
            told = f"{side} {way}" if way != "lost" else f"lost, {side}'s count"
            rows.append([told.capitalize(), f"{count:,}"])
    return rows
