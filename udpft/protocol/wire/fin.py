"""FIN and FIN_ACK packets: the end of a file, and its receiver's agreement."""

import struct
from typing import NamedTuple

from udpft.protocol.wire.packet import MalformedPacket, Packet, PacketType, encode

# FIN and FIN_ACK body: file size u64, digest 16 bytes
_FIN = struct.Struct("<Q16s")
_U16 = 0xFFFF


class Fin(NamedTuple):
    """FIN or FIN_ACK: size and digest of the file, as its sender or its receiver computed them."""

    size: int
    digest: bytes


def encode_fin(
    type_: PacketType, fin: Fin, connection_id: int, nonce: int, skipped: int = 0
) -> bytes:
    """Write a FIN or a FIN_ACK. ``skipped``: packet numbers that were left out, in FIN's aux."""
    return encode(type_, connection_id, _FIN.pack(*fin), aux=skipped & _U16, nonce=nonce)


def decode_fin_untrusted(packet: Packet) -> Fin:
    """Read the body of a FIN or a FIN_ACK. Raises MalformedPacket."""
    if len(packet.body) != _FIN.size:
        raise MalformedPacket("FIN of a wrong length")
    return Fin(*_FIN.unpack(packet.body))
