"""Control packets: the header that all share, and its check.

Each kind of packet has a module of its own beside this one. Every packet begins with the same eight
bytes, little-endian throughout::

    0      1      2             4                           8
    | type | flags | aux (u16)  | connection id (u32)       |

and every control packet goes on with a check of itself::

    8                                                      16
    | XXH3-64 of the bytes from 16 on, seeded with 0–8     | body ...

so a byte that changes anywhere makes the packet none at all. In ACK, FIN and FIN_ACK the seed is
XORed with the nonce of HELLO, which ACCEPT and ERROR carry: who has not seen it can forge none of
them. The first byte of every type is in 0x80–0xBF, where no UTF-8 text can begin: that tells
reliable from plain on the same port.

The connection id is the one that the *receiver* of the packet chose; it is 0 in a HELLO, which
has nobody to name yet, unless it asks whether a transfer is still known.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

from xxhash import xxh3_64_intdigest


class PacketType(IntEnum):
    """Type of a packet: its first byte."""

    HELLO = 0x81
    RETRY = 0x82
    ACCEPT = 0x83
    DATA = 0x84
    ACK = 0x85
    FIN = 0x86
    FIN_ACK = 0x87
    ERROR = 0x88


# Types whose check is bound to the nonce of the transfer's HELLO
_BOUND = {PacketType.ACK, PacketType.FIN, PacketType.FIN_ACK}


class MalformedPacket(Exception):
    """Error: the bytes are no packet of this protocol, or damaged. They are dropped."""


# Common: type u8, flags u8, aux u16, connection id u32
COMMON = struct.Struct("<BBHI")
# Check: u64, directly after the common part
CHECK = struct.Struct("<Q")
_TYPES = {int(type_): type_ for type_ in PacketType}  # a look-up is cheaper than the enum's call
BODY_AT = COMMON.size + CHECK.size


class Packet(NamedTuple):
    """Control packet whose check was right. ``body`` is still untrusted."""

    type: PacketType
    flags: int
    aux: int
    connection_id: int
    body: memoryview


def encode(
    type_: PacketType, to: int, body: bytes, *, flags: int = 0, aux: int = 0, nonce: int = 0
) -> bytes:
    """Write a control packet: the common part, its check bound to a nonce, the body."""
    common = COMMON.pack(type_, flags, aux, to)
    check = xxh3_64_intdigest(body, int.from_bytes(common, "little") ^ nonce)
    return common + CHECK.pack(check) + body


def decode_untrusted(datagram: memoryview, nonce: int = 0) -> Packet:
    """Read a control packet and check it; ACK, FIN and FIN_ACK against their transfer's nonce.

    Raises MalformedPacket: too short, of no known type, damaged, or of another transfer.
    """
    if len(datagram) < BODY_AT:
        raise MalformedPacket("shorter than a packet's header")
    type_, flags, aux, connection_id = COMMON.unpack_from(datagram)
    body = datagram[BODY_AT:]
    seed = int.from_bytes(datagram[: COMMON.size], "little") ^ (nonce if type_ in _BOUND else 0)
    if xxh3_64_intdigest(body, seed) != CHECK.unpack_from(datagram, COMMON.size)[0]:
        raise MalformedPacket("its check is wrong")
    known = _TYPES.get(type_)
    if known is None:
        raise MalformedPacket("of no known type")
    return Packet(known, flags, aux, connection_id, body)


def connection_id_untrusted(buffer: bytearray | memoryview) -> int:
    """Connection id of the datagram at the start of a buffer of at least eight bytes."""
    return int.from_bytes(buffer[4:8], "little")
