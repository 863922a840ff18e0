"""RETRY packets: the server's stateless answer to a HELLO without a valid cookie."""

import struct
from typing import NamedTuple

from udpft.protocol.params import RETRY_MAX_SIZE
from udpft.protocol.wire.packet import BODY_AT, MalformedPacket, Packet, PacketType, encode

# RETRY body: nonce u64, cookie 16 bytes, size of the HELLO that it answers u16, version u16
_RETRY = struct.Struct("<Q16sHH")
assert BODY_AT + _RETRY.size <= RETRY_MAX_SIZE


class Retry(NamedTuple):
    """RETRY: a cookie that, sent back, proves the client's address.

    ``hello_size``: bytes of the HELLO that is answered. ``attempt``: that HELLO's, modulo 256.
    """

    nonce: int
    cookie: bytes
    hello_size: int
    version: int
    attempt: int


def encode_retry(retry: Retry, connection_id: int) -> bytes:
    """Write a RETRY."""
    body = _RETRY.pack(retry.nonce, retry.cookie, retry.hello_size, retry.version)
    return encode(PacketType.RETRY, connection_id, body, flags=retry.attempt)


def decode_retry_untrusted(packet: Packet) -> Retry:
    """Read a RETRY's body. Raises MalformedPacket."""
    if len(packet.body) != _RETRY.size:
        raise MalformedPacket("RETRY of a wrong length")
    nonce, cookie, hello_size, version = _RETRY.unpack(packet.body)
    return Retry(nonce, cookie, hello_size, version, packet.flags)
