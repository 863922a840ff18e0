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
from udpft.protocol.contract import HOLE_BLOCK_BYTES, MAX_HOLES, NO_HOLES, SparseMap
from udpft.protocol.wire.accept import (
    Accept,
    decode_accept_untrusted,
    encode_accept,
    room_for_map,
)
from udpft.protocol.wire.hello import MAX_HAVE, fitted_map
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


SPARSE = ACCEPT._replace(sparse_map=SparseMap(5, ((0, 1 << 30), (1 << 31, 1 << 40))))


def test_an_accept_cut_in_its_holes_is_malformed_and_without_them_as_of_an_older_version() -> None:
    body = encode_accept(SPARSE, 1, 0)[16:]
    without = len(encode_accept(ACCEPT, 1, 0)[16:])
    for stop in range(without, len(body)):
        packet = opened(encode(PacketType.ACCEPT, 1, body[:stop]))
        if stop < without + 24 + 8:  # no part, and no number of holes
            assert decode_accept_untrusted(packet) == ACCEPT
        else:
            with pytest.raises(MalformedPacket, match="holes of a wrong length"):
                decode_accept_untrusted(packet)


@pytest.mark.parametrize(("start", "stop"), [(1, 1), (2, 1)])
def test_a_hole_of_no_bytes_is_malformed(start: int, stop: int) -> None:
    body = encode_accept(ACCEPT, 1, 0)[16:]
    hole = start.to_bytes(4, "little") + stop.to_bytes(4, "little")
    body += bytes(24) + (1).to_bytes(8, "little") + bytes(8) + hole
    with pytest.raises(MalformedPacket, match="a hole of no bytes"):
        decode_accept_untrusted(opened(encode(PacketType.ACCEPT, 1, body)))


def test_an_accept_of_more_holes_than_are_told_is_malformed() -> None:
    holes = ((0, HOLE_BLOCK_BYTES),) * (MAX_HOLES + 1)
    accept = ACCEPT._replace(sparse_map=SparseMap(1, holes))
    with pytest.raises(MalformedPacket, match="holes of a wrong length"):
        decode_accept_untrusted(opened(encode_accept(accept, 1, 0)))


def test_the_holes_that_fit_are_those_of_the_map() -> None:
    holes = tuple((n << 20, (n + 1) << 20) for n in range(MAX_HOLES))
    told = fitted_map(SparseMap(1, holes), room_for_map(1200, MAX_HAVE))
    assert 0 < len(told.holes) < MAX_HOLES
    accept = ACCEPT._replace(have=((0, 1),) * MAX_HAVE, sparse_map=told)
    assert 1192 < len(encode_accept(accept, 1, 1200)) <= 1200
    assert fitted_map(SparseMap(1, holes), 15) == NO_HOLES


def test_an_accept_of_more_ranges_than_a_hello_may_have_is_malformed() -> None:
    body = encode_accept(ACCEPT, 1, 0)[16 : 16 + 40]
    ranges = bytes(16) + (MAX_HAVE + 1).to_bytes(8, "little") + bytes(16 * (MAX_HAVE + 1))
    with pytest.raises(MalformedPacket, match="ranges of a wrong length"):
        decode_accept_untrusted(opened(encode(PacketType.ACCEPT, 1, body + ranges)))
