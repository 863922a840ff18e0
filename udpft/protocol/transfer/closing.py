"""Closing packets: the ERRORs by which an end that fails takes leave of its peer."""

from __future__ import annotations

from udpft.errors import UdpftError
from udpft.protocol.contract import TransferIds
from udpft.protocol.params import CLOSING_COPIES
from udpft.protocol.wire.error import ErrorCode, Refusal, encode_error, reason_of


def closing_packets(ids: TransferIds, error: UdpftError, code: ErrorCode) -> tuple[bytes, ...]:
    """The ERROR, and its hint with it, as often as it is sent: nobody stays to hear a loss."""
    refusal = Refusal(ids.nonce, code, reason_of(error))
    return (encode_error(refusal, ids.connection_id),) * CLOSING_COPIES
