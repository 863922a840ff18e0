"""HELLO: what is written can be read, and what makes no sense is malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.wire.packets import (
    hellos,
    opened,
)
from udpft.protocol.contract import MAX_HOLES, NO_HOLES, SparseMap
from udpft.protocol.params import (
    KEYED_HELLO_OVERHEAD,
    MAX_NAME_BYTES,
    MIN_DATAGRAM_SIZE,
    PROBE_SIZES,
)
from udpft.protocol.wire.hello import MAX_HAVE, Hello, decode_hello_untrusted, encode_hello
from udpft.protocol.wire.packet import (
    MalformedPacket,
    Packet,
    PacketType,
    encode,
)


@given(hellos, st.sampled_from(PROBE_SIZES[:4]))
def test_hello_round_trips_whatever_its_padding(hello: Hello, size: int) -> None:
    datagram = encode_hello(hello, size)
    assert len(datagram) == size
    assert decode_hello_untrusted(opened(datagram)) == hello


def test_the_longest_hello_fits_the_smallest_datagram() -> None:
    hello = Hello(
        nonce=2**64 - 1,
        connection_id=2**32 - 1,
        name=b"n" * MAX_NAME_BYTES,
        chunk_size=2048,
        receive_room=2**63,
        max_rate_bytes_per_s=1,
        have=((0, 2**63),) * MAX_HAVE,
        have_of=2**64 - 1,
        rtt_us=2**64 - 1,
    )
    upload = hello._replace(
        have=(), have_of=0, flags=3, size=2**63, mtime_ns=-1, identity=2**64 - 1
    )
    for one in (hello, upload):
        fits = MIN_DATAGRAM_SIZE - KEYED_HELLO_OVERHEAD
        datagram = encode_hello(one, fits)
        assert len(datagram) == fits
        assert decode_hello_untrusted(opened(datagram)) == one
    datagram = encode_hello(hello, MIN_DATAGRAM_SIZE)
    assert len(datagram) == MIN_DATAGRAM_SIZE
    assert decode_hello_untrusted(opened(datagram)) == hello


def test_a_hello_tells_as_many_holes_as_its_datagram_has_room_for() -> None:
    holes = tuple((n << 20, (n + 1) << 20) for n in range(MAX_HOLES))
    hello = Hello(1, 2, b"n" * 800, 2048, 65_536, sparse_map=SparseMap(5, holes))
    counts = []
    for size in (1000, *PROBE_SIZES[:4][::-1]):
        datagram = encode_hello(hello, size)
        assert len(datagram) == size
        told = decode_hello_untrusted(opened(datagram)).sparse_map
        counts.append(len(told.holes))
        assert told == (SparseMap(5, holes[: counts[-1]]) if counts[-1] else NO_HOLES)
    assert counts == sorted(counts)
    assert (counts[-1], counts[0]) == (MAX_HOLES, 13)
    short = encode_hello(hello._replace(name=b"n" * 896), 990)
    assert decode_hello_untrusted(opened(short)).sparse_map == NO_HOLES


def test_a_hello_field_of_a_later_version_is_skipped() -> None:
    hello = Hello(nonce=1, connection_id=2, name=b"x", chunk_size=3, receive_room=4)
    body = encode_hello(hello, 300)[16:]
    fields_at = 32
    unknown = bytes([200, 3, 0]) + b"???"
    extended = body[:fields_at] + unknown + body[fields_at:]
    assert decode_hello_untrusted(opened(encode(PacketType.HELLO, 0, extended))) == hello


def hello_with(*fields: bytes) -> Packet:
    return opened(encode(PacketType.HELLO, 0, bytes(32) + b"".join(fields)))


NAME = b"\x01\x04\x00file"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"\x00\x00\x00", NAME],
        [b"\x01\xff\xffshort"],
        [b"\x01\xe9\x03" + b"n" * 1001],
        [NAME, NAME],
        [NAME, b"\x02\x04\x00aaaa"],
        [NAME, b"\x05\x0f\x00" + bytes(15)],
        [NAME, b"\x05\x90\x00" + bytes(144)],
        [NAME, b"\x0d\x04\x00" + bytes(4)],
        [NAME, b"\x0d\x0c\x00" + bytes(12)],
    ],
    ids=[
        "no name",
        "a name after the end of the fields",
        "a field over the end",
        "a name too long",
        "two names",
        "a number of four bytes",
        "half a range",
        "nine ranges",
        "holes without a number",
        "half a hole",
    ],
)
def test_a_hello_that_makes_no_sense_is_malformed(fields: list[bytes]) -> None:
    with pytest.raises(MalformedPacket):
        decode_hello_untrusted(hello_with(*fields))


def test_a_hello_of_a_name_alone_is_enough() -> None:
    assert decode_hello_untrusted(hello_with(NAME)).name == b"file"


def test_the_longest_request_for_a_range_fits_into_the_smallest_keyed_hello() -> None:
    have = tuple((2 * n, 2 * n + 1) for n in range(MAX_HAVE))
    longest = Hello(1, 2, b"n" * MAX_NAME_BYTES, 3, 4, have=have, have_of=5, wanted=(-6, 7))
    size = MIN_DATAGRAM_SIZE - KEYED_HELLO_OVERHEAD
    datagram = encode_hello(longest, size)
    assert len(datagram) == size
    assert decode_hello_untrusted(opened(datagram)) == longest


def test_a_range_of_a_wrong_length_is_malformed() -> None:
    datagram = encode_hello(Hello(1, 2, b"n", 3, 4, wanted=(5, 6)), 1200)
    at = datagram.index(b"\x0b\x10\x00")
    body = datagram[16:at] + b"\x0b\x08\x00" + datagram[at + 3 :]
    with pytest.raises(MalformedPacket, match="a range of a wrong length"):
        decode_hello_untrusted(opened(encode(PacketType.HELLO, 0, body)))
