"""Model of a page: arrows of packets, as far as one end or both have seen them."""

from __future__ import annotations

import json
from typing import Any

from tests.trace.test_packets import NONCE, burst
from udpft.protocol.wire.accept import Accept, encode_accept
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.hello import Hello, encode_hello
from udpft.protocol.wire.retry import Retry, encode_retry
from udpft.trace.model import MAX_ARROWS, model_of
from udpft.trace.qlog import header_of
from udpft.trace.recorder import Recorder

HELLO = encode_hello(Hello(NONCE, 7, b"x", 64, 9), 1200)
RETRY = encode_retry(Retry(NONCE, bytes(16), 1200, 1, 0), 7)
ACCEPT = encode_accept(Accept(NONCE, 5, 64, 640, 0, 1), 7, 88)
ACK = encode_ack(Ack(0, 5, 1, 0, [(2, 9), (0, 1)]), 5, NONCE)


class End:
    """One end's trace, made step by step."""

    def __init__(self, side: str, began_at: float = 0.0) -> None:
        self.records: list[dict[str, Any]] = [json.loads(header_of(side, began_at, "t")[1:])]
        self._recorder = Recorder(self._write, is_client=side == "client")

    def _write(self, record: bytes, _at_s: float) -> None:
        self.records.append(json.loads(record[1:]))

    def sends(self, at_ms: float, data: bytes | memoryview, size: int = 0) -> None:
        view = memoryview(data)
        self._recorder.note(at_ms / 1e3, view, size or len(view), sent=True)
        self._recorder.settle()

    def gets(self, at_ms: float, data: bytes | memoryview, size: int = 0) -> None:
        view = memoryview(data)
        self._recorder.note(at_ms / 1e3, view, size or len(view), sent=False)
        self._recorder.settle()


def conversation(ahead_s: float = 0.0) -> tuple[End, End]:
    """Both ends of a transfer, a millisecond apart, that loses packet 1 and then the ACK.

    ``ahead_s``: how much the server's clock is ahead.
    """
    client, server = End("client"), End("server", ahead_s)
    ways = {client: server, server: client}
    for at_ms, sender, packet in (
        (0.0, client, HELLO),
        (1.0, server, RETRY),
        (2.0, client, HELLO),
        (3.0, server, ACCEPT),
    ):
        sender.sends(at_ms, packet)
        ways[sender].gets(at_ms + 1, packet)
    server.sends(4, burst(0, list(range(9)), 64, 64), 88)
    client.gets(5, burst(0, [0], 64, 64), 88)
    client.gets(5.5, burst(2, list(range(2, 9)), 64, 64), 88)
    client.sends(6, ACK)
    client.sends(7, ACK)
    server.gets(8, ACK)
    return client, server


def arrow(model: dict[str, Any], label: str) -> dict[str, Any]:
    return next(one for one in model["arrows"] if one["label"].startswith(label))


def test_with_both_ends_an_arrow_knows_when_it_left_and_when_it_came() -> None:
    client, server = conversation()
    model = model_of([client.records, server.records])
    assert model["sides"] == ["client", "server"]
    hello = arrow(model, "HELLO")
    assert (hello["from"], hello["sent"], hello["came"], hello["lost"]) == ("client", 0, 1, False)
    data = arrow(model, "DATA 0")
    assert (data["from"], data["sent"], data["came"]) == ("server", 4, 5)
    assert data["fields"] == {"packet": 0, "chunk": 0}
    assert bytes.fromhex(data["data"])[0] == 0x84
    assert arrow(model, "DATA 1")["lost"]
    acks = [one for one in model["arrows"] if one["kind"] == "ACK"]
    assert [one["lost"] for one in acks] == [False, True], "one of two that are the same"
    assert acks[0]["label"] == "ACK 2 to 8, 0; next chunk 1"
    assert len(model["arrows"]) == 4 + 9 + 2


def test_clocks_that_differ_are_set_right_by_the_quickest_packets() -> None:
    client, server = conversation()
    for event in server.records[1:]:
        event["time"] += 250.0
    model = model_of([client.records, server.records])
    hello, retry = arrow(model, "HELLO"), arrow(model, "RETRY")
    assert (hello["sent"], hello["came"]) == (0, 1)
    assert (retry["sent"], retry["came"]) == (1, 2)


def test_one_end_marks_what_it_has_not_seen() -> None:
    client, server = conversation()
    ours = model_of([client.records])
    assert arrow(ours, "HELLO")["came"] is None
    assert arrow(ours, "RETRY")["sent"] is None
    lost = arrow(ours, "DATA 1: lost")
    assert (lost["from"], lost["sent"], lost["came"], lost["lost"]) == ("server", None, 5.5, True)
    assert ours["one_way"] == 1.0
    theirs = model_of([server.records])
    assert arrow(theirs, "DATA 1")["lost"]
    assert not arrow(theirs, "DATA 2")["lost"]


def test_charts_tell_of_every_burst_and_what_was_sent_again() -> None:
    client, server = conversation()
    server.sends(9, burst(9, [1], 64, 64), 88)
    model = model_of([client.records, server.records])
    assert model["sender"] == "server"
    assert [one[:4] for one in model["bursts"]] == [[4, 0, 8, 0], [9, 1, 1, 1]]
    assert model["lost"] == [[8, 1, 1]]
    assert model["acked"] == [[8, 1]]


def test_the_ladder_is_bounded_and_says_how_much_is_missing() -> None:
    server = End("server")
    for at in range(20):
        server.sends(at, burst(40 * at, list(range(40)), 64, 64), 88)
    model = model_of([server.records])
    assert len(model["arrows"]) == MAX_ARROWS
    assert model["more"] == 20 * 40 - MAX_ARROWS
    assert len(model["bursts"]) == 20


def test_the_summary_says_in_words_what_happened() -> None:
    client, server = conversation()
    summary = dict(map(tuple, model_of([client.records, server.records])["summary"]))
    assert summary["Request"] == "get 'x'"
    assert summary["Size"] == "640 bytes in chunks of 64"
    assert summary["Server sent"] == "11"
    assert summary["Lost, server's count"] == "1"


def test_an_empty_trace_has_a_model_too() -> None:
    model = model_of([End("client").records])
    assert model["arrows"] == []
    assert model["duration"] == 0
