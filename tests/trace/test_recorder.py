"""Recorder: events made of packets, one of each burst."""

from __future__ import annotations

import json
from typing import Any

from tests.trace.test_packets import NONCE, burst
from udpft.protocol.wire.accept import Accept, encode_accept
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.hello import Hello, encode_hello
from udpft.trace.recorder import Recorder

HELLO = encode_hello(Hello(NONCE, 7, b"x", 64, 9), 1200)
ACCEPT = encode_accept(Accept(NONCE, 5, 64, 640, 0, 1), 7, 88)


class Recorded:
    """Recorder of a client, and the events that it has made."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.recorder = Recorder(self._write, is_client=True)

    def _write(self, record: bytes, _at_s: float) -> None:
        self.events.append(json.loads(record[1:]))

    def note(self, datagram: bytes | memoryview, *, sent: bool, size: int = 0) -> None:
        data = memoryview(datagram)
        self.recorder.note(0.001 * len(self.events), data, size or len(data), sent=sent)
        self.recorder.settle()

    def begun(self) -> Recorded:
        self.note(HELLO, sent=True)
        self.note(ACCEPT, sent=False)
        return self


def test_all_packets_of_a_transfer_have_its_nonce_for_a_name() -> None:
    recorded = Recorded().begun()
    recorded.note(burst(0, [0, 1], 64, 64), sent=False, size=88)
    recorded.note(encode_ack(Ack(0, 5, 2, 0, [(0, 2)]), 5, NONCE), sent=True)
    assert [event["group_id"] for event in recorded.events] == [f"{NONCE:016x}"] * 4


def test_a_burst_is_one_event_with_its_ranges() -> None:
    recorded = Recorded().begun()
    recorded.note(burst(3, [0, 1, 2, 7, 8], 64, 10), sent=False, size=88)
    data = recorded.events[2]["data"]
    assert data["header"] == {"packet_type": "DATA", "packet_number": 3}
    assert data["count"] == 5
    assert data["packets"] == [[3, 5], [6, 7]]
    assert data["chunks"] == [[0, 2], [7, 8]]
    assert len(data["raw"]["each"]) == 5


def test_packets_of_several_kinds_in_one_batch_are_told_apart() -> None:
    recorded = Recorded().begun()
    ack = encode_ack(Ack(0, 5, 2, 0, [(0, 2)]), 5, NONCE)
    recorded.note(ack + ack + b"\x84" * 40, sent=True, size=40)
    kinds = [event["data"].get("header", {}).get("packet_type") for event in recorded.events[2:]]
    assert kinds == ["ACK", "ACK", "DATA"]


def test_what_nobody_can_read_is_a_packet_dropped() -> None:
    recorded = Recorded()
    for noise in (b"\x85" + bytes(60), b"\x84\0", b"\x8f", b"\x81" * 1200):
        recorded.note(noise, sent=False)
    assert {event["name"] for event in recorded.events} == {"transport:packet_dropped"}


def test_padding_is_not_written_down() -> None:
    recorded = Recorded().begun()
    shown = bytes.fromhex(recorded.events[0]["data"]["raw"]["data"])
    assert HELLO.startswith(shown)
    assert len(shown) < 120


def test_bytes_are_written_down_of_the_first_packets_only() -> None:
    recorded = Recorded().begun()
    for at in range(100):
        recorded.note(burst(50 * at, list(range(50)), 64, 64), sent=False, size=88)
    with_bytes = [event for event in recorded.events if "each" in event["data"]["raw"]]
    assert 70 < len(with_bytes) < 100


def test_events_that_wait_are_made_in_their_order() -> None:
    recorded = Recorded().begun()
    for at in range(100):
        recorded.note(burst(50 * at, list(range(50)), 64, 64), sent=False, size=88)
    before = len(recorded.events)
    ack = memoryview(encode_ack(Ack(0, 5, 2, 0, [(0, 2)]), 5, NONCE))
    for at in range(100, 103):
        recorded.recorder.note(at, burst(50 * at, list(range(50)), 64, 64), 88, sent=False)
        recorded.recorder.note(at, ack, len(ack), sent=True)
    assert len(recorded.events) == before
    recorded.recorder.settle()
    kinds = [event["data"]["header"]["packet_type"] for event in recorded.events[before:]]
    assert kinds == ["DATA", "ACK"] * 3
    numbers = [event["data"]["header"].get("packet_number") for event in recorded.events[before:]]
    assert numbers[::2] == [5000, 5050, 5100]
