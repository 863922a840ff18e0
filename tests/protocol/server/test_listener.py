"""Listener without its socket: clients let in, requests refused, transfers remembered."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import (
    Denied,
    LocalReadFailed,
    NoSuchFile,
    PartialTransfer,
    ServerBusy,
    UdpftError,
    UsageError,
)
from udpft.protocol.contract import Batch
from udpft.protocol.params import COOKIE_EPOCH_S, MAX_CHUNKS, MIN_CHUNK_SIZE
from udpft.protocol.server.admission import BUSY_RETRY_S, Admission
from udpft.protocol.server.listener import MAX_REPLIES_WAITING, Listener
from udpft.protocol.server.session_creation import Entropy, Limits
from udpft.protocol.wire.accept import Accept, decode_accept_untrusted
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.error import ErrorCode, Refusal, decode_error_untrusted, encode_error
from udpft.protocol.wire.hello import Hello, encode_hello
from udpft.protocol.wire.packet import Packet, PacketType, decode_untrusted
from udpft.protocol.wire.retry import decode_retry_untrusted
from udpft.testing.network import MemorySource

HOME = ("10.0.0.1", 5000)
HELLO = Hello(nonce=7, connection_id=1_234, name=b"file", chunk_size=64, receive_room=200_000)


class Served:
    """A listener with one file, and a hand that plays its clients."""

    def __init__(
        self,
        *,
        error: Exception | None = None,
        source: MemorySource | None = None,
        ids: Iterator[int] | None = None,
        max_sessions: int = 10,
    ) -> None:
        self.error = error
        self.source = source or MemorySource(bytes(10_000))
        self.opened: list[str] = []
        self.failures: list[Exception] = []
        ids = ids or iter(range(1, 10**6))
        self.listener = Listener(
            open_source=self._open,
            entropy=Entropy(bytes(32), lambda: next(ids), Random(1)),
            limits=Limits(Admission(max_sessions=max_sessions)),
            on_failure=self.failures.append,
        )

    def _open(self, _hello: Hello, name: str, _: object) -> MemorySource:
        self.opened.append(name)
        if self.error:
            raise self.error
        return self.source

    def receive(self, datagram: bytes, address: object = HOME, now: float = 0.0) -> None:
        self.listener.handle_datagrams(Batch.of(datagram, address), now)

    def answers(self, now: float = 0.0) -> list[Packet]:
        """What is sent of control packets, and to whom it belongs."""
        packets = []
        while addressed := self.listener.poll_transmit(now):
            data = bytes(addressed.transmit.data)
            if data[0] != PacketType.DATA:
                packets.append(decode_untrusted(memoryview(data)))
        return packets

    def greet(self, hello: Hello = HELLO, address: object = HOME, now: float = 0.0) -> list[Packet]:
        """HELLO, RETRY, HELLO with its cookie; what the listener answers to that."""
        self.receive(encode_hello(hello, 2072), address, now)
        [packet] = self.answers(now)
        hello = hello._replace(cookie=decode_retry_untrusted(packet).cookie)
        self.receive(encode_hello(hello, 2072), address, now)
        return self.answers(now)

    def accept(self, hello: Hello = HELLO, address: object = HOME, now: float = 0.0) -> Accept:
        [packet] = [p for p in self.greet(hello, address, now) if p.type is PacketType.ACCEPT]
        assert packet.connection_id == hello.connection_id
        return decode_accept_untrusted(packet)

    def refusal(self, hello: Hello = HELLO) -> Refusal:
        [packet] = self.greet(hello)
        assert packet.type is PacketType.ERROR
        assert packet.connection_id == hello.connection_id
        return decode_error_untrusted(packet)

    def cancel(self, accept: Accept, now: float = 0.0, address: object = HOME) -> None:
        """The client of a transfer goes away politely."""
        refusal = Refusal(accept.nonce, ErrorCode.CANCELLED, "")
        self.receive(encode_error(refusal, accept.connection_id), address, now)
        self.answers(now)


# --------------------------------------------------------------------------------- letting in


def test_a_client_with_a_cookie_is_told_what_the_file_is() -> None:
    net = Served()
    net.source.mtime_ns, net.source.identity = 123, 456
    accept = net.accept()
    assert (accept.size, accept.mtime_ns, accept.identity) == (10_000, 123, 456)
    assert (accept.nonce, accept.chunk_size) == (HELLO.nonce, 64)
    assert net.opened == ["file"]
    assert len(net.listener) == 1


def test_a_repeated_request_opens_nothing_twice_and_has_its_answer_repeated() -> None:
    net = Served()
    first = net.accept()
    again = net.accept()
    assert first == again
    assert net.opened == ["file"]
    assert len(net.listener) == 1


def test_the_same_nonce_from_elsewhere_is_another_transfer() -> None:
    net = Served()
    ids = {net.accept(address=(f"10.0.0.{n}", 5000)).connection_id for n in range(3)}
    assert len(ids) == len(net.listener) == 3


def test_a_client_that_begins_again_replaces_what_it_never_heard_of() -> None:
    net = Served()
    net.accept()
    net.accept(HELLO._replace(nonce=8), address=("10.0.0.2", 5000))
    assert len(net.listener) == 2, "another client's next nonce is no concern of the first"
    net.accept(HELLO._replace(nonce=8))
    assert len(net.listener) == 2
    assert net.listener.poll_outcome() is None, "nothing to log: it goes on"
    assert net.source.closed


def test_what_was_about_to_be_sent_for_a_replaced_request_is_not() -> None:
    net = Served()
    net.receive(encode_hello(HELLO, 2072))
    [packet] = net.answers()
    hello = HELLO._replace(cookie=decode_retry_untrusted(packet).cookie)
    net.receive(encode_hello(hello, 2072))
    net.receive(encode_hello(hello._replace(nonce=HELLO.nonce + 1), 2072))
    [answer] = [packet for packet in net.answers() if packet.type is PacketType.ACCEPT]
    assert decode_accept_untrusted(answer).nonce == HELLO.nonce + 1


def test_a_client_that_was_heard_may_begin_another_transfer_beside_the_first() -> None:
    net = Served()
    accept = net.accept()
    ack = Ack(0.0, 10_000, 1, 0, [(0, 1)])
    net.receive(encode_ack(ack, accept.connection_id, accept.nonce))
    net.accept(HELLO._replace(nonce=8))
    assert len(net.listener) == 2


def test_connection_ids_are_never_zero_and_never_shared() -> None:
    net = Served(ids=iter([0, 5, 5, 0, 6]))
    assert net.accept().connection_id == 5
    assert net.accept(HELLO._replace(nonce=9)).connection_id == 6


def test_packets_of_a_transfer_are_taken_from_its_own_address_only() -> None:
    net = Served()
    accept = net.accept()
    cancel = encode_error(Refusal(HELLO.nonce, ErrorCode.CANCELLED, ""), accept.connection_id)
    net.receive(cancel, ("10.0.0.9", 5000))
    net.answers()
    assert len(net.listener) == 1
    net.receive(cancel, HOME)
    net.answers()
    assert len(net.listener) == 0


# ----------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoSuchFile("no such file"), ErrorCode.NOT_FOUND),
        (Denied("not for you"), ErrorCode.DENIED),
        (ServerBusy("too many files open"), ErrorCode.BUSY),
        (LocalReadFailed("I/O error"), ErrorCode.READ_FAILED),
        (UsageError("odd"), ErrorCode.CANCELLED),
    ],
)
def test_what_stops_a_file_from_being_opened_is_told(error: UdpftError, code: ErrorCode) -> None:
    refusal = Served(error=error).refusal()
    assert (refusal.code, refusal.reason, refusal.nonce) == (code, str(error), HELLO.nonce)
    assert refusal.retry_after_s == (BUSY_RETRY_S if code is ErrorCode.BUSY else 0.0)


def test_a_hint_travels_on_a_line_of_its_own() -> None:
    refusal = Served(error=NoSuchFile("no such file", hint="did you mean 'fiel'?")).refusal()
    assert refusal.reason == "no such file\ndid you mean 'fiel'?"


def test_a_name_that_is_no_utf8_is_asked_for_as_the_bytes_that_it_is() -> None:
    net = Served()
    net.greet(HELLO._replace(name=b"caf\xe9"))
    assert net.opened == [b"caf\xe9".decode(errors="surrogateescape")]


def test_a_refusal_is_told_to_the_driver_too_unless_the_client_is_to_come_back() -> None:
    for error, told in ((NoSuchFile("no such file"), True), (ServerBusy("busy"), False)):
        net = Served(error=error)
        net.refusal()
        refused = net.listener.poll_refused()
        assert (refused is not None) == told
        if refused:
            assert (refused.name, refused.upload, refused.error) == ("file", False, error)
        assert net.listener.poll_refused() is None


@pytest.mark.parametrize("hello", [HELLO._replace(version=2), HELLO._replace(role=200)])
def test_another_version_or_role_is_told_so(hello: Hello) -> None:
    assert Served().refusal(hello).code is ErrorCode.VERSION


def test_a_full_server_says_when_to_come_back() -> None:
    net = Served(max_sessions=1)
    net.accept()
    refusal = net.refusal(HELLO._replace(nonce=9))
    assert refusal.code is ErrorCode.BUSY
    assert refusal.retry_after_s == BUSY_RETRY_S
    net.cancel(net.accept())
    assert net.accept(HELLO._replace(nonce=9)).size == 10_000


def test_a_draining_server_takes_nothing_new() -> None:
    net = Served()
    net.listener.draining = True
    assert net.refusal().code is ErrorCode.BUSY
    assert net.opened == []


def test_a_file_of_too_many_chunks_is_denied_and_closed() -> None:
    source = MemorySource(b"")
    source.size = MAX_CHUNKS * MIN_CHUNK_SIZE
    net = Served(source=source)
    assert net.refusal().code is ErrorCode.DENIED
    assert source.closed
    assert len(net.listener) == 0


# -------------------------------------------------------------------------------- after the end


def test_an_ended_transfer_is_reported_once_and_its_file_closed() -> None:
    net = Served()
    net.cancel(net.accept(now=1.0), now=3.0)
    ended = net.listener.poll_outcome()
    assert ended is not None
    assert (ended.name, ended.address, ended.size, ended.seconds) == ("file", HOME, 10_000, 2.0)
    assert isinstance(ended.error, PartialTransfer)
    assert ended.traffic.bytes_sent > 0
    assert net.source.closed
    assert net.listener.poll_outcome() is None


def test_the_request_of_an_ended_transfer_draws_nothing_until_its_cookie_has_expired() -> None:
    net = Served()
    net.cancel(net.accept())
    assert net.greet() == []
    assert net.greet(now=COOKIE_EPOCH_S) == []
    later = 2 * COOKIE_EPOCH_S
    net.listener.handle_timeout(later)
    assert net.accept(now=later).size == 10_000


def test_ended_transfers_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("udpft.protocol.server.ended.MAX_ENDED_REMEMBERED", 5)
    net = Served()
    for nonce in range(11):
        net.cancel(net.accept(HELLO._replace(nonce=nonce)))
    assert net.greet(HELLO._replace(nonce=5)) == []
    assert net.accept(HELLO._replace(nonce=0)).size == 10_000, "the oldest one is not forgotten"


def test_nothing_to_do_is_no_timeout() -> None:
    net = Served()
    assert net.listener.next_timeout() is None
    net.listener.handle_timeout(5.0)
    assert net.answers() == []


def test_every_transfer_is_ended_when_the_server_stops() -> None:
    net = Served()
    for nonce in (10, 20, 30):
        net.accept(HELLO._replace(nonce=nonce))
    net.listener.abort_all(PartialTransfer("stopping"))
    reasons = {decode_error_untrusted(packet).reason for packet in net.answers()}
    assert reasons == {"stopping"}
    assert len(net.listener) == 0
    assert [net.listener.poll_outcome() is None for _ in range(4)] == [False, False, False, True]


# ------------------------------------------------------------------------------------- floods


def test_replies_that_nobody_takes_do_not_heap_up() -> None:
    net = Served()
    for nonce in range(2 * MAX_REPLIES_WAITING):
        net.receive(encode_hello(HELLO._replace(nonce=nonce), 1200), ("10.0.0.1", nonce))
    assert len(net.answers()) == MAX_REPLIES_WAITING


def test_a_flood_of_requests_takes_every_other_turn_at_most() -> None:
    net = Served(source=MemorySource(bytes(100_000)))
    net.accept()
    accept = net.accept(HELLO._replace(nonce=9))
    for nonce in range(100, 200):
        net.receive(encode_hello(HELLO._replace(nonce=nonce), 1200))
    ack = Ack(0.0, 200_000, 10, 0, [(0, 10)])
    net.receive(encode_ack(ack, accept.connection_id, accept.nonce), now=0.01)
    kinds = []
    while addressed := net.listener.poll_transmit(0.01):
        kinds.append(addressed.transmit.data[0])
    first_data = kinds.index(PacketType.DATA)
    assert first_data <= 1, "transfers wait behind strangers"
    assert kinds.count(PacketType.RETRY) == 100


# --------------------------------------------------------------------------------- what is wrong


@given(st.binary(max_size=3_000), st.integers(1, 3_000))
def test_random_bytes_draw_nothing(datagrams: bytes, segment_size: int) -> None:
    net = Served()
    batch = Batch(bytearray(datagrams), len(datagrams), segment_size, HOME)
    net.listener.handle_datagrams(batch, 0.0)
    assert net.answers() == []
    assert len(net.listener) == 0


@given(st.binary(max_size=300))
def test_random_bytes_for_a_transfer_do_it_no_harm(body: bytes) -> None:
    net = Served()
    accept = net.accept()
    datagram = bytes(4) + accept.connection_id.to_bytes(4, "little") + body
    net.receive(datagram)
    net.answers()
    assert len(net.listener) == 1
