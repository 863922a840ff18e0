"""Packets in words: type, numbers and fields of each, as records of a trace have them.

The names of fields are those of docs/protocol.md. Bursts of DATA are told as runs, for a record of
each packet would cost more than the packet does.
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from typing import Any, NamedTuple

from udpft.protocol.params import DATA_HEADER_SIZE
from udpft.protocol.wire.accept import decode_accept_untrusted
from udpft.protocol.wire.ack import decode_ack_untrusted
from udpft.protocol.wire.error import decode_error_untrusted
from udpft.protocol.wire.fin import decode_fin_untrusted
from udpft.protocol.wire.hello import Role, decode_hello_untrusted
from udpft.protocol.wire.packet import MalformedPacket, Packet, PacketType, decode_untrusted
from udpft.protocol.wire.retry import decode_retry_untrusted

_WORD = 8
_LOW = 0xFFFF_FFFF
_DATA = bytes([PacketType.DATA])
_STEP = 1 << 32 | 1
"""What the numbers of a packet are ahead of the one before, where both are in step."""


class Run(NamedTuple):
    """Packets whose packet numbers and chunk numbers both follow on each other."""

    packet: int
    chunk: int
    length: int


class Told(NamedTuple):
    """Control packet in words: its type, its fields, and the numbers that tie it to others.

    ``nonce`` and ``own_id``: of the transfer, and the connection id that its sender chose, where it
    says them. ``acked``: ranges of packet numbers, of an ACK.
    """

    kind: str
    fields: dict[str, Any]
    nonce: int | None = None
    own_id: int | None = None
    chunk_size: int = 0
    acked: tuple[tuple[int, int], ...] = ()


class Headers(NamedTuple):
    """Headers of DATA packets that left or came together: all that a trace needs of them.

    ``commons`` and ``numbers``: their first and their second eight bytes, one after another.
    """

    commons: bytes
    numbers: bytes

    @property
    def ack_requests(self) -> int:
        """How many of the packets ask for an acknowledgement at once."""
        flags = self.commons[1::_WORD]
        return len(flags) - flags.count(0)


def headers_of(data: memoryview, size: int) -> Headers | None:
    """Headers of the packets in ``data``, cut every ``size`` bytes; None where not all are DATA."""
    whole, rest = divmod(len(data), size)
    if size < DATA_HEADER_SIZE or 0 < rest < DATA_HEADER_SIZE:
        return None
    if size % _WORD == 0:
        words, stride = data[: whole * size].cast("Q"), size // _WORD
        commons, numbers = words[::stride].tobytes(), words[1::stride].tobytes()
    else:
        starts = range(0, whole * size, size)
        commons = b"".join(bytes(data[at : at + _WORD]) for at in starts)
        numbers = b"".join(bytes(data[at + _WORD : at + 2 * _WORD]) for at in starts)
    if rest:
        last = bytes(data[whole * size : whole * size + 2 * _WORD])
        commons, numbers = commons + last[:_WORD], numbers + last[_WORD:]
    return None if commons[::_WORD].strip(_DATA) else Headers(commons, numbers)


def runs_of(numbers: bytes) -> list[Run]:
    """Runs of packets whose `Headers.numbers` these are."""
    count = len(numbers) // _WORD
    first = int.from_bytes(numbers[:_WORD], "little")
    # As `wire.data` does it: one comparison of all that a burst in step would have.
    if int.from_bytes(numbers, "little") == _steps(count) + first * _ones(count):
        return [Run(first & _LOW, first >> 32, count)]
    each = array("Q", numbers)
    runs = []
    begin = 0
    for at in range(1, count):
        if each[at] != each[at - 1] + _STEP:
            runs.append(Run(each[begin] & _LOW, each[begin] >> 32, at - begin))
            begin = at
    runs.append(Run(each[begin] & _LOW, each[begin] >> 32, count - begin))
    return runs


@lru_cache(1_024)
def _ones(count: int) -> int:
    """Integer of 64-bit lanes with a 1 in each."""
    return int.from_bytes((1).to_bytes(_WORD, "little") * count, "little")


@lru_cache(1_024)
def _steps(count: int) -> int:
    """Integer of 64-bit lanes with i times `_STEP` in lane i."""
    return int.from_bytes(array("Q", range(0, count * _STEP, _STEP)).tobytes(), "little")


def told_untrusted(datagram: memoryview, nonce: int | None) -> Told:
    """Put a control packet in words.

    Args:
        datagram: as it came, or as it leaves.
        nonce: of its transfer; None where that is not known, and then ACK, FIN and FIN_ACK cannot
            be told from others.

    Raises:
        MalformedPacket: too short, of no known type, damaged, or of another transfer.
    """
    packet = decode_untrusted(datagram, nonce or 0)
    kind = packet.type
    told = _TELLERS[kind](packet)
    told.fields["connection_id"] = f"{packet.connection_id:08x}"
    return told


def _hello(packet: Packet) -> Told:
    hello = decode_hello_untrusted(packet)
    role = Role(hello.role).name if hello.role in set(Role) else str(hello.role)
    fields: dict[str, Any] = {
        "name": hello.name.decode(errors="replace"),
        "role": role.lower(),
        "attempt": hello.attempt,
        "cookie": hello.cookie.hex() if any(hello.cookie) else None,
        "chunk_size": hello.chunk_size,
        "receive_room": hello.receive_room,
        "max_rate": hello.max_rate_bytes_per_s or None,
        "size": hello.size or None,
        "have": [list(pair) for pair in hello.have] or None,
        "holes": [list(pair) for pair in hello.sparse_map.holes] or None,
        "range": list(hello.wanted) if hello.role == Role.RANGE else None,
        "version": hello.version,
    }
    said = {key: value for key, value in fields.items() if value is not None}
    return Told("HELLO", said, hello.nonce, hello.connection_id)


def _retry(packet: Packet) -> Told:
    retry = decode_retry_untrusted(packet)
    fields = {
        "attempt": retry.attempt,
        "hello_size": retry.hello_size,
        "cookie": retry.cookie.hex(),
        "version": retry.version,
    }
    return Told("RETRY", fields, retry.nonce)


def _accept(packet: Packet) -> Told:
    accept = decode_accept_untrusted(packet)
    fields: dict[str, Any] = {
        "chunk_size": accept.chunk_size,
        "size": accept.size,
        "own_connection_id": f"{accept.connection_id:08x}",
        "identity": f"{accept.identity:016x}",
    }
    if accept.receive_room:
        fields["receive_room"] = accept.receive_room
    if accept.have:
        fields["have"] = [list(pair) for pair in accept.have]
    if accept.sparse_map.holes:
        fields["holes"] = [list(pair) for pair in accept.sparse_map.holes]
    if accept.part.file_identity:
        fields["first"] = accept.part.first
        fields["file_size"] = accept.part.file_size
        fields["file_identity"] = f"{accept.part.file_identity:016x}"
    return Told("ACCEPT", fields, accept.nonce, accept.connection_id, accept.chunk_size)


def _ack(packet: Packet) -> Told:
    ack = decode_ack_untrusted(packet)
    fields = {
        "ack_delay_us": round(ack.ack_delay_s * 1e6),
        "room": ack.room,
        "first_missing": ack.first_missing,
        "dropped": ack.drops,
    }
    return Told("ACK", fields, acked=tuple(ack.ranges))


def _fin(packet: Packet) -> Told:
    fin = decode_fin_untrusted(packet)
    fields: dict[str, Any] = {"size": fin.size, "digest": fin.digest.hex()}
    if packet.type is PacketType.FIN:
        fields["skipped"] = packet.aux
    return Told(packet.type.name, fields)


def _error(packet: Packet) -> Told:
    refusal = decode_error_untrusted(packet)
    fields: dict[str, Any] = {"code": refusal.code.name, "reason": refusal.reason}
    return Told("ERROR", fields, refusal.nonce)


def _data(_packet: Packet) -> Told:
    raise MalformedPacket("DATA is no control packet")


_TELLERS = {
    PacketType.HELLO: _hello,
    PacketType.RETRY: _retry,
    PacketType.ACCEPT: _accept,
    PacketType.DATA: _data,
    PacketType.ACK: _ack,
    PacketType.FIN: _fin,
    PacketType.FIN_ACK: _fin,
    PacketType.ERROR: _error,
}
