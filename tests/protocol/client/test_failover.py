"""A server that falls silent: what is asked, when, and what each answer leads to.

`tests/stories/test_restarts.py` plays the same with whole transfers.
"""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest

from udpft.errors import NoSuchFile
from udpft.protocol.client.failover import Failover
from udpft.protocol.handshake.initiator import HandshakeResult
from udpft.protocol.params import (
    CLOSING_COPIES,
    MIN_DATAGRAM_SIZE,
    QUESTION_INTERVAL_S,
    QUIET_S,
    VERSION,
)
from udpft.protocol.wire.accept import Accept, encode_accept
from udpft.protocol.wire.error import ErrorCode, Refusal, decode_error_untrusted, encode_error
from udpft.protocol.wire.hello import NO_COOKIE, Hello, decode_hello_untrusted
from udpft.protocol.wire.packet import BODY_AT, Packet, PacketType, decode_untrusted
from udpft.protocol.wire.retry import Retry, encode_retry

HELLO = Hello(nonce=7, connection_id=1_234, name=b"file", chunk_size=2048, receive_room=200_000)
ACCEPT = Accept(nonce=7, connection_id=99, chunk_size=2048, size=10_000, mtime_ns=0, identity=5)
HELD = ((0, 4096),)
COOKIE = b"c" * 16


def failover(hello: Hello = HELLO) -> Failover:
    return Failover(hello, HandshakeResult(ACCEPT, 2096, COOKIE, 0.0), lambda: HELD)


def sent(end: Failover, now: float, heard_at: float = 0.0) -> list[Packet]:
    packets = []
    while (datagram := end.poll(now, heard_at)) is not None:
        packets.append(decode_untrusted(memoryview(datagram)))
    return packets


def play(end: Failover, stop: float) -> list[tuple[float, Packet]]:
    """All that is sent until a moment, with nothing heard since 0."""
    found = []
    while (at := max(0.0, end.next_timeout(0.0))) <= stop:
        found += [(at, packet) for packet in sent(end, at)]
    return found


def hear(end: Failover, datagram: bytes, now: float, heard_at: float = 0.0) -> None:
    end.handle(memoryview(datagram), now, heard_at)


def is_question(packet: Packet) -> bool:
    return packet.type is PacketType.HELLO and packet.connection_id == ACCEPT.connection_id


def retry_to(packet: Packet) -> bytes:
    hello = decode_hello_untrusted(packet)
    retry = Retry(hello.nonce, COOKIE, BODY_AT + len(packet.body), VERSION, hello.attempt)
    return encode_retry(retry, hello.connection_id)


def greetings_in(packets: list[Packet]) -> list[Packet]:
    """The HELLOs that would begin a transfer anew."""
    return [
        packet for packet in packets if packet.type is PacketType.HELLO and not packet.connection_id
    ]


def left() -> tuple[Failover, Packet, float]:
    """One that has left the old server; with its last HELLO to the new one, and when."""
    end = failover()
    [question] = sent(end, QUIET_S)
    hear(end, retry_to(question), QUIET_S + 0.01)
    return end, greetings_in(sent(end, QUIET_S + 0.01))[-1], QUIET_S + 0.01


# ---------------------------------------------------------------------------------- listening


def test_while_the_transfer_is_heard_of_nothing_is_asked() -> None:
    end = failover()
    for heard_at in (0.0, 1.0, 2.0):
        assert sent(end, heard_at + QUIET_S - 0.001, heard_at) == []
        assert end.next_timeout(heard_at) == pytest.approx(heard_at + QUIET_S)
        assert not end.awake


def test_a_fetch_that_wants_to_be_slow_is_asked_later() -> None:
    slow = failover(HELLO._replace(max_rate_bytes_per_s=1_000))
    assert slow.next_timeout(0.0) > QUIET_S + 2 * 2048 / 1_000


def test_silence_is_asked_about_each_half_second_in_a_small_datagram() -> None:
    end = failover()
    questions = [(at, one) for at, one in play(end, QUIET_S + 3) if is_question(one)]
    moments = [at for at, _ in questions]
    assert moments[0] == pytest.approx(QUIET_S)
    gaps = [after - before for before, after in pairwise(moments)]
    assert max(gaps) <= QUESTION_INTERVAL_S + 1e-9
    for _, packet in questions:
        hello = decode_hello_untrusted(packet)
        assert (hello.nonce, hello.cookie, hello.have) == (HELLO.nonce, NO_COOKIE, ())
        assert 16 + len(packet.body) == MIN_DATAGRAM_SIZE


def test_a_closed_port_is_asked_at_once_and_only_once() -> None:
    end = failover()
    end.note_refused(0.1)
    assert [is_question(packet) for packet in sent(end, 0.1)] == [True]
    end.note_refused(0.2)
    assert sent(end, 0.2) == []


def test_whatever_comes_of_the_transfer_ends_the_questions() -> None:
    end = failover()
    play(end, QUIET_S + 2)
    assert end.awake
    heard_at = QUIET_S + 2.1
    assert sent(end, heard_at, heard_at) == []
    assert not end.awake
    assert end.next_timeout(heard_at) == pytest.approx(heard_at + QUIET_S)
    assert end.hello.nonce > HELLO.nonce  # numbers of a greeting are not used twice


# ----------------------------------------------------------------------------------- greeting


def test_where_no_answer_comes_a_new_hello_goes_beside_each_question() -> None:
    end = failover()
    packets = play(end, QUIET_S + 3)
    greeted_at = next(at for at, packet in packets if not is_question(packet))
    assert greeted_at == pytest.approx(2 * QUIET_S)
    hello = decode_hello_untrusted(greetings_in([packet for _, packet in packets])[0])
    assert (hello.nonce, hello.connection_id) == (HELLO.nonce + 1, HELLO.connection_id + 1)
    assert (hello.have, hello.have_of) == (HELD, ACCEPT.identity)
    assert hello.chunk_size == ACCEPT.chunk_size


def test_a_retry_to_the_greeting_alone_waits_for_the_answer_to_the_question() -> None:
    end = failover()
    packets = [packet for _, packet in play(end, QUIET_S + 3)]
    now = QUIET_S + 3.0
    hear(end, retry_to(greetings_in(packets)[-1]), now)
    assert not [one for one in sent(end, now) if one.type is PacketType.ERROR]
    later = end.next_timeout(0.0)
    assert now < later < inf
    farewells = [one for one in sent(end, later) if one.type is PacketType.ERROR]
    assert len(farewells) == CLOSING_COPIES


# ------------------------------------------------------------------------------------ leaving


def test_a_retry_to_a_question_is_another_server_and_the_old_one_is_told() -> None:
    end = failover()
    [question] = sent(end, QUIET_S)
    hear(end, retry_to(question), QUIET_S + 0.01)
    packets = sent(end, QUIET_S + 0.01)
    farewells = [one for one in packets if one.type is PacketType.ERROR]
    assert len(farewells) == CLOSING_COPIES
    for one in farewells:
        assert one.connection_id == ACCEPT.connection_id
        assert decode_error_untrusted(one).code is ErrorCode.CANCELLED
    assert decode_hello_untrusted(greetings_in(packets)[0]).nonce == HELLO.nonce + 1


@pytest.mark.parametrize("what", ["another nonce", "another id", "no packet", "no RETRY"])
def test_what_is_no_retry_to_a_question_changes_nothing(what: str) -> None:
    end = failover()
    [question] = sent(end, QUIET_S)
    retry = Retry(HELLO.nonce, COOKIE, 2096, VERSION, 0)
    datagram = {
        "another nonce": encode_retry(retry._replace(nonce=8), HELLO.connection_id),
        "another id": encode_retry(retry, HELLO.connection_id + 1),
        "no packet": b"\x82" + bytes(40),
        "no RETRY": encode_accept(ACCEPT, HELLO.connection_id, 100),
    }[what]
    hear(end, datagram, QUIET_S + 0.01)
    assert is_question(question)
    assert sent(end, QUIET_S + 0.02) == []
    assert (end.result, end.error) == (None, None)


def test_the_new_servers_accept_is_the_handshake() -> None:
    end, greeting, now = left()
    hear(end, retry_to(greeting), now)
    again = decode_hello_untrusted(greetings_in(sent(end, now))[0])
    assert again.cookie == COOKIE
    accept = ACCEPT._replace(nonce=again.nonce, connection_id=7_777)
    hear(end, encode_accept(accept, again.connection_id, 2096), now + 0.01)
    assert end.result is not None
    assert end.result.accept.connection_id == 7_777
    assert end.hello.nonce == again.nonce


def test_the_new_servers_refusal_is_the_error() -> None:
    end, greeting, now = left()
    hello = decode_hello_untrusted(greeting)
    refusal = Refusal(hello.nonce, ErrorCode.NOT_FOUND, "no such file")
    hear(end, encode_error(refusal, hello.connection_id), now)
    assert isinstance(end.error, NoSuchFile)


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    end, greeting, now = left()
    hello = decode_hello_untrusted(greeting)
    refusal = Refusal(hello.nonce, ErrorCode.BUSY, "full", retry_after_s=2.5)
    hear(end, encode_error(refusal, hello.connection_id), now)
    assert end.error is None
    assert sent(end, now + 2.4) == []
    assert end.next_timeout(0.0) == pytest.approx(now + 2.5)
    again = decode_hello_untrusted(greetings_in(sent(end, now + 2.5))[0])
    assert again.nonce == hello.nonce + 1


def test_who_has_left_does_not_come_back_to_a_late_packet() -> None:
    end, _, now = left()
    hear(end, b"", now + 0.5, heard_at=now + 0.5)
    assert end.awake
    assert [one.type for one in sent(end, now + 5, heard_at=now + 4)][:1] == [PacketType.HELLO]
