"""FIN and FIN_ACK: what is written can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.wire.packets import (
    fins,
    opened,
    u32,
)
from udpft.protocol.wire.fin import Fin, decode_fin_untrusted, encode_fin
from udpft.protocol.wire.packet import (
    MalformedPacket,
    PacketType,
    encode,
)


@given(fins, st.sampled_from([PacketType.FIN, PacketType.FIN_ACK]), u32)
def test_fin_round_trips(fin: Fin, type_: PacketType, connection_id: int) -> None:
    packet = opened(encode_fin(type_, fin, connection_id, 0))
    assert (packet.type, decode_fin_untrusted(packet)) == (type_, fin)


@pytest.mark.parametrize(("skipped", "aux"), [(0, 0), (1, 1), (65_535, 65_535), (65_537, 1)])
def test_fin_tells_how_many_packet_numbers_were_skipped_modulo_65536(
    skipped: int, aux: int
) -> None:
    packet = opened(encode_fin(PacketType.FIN, Fin(1, bytes(16)), 1, 0, skipped))
    assert packet.aux == aux


@pytest.mark.parametrize("size", [0, 23, 25])
def test_a_fin_of_another_length_is_malformed(size: int) -> None:
    with pytest.raises(MalformedPacket, match="FIN of a wrong length"):
        decode_fin_untrusted(opened(encode(PacketType.FIN, 1, bytes(size))))
