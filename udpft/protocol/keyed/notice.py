"""Notice of a missing key: the types of keyed packets, and the refusal by an end without one.

Their contents are in `channel` and `sealing`, which need a package that is not always installed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from udpft.protocol.wire.error import ErrorCode, Refusal, decode_error_untrusted, encode_error
from udpft.protocol.wire.packet import MalformedPacket, decode_untrusted


class KeyedType(IntEnum):
    """Type of a keyed packet: its first byte."""

    HELLO = 0x91
    RETRY = 0x92
    ANSWER = 0x93
    SEALED = 0x94


RE: Final = slice(8, 16)
"""Bytes of a keyed HELLO that name it in an answer."""


def no_key_notice(hello: memoryview) -> bytes:
    """Write the answer of a server without a key to a keyed HELLO: 40 bytes, and no state."""
    nonce = int.from_bytes(hello[RE], "little")
    return encode_error(Refusal(nonce, ErrorCode.NO_KEY, "the server has no key"), 0)


def decode_notice_untrusted(datagram: memoryview) -> bytes:
    """Read the bytes `RE` of the HELLO that a server without a key has turned down.

    Raises:
        MalformedPacket: it is no such notice.
    """
    refusal = decode_error_untrusted(decode_untrusted(datagram))
    if refusal.code is not ErrorCode.NO_KEY:
        raise MalformedPacket("an ERROR of another kind")
    return refusal.nonce.to_bytes(RE.stop - RE.start, "little")
