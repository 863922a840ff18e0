"""Leave of a peer: said often enough that one lost packet is no loss."""

from __future__ import annotations

import pytest

from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    LocalReadFailed,
    LocalWriteFailed,
    PartialTransfer,
    SourceChanged,
    Stopped,
)
from udpft.protocol.contract import TransferIds
from udpft.protocol.params import CLOSING_COPIES
from udpft.protocol.transfer.closing import closing_packets, parting_words
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


@pytest.mark.parametrize(
    ("error", "reason", "code"),
    [
        (LocalWriteFailed("cannot write /h/x: disk full"), "disk is full", ErrorCode.WRITE_FAILED),
        (LocalWriteFailed("/h/x: disk quota exceeded"), "disk quota", ErrorCode.WRITE_FAILED),
        (LocalWriteFailed("cannot write /h/x"), "the client's disk failed", ErrorCode.WRITE_FAILED),
        (LocalReadFailed("/h/x"), "cannot read its own file", ErrorCode.READ_FAILED),
        (DestinationExists("/h/x is there"), "has a different file", ErrorCode.EXISTS),
        (DigestMismatch("/h/x"), "expects a file of another SHA-256", ErrorCode.CANCELLED),
        (SourceChanged("/h/x"), "had a part of another file", ErrorCode.CANCELLED),
        (KeyboardInterrupt(), "the client gave up: it was interrupted", ErrorCode.CANCELLED),
        (Stopped("stopped"), "the client gave up: it was stopped", ErrorCode.CANCELLED),
        (ValueError("/h/x"), "the client gave up", ErrorCode.CANCELLED),
    ],
)
def test_a_local_reason_is_told_without_local_names(
    error: BaseException, reason: str, code: ErrorCode
) -> None:
    told, told_code = parting_words(error)
    assert reason in told
    assert "/h/x" not in told
    assert told_code is code
