"""ACK: what is written can be read, and ranges out of order are malformed."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.protocol.wire.packets import (
    acks,
    opened,
    u32,
)
from udpft.protocol.params import (
    MAX_ACK_RANGES,
)
from udpft.protocol.wire.ack import Ack, decode_ack_untrusted, encode_ack
from udpft.protocol.wire.packet import (
    MalformedPacket,
    PacketType,
    encode,
)


@given(acks, u32)
def test_ack_round_trips(ack: Ack, connection_id: int) -> None:
    packet = opened(encode_ack(ack, connection_id, 0))
    again = decode_ack_untrusted(packet)
    assert again._replace(ack_delay_s=0) == ack._replace(ack_delay_s=0)
    assert again.ack_delay_s == pytest.approx(ack.ack_delay_s, abs=1e-6)
    assert packet.connection_id == connection_id


def test_an_ack_that_was_held_back_for_hours_says_as_much_as_it_can() -> None:
    ack = decode_ack_untrusted(opened(encode_ack(Ack(1e6, 0, 0, 0, [(0, 1)]), 1, 0)))
    assert ack.ack_delay_s == pytest.approx(4294.967295)


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [(1, 1)],
        [(2, 1)],
        [(0, 1), (2, 3)],
        [(4, 6), (2, 4)],
        [(4, 6), (4, 6)],
        [(4, 6), (3, 5)],
    ],
)
def test_ack_ranges_out_of_order_or_touching_are_malformed(ranges: list[tuple[int, int]]) -> None:
    packet = opened(encode_ack(Ack(0.0, 0, 0, 0, ranges), 1, 0))
    with pytest.raises(MalformedPacket):
        decode_ack_untrusted(packet)


def test_an_ack_of_too_many_ranges_is_malformed() -> None:
    body = bytes(16) + b"".join(
        at.to_bytes(4, "little") + (at + 1).to_bytes(4, "little")
        for at in range(2 * MAX_ACK_RANGES, -1, -2)
    )
    with pytest.raises(MalformedPacket):
        decode_ack_untrusted(opened(encode(PacketType.ACK, 1, body)))


@pytest.mark.parametrize("size", [0, 15, 16, 20, 31])
def test_an_ack_without_a_whole_range_is_malformed(size: int) -> None:
    with pytest.raises(MalformedPacket, match="ACK of a wrong length"):
        decode_ack_untrusted(opened(encode(PacketType.ACK, 1, bytes(size))))


def test_a_room_beyond_32_bits_is_said_as_the_most_that_fits() -> None:
    ack = decode_ack_untrusted(opened(encode_ack(Ack(0.0, 1 << 40, 0, 0, [(0, 1)]), 1, 0)))
    assert ack.room == 2**32 - 1


def test_a_count_of_drops_wraps_at_32_bits() -> None:
    ack = decode_ack_untrusted(opened(encode_ack(Ack(0.0, 0, 0, (1 << 32) + 3, [(0, 1)]), 1, 0)))
    assert ack.drops == 3
