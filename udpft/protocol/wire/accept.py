"""ACCEPT packets: the server's consent to a request. Their header is in `packet`."""

import struct
from typing import NamedTuple

from udpft.protocol.contract import MAX_HOLES, NO_HOLES, SparseMap
from udpft.protocol.wire.hello import (
    MAX_HAVE,
    RANGE,
    decode_sparse_map_untrusted,
    encode_sparse_map,
)
from udpft.protocol.wire.packet import BODY_AT, MalformedPacket, Packet, PacketType, encode

# ACCEPT body: nonce u64, server's connection id u32, chunk size u32, file size u64,
# mtime in ns i64, identity u64; then zeros up to the size of a full DATA packet.
_ACCEPT = struct.Struct("<QIIQqQ")
# To an upload, before the zeros: receive room u64, highest rate u64, and as many pairs of u64 as
# the next u64 says, at most 8: the bytes [start, stop) that the server holds already.
_ACCEPT_UPLOAD = struct.Struct("<QQQ")
# To a range, where the ranges of an upload would begin: first byte u64, the file's size u64, the
# file's identity u64.
_ACCEPT_RANGE = struct.Struct("<QQQ")


class Part(NamedTuple):
    """Part that a range is of its file.

    ``first``: its first byte, 0 for the file's own. ``file_size``: of the whole file in bytes.
    ``file_identity``: of the file, in the state that the range is of: two ranges of one file with
    the same one are of the same version. It is 0 of nothing that is a range.
    """

    first: int
    file_size: int
    file_identity: int


NO_PART = Part(0, 0, 0)
"""What ACCEPT says to other requests."""
# Of a sparse file, behind these: the number of its holes, u64; then its map, as in HELLO.
_HOLES = struct.Struct("<Q")
_MAP_SIZE = struct.Struct("<Q").size, struct.Struct("<II").size


class Accept(NamedTuple):
    """ACCEPT: the server's consent, the file that it is about, and the way it will be sent.

    To an upload, also what the server's socket holds in bytes, how fast the client may be (0 for
    any rate), and the byte ranges that need not be sent.

    To a range, ``size`` and ``identity`` are those of the range, and ``part`` tells of its file.

    ``sparse_map``: holes that are not sent, to a client that knows of them; in an upload, those of
    HELLO that the server knows of.
    """

    nonce: int
    connection_id: int
    chunk_size: int
    size: int
    mtime_ns: int
    identity: int
    receive_room: int = 0
    max_rate_bytes_per_s: int = 0
    have: tuple[tuple[int, int], ...] = ()
    part: Part = NO_PART
    sparse_map: SparseMap = NO_HOLES


def room_for_map(size: int, ranges: int) -> int:
    """Bytes that an ACCEPT of ``size`` bytes with so many byte ranges has for a sparse map."""
    fixed = _ACCEPT.size + _ACCEPT_UPLOAD.size + _ACCEPT_RANGE.size + _HOLES.size
    return size - BODY_AT - fixed - ranges * RANGE.size


def encode_accept(accept: Accept, connection_id: int, size: int) -> bytes:
    """Write an ACCEPT padded to ``size`` bytes, which probes the way back as HELLO did the way."""
    body = _ACCEPT.pack(*accept[:6])
    body += _ACCEPT_UPLOAD.pack(*accept[6:8], len(accept.have))
    body += b"".join(RANGE.pack(*pair) for pair in accept.have)
    if accept.part.file_identity or accept.sparse_map.holes:
        body += _ACCEPT_RANGE.pack(*accept.part)
    if accept.sparse_map.holes:
        body += _HOLES.pack(len(accept.sparse_map.holes)) + encode_sparse_map(accept.sparse_map)
    body += bytes(max(0, size - BODY_AT - len(body)))
    return encode(PacketType.ACCEPT, connection_id, body)


def decode_accept_untrusted(packet: Packet) -> Accept:
    """Read an ACCEPT's body. Raises MalformedPacket."""
    if len(packet.body) < _ACCEPT.size:
        raise MalformedPacket("ACCEPT too short")
    known = _ACCEPT.unpack_from(packet.body)
    if len(packet.body) < _ACCEPT.size + _ACCEPT_UPLOAD.size:
        return Accept(*known)
    room, max_rate, count = _ACCEPT_UPLOAD.unpack_from(packet.body, _ACCEPT.size)
    pairs = packet.body[_ACCEPT.size + _ACCEPT_UPLOAD.size :][: count * RANGE.size]
    if count > MAX_HAVE or len(pairs) != count * RANGE.size:
        raise MalformedPacket("ACCEPT with ranges of a wrong length")
    have = tuple(RANGE.iter_unpack(pairs))
    part, sparse_map = NO_PART, NO_HOLES
    part_at = _ACCEPT.size + _ACCEPT_UPLOAD.size + len(pairs)
    if len(packet.body) >= part_at + _ACCEPT_RANGE.size:
        part = Part(*_ACCEPT_RANGE.unpack_from(packet.body, part_at))
        sparse_map = _sparse_map_untrusted(packet.body[part_at + _ACCEPT_RANGE.size :])
    uploads = {"receive_room": room, "max_rate_bytes_per_s": max_rate, "have": have}
    return Accept(*known)._replace(**uploads, part=part, sparse_map=sparse_map)


def _sparse_map_untrusted(rest: memoryview) -> SparseMap:
    """Read the map of a sparse file, where there is one. Raises MalformedPacket."""
    if len(rest) < _HOLES.size:
        return NO_HOLES
    count = _HOLES.unpack_from(rest)[0]
    if not count:
        return NO_HOLES
    length = _MAP_SIZE[0] + _MAP_SIZE[1] * min(count, MAX_HOLES + 1)
    if len(rest) < _HOLES.size + length:
        raise MalformedPacket("ACCEPT with holes of a wrong length")
    return decode_sparse_map_untrusted(rest[_HOLES.size : _HOLES.size + length])
