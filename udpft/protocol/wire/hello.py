"""HELLO packets: a client's request, padded to probe the path."""

import struct
from enum import IntEnum
from typing import NamedTuple

from udpft.errors import UsageError
from udpft.protocol.contract import HOLE_BLOCK_BYTES, MAX_HOLES, NO_HOLES, SparseMap
from udpft.protocol.params import MAX_NAME_BYTES
from udpft.protocol.wire.packet import BODY_AT, MalformedPacket, Packet, PacketType, encode


class Role(IntEnum):
    """Kind of request that a client makes."""

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
    RANGE = 9
    """Some bytes of a file, sent as a file of their own."""


# HELLO body: nonce u64, cookie 16 bytes (zero at first), client's connection id u32,
# version u16, role u8, reserved u8; then fields; then zeros up to the probed size.
_HELLO = struct.Struct("<Q16sIHBB")
# HELLO field: tag u8, length u16, then the value. Tag 0 ends the fields; unknown tags are skipped.
_FIELD = struct.Struct("<BH")
_FIELD_NAME, _FIELD_CHUNK_SIZE, _FIELD_RECEIVE_ROOM, _FIELD_MAX_RATE, _FIELD_HAVE = range(1, 6)
_FIELD_HAVE_OF, _FIELD_FLAGS, _FIELD_SIZE, _FIELD_MTIME, _FIELD_IDENTITY = range(6, 11)
_FIELD_WANTED, _FIELD_RTT, _FIELD_HOLES = 11, 12, 13
# Numeric fields: u64, whatever their range; a time below zero as its two's complement.
_NUMBER = struct.Struct("<Q")
_NUMBER_FIELDS = (*range(2, 5), *range(6, 11), _FIELD_RTT)
_U64, _SIGN = 2**64 - 1, 2**63
# HAVE field: pairs of u64, the bytes [start, stop) that the client has already, at most 8 of them
RANGE = struct.Struct("<QQ")
MAX_HAVE = 8
# WANTED field: one such pair, whose first number is signed
_WANTED = struct.Struct("<qQ")
# HOLES field, and the same in ACCEPT: bytes of data u64, then pairs of u32, the holes in blocks.
_HOLE = struct.Struct("<II")
NO_COOKIE = bytes(16)

TO_THE_END = _U64
"""Stop of a range that ends where the file does."""

RECURSIVE = 1
"""HELLO's flag: of folders, all that is below them."""

FORCE = 2
"""HELLO's flag: replace a different file."""

AFRESH = 4
"""HELLO's flag, of a tree: take no file for the same because its size and time are."""


REPORT = 8
"""HELLO's flag, of listings and trees: say what is not sent, and why."""


CHECKSUM = 16
"""HELLO's flag, of a tree: take a file of the same size for the same; the digest tells."""


SPARSE = 32
"""HELLO's flag, of a download: the holes of a file may be told, and then they are not sent."""


class Hello(NamedTuple):
    """HELLO: a client's request.

    ``attempt`` numbers the repeats (mod 256) and comes back in RETRY, so that a round trip is
    measured from the right one. ``max_rate_bytes_per_s`` is 0 where the client sets no limit.
    ``have``: the byte ranges that need not be sent, for the client holds them already, of the file
    whose identity is ``have_of``; 0 for any.

    ``flags`` are of `RECURSIVE`, `FORCE`, `AFRESH`, `REPORT`, `CHECKSUM` and `SPARSE`. ``size``,
    ``mtime_ns``, ``identity`` and ``sparse_map`` are those of the client's file, where it brings
    one.

    ``wanted``: of a range, its first byte and the one behind it. A first byte below 0 counts from
    the file's end; what lies behind the end is not there, and not sent.

    ``rtt_us``: the round trip in microseconds, where it is known to be longer than what is taken
    for it otherwise; it is left out where it has no room.
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
    wanted: tuple[int, int] = (0, 0)
    rtt_us: int = 0
    sparse_map: SparseMap = NO_HOLES


def encode_sparse_map(sparse_map: SparseMap) -> bytes:
    """Write the map of a sparse file, as HELLO and ACCEPT have it."""
    block = HOLE_BLOCK_BYTES
    holes = (_HOLE.pack(start // block, stop // block) for start, stop in sparse_map.holes)
    return _NUMBER.pack(sparse_map.data_bytes) + b"".join(holes)


def decode_sparse_map_untrusted(value: bytes | memoryview) -> SparseMap:
    """Read the map of a sparse file. Raises MalformedPacket."""
    rest = len(value) - _NUMBER.size
    if rest < 0 or rest % _HOLE.size or rest > _HOLE.size * MAX_HOLES:
        raise MalformedPacket("holes of a wrong length")
    holes = tuple(
        (start * HOLE_BLOCK_BYTES, stop * HOLE_BLOCK_BYTES)
        for start, stop in _HOLE.iter_unpack(value[_NUMBER.size :])
    )
    if any(start >= stop for start, stop in holes):
        raise MalformedPacket("a hole of no bytes")
    return SparseMap(_NUMBER.unpack_from(value)[0], holes)


def fitted_map(sparse_map: SparseMap, room_bytes: int) -> SparseMap:
    """The map with as many of its holes as so many bytes have room for; `NO_HOLES` for none."""
    count = max(0, (room_bytes - _NUMBER.size) // _HOLE.size)
    return sparse_map._replace(holes=sparse_map.holes[:count]) if count else NO_HOLES


def without_dot(name: str) -> str:
    """A name without ``./`` before it, which the server's folder needs no more than ours does."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def encode_name(name: str) -> bytes:
    """Encode a name for HELLO. One that is no UTF-8 leaves as the bytes that it was typed as.

    Raises:
        UsageError: it is too long, or no text.
    """
    try:
        encoded = name.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"{name!r} is no file's name") from None
    if len(encoded) > MAX_NAME_BYTES:
        raise UsageError(f"the name has {len(encoded)} bytes; {MAX_NAME_BYTES} is the most")
    return encoded


def encode_hello(hello: Hello, size: int, connection_id: int = 0) -> bytes:
    """Write a HELLO padded to ``size`` bytes, which probes the path.

    ``connection_id``: 0, but in a failover's question: of the transfer that it asks about.
    """
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
    if hello.wanted[1]:
        body += _FIELD.pack(_FIELD_WANTED, _WANTED.size) + _WANTED.pack(*hello.wanted)
    body += _FIELD.pack(_FIELD_NAME, len(hello.name)) + hello.name
    if hello.rtt_us and BODY_AT + len(body) + _FIELD.size + _NUMBER.size <= size:
        body += _FIELD.pack(_FIELD_RTT, _NUMBER.size) + _NUMBER.pack(hello.rtt_us)
    sparse_map = fitted_map(hello.sparse_map, size - BODY_AT - len(body) - _FIELD.size)
    if sparse_map.holes:
        holes = encode_sparse_map(sparse_map)
        body += _FIELD.pack(_FIELD_HOLES, len(holes)) + holes
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
    wanted = (0, 0)
    sparse_map = NO_HOLES
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
        elif tag == _FIELD_WANTED:
            if length != _WANTED.size:
                raise MalformedPacket("HELLO with a range of a wrong length")
            wanted = _WANTED.unpack(value)
        elif tag == _FIELD_HOLES:
            sparse_map = decode_sparse_map_untrusted(value)
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
        wanted=wanted,
        rtt_us=numbers[_FIELD_RTT],
        sparse_map=sparse_map,
    )
