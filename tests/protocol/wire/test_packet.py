"""All control packets: bytes that no encoder writes are MalformedPacket, and only that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.wire.packets import (
    DECODERS,
    Decoder,
    encodings,
    opened,
    reads_or_is_malformed,
    u8,
    u16,
    u32,
)
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.fin import Fin, encode_fin
from udpft.protocol.wire.packet import (
    MalformedPacket,
    Packet,
    PacketType,
    connection_id_untrusted,
    decode_untrusted,
    encode,
)


@given(st.sampled_from(PacketType), u32, st.binary(max_size=200), u8, u16)
def test_a_control_packet_round_trips(
    type_: PacketType, connection_id: int, body: bytes, flags: int, aux: int
) -> None:
    datagram = encode(type_, connection_id, body, flags=flags, aux=aux)
    assert opened(datagram) == Packet(type_, flags, aux, connection_id, memoryview(body))
    assert connection_id_untrusted(bytearray(datagram)) == connection_id


@given(st.binary(max_size=2_100))
def test_random_bytes_are_malformed(datagram: bytes) -> None:
    with pytest.raises(MalformedPacket):
        opened(datagram)


@given(encodings, st.data())
def test_a_packet_with_any_byte_changed_is_malformed(datagram: bytes, data: st.DataObject) -> None:
    damaged = bytearray(datagram)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(MalformedPacket):
        opened(bytes(damaged))


@given(encodings, st.data())
def test_a_packet_cut_short_or_made_longer_is_malformed(
    datagram: bytes, data: st.DataObject
) -> None:
    cut = datagram[: data.draw(st.integers(0, len(datagram) - 1))]
    longer = datagram + data.draw(st.binary(min_size=1, max_size=20))
    for wrong in (cut, longer):
        with pytest.raises(MalformedPacket):
            opened(wrong)


def test_a_packet_of_no_known_type_is_malformed() -> None:
    for first_byte in set(range(256)) - set(PacketType):
        datagram = encode(first_byte, 1, b"body")  # type: ignore[arg-type]
        with pytest.raises(MalformedPacket):
            opened(datagram)


@pytest.mark.parametrize(("type_", "decode"), DECODERS)
@given(body=st.binary(max_size=300), flags=u8, aux=u16)
def test_a_random_body_is_read_or_malformed(
    type_: PacketType, decode: Decoder, body: bytes, flags: int, aux: int
) -> None:
    # The check was right: a stranger can compute it as well as we can.
    reads_or_is_malformed(decode, Packet(type_, flags, aux, 0, memoryview(body)))


@pytest.mark.parametrize(("type_", "decode"), DECODERS)
@given(datagram=encodings, data=st.data())
def test_a_body_that_was_once_right_is_read_or_malformed(
    type_: PacketType, decode: Decoder, datagram: bytes, data: st.DataObject
) -> None:
    body = bytearray(datagram[16:])
    for _ in range(data.draw(st.integers(0, 4))):
        body[data.draw(st.integers(0, min(len(body) - 1, 150)))] = data.draw(u8)
    stop = data.draw(st.integers(0, len(body)))
    reads_or_is_malformed(decode, Packet(type_, 0, 0, 0, memoryview(bytes(body[:stop]))))


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1))
def test_what_moves_a_transfer_is_bound_to_its_nonce(nonce: int, other: int) -> None:
    fin, ack = Fin(1, bytes(16)), Ack(0.0, 0, 0, 0, [(0, 1)])
    for datagram in (
        encode_ack(ack, 1, nonce),
        encode_fin(PacketType.FIN, fin, 1, nonce),
        encode_fin(PacketType.FIN_ACK, fin, 1, nonce),
    ):
        assert decode_untrusted(memoryview(datagram), nonce).connection_id == 1
        with pytest.raises(MalformedPacket):
            decode_untrusted(memoryview(datagram), nonce ^ other)
