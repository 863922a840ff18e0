"""Encoder and reader of qlog records: JSON text sequences (RFC 7464), one event a record.

The frame is that of draft-ietf-quic-qlog-main-schema-13. The events are of our own schemas, for
udpft is not QUIC, and named after what QUIC's were called for long (``transport:``, ``recovery:``),
because tools look for those names; what QUIC has nothing like is in ``udpft:``. docs/traces.md
describes them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

RECORD_SEPARATOR: Final = b"\x1e"

EVENT_SCHEMAS: Final = (
    "urn:udpft:qlog:transport-1",
    "urn:udpft:qlog:recovery-1",
    "urn:udpft:qlog:udpft-1",
)
"""Names of the schemas of our events."""


class NotATrace(Exception):
    """Error: a file is no trace of ours."""


def header_of(vantage: str, began_at: float, title: str) -> bytes:
    """First record of a file.

    Args:
        vantage: ``client`` or ``server``.
        began_at: seconds since 1970: when the clock of the events stood at 0.
        title: what the trace is of.
    """
    wall = datetime.fromtimestamp(began_at, UTC).isoformat(timespec="microseconds")
    return record_of(
        {
            "file_schema": "urn:ietf:params:qlog:file:sequential",
            "serialization_format": "application/qlog+json-seq",
            "title": title,
            "trace": {
                "common_fields": {
                    "time_format": "relative_to_epoch",
                    "reference_time": {
                        "clock_type": "monotonic",
                        "epoch": "unknown",
                        "wall_clock_time": wall.replace("+00:00", "Z"),
                    },
                },
                "vantage_point": {"type": vantage},
                "event_schemas": list(EVENT_SCHEMAS),
            },
        }
    )


def record_of(what: dict[str, Any]) -> bytes:
    """Record of an object."""
    return RECORD_SEPARATOR + json.dumps(what, separators=(",", ":")).encode() + b"\n"


def event_of(at_s: float, name: str, group: str, data: str) -> bytes:
    """Record of an event: what ``data`` says in JSON, at seconds since the trace began."""
    return (
        f'\x1e{{"time":{at_s * 1e3:.3f},"name":"{name}","group_id":"{group}","data":{data}}}\n'
    ).encode()


def records_in(chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Read the records of a file. One that was cut off, as by a crash, ends it (RFC 7464, 2.3).

    Raises:
        NotATrace: its first record is none of a trace.
    """
    header = True
    for line in chunks:
        try:
            read = json.loads(line.lstrip(RECORD_SEPARATOR))
        except ValueError:
            if header:
                break
            return
        if header:
            if not isinstance(read, dict) or "trace" not in read:
                break
            header = False
        yield read
    if header:
        raise NotATrace("its first record is no header of qlog")
