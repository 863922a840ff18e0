"""ACK packets: the packets received, and the receiver's room."""

import struct
from typing import NamedTuple

from udpft.protocol.params import MAX_ACK_RANGES
from udpft.protocol.wire.packet import MalformedPacket, Packet, PacketType, encode

# ACK body: ack delay in µs u32, receiver's room in bytes u32, first missing chunk u32,
# datagrams dropped by the receiver's full buffer u32; then ranges of packet numbers.
_ACK = struct.Struct("<IIII")
_U32 = 0xFFFF_FFFF
# ACK range: first packet number u32, one past the last u32
_ACK_RANGE_SIZE = 8
_ACK_RANGES = [struct.Struct(f"<{2 * n}I") for n in range(MAX_ACK_RANGES + 1)]


class Ack(NamedTuple):
    """ACK: the packets received, and the receiver's room in bytes.

    ``ranges``: half-open, of packet numbers, newest first. ``drops``: datagrams that the receiver's
    full buffer has dropped.
    """

    ack_delay_s: float
    room: int
    first_missing: int
    drops: int
    ranges: list[tuple[int, int]]


def encode_ack(ack: Ack, connection_id: int, nonce: int) -> bytes:
    """Write an ACK of at most `MAX_ACK_RANGES` ranges."""
    flat = [number for pair in ack.ranges for number in pair]
    delay_us = min(_U32, round(ack.ack_delay_s * 1e6))
    body = _ACK.pack(delay_us, min(_U32, ack.room), ack.first_missing, ack.drops & _U32)
    body += _ACK_RANGES[len(ack.ranges)].pack(*flat)
    return encode(PacketType.ACK, connection_id, body, nonce=nonce)


def decode_ack_untrusted(packet: Packet) -> Ack:
    """Read an ACK's body: at least one range, each of at least one packet, newest first.

    Raises:
        MalformedPacket: anything else.
    """
    body = packet.body
    n_ranges, rest = divmod(len(body) - _ACK.size, _ACK_RANGE_SIZE)
    if rest or not 1 <= n_ranges <= MAX_ACK_RANGES:
        raise MalformedPacket("ACK of a wrong length")
    delay_us, room, first_missing, drops = _ACK.unpack_from(body)
    flat = _ACK_RANGES[n_ranges].unpack_from(body, _ACK.size)
    ranges = list(zip(flat[::2], flat[1::2], strict=True))
    above = 1 << 32
    for start, stop in ranges:
        if not start < stop < above:
            raise MalformedPacket("ACK ranges out of order")
        above = start
    return Ack(delay_us / 1e6, room, first_missing, drops, ranges)
