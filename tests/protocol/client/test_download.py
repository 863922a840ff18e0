"""Download of a file as one endpoint: the handshake, the receiving, the ends of either."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from udpft.errors import (
    DestinationExists,
    NoSuchFile,
    PartialTransfer,
    TimedOut,
)
from udpft.protocol.client.download import Download
from udpft.protocol.contract import Batch, Failed, OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.handshake.initiator import HandshakeOptions
from udpft.protocol.params import MAX_BURST_BYTES, QUIET_S, VERSION
from udpft.protocol.wire.accept import Accept, encode_accept
from udpft.protocol.wire.data import BurstWriter, data_common
from udpft.protocol.wire.error import ErrorCode, Refusal, decode_error_untrusted, encode_error
from udpft.protocol.wire.hello import Hello
from udpft.protocol.wire.packet import Packet, PacketType, decode_untrusted
from udpft.protocol.wire.retry import Retry, encode_retry
from udpft.testing.network import MemorySink, random_bytes

HELLO = Hello(nonce=7, connection_id=1_234, name=b"file", chunk_size=64, receive_room=200_000)
SERVERS_ID = 99
CONTENT = random_bytes(640)
SINK = MemorySink(len(CONTENT))


def download(
    open_sink: Callable[[HandshakeResult], OpenedSink] = lambda found: OpenedSink(  # noqa: ARG005
        MemorySink(len(CONTENT))
    ),
) -> Download:
    return Download(
        HELLO,
        open_sink=open_sink,
        receive_queue=lambda: (200_000, 0),
        now=0.0,
        options=HandshakeOptions(connect_timeout_s=2.0),
        idle_timeout_s=10.0,
    )


def receive(end: Download, datagrams: bytes, now: float, *, segment_size: int = 0) -> None:
    size = segment_size or len(datagrams)
    end.handle_datagrams(Batch(bytearray(datagrams), len(datagrams), size), now)


def sent(end: Download, now: float) -> list[Packet]:
    packets = []
    while transmit := end.poll_transmit(now):
        packets.append(decode_untrusted(memoryview(bytes(transmit.data)), HELLO.nonce))
    return packets


def failures(end: Download) -> list[Exception]:
    errors: list[Exception] = []
    while event := end.poll_event():
        assert isinstance(event, Failed)
        errors.append(event.error)
    return errors


def retry() -> bytes:
    return encode_retry(Retry(HELLO.nonce, b"c" * 16, 1200, VERSION, 0), HELLO.connection_id)


def accept(size: int = 0) -> bytes:
    consent = Accept(HELLO.nonce, SERVERS_ID, 64, len(CONTENT), mtime_ns=5, identity=6)
    return encode_accept(consent, HELLO.connection_id, size)


def data(chunks: range) -> bytes:
    writer = BurstWriter(64, bytearray(MAX_BURST_BYTES), HELLO.nonce)
    slots = writer.slots(len(chunks), 64)
    for slot, chunk in zip(slots, chunks, strict=True):
        slot[:] = CONTENT[chunk * 64 : chunk * 64 + 64]
    common = data_common(HELLO.connection_id)
    return bytes(writer.seal(common, common, 0, chunks, slots)[0])


# ------------------------------------------------------------------------------------ greeting


def test_it_greets_until_the_server_consents() -> None:
    end = download()
    assert {packet.type for packet in sent(end, 0.0)} == {PacketType.HELLO}
    assert end.next_timeout() == pytest.approx(0.1)
    receive(end, retry(), 0.02)
    assert [packet.type for packet in sent(end, 0.05)] == [PacketType.HELLO]
    receive(end, accept(), 0.07)
    assert end.handshake is not None
    assert end.handshake.accept.identity == 6
    assert end.receiver is not None
    assert sent(end, 0.08) == []
    assert end.next_timeout() == pytest.approx(0.07 + QUIET_S + 2 * 0.02)


def test_the_first_data_may_come_joined_to_the_consent() -> None:
    end = download()
    sent(end, 0.0)
    joined = accept(88) + data(range(3))
    receive(end, joined, 0.02, segment_size=88)
    assert end.receiver is not None
    assert end.receiver.bytes_received == 3 * 64


def test_a_sink_is_opened_once() -> None:
    opened = []

    def open_sink(handshake: HandshakeResult) -> OpenedSink:
        opened.append(handshake)
        return OpenedSink(MemorySink(handshake.accept.size))

    end = download(open_sink)
    receive(end, accept() + accept(), 0.02, segment_size=len(accept()))
    receive(end, accept(), 0.03)
    assert len(opened) == 1


def test_what_is_present_need_not_come() -> None:
    end = download(
        lambda handshake: OpenedSink(SINK, [(0, bytes(8 * handshake.accept.size // 64))])
    )
    receive(end, accept(), 0.02)
    assert end.receiver is not None
    receive(end, data(range(2)), 0.03, segment_size=88)
    assert end.receiver.bytes_received == 0


# ----------------------------------------------------------------------- the ends of the greeting


def test_no_answer_is_one_failure_at_the_connect_timeout() -> None:
    end = download()
    for now in (0.0, 0.1, 0.3, 0.7, 1.5, 1.99):
        sent(end, now)
        end.handle_timeout(now)
    assert failures(end) == []
    end.handle_timeout(2.0)
    [error] = failures(end)
    assert isinstance(error, TimedOut)
    end.handle_timeout(3.0)
    receive(end, accept(), 4.0)
    assert failures(end) == []
    assert sent(end, 4.0) == []
    assert end.next_timeout() is None


def test_a_refusal_is_one_failure() -> None:
    end = download()
    sent(end, 0.0)
    refusal = Refusal(HELLO.nonce, ErrorCode.NOT_FOUND, "no such file")
    receive(end, encode_error(refusal, HELLO.connection_id), 0.02)
    receive(end, encode_error(refusal, HELLO.connection_id), 0.03)
    [error] = failures(end)
    assert isinstance(error, NoSuchFile)
    assert sent(end, 1.0) == []


def test_a_sink_that_cannot_be_opened_is_one_failure_and_the_server_is_told() -> None:
    def refuse(handshake: HandshakeResult) -> OpenedSink:
        raise DestinationExists(f"{handshake.accept.size} bytes are there")

    end = download(refuse)
    sent(end, 0.0)
    receive(end, accept(), 0.02)
    [error] = failures(end)
    assert isinstance(error, DestinationExists)
    packets = sent(end, 0.02)
    assert {(packet.type, packet.connection_id) for packet in packets} == {
        (PacketType.ERROR, SERVERS_ID)
    }
    refusal = decode_error_untrusted(packets[0])
    assert (refusal.nonce, refusal.code) == (HELLO.nonce, ErrorCode.EXISTS)
    receive(end, accept(), 0.03)
    assert failures(end) == []
    assert end.next_timeout() is None


def test_an_abort_while_greeting_ends_it_in_silence() -> None:
    end = download()
    sent(end, 0.0)
    end.abort(PartialTransfer("interrupted"))
    end.abort(PartialTransfer("interrupted again"))
    assert [str(error) for error in failures(end)] == ["interrupted"]
    receive(end, accept(), 0.02)
    assert end.receiver is None
    assert sent(end, 5.0) == []


# ----------------------------------------------------------------------- the ends of the receiving


def test_an_abort_while_receiving_is_told_to_the_server() -> None:
    end = download()
    receive(end, accept(), 0.02)
    end.abort(PartialTransfer("interrupted"))
    assert [str(error) for error in failures(end)] == ["interrupted"]
    assert {packet.type for packet in sent(end, 0.03)} == {PacketType.ERROR}


def test_a_server_that_falls_silent_is_given_up_at_the_idle_timeout() -> None:
    end = download()
    receive(end, accept(), 0.02)
    end.handle_timeout(10.0)
    assert failures(end) == []
    end.handle_timeout(10.02)
    assert [type(error) for error in failures(end)] == [TimedOut]
