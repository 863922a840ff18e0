"""DATA packets, a burst at a time.

A DATA packet, little-endian::

    0                8          12      16                   24
    | common (u64)   | pn u32   | chunk | check (8 bytes)    | payload ...

- *common*: the type, no flags but `ACK_REQUEST`, aux 0, the receiver's connection id.
- *pn*: the packet number, never used twice in a transfer (RFC 9002, 2).
- *chunk*: the chunk's number; its place in the file is chunk × chunk size. Read as one 64-bit
  word, packet number and chunk number are the packet's *numbers*.
- *check*: the chunk's hash XOR the numbers XOR the nonce of the transfer's HELLO, byte by byte.
  The chunk's hash is XXH3-64 of the payload in its canonical form (8 bytes, big-endian). So a
  damaged payload, packet number or chunk number shows, and so does a packet of somebody who has
  not seen the HELLO; and the hash is what the digest of the file is made of: XXH3-128 of all
  chunks' hashes in order.

Python's cost is per call, not per byte. So a burst is one buffer in which headers and payload
slots alternate; each header field is one strided view of 64-bit words over all packets; fields of
a whole burst are computed at once as one large integer of 64-bit lanes; and file I/O goes
straight into and out of the payload slots. Per packet remains one call, the hash.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Final, NamedTuple

from xxhash import xxh3_64_digest

from udpft.protocol.packets import PacketType
from udpft.protocol.params import (
    DATA_HEADER_SIZE,
    MAX_BURST_PACKETS,
    MAX_SEND_BYTES,
    MAX_SEND_PACKETS,
    SENDS_A_BURST,
)

ACK_REQUEST: Final = 0x01
"""Flag of a DATA packet: acknowledge at once, for nothing follows until you do."""

HASH_SIZE: Final = 8
"""Bytes in a chunk's hash."""

_WORD = 8
_WORD_MASK = 0xFFFF_FFFF_FFFF_FFFF
_LOW = 0xFFFF_FFFF

# Fields are read as native words; a big-endian machine would have to swap them.
assert sys.byteorder == "little", "udpft needs a little-endian machine"

_STEP = 1 << 32 | 1
"""What the numbers of a packet are ahead of the one before, where both are in step."""


@cache
def _ones(count: int) -> int:
    """An integer of 64-bit lanes with a 1 in each."""
    return int.from_bytes((1).to_bytes(_WORD, "little") * count, "little")


@cache
def _steps(count: int) -> int:
    """An integer of 64-bit lanes with i times `_STEP` in lane i."""
    return int.from_bytes(array("Q", range(0, count * _STEP, _STEP)).tobytes(), "little")


def _repeated(word: int) -> Callable[[int], int]:
    """A function of a count: an integer with a word in each of so many lanes."""
    return lru_cache(maxsize=2)(lambda count: word * _ones(count))


def data_common(connection_id: int, flags: int = 0) -> bytes:
    """The first eight bytes of a DATA packet."""
    return (PacketType.DATA | flags << 8 | connection_id << 32).to_bytes(_WORD, "little")


def send_capacity(packet_size: int) -> int:
    """The number of packets of a size that one send takes."""
    return min(MAX_SEND_PACKETS, MAX_SEND_BYTES // packet_size)


def chunk_hashes(slots: Iterable[memoryview]) -> bytes:
    """The hashes of chunks, one after another."""
    return b"".join(map(xxh3_64_digest, slots))


class BurstWriter:
    """Lays bursts of one chunk size into a send buffer of `MAX_BURST_BYTES`.

    Writers that take turns may share the buffer: a burst is good until the next one is written.
    """

    def __init__(self, chunk_size: int, buffer: bytearray, nonce: int = 0) -> None:
        self.chunk_size = chunk_size
        self._nonces = _repeated(nonce)
        self.packet_size = chunk_size + DATA_HEADER_SIZE
        self.send_capacity = send_capacity(self.packet_size)
        self.capacity = SENDS_A_BURST * self.send_capacity
        self._view = memoryview(buffer)[: self.capacity * self.packet_size]
        words = self._view.cast("Q")
        stride = self.packet_size // _WORD
        self._commons, self._numbers, self._checks = (words[i::stride] for i in range(3))
        self._slots = [
            self._view[at + DATA_HEADER_SIZE : at + self.packet_size]
            for at in range(0, len(self._view), self.packet_size)
        ]

    def slots(self, count: int, last_length: int) -> list[memoryview]:
        """Where the payloads of a burst go; the last of them holds ``last_length`` bytes."""
        slots = self._slots[:count]
        if last_length != self.chunk_size:
            slots[-1] = slots[-1][:last_length]
        return slots

    def seal(
        self,
        common: bytes,
        last_common: bytes,
        first_packet: int,
        chunks: Sequence[int],
        slots: list[memoryview],
    ) -> tuple[memoryview, bytes]:
        """Write the headers of a burst whose payloads stand in its slots already.

        Args:
            common: `data_common` of all packets but the last.
            last_common: the same of the last one, which may ask for an acknowledgement.
            first_packet: packet number of the first packet; the others follow on.
            chunks: the chunks' numbers.
            slots: from `slots`, as many.

        Returns:
            The bytes to send, and the chunks' hashes.
        """
        count = len(chunks)
        hashes = chunk_hashes(slots)
        if isinstance(chunks, range):
            numbers = _steps(count) + (chunks.start << 32 | first_packet) * _ones(count)
        else:
            numbers = _steps(count) // _STEP + first_packet * _ones(count)
            numbers += sum(chunk << 64 * i + 32 for i, chunk in enumerate(chunks))
        checks = int.from_bytes(hashes, "little") ^ numbers ^ self._nonces(count)
        commons = common * (count - 1) + last_common
        self._commons[:count] = memoryview(commons).cast("Q")
        self._numbers[:count] = _lanes(numbers, count)
        self._checks[:count] = _lanes(checks, count)
        length = (count - 1) * self.packet_size + DATA_HEADER_SIZE + len(slots[-1])
        return self._view[:length], hashes


def _lanes(number: int, count: int) -> memoryview:
    """An integer of 64-bit lanes as words that a strided view takes."""
    return memoryview(number.to_bytes(count * _WORD, "little")).cast("Q")


def _lanes_in_use(number: int) -> Iterator[int]:
    """The lanes that are not 0 of an integer of 64-bit lanes, in ascending order."""
    while number:
        lane = ((number & -number).bit_length() - 1) // 64
        yield lane
        number &= ~(_WORD_MASK << 64 * lane)


class Burst(NamedTuple):
    """Undamaged DATA packets of one batch with consecutive packet and chunk numbers.

    ``slots`` are views of the receive buffer, good until the next receive; ``hashes`` are those
    of the chunks, one after another.
    """

    first_packet: int
    first_chunk: int
    slots: list[memoryview]
    hashes: bytes
    ack_request: bool


class Batch(NamedTuple):
    """What a batch held: DATA in bursts, and (offset, length) of each datagram that is no DATA.

    Damaged DATA, and DATA of other transfers, is in neither.
    """

    bursts: list[Burst]
    strays: list[tuple[int, int]]


class BurstReader:
    """Reads DATA packets of one transfer out of receive buffers, checking each."""

    def __init__(self, connection_id: int, chunk_size: int, nonce: int = 0) -> None:
        self._connection_id = connection_id
        self._nonce = nonce
        self._nonces = _repeated(nonce)
        common = data_common(connection_id)
        self._ours = lru_cache(maxsize=2)(lambda count: common * count)
        self._common = int.from_bytes(common, "little")
        self._common_ack = int.from_bytes(data_common(connection_id, ACK_REQUEST), "little")
        self._chunk_size = chunk_size
        self._packet_size = chunk_size + DATA_HEADER_SIZE
        self._buffer: bytearray | None = None

    def _look_at(self, buffer: bytearray) -> None:
        """Lay strided views over a buffer; a driver that reuses its buffer pays for it once."""
        self._buffer = buffer
        self._view = view = memoryview(buffer)
        words = view[: len(view) // _WORD * _WORD].cast("Q")
        stride = self._packet_size // _WORD
        self._commons, self._numbers, self._checks = (words[i::stride] for i in range(3))
        self._slots = [
            view[at + DATA_HEADER_SIZE : at + self._packet_size]
            for at in range(0, len(view) - self._packet_size + 1, self._packet_size)
        ]

    def read_untrusted(self, buffer: bytearray, length: int, segment_size: int) -> Batch:
        """Read a batch: ``length`` bytes of datagrams of ``segment_size``, the last one shorter.

        A batch that arrived in order and whole, the usual case, is one burst and costs no loop
        over its packets; one with gaps costs a little for each stretch without.
        """
        if buffer is not self._buffer:
            self._look_at(buffer)
        packet_size = self._packet_size
        if segment_size != packet_size and (length > segment_size or length > packet_size):
            return self._read_singly(buffer, length, segment_size)
        count, rest = divmod(length, packet_size)
        slots = self._slots[:count]
        if rest >= DATA_HEADER_SIZE:
            at = count * packet_size
            slots.append(self._view[at + DATA_HEADER_SIZE : at + rest])
            count += 1
        batch = Batch([], [])
        at = 0
        while at < count:
            run, asked, numbers = self._stretch(at, min(count - at, MAX_BURST_PACKETS))
            if run:
                whole = run == count
                stretch = slots if whole else slots[at : at + run]
                self._check(at, numbers, stretch, asked, batch.bursts)
            else:
                batch.strays.append((at * packet_size, DATA_HEADER_SIZE + len(slots[at])))
            at += run or 1
        return batch

    def _stretch(self, at: int, limit: int) -> tuple[int, bool, int]:
        """How many packets from one on are ours and in step; whether the last asks for an ACK.

        A packet that asks ends the stretch. With them go the packets' numbers, as lanes.
        """
        end = at + limit
        commons = self._commons[at:end].tobytes()
        numbers = int.from_bytes(self._numbers[at:end].tobytes(), "little")
        first = numbers & _WORD_MASK
        expected = _steps(limit) + first * _ones(limit)
        if commons == self._ours(limit) and numbers == expected:
            return limit, False, numbers
        unlike = int.from_bytes(commons, "little") ^ self._common * _ones(limit)
        unlike |= numbers ^ expected
        run = next(_lanes_in_use(unlike))
        in_step = self._numbers[at + run] == first + run * _STEP
        asked = in_step and self._commons[at + run] == self._common_ack
        run += asked
        return run, asked, expected & (1 << 64 * run) - 1

    def _check(
        self, at: int, numbers: int, slots: list[memoryview], asked: bool, bursts: list[Burst]
    ) -> None:
        """Append what is undamaged of a stretch: one burst, where nothing is damaged."""
        count, first = len(slots), numbers & _WORD_MASK
        hashes = chunk_hashes(slots)
        checks = int.from_bytes(self._checks[at : at + count].tobytes(), "little")
        damage = int.from_bytes(hashes, "little") ^ numbers ^ self._nonces(count) ^ checks
        if not damage:
            bursts.append(Burst(first & _LOW, first >> 32, slots, hashes, asked))
            return
        start = 0
        for stop in (*_lanes_in_use(damage), count):
            if stop > start:
                packet, chunk = (first & _LOW) + start, (first >> 32) + start
                own_hashes = hashes[start * HASH_SIZE : stop * HASH_SIZE]
                last = stop == count
                bursts.append(Burst(packet, chunk, slots[start:stop], own_hashes, asked and last))
            start = stop + 1

    def _read_singly(self, buffer: bytearray, length: int, segment_size: int) -> Batch:
        """Read a batch cut otherwise than into packets of this transfer, datagram by datagram."""
        batch = Batch([], [])
        for at in range(0, length, segment_size):
            size = min(segment_size, length - at)
            if size > self._packet_size or buffer[at] != PacketType.DATA:
                batch.strays.append((at, size))
                continue
            alone = BurstReader(self._connection_id, self._chunk_size, self._nonce)
            batch.bursts.extend(alone.read_untrusted(buffer[at : at + size], size, size).bursts)
        return batch
