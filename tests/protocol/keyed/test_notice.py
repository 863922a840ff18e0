"""The word of a server without a key: what it names, what it costs, and what is none."""

from __future__ import annotations

import pytest

from udpft.protocol.keyed.notice import RE, KeyedType, decode_notice_untrusted, no_key_notice
from udpft.protocol.wire.error import ErrorCode, Refusal, encode_error
from udpft.protocol.wire.packet import MalformedPacket, PacketType

HELLO = memoryview(bytes([KeyedType.HELLO]) + bytes(range(1, 200)))


def test_it_names_the_hello_that_it_turns_down_and_is_short() -> None:
    notice = no_key_notice(HELLO)
    assert decode_notice_untrusted(memoryview(notice)) == bytes(HELLO[RE])
    assert len(notice) < 50  # so that it is no use to flood anybody with


def test_an_error_of_another_kind_is_none() -> None:
    for code in set(ErrorCode) - {ErrorCode.NO_KEY}:
        with pytest.raises(MalformedPacket, match="an ERROR of another kind"):
            decode_notice_untrusted(memoryview(encode_error(Refusal(1, code, ""), 0)))


def test_a_damaged_one_is_none() -> None:
    notice = bytearray(no_key_notice(HELLO))
    for at in range(len(notice)):
        notice[at] ^= 1
        with pytest.raises(MalformedPacket):
            decode_notice_untrusted(memoryview(notice))
        notice[at] ^= 1


def test_the_first_byte_tells_keyed_packets_from_others_and_from_text() -> None:
    assert not set(KeyedType) & set(PacketType)
    for type_ in KeyedType:
        with pytest.raises(UnicodeDecodeError):
            bytes([type_]).decode()
