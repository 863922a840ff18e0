"""Closing packets: the ERRORs by which an end that fails takes leave of its peer."""

from __future__ import annotations

from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    LocalError,
    LocalReadFailed,
    SourceChanged,
    Stopped,
    UdpftError,
)
from udpft.protocol.contract import TransferIds
from udpft.protocol.params import CLOSING_COPIES
from udpft.protocol.wire.error import ErrorCode, Refusal, encode_error, reason_of


def closing_packets(ids: TransferIds, error: UdpftError, code: ErrorCode) -> tuple[bytes, ...]:
    """The ERROR, and its hint with it, as often as it is sent: nobody stays to hear a loss."""
    refusal = Refusal(ids.nonce, code, reason_of(error))
    return (encode_error(refusal, ids.connection_id),) * CLOSING_COPIES


def parting_words(error: BaseException) -> tuple[str, ErrorCode]:
    """Reason and code that a server is told when its client ends a transfer for a local reason.

    They hold no names of the client's files, and nothing that looks like damage on the way.
    """
    if isinstance(error, DestinationExists):
        return "the client has a different file of that name", ErrorCode.EXISTS
    if isinstance(error, LocalReadFailed):
        return "the client cannot read its own file", ErrorCode.READ_FAILED
    if isinstance(error, LocalError):
        if "disk full" in str(error):
            return "the client's disk is full", ErrorCode.WRITE_FAILED
        if "quota" in str(error):
            return "the client's disk quota is used up", ErrorCode.WRITE_FAILED
        return "the client's disk failed", ErrorCode.WRITE_FAILED
    if isinstance(error, DigestMismatch):  # found when the file was to get its name
        return "the client expects a file of another SHA-256", ErrorCode.CANCELLED
    if isinstance(error, SourceChanged):
        return "the client had a part of another file", ErrorCode.CANCELLED
    if isinstance(error, Stopped):
        return "the client gave up: it was stopped", ErrorCode.CANCELLED
    if not isinstance(error, Exception):
        return "the client gave up: it was interrupted", ErrorCode.CANCELLED
    return "the client gave up", ErrorCode.CANCELLED
