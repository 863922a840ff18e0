"""DATA packets, a burst at a time.

A DATA packet, little-endian::

    0                8          12      16                   24
    | common (u64)   | pn u32   | chunk | check (u64)        | payload ...

- *common*: the type, no flags but `ACK_REQUEST`, aux 0, the receiver's connection id.
- *pn*: the packet number, never used twice in a transfer (RFC 9002, 2).
- *chunk*: the chunk's number; its place in the file is chunk × chunk size. Read as one 64-bit
  word, packet number and chunk number are the packet's *numbers*.
- *check*: the chunk's hash XOR the numbers. The chunk's hash is XXH3-64 of the payload, seeded
  with the chunk number, so that a damaged payload, chunk number or packet number shows, and the
  same hash, once the numbers are taken out again, is what the file's digest is made of.

Python's cost is per call, not per byte. So a burst is one buffer in which headers and payload
slots alternate, each header field is one strided view of 64-bit words over all packets, and file
I/O goes straight into and out of the payload slots. Per packet remains one call, the hash.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

from xxhash import xxh3_64_intdigest

from udpft.protocol.packets import PacketType
from udpft.protocol.params import DATA_HEADER_SIZE, MAX_BURST_BYTES, MAX_BURST_PACKETS

ACK_REQUEST: Final = 0x01
"""Flag of a DATA packet: acknowledge at once, for nothing follows until you do."""

STEP: Final = 1 << 32 | 1
"""What the numbers grow by from one packet to the next, where packets and chunks are in step."""

_WORD = 8
_LOW = 0xFFFF_FFFF

# Fields are read as native words; a big-endian machine would have to swap them.
assert sys.byteorder == "little", "udpft needs a little-endian machine"


def data_common(connection_id: int, flags: int = 0) -> int:
    """The first eight bytes of a DATA packet, as a word."""
    return PacketType.DATA | flags << 8 | connection_id << 32


def burst_capacity(packet_size: int) -> int:
    """The number of packets of a size that one send takes."""
    return min(MAX_BURST_PACKETS, MAX_BURST_BYTES // packet_size)


def chunk_hashes(slots: Sequence[memoryview], chunks: Sequence[int]) -> array[int]:
    """The hash of each chunk: XXH3-64 of its bytes, seeded with its number."""
    return array("Q", map(xxh3_64_intdigest, slots, chunks))


class BurstWriter:
    """Lays bursts of one chunk size into a send buffer of `MAX_BURST_BYTES`.

    Writers that take turns may share the buffer: a burst is good until the next one is written.
    """

    def __init__(self, chunk_size: int, buffer: bytearray) -> None:
        self.chunk_size = chunk_size
        self.packet_size = chunk_size + DATA_HEADER_SIZE
        self.capacity = burst_capacity(self.packet_size)
        self._view = memoryview(buffer)[: self.capacity * self.packet_size]
        words = self._view.cast("Q")
        stride = self.packet_size // _WORD
        self._commons = words[0::stride]
        self._numbers = words[1::stride]
        self._checks = words[2::stride]
        self.slots: list[memoryview] = [
            self._view[at + DATA_HEADER_SIZE : at + self.packet_size]
            for at in range(0, len(self._view), self.packet_size)
        ]

    def seal(
        self,
        connection_id: int,
        first_packet: int,
        chunks: Sequence[int],
        last_length: int,
        *,
        ack_request: bool,
    ) -> tuple[memoryview, array[int]]:
        """Write the headers of a burst whose payloads stand in ``slots`` already.

        Args:
            connection_id: the one that the receiver chose.
            first_packet: packet number of the first packet; the others follow on.
            chunks: the chunks' numbers, as many as there are packets.
            last_length: payload bytes of the last packet; all others are full.
            ack_request: ask for an acknowledgement of the last packet at once.

        Returns:
            The bytes to send, and the chunks' hashes.
        """
        count = len(chunks)
        slots = self.slots[:count]
        if last_length != self.chunk_size:
            slots[-1] = slots[-1][:last_length]
        hashes = chunk_hashes(slots, chunks)
        if isinstance(chunks, range):
            first = first_packet | chunks.start << 32
            numbers = array("Q", range(first, first + count * STEP, STEP))
        else:
            numbers = array("Q", (first_packet + i | c << 32 for i, c in enumerate(chunks)))
        self._commons[:count] = array("Q", (data_common(connection_id),)) * count
        if ack_request:
            self._commons[count - 1] = data_common(connection_id, ACK_REQUEST)
        self._numbers[:count] = numbers
        self._checks[:count] = _xor(hashes, numbers)
        return self._view[: count * self.packet_size - self.chunk_size + last_length], hashes


class Burst(NamedTuple):
    """Undamaged DATA packets of one batch with consecutive packet and chunk numbers.

    ``slots`` are views of the receive buffer, good until the next receive.
    """

    first_packet: int
    first_chunk: int
    slots: list[memoryview]
    hashes: array[int]
    ack_request: bool


class Batch(NamedTuple):
    """What a batch held: DATA in bursts, and (offset, length) of each datagram that is no DATA.

    Damaged DATA, and DATA of other transfers, is in neither.
    """

    bursts: list[Burst]
    strays: list[tuple[int, int]]


class BurstReader:
    """Reads DATA packets of one transfer out of receive buffers, checking each."""

    def __init__(self, connection_id: int, chunk_size: int) -> None:
        self._common = data_common(connection_id)
        self._common_ack = data_common(connection_id, ACK_REQUEST)
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
        over its packets.
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
        if not count:
            return Batch([], [])
        commons = self._commons[:count].tolist()
        requests = commons.count(self._common_ack)
        numbers = array("Q", self._numbers[:count].tobytes())
        first = numbers[0]
        in_step = numbers[-1] - first == (count - 1) * STEP and (
            count <= 2 or numbers == array("Q", range(first, first + count * STEP, STEP))
        )
        if in_step and commons.count(self._common) + requests == count:
            chunk = first >> 32
            hashes = chunk_hashes(slots, range(chunk, chunk + count))
            if _xor(hashes, numbers) == array("Q", self._checks[:count].tobytes()):
                return Batch([Burst(first & _LOW, chunk, slots, hashes, requests > 0)], [])
        return self._sort_out(commons, numbers, slots)

    def _sort_out(self, commons: list[int], numbers: array[int], slots: list[memoryview]) -> Batch:
        """The undamaged packets, in runs, of a batch with gaps, strangers or damage."""
        checks = self._checks[: len(slots)].tolist()
        bursts: list[Burst] = []
        strays: list[tuple[int, int]] = []
        for i, (common, number, slot) in enumerate(zip(commons, numbers, slots, strict=True)):
            if common != self._common and common != self._common_ack:
                strays.append((i * self._packet_size, DATA_HEADER_SIZE + len(slot)))
                continue
            packet, chunk = number & _LOW, number >> 32
            hash_ = xxh3_64_intdigest(slot, chunk)
            if hash_ ^ number != checks[i]:
                continue
            asked = common == self._common_ack
            last = bursts[-1] if bursts else None
            run = len(last.slots) if last else 0
            if last and (packet, chunk) == (last.first_packet + run, last.first_chunk + run):
                last.slots.append(slot)
                last.hashes.append(hash_)
                bursts[-1] = last._replace(ack_request=last.ack_request or asked)
            else:
                bursts.append(Burst(packet, chunk, [slot], array("Q", (hash_,)), asked))
        return Batch(bursts, strays)

    def _read_singly(self, buffer: bytearray, length: int, segment_size: int) -> Batch:
        """Read a batch cut otherwise than into packets of this transfer, datagram by datagram."""
        batch = Batch([], [])
        for at in range(0, length, segment_size):
            size = min(segment_size, length - at)
            if size > self._packet_size or buffer[at] != PacketType.DATA:
                batch.strays.append((at, size))
                continue
            alone = BurstReader(self._common >> 32, self._chunk_size)
            batch.bursts.extend(alone.read_untrusted(buffer[at : at + size], size, size).bursts)
        return batch


def _xor(a: array[int], b: array[int]) -> array[int]:
    """XOR two arrays word by word, as two large integers, which spares the loop."""
    x = int.from_bytes(memoryview(a).cast("B"), "little")
    y = int.from_bytes(memoryview(b).cast("B"), "little")
    return array("Q", (x ^ y).to_bytes(len(a) * _WORD, "little"))
