"""Records of a trace: JSON text sequences in qlog's frame."""

from __future__ import annotations

import io
import json

import pytest

from udpft.trace.qlog import NotATrace, event_of, header_of, records_in


def test_a_header_says_what_qlog_asks_of_it() -> None:
    record = header_of("client", 1_700_000_000.25, "udpft get")
    assert record.startswith(b"\x1e")
    assert record.endswith(b"\n")
    header = json.loads(record[1:])
    assert header["file_schema"] == "urn:ietf:params:qlog:file:sequential"
    assert header["serialization_format"] == "application/qlog+json-seq"
    trace = header["trace"]
    assert trace["vantage_point"] == {"type": "client"}
    assert trace["common_fields"]["reference_time"] == {
        "clock_type": "monotonic",
        "epoch": "unknown",
        "wall_clock_time": "2023-11-14T22:13:20.250000Z",
    }
    assert all(":" in schema for schema in trace["event_schemas"])


def test_an_event_has_milliseconds_and_its_data() -> None:
    record = event_of(0.0123456, "transport:packet_sent", "00ff", '{"count":1}')
    assert json.loads(record[1:]) == {
        "time": 12.346,
        "name": "transport:packet_sent",
        "group_id": "00ff",
        "data": {"count": 1},
    }


def test_a_file_is_read_up_to_where_it_was_cut_off() -> None:
    whole = (
        header_of("server", 0, "t") + event_of(0, "a:b", "", "{}") + event_of(1, "c:d", "", "{}")
    )
    for cut, count in ((0, 3), (1, 2), (20, 2)):
        read = list(records_in(io.BytesIO(whole[: len(whole) - cut - 1 if cut else len(whole)])))
        assert len(read) == count


@pytest.mark.parametrize("data", [b"", b"hello\n", b"[]\n", b'\x1e{"a":1}\n', b"\xff\xfe\n"])
def test_what_is_no_trace_is_refused(data: bytes) -> None:
    with pytest.raises(NotATrace):
        list(records_in(io.BytesIO(data)))
