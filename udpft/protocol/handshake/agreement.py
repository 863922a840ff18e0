"""Agreement of both ends on a transfer: its chunk size, and what of the file is held already."""

from collections.abc import Sequence
from typing import NamedTuple

from udpft.protocol.contract import SparseMap
from udpft.protocol.params import (
    CHUNK_ALIGNMENT,
    CHUNK_SIZE,
    DATA_HEADER_SIZE,
    INITIAL_RTT_S,
    MAX_CHUNK_SIZE,
    MIN_CHUNK_SIZE,
    SEAL_OVERHEAD,
)
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.accept import Accept
from udpft.protocol.wire.hello import MAX_HAVE, Hello


class HandshakeResult(NamedTuple):
    """Result of a handshake, on the client.

    ``hello_size``: bytes of the datagram that the path carried, 0 where it was not this
    handshake that tried; ``cookie``: the proof of our address; ``rtt_s``: 0 where unknown;
    ``have``: byte ranges that the server will not send, for we hold them already.
    """

    accept: Accept
    hello_size: int
    cookie: bytes
    rtt_s: float
    have: tuple[tuple[int, int], ...] = ()


def rtt_to_tell_us(rtt_s: float) -> int:
    """Round trip in microseconds, as HELLO tells it; 0 where it is no longer than a server thinks
    anyway."""
    return int(rtt_s * 1e6) if rtt_s > INITIAL_RTT_S else 0


def agreed_chunk_size(wanted: int, hello_size: int, *, keyed: bool = False) -> int:
    """Chunk size of a transfer: the one asked for, as far as the path carries it."""
    headers = DATA_HEADER_SIZE + (SEAL_OVERHEAD if keyed else 0)
    fits = (hello_size - headers) // CHUNK_ALIGNMENT * CHUNK_ALIGNMENT
    wanted = wanted // CHUNK_ALIGNMENT * CHUNK_ALIGNMENT or CHUNK_SIZE
    return max(MIN_CHUNK_SIZE, min(fits, wanted, MAX_CHUNK_SIZE))


def held_ranges(hello: Hello, accept: Accept) -> tuple[tuple[int, int], ...]:
    """Byte ranges that will not be sent: those of HELLO, where they are of ACCEPT's file."""
    return hello.have if hello.have_of in (0, accept.identity) else ()


def byte_ranges(chunks: RangeSet, chunk_size: int, size: int) -> tuple[tuple[int, int], ...]:
    """Byte ranges of the largest runs of chunks, as many as a HELLO can name, in order."""
    ranges = [(first * chunk_size, min(stop * chunk_size, size)) for first, stop in chunks]
    ranges = [(start, stop) for start, stop in ranges if start < stop]  # no empty last chunk
    ranges.sort(key=lambda pair: pair[0] - pair[1])
    return tuple(sorted(ranges[:MAX_HAVE]))


def whole_chunks(byte_ranges: Sequence[tuple[int, int]], chunk_size: int, size: int) -> RangeSet:
    """Chunks of a file of ``size`` bytes that byte ranges hold whole.

    The last chunk counts where the file's end is in a range, but never where it is empty: it is
    then nothing that anybody could have.
    """
    chunks = RangeSet()
    for start, stop in byte_ranges:
        first = -(-start // chunk_size)
        last = stop // chunk_size if stop < size else -(-size // chunk_size)
        if start <= stop <= size:
            chunks.add(first, last)
    return chunks


def hole_chunks(
    sparse_map: SparseMap, chunk_size: int, size: int, held: RangeSet | None = None
) -> RangeSet:
    """Chunks that lie whole in the holes of a file of ``size`` bytes, but for those held already.

    None of them is shorter than the others: the last chunk is sent, whatever it holds.
    """
    chunks = RangeSet()
    for start, stop in sparse_map.holes:
        first, last = -(-start // chunk_size), min(stop, size) // chunk_size
        if first < last:
            for begin, end in held.holes(first, last) if held else ((first, last),):
                chunks.add(begin, end)
    return chunks


def taken_map(told: SparseMap, answered: SparseMap) -> SparseMap:
    """Holes of a client's file that are not sent: those of its HELLO that ACCEPT has too."""
    own = set(told.holes)
    return answered._replace(holes=tuple(hole for hole in answered.holes if hole in own))
