"""RETRY: what is written can be read, and is small."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.protocol.wire.packets import (
    opened,
    retries,
    u32,
)
from udpft.protocol.params import (
    RETRY_MAX_SIZE,
)
from udpft.protocol.wire.packet import (
    MalformedPacket,
    PacketType,
    encode,
)
from udpft.protocol.wire.retry import Retry, decode_retry_untrusted, encode_retry


@given(retries, u32)
def test_retry_round_trips_and_stays_small(retry: Retry, connection_id: int) -> None:
    datagram = encode_retry(retry, connection_id)
    assert len(datagram) <= RETRY_MAX_SIZE
    assert decode_retry_untrusted(opened(datagram)) == retry


@pytest.mark.parametrize("size", [0, 27, 29])
def test_a_retry_of_another_length_is_malformed(size: int) -> None:
    with pytest.raises(MalformedPacket, match="RETRY of a wrong length"):
        decode_retry_untrusted(opened(encode(PacketType.RETRY, 1, bytes(size))))
