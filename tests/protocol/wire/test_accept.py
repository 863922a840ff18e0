"""ACCEPT: what is written can be read, and what cannot have been written is malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.wire.packets import (
    accepts,
    opened,
    u32,
)
from udpft.protocol.wire.accept import Accept, decode_accept_untrusted, encode_accept
from udpft.protocol.wire.hello import MAX_HAVE
from udpft.protocol.wire.packet import (
    MalformedPacket,
    PacketType,
    encode,
)


@given(accepts, u32, st.integers(0, 9_000))
def test_accept_round_trips_whatever_its_padding(
    accept: Accept, connection_id: int, size: int
) -> None:
    datagram = encode_accept(accept, connection_id, size)
    assert len(datagram) >= size
    assert decode_accept_untrusted(opened(datagram)) == accept


ACCEPT = Accept(7, 8, 2048, 1 << 40, -1, 9, 1 << 20, 5, ((0, 2048), (4096, 1 << 40)))


def test_an_accept_of_a_version_without_uploads_is_read() -> None:
    body = encode_accept(ACCEPT, 1, 0)[16 : 16 + 40]
    accept = decode_accept_untrusted(opened(encode(PacketType.ACCEPT, 1, body)))
    assert accept == Accept(*ACCEPT[:6])
    assert (accept.receive_room, accept.max_rate_bytes_per_s, accept.have) == (0, 0, ())


def test_an_accept_cut_anywhere_before_its_padding_is_malformed_or_of_that_version() -> None:
    body = encode_accept(ACCEPT, 1, 0)[16:]
    for stop in range(len(body)):
        packet = opened(encode(PacketType.ACCEPT, 1, body[:stop]))
        if 40 <= stop < 64:
            assert decode_accept_untrusted(packet) == Accept(*ACCEPT[:6])
        else:
            with pytest.raises(MalformedPacket):
                decode_accept_untrusted(packet)


def test_an_accept_of_more_ranges_than_a_hello_may_have_is_malformed() -> None:
    body = encode_accept(ACCEPT, 1, 0)[16 : 16 + 40]
    ranges = bytes(16) + (MAX_HAVE + 1).to_bytes(8, "little") + bytes(16 * (MAX_HAVE + 1))
    with pytest.raises(MalformedPacket, match="ranges of a wrong length"):
        decode_accept_untrusted(opened(encode(PacketType.ACCEPT, 1, body + ranges)))
