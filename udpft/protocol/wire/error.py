"""ERROR packets: the end of a transfer that failed, and its reason."""

import struct
from enum import IntEnum
from typing import NamedTuple

from udpft import errors
from udpft.protocol.wire.packet import MalformedPacket, Packet, PacketType, encode


class ErrorCode(IntEnum):
    """Reason for which a transfer ends before its end."""

    NOT_FOUND = 1
    DENIED = 2
    BUSY = 3
    CHANGED = 4
    VERSION = 5
    UPLOAD_REFUSED = 6
    READ_FAILED = 7
    WRITE_FAILED = 8
    DIGEST_MISMATCH = 9
    VIOLATION = 10
    CANCELLED = 11
    SHUTTING_DOWN = 12
    TIMED_OUT = 13
    NO_KEY = 14
    EXISTS = 15
    RANGE_NOT_THERE = 16


ERROR_TYPES: dict[ErrorCode, type[errors.UdpftError]] = {
    ErrorCode.NOT_FOUND: errors.NoSuchFile,
    ErrorCode.DENIED: errors.Denied,
    ErrorCode.BUSY: errors.ServerBusy,
    ErrorCode.CHANGED: errors.SourceChanged,
    ErrorCode.VERSION: errors.VersionMismatch,
    ErrorCode.UPLOAD_REFUSED: errors.UploadRefused,
    ErrorCode.READ_FAILED: errors.PartialTransfer,
    ErrorCode.WRITE_FAILED: errors.PartialTransfer,
    ErrorCode.DIGEST_MISMATCH: errors.DigestMismatch,
    ErrorCode.VIOLATION: errors.PartialTransfer,
    ErrorCode.CANCELLED: errors.PartialTransfer,
    ErrorCode.SHUTTING_DOWN: errors.PartialTransfer,
    ErrorCode.TIMED_OUT: errors.TimedOut,
    ErrorCode.NO_KEY: errors.KeyRejected,
    ErrorCode.EXISTS: errors.DestinationExists,
    ErrorCode.RANGE_NOT_THERE: errors.RangeNotThere,
}
"""Exception that an ERROR from the peer is raised as at this end."""

assert set(ERROR_TYPES) == set(ErrorCode)

_CODES: tuple[tuple[type[errors.UdpftError], ErrorCode], ...] = (
    (errors.NoSuchFile, ErrorCode.NOT_FOUND),
    (errors.UploadRefused, ErrorCode.UPLOAD_REFUSED),
    (errors.DestinationExists, ErrorCode.EXISTS),
    (errors.SourceChanged, ErrorCode.CHANGED),
    (errors.LocalWriteFailed, ErrorCode.WRITE_FAILED),
    (errors.Denied, ErrorCode.DENIED),
    (errors.ServerBusy, ErrorCode.BUSY),
    (errors.VersionMismatch, ErrorCode.VERSION),
    (errors.LocalError, ErrorCode.READ_FAILED),
    (errors.DigestMismatch, ErrorCode.DIGEST_MISMATCH),
    (errors.RangeNotThere, ErrorCode.RANGE_NOT_THERE),
)


def code_of(error: errors.UdpftError) -> ErrorCode:
    """Code by which the peer is told of an error at this end."""
    return next((code for type_, code in _CODES if isinstance(error, type_)), ErrorCode.CANCELLED)


# ERROR body: nonce u64 of the HELLO that began it, code u32; then the reason in UTF-8.
# The common part's aux: ms after which to try again, where the code is BUSY.
_ERROR = struct.Struct("<QI")
_MAX_REASON_BYTES = 400


_OF_THE_OTHER_END = (ErrorCode.TIMED_OUT, ErrorCode.VIOLATION)
"""Codes whose reason says of the end that receives it how the other one sees it."""

_HINT = "the path or this end stood still; --timeout, there, sets how long to wait"


class Refusal(NamedTuple):
    """ERROR: the reason for which the transfer is over."""

    nonce: int
    code: ErrorCode
    reason: str
    retry_after_s: float = 0.0

    @property
    def is_giving_up(self) -> bool:
        """Whether the peer's patience has ended, or the peer itself, and nothing else is wrong."""
        return self.code in (ErrorCode.TIMED_OUT, ErrorCode.SHUTTING_DOWN)

    def as_error(self, peer: str = "") -> errors.UdpftError:
        """Exception for this ERROR, at the end that receives it; the second line is its hint.

        ``peer``: what the other end of a transfer is called, so that what it says of us is told as
        its word; empty for the answer to a request, which is worded for us.
        """
        message, _, hint = self.reason.partition("\n")
        if peer and self.code in _OF_THE_OTHER_END:
            message = f"the {peer} gave up: {message or self.code.name.lower()}"
            hint = _HINT if self.code is ErrorCode.TIMED_OUT else ""
        error = ERROR_TYPES[self.code](message or self.code.name.lower(), hint=hint)
        if isinstance(error, errors.ServerBusy) and self.retry_after_s:
            error.retry_after_s = self.retry_after_s
        return error


def reason_of(error: errors.UdpftError) -> str:
    """Reason text of an error: a line, and a second one with the hint."""
    return f"{error}\n{error.hint}" if error.hint else str(error)


def encode_error(refusal: Refusal, connection_id: int) -> bytes:
    """Write an ERROR, its reason cut to 400 bytes of whole characters."""
    reason = refusal.reason.encode(errors="replace")[:_MAX_REASON_BYTES]
    reason = reason.decode(errors="ignore").encode()
    body = _ERROR.pack(refusal.nonce, refusal.code) + reason
    aux = min(0xFFFF, round(refusal.retry_after_s * 1000))
    return encode(PacketType.ERROR, connection_id, body, aux=aux)


def decode_error_untrusted(packet: Packet) -> Refusal:
    """Read an ERROR's body; a code from a later version reads as CANCELLED.

    Raises:
        MalformedPacket: too short or too long, or a reason that is no UTF-8.
    """
    if not _ERROR.size <= len(packet.body) <= _ERROR.size + _MAX_REASON_BYTES:
        raise MalformedPacket("ERROR of a wrong length")
    nonce, code = _ERROR.unpack_from(packet.body)
    try:
        reason = bytes(packet.body[_ERROR.size :]).decode()
    except UnicodeDecodeError:
        raise MalformedPacket("ERROR whose reason is no text") from None
    try:
        known = ErrorCode(code)
    except ValueError:
        known = ErrorCode.CANCELLED
    return Refusal(nonce, known, reason, packet.aux / 1000)
