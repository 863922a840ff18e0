"""The reliable protocol's control packets, byte by byte. DATA has a module of its own, `burst`.

Every packet begins with the same eight bytes, little-endian throughout::

    0      1      2             4                           8
    | type | flags | aux (u16)  | connection id (u32)       |

and every control packet goes on with a check of itself::

    8                                                      16
    | XXH3-64 of the bytes from 16 on, seeded with 0–8     | body ...

so a byte that changes anywhere makes the packet none at all. In ACK, FIN and FIN_ACK the seed is
XORed with the nonce of HELLO, which ACCEPT and ERROR carry: who has not seen it can forge none of
them. The first byte of every type is in
0x80–0xBF, where no UTF-8 text can begin: that tells reliable from plain on the same port.

The connection id is the one that the *receiver* of the packet chose; it is 0 in a HELLO, which
has nobody to name yet, unless it asks whether a transfer is still known.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from udpft import errors
from udpft.protocol.params import MAX_NAME_BYTES, RETRY_MAX_SIZE


class PacketType(IntEnum):
    """The first byte of a packet."""

    HELLO = 0x81
    RETRY = 0x82
    ACCEPT = 0x83
    DATA = 0x84
    ACK = 0x85
    FIN = 0x86
    FIN_ACK = 0x87
    ERROR = 0x88


_BOUND = {PacketType.ACK, PacketType.FIN, PacketType.FIN_ACK}


class Role(IntEnum):
    """What the client asks for."""

    GET = 1
    PUT = 2
    LIST = 3
    """The files that a pattern names: the reply is a listing, sent as a file is."""
    TREE = 4
    """The contents of all files of that listing, one after another, sent as one file."""
    PUT_LIST = 5
    """A listing the other way, of a tree that the client brings."""
    PUT_TREE = 6
    """That tree."""
    MEASURE = 7
    """Bytes of no file, to measure with: as many as HELLO says, out of the server's memory."""
    MEASURE_PUT = 8
    """The same the other way. The server keeps none of them."""


class ErrorCode(IntEnum):
    """Why a transfer ends before its end."""

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
}
"""What an ERROR from the peer is raised as at this end."""

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
)


def code_of(error: errors.UdpftError) -> ErrorCode:
    """What the peer is told of an error at this end."""
    return next((code for type_, code in _CODES if isinstance(error, type_)), ErrorCode.CANCELLED)


class MalformedPacket(Exception):
    """The bytes are no packet of this protocol, or were damaged on the way. They are dropped."""


# Common: type u8, flags u8, aux u16, connection id u32
COMMON = struct.Struct("<BBHI")
# Check: u64, directly after the common part
CHECK = struct.Struct("<Q")
_TYPES = {int(type_): type_ for type_ in PacketType}  # a look-up is cheaper than the enum's call
BODY_AT = COMMON.size + CHECK.size


class Packet(NamedTuple):
    """A control packet whose check was right. ``body`` is still untrusted."""

    type: PacketType
    flags: int
    aux: int
    connection_id: int
    body: memoryview


def encode(
    type_: PacketType, to: int, body: bytes, *, flags: int = 0, aux: int = 0, nonce: int = 0
) -> bytes:
    """Write a control packet: the common part, its check bound to a nonce, the body."""
    common = COMMON.pack(type_, flags, aux, to)
    check = xxh3_64_intdigest(body, int.from_bytes(common, "little") ^ nonce)
    return common + CHECK.pack(check) + body


def decode_untrusted(datagram: memoryview, nonce: int = 0) -> Packet:
    """Read a control packet and check it; ACK, FIN and FIN_ACK against their transfer's nonce.

    Raises MalformedPacket: too short, of no known type, damaged, or of another transfer.
    """
    if len(datagram) < BODY_AT:
        raise MalformedPacket("shorter than a packet's header")
    type_, flags, aux, connection_id = COMMON.unpack_from(datagram)
    body = datagram[BODY_AT:]
    seed = int.from_bytes(datagram[: COMMON.size], "little") ^ (nonce if type_ in _BOUND else 0)
    if xxh3_64_intdigest(body, seed) != CHECK.unpack_from(datagram, COMMON.size)[0]:
        raise MalformedPacket("its check is wrong")
    known = _TYPES.get(type_)
    if known is None:
        raise MalformedPacket("of no known type")
    return Packet(known, flags, aux, connection_id, body)


def connection_id_untrusted(buffer: bytearray | memoryview) -> int:
    """The connection id of the datagram at the start of a buffer of at least eight bytes."""
    return int.from_bytes(buffer[4:8], "little")


# ---------------------------------------------------------------------------------------- HELLO

# HELLO body: nonce u64, cookie 16 bytes (zero at first), client's connection id u32,
# version u16, role u8, reserved u8; then fields; then zeros up to the probed size.
_HELLO = struct.Struct("<Q16sIHBB")
# HELLO field: tag u8, length u16, then the value. Tag 0 ends the fields; unknown tags are skipped.
_FIELD = struct.Struct("<BH")
_FIELD_NAME, _FIELD_CHUNK_SIZE, _FIELD_RECEIVE_ROOM, _FIELD_MAX_RATE, _FIELD_HAVE = range(1, 6)
_FIELD_HAVE_OF, _FIELD_FLAGS, _FIELD_SIZE, _FIELD_MTIME, _FIELD_IDENTITY = range(6, 11)
# Numeric fields: u64, whatever their range; a time below zero as its two's complement.
_NUMBER = struct.Struct("<Q")
_NUMBER_FIELDS = (_FIELD_CHUNK_SIZE, _FIELD_RECEIVE_ROOM, _FIELD_MAX_RATE, *range(6, 11))
_U64, _SIGN = 2**64 - 1, 2**63
# HAVE field: pairs of u64, the bytes [start, stop) that the client has already, at most 8 of them
RANGE = struct.Struct("<QQ")
MAX_HAVE = 8
NO_COOKIE = bytes(16)

RECURSIVE = 1
"""HELLO's flag: of folders, all that is below them."""

FORCE = 2
"""HELLO's flag: replace a different file."""

AFRESH = 4
"""HELLO's flag, of a tree: take no file for the same because its size and time are."""


class Hello(NamedTuple):
    """A client's request.

    ``attempt`` numbers the repeats (mod 256) and comes back in RETRY, so that a round trip is
    measured from the right one. ``max_rate_bytes_per_s`` is 0 where the client sets no limit.
    ``have``: the byte ranges that need not be sent, for the client holds them already, of the file
    whose identity is ``have_of``; 0 for any.

    ``flags`` are of `RECURSIVE`, `FORCE` and `AFRESH`. ``size``, ``mtime_ns`` and ``identity`` are
    those of the client's file, where it brings one.
    """

    nonce: int
    connection_id: int
    name: bytes
    chunk_size: int
    receive_room: int
    role: int = Role.GET
    version: int = 1
    cookie: bytes = NO_COOKIE
    max_rate_bytes_per_s: int = 0
    have: tuple[tuple[int, int], ...] = ()
    have_of: int = 0
    attempt: int = 0
    flags: int = 0
    size: int = 0
    mtime_ns: int = 0
    identity: int = 0


def encode_hello(hello: Hello, size: int, connection_id: int = 0) -> bytes:
    """Write a HELLO padded to ``size`` bytes, which probes the path. See `successor` for the id."""
    body = _HELLO.pack(hello.nonce, hello.cookie, hello.connection_id, hello.version, hello.role, 0)
    for tag, number in (
        (_FIELD_CHUNK_SIZE, hello.chunk_size),
        (_FIELD_RECEIVE_ROOM, hello.receive_room),
        (_FIELD_MAX_RATE, hello.max_rate_bytes_per_s),
    ):
        body += _FIELD.pack(tag, _NUMBER.size) + _NUMBER.pack(number)
    for tag, number in (
        (_FIELD_HAVE_OF, hello.have_of),
        (_FIELD_FLAGS, hello.flags),
        (_FIELD_SIZE, hello.size),
        (_FIELD_MTIME, hello.mtime_ns & _U64),
        (_FIELD_IDENTITY, hello.identity),
    ):
        if number:
            body += _FIELD.pack(tag, _NUMBER.size) + _NUMBER.pack(number)
    if hello.have:
        body += _FIELD.pack(_FIELD_HAVE, RANGE.size * len(hello.have))
        body += b"".join(RANGE.pack(*pair) for pair in hello.have)
    body += _FIELD.pack(_FIELD_NAME, len(hello.name)) + hello.name
    body += bytes(size - BODY_AT - len(body))
    return encode(PacketType.HELLO, connection_id, body, flags=hello.attempt & 0xFF)


def decode_hello_untrusted(packet: Packet) -> Hello:
    """Read a HELLO's body.

    Raises:
        MalformedPacket: a field is missing, twice, or runs over the end.
    """
    body = packet.body
    if len(body) < _HELLO.size:
        raise MalformedPacket("HELLO too short")
    nonce, cookie, connection_id, version, role, _ = _HELLO.unpack_from(body)
    numbers = dict.fromkeys(_NUMBER_FIELDS, 0)
    seen: set[int] = set()
    name: bytes | None = None
    have: tuple[tuple[int, int], ...] = ()
    at = _HELLO.size
    while at + _FIELD.size <= len(body):
        tag, length = _FIELD.unpack_from(body, at)
        if tag == 0:
            break
        value = body[at + _FIELD.size : at + _FIELD.size + length]
        if len(value) != length:
            raise MalformedPacket("HELLO field over the end")
        if tag in seen:
            raise MalformedPacket("HELLO field given twice")
        seen.add(tag)
        if tag == _FIELD_NAME:
            name = bytes(value)
        elif tag == _FIELD_HAVE:
            if length % RANGE.size or length > RANGE.size * MAX_HAVE:
                raise MalformedPacket("HELLO with ranges of a wrong length")
            have = tuple(RANGE.iter_unpack(value))
        elif tag in numbers:
            if length != _NUMBER.size:
                raise MalformedPacket("HELLO number of a wrong width")
            numbers[tag] = _NUMBER.unpack(value)[0]
        at += _FIELD.size + length
    if name is None or len(name) > MAX_NAME_BYTES:
        raise MalformedPacket("HELLO without a name, or with one too long")
    return Hello(
        nonce=nonce,
        connection_id=connection_id,
        name=name,
        chunk_size=numbers[_FIELD_CHUNK_SIZE],
        receive_room=numbers[_FIELD_RECEIVE_ROOM],
        max_rate_bytes_per_s=numbers[_FIELD_MAX_RATE],
        role=role,
        version=version,
        cookie=cookie,
        have=have,
        have_of=numbers[_FIELD_HAVE_OF],
        attempt=packet.flags,
        flags=numbers[_FIELD_FLAGS],
        size=numbers[_FIELD_SIZE],
        mtime_ns=(numbers[_FIELD_MTIME] ^ _SIGN) - _SIGN,
        identity=numbers[_FIELD_IDENTITY],
    )


# ---------------------------------------------------------------------------------------- RETRY

# RETRY body: nonce u64, cookie 16 bytes, size of the HELLO that it answers u16, version u16
_RETRY = struct.Struct("<Q16sHH")
assert BODY_AT + _RETRY.size <= RETRY_MAX_SIZE


class Retry(NamedTuple):
    """The server's stateless answer: come back with this cookie, and I believe your address."""

    nonce: int
    cookie: bytes
    hello_size: int
    version: int
    attempt: int


def encode_retry(retry: Retry, connection_id: int) -> bytes:
    """Write a RETRY."""
    body = _RETRY.pack(retry.nonce, retry.cookie, retry.hello_size, retry.version)
    return encode(PacketType.RETRY, connection_id, body, flags=retry.attempt)


def decode_retry_untrusted(packet: Packet) -> Retry:
    """Read a RETRY's body. Raises MalformedPacket."""
    if len(packet.body) != _RETRY.size:
        raise MalformedPacket("RETRY of a wrong length")
    nonce, cookie, hello_size, version = _RETRY.unpack(packet.body)
    return Retry(nonce, cookie, hello_size, version, packet.flags)


# --------------------------------------------------------------------------------- FIN, FIN_ACK

# FIN and FIN_ACK body: file size u64, digest 16 bytes
_FIN = struct.Struct("<Q16s")


class Fin(NamedTuple):
    """The end of the file, as its sender (FIN) or its receiver (FIN_ACK) computed it."""

    size: int
    digest: bytes


def encode_fin(type_: PacketType, fin: Fin, connection_id: int, nonce: int) -> bytes:
    """Write a FIN or a FIN_ACK."""
    return encode(type_, connection_id, _FIN.pack(*fin), nonce=nonce)


def decode_fin_untrusted(packet: Packet) -> Fin:
    """Read the body of a FIN or a FIN_ACK. Raises MalformedPacket."""
    if len(packet.body) != _FIN.size:
        raise MalformedPacket("FIN of a wrong length")
    return Fin(*_FIN.unpack(packet.body))


# ---------------------------------------------------------------------------------------- ERROR

# ERROR body: nonce u64 of the HELLO that began it, code u32; then the reason in UTF-8.
# The common part's aux: ms after which to try again, where the code is BUSY.
_ERROR = struct.Struct("<QI")
_MAX_REASON_BYTES = 400


class Refusal(NamedTuple):
    """An ERROR: the transfer is over, and why."""

    nonce: int
    code: ErrorCode
    reason: str
    retry_after_s: float = 0.0

    def as_error(self) -> errors.UdpftError:
        """The exception that this ERROR is at the other end; the reason's second line, its hint."""
        message, _, hint = self.reason.partition("\n")
        error = ERROR_TYPES[self.code](message or self.code.name.lower(), hint=hint)
        if isinstance(error, errors.ServerBusy) and self.retry_after_s:
            error.retry_after_s = self.retry_after_s
        return error


def reason_of(error: errors.UdpftError) -> str:
    """An error as the reason of an ERROR: a line, and a second one with the hint."""
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
