"""Plain protocol, tested from the one paragraph that describes it."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import SourceChanged, VersionMismatch
from udpft.protocol.contract import NOT_READY_S, NotReady
from udpft.protocol.params import CHUNK_SIZE, MAX_NAME_BYTES
from udpft.protocol.transfer.plain import (
    NotARequest,
    PlainReceiver,
    PlainSender,
    decode_request_untrusted,
    encode_request,
    is_plain,
)
from udpft.testing.network import MemorySink, MemorySource, random_bytes

RATE = 1e6


def datagrams_of(content: bytes) -> list[bytes]:
    """All that a server sends of a file, a clock running as fast as it may."""
    sender = PlainSender(MemorySource(content), rate_bytes_per_s=RATE, now=0.0)
    now, sent = 0.0, []
    while not sender.done:
        datagram = sender.poll(now)
        if datagram is None:
            now = sender.next_timeout
        else:
            sent.append(bytes(datagram))
    assert sender.bytes_sent == len(content)
    assert sender.next_timeout == inf
    assert sender.poll(now + 1) is None
    return sent


# ------------------------------------------------------------------------------------ the file


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2049, 4096, 100_000])
def test_the_first_shorter_datagram_ends_the_file_and_an_empty_one_may(size: int) -> None:
    content = random_bytes(size)
    *full, last = datagrams_of(content)
    assert all(len(datagram) == CHUNK_SIZE for datagram in full)
    assert len(last) == size % CHUNK_SIZE
    assert b"".join([*full, last]) == content


@given(st.binary(max_size=3 * CHUNK_SIZE))
def test_what_is_sent_is_received(content: bytes) -> None:
    sink = MemorySink(0)
    receiver = PlainReceiver(sink)
    for datagram in datagrams_of(content):
        assert not receiver.done
        receiver.handle(memoryview(datagram))
    assert receiver.done
    assert sink.content == content
    assert receiver.bytes_received == len(content)


def test_what_comes_after_the_end_is_ignored() -> None:
    sink = MemorySink(0)
    receiver = PlainReceiver(sink)
    receiver.handle(memoryview(b"all there is"))
    receiver.handle(memoryview(b"more"))
    assert sink.content == b"all there is"
    assert receiver.datagrams_received == 1


def test_a_datagram_longer_than_a_chunk_is_another_protocol() -> None:
    receiver = PlainReceiver(MemorySink(CHUNK_SIZE))
    with pytest.raises(VersionMismatch):
        receiver.handle(memoryview(bytes(CHUNK_SIZE + 1)))
    receiver.handle(memoryview(bytes(CHUNK_SIZE)))
    assert (receiver.bytes_received, receiver.done) == (CHUNK_SIZE, False)


def test_a_source_that_becomes_shorter_fails() -> None:
    source = MemorySource(bytes(10_000))
    sender = PlainSender(source, rate_bytes_per_s=inf, now=0.0)
    sender.poll(0.0)
    source.content = bytes(3_000)
    with pytest.raises(SourceChanged):
        sender.poll(1.0)


# ------------------------------------------------------------------------------------ the pace


def test_datagrams_leave_at_the_rate() -> None:
    sender = PlainSender(MemorySource(bytes(10**7)), rate_bytes_per_s=RATE, now=50.0)
    now, sent = 50.0, 0
    while now < 52.0:
        datagram = sender.poll(now)
        if datagram is None:
            now = sender.next_timeout
        else:
            sent += len(datagram)
    assert sent == pytest.approx(2 * RATE, rel=0.01)


def test_after_a_pause_it_does_not_flood() -> None:
    sender = PlainSender(MemorySource(bytes(10**7)), rate_bytes_per_s=RATE, now=0.0)
    sender.poll(0.0)
    sent = 0
    while sender.poll(60.0):
        sent += 1
    assert sent == 1


# ---------------------------------------------------------------------------------- the request


names = st.text(min_size=1, max_size=200).filter(
    lambda name: is_plain(name.encode()[0]) and name.rstrip("\r\n") == name
)


@given(names)
def test_a_name_round_trips(name: str) -> None:
    assert decode_request_untrusted(encode_request(name)) == name


@given(names, st.sampled_from(["\n", "\r\n"]))
def test_a_trailing_newline_is_forgiven(name: str, newline: str) -> None:
    assert decode_request_untrusted(encode_request(name + newline)) == name


@given(st.binary(max_size=MAX_NAME_BYTES + 100))
def test_random_bytes_are_a_name_or_no_request(datagram: bytes) -> None:
    try:
        name = decode_request_untrusted(datagram)
    except NotARequest:
        return
    assert name
    assert datagram.decode(errors="surrogateescape").startswith(name)


@pytest.mark.parametrize(
    "datagram",
    [b"", b"\n", b"\r\n", b"\0\1file", b"\x81file", b"n" * (MAX_NAME_BYTES + 3)],
)
def test_what_is_no_name_is_no_request(datagram: bytes) -> None:
    with pytest.raises(NotARequest):
        decode_request_untrusted(datagram)


def test_the_first_byte_tells_the_protocols_apart() -> None:
    assert [byte for byte in range(256) if not is_plain(byte)] == [0, *range(0x80, 0xC0)]


@given(st.text(min_size=1))
def test_no_text_begins_as_a_reliable_packet_does(text: str) -> None:
    assert not 0x80 <= text.encode(errors="replace")[0] <= 0xBF


def test_a_source_that_is_not_ready_is_asked_again_in_a_moment() -> None:
    class Late(MemorySource):
        ready = False

        def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
            if not self.ready:
                raise NotReady
            return super().readv(slots, offset)

    source = Late(b"content")
    sender = PlainSender(source, rate_bytes_per_s=1e6, now=0.0)
    assert sender.poll(0.0) is None
    assert sender.next_timeout == NOT_READY_S
    assert not sender.done
    source.ready = True
    assert sender.poll(NOT_READY_S) == b"content"
    assert sender.done
