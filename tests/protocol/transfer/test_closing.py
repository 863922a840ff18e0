"""Leave of a peer: said often enough that one lost packet is no loss."""

from __future__ import annotations

import pytest

from udpft.errors import PartialTransfer
from udpft.protocol.contract import TransferIds
from udpft.protocol.params import CLOSING_COPIES
from udpft.protocol.transfer.closing import closing_packets
from udpft.protocol.wire.error import ErrorCode, decode_error_untrusted
from udpft.protocol.wire.packet import PacketType, decode_untrusted

IDS = TransferIds(connection_id=99, own_connection_id=1_234, nonce=7)


@pytest.mark.parametrize("hint", ["", "try again"])
def test_every_copy_names_the_transfer_and_the_reason(hint: str) -> None:
    error = PartialTransfer("the disk is full", hint=hint)
    copies = closing_packets(IDS, error, ErrorCode.WRITE_FAILED)
    assert len(copies) == CLOSING_COPIES > 1
    for copy in copies:
        packet = decode_untrusted(memoryview(copy))
        refusal = decode_error_untrusted(packet)
        assert (packet.type, packet.connection_id) == (PacketType.ERROR, 99)
        assert (refusal.nonce, refusal.code) == (7, ErrorCode.WRITE_FAILED)
        told = refusal.as_error()
        assert (str(told), told.hint) == ("the disk is full", hint)
