"""DATA packets: written and read a burst at a time.

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

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import compress
from typing import Final, NamedTuple

from xxhash import xxh3_64_digest

from udpft.protocol.contract import Batch
from udpft.protocol.params import (
    DATA_HEADER_SIZE,
    MAX_BURST_PACKETS,
    MAX_SEND_BYTES,
    MAX_SEND_PACKETS,
    SENDS_A_BURST,
)
from udpft.protocol.wire.packet import PacketType

ACK_REQUEST: Final = 0x01
"""Flag of a DATA packet: acknowledge at once, for the sender waits for it, or measures the path."""

HASH_SIZE: Final = 8
"""Bytes in a chunk's hash."""

_WORD = 8
_WORD_MASK = 0xFFFF_FFFF_FFFF_FFFF
_LOW = 0xFFFF_FFFF

# Fields are read as native words; a big-endian machine would have to swap them.
assert sys.byteorder == "little", "udpft needs a little-endian machine"

_ACK_REQUEST_BIT = ACK_REQUEST << 8
"""Of a packet's common word."""

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
    """Make a function of a count: an integer with a word in each of so many lanes."""
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
    """Writer of bursts of one chunk size into a send buffer of `MAX_BURST_BYTES`.

    Writers that take turns may share the buffer: a burst is good until the next one is written.
    Nothing in it changes but the buffer's bytes.

    Attributes:
        chunk_size: bytes of payload in a packet.
        packet_size: bytes of a full packet.
        send_capacity: packets of one send.
        capacity: packets of one burst, at most.
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
        # The three words of all headers: common part, numbers, check; and the payloads behind them
        self._commons, self._numbers, self._checks = (words[i::stride] for i in range(3))
        self._slots: list[memoryview] = []  # as many as a burst has had; a view takes 184 bytes

    def slots(self, count: int, last_length: int) -> list[memoryview]:
        """Payload slots of a burst of ``count``; the last of them holds ``last_length`` bytes."""
        for number in range(len(self._slots), count):
            at = number * self.packet_size
            self._slots.append(self._view[at + DATA_HEADER_SIZE : at + self.packet_size])
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
        first_common: bytes = b"",
    ) -> tuple[memoryview, bytes]:
        """Write the headers of a burst whose payloads stand in its slots already.

        Args:
            common: `data_common` of all packets but the last.
            last_common: the same of the last one, which may ask for an acknowledgement.
            first_packet: packet number of the first packet; the others follow on.
            chunks: the chunks' numbers.
            slots: from `slots`, as many.
            first_common: the same as ``common`` of the first one, where it is not that.

        Returns:
            The bytes to send, and the chunks' hashes.
        """
        count = len(chunks)
        hashes = chunk_hashes(slots)
        if isinstance(chunks, range):
            numbers = _steps(count) + (chunks.start << 32 | first_packet) * _ones(count)
        else:
            each = array("Q", [chunk << 32 for chunk in chunks])
            numbers = int.from_bytes(each.tobytes(), "little")
            numbers += _steps(count) // _STEP + first_packet * _ones(count)
        checks = int.from_bytes(hashes, "little") ^ numbers ^ self._nonces(count)
        commons = common * (count - 1) + last_common
        if first_common:
            commons = first_common + commons[_WORD:]
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


def _stretches(numbers: int, count: int, none_of_ours: set[int]) -> Iterator[tuple[int, int]]:
    """Runs of packets in step, as half-open ranges of lanes, without the lanes of a set."""
    for lane in none_of_ours:
        numbers &= ~(_WORD_MASK << 64 * lane)  # it may hold anything, and carry into the next
    # Each beside the one before and what it would be in step; behind the last one is nothing.
    out_of_step = numbers + _STEP * _ones(count) ^ numbers >> 8 * _WORD
    words = array("Q", out_of_step.to_bytes((count + 1) * _WORD, "little"))
    cuts = list(compress(range(1, count + 1), words))
    if none_of_ours:
        cuts = sorted({*cuts, *none_of_ours, *(at + 1 for at in none_of_ours)} - {0})
    start = 0
    for stop in cuts:
        if start not in none_of_ours:
            yield start, stop
        start = stop


class Burst(NamedTuple):
    """Undamaged DATA packets of one batch with consecutive packet and chunk numbers.

    ``slots`` are views of the receive buffer, good until the next receive; ``hashes`` are those
    of the chunks, one after another. ``ack_request``: a packet of its batch asks for an ACK.
    """

    first_packet: int
    first_chunk: int
    slots: list[memoryview]
    hashes: bytes
    ack_request: bool


class Contents(NamedTuple):
    """Contents of a batch: DATA in bursts, and (offset, length) of each datagram that is no DATA.

    Damaged DATA, and DATA of other transfers, is in neither.
    """

    bursts: list[Burst]
    strays: list[tuple[int, int]]


class BurstReader:
    """Reader of one transfer's DATA packets in receive buffers, which checks each."""

    def __init__(self, connection_id: int, chunk_size: int, nonce: int = 0) -> None:
        self._connection_id = connection_id
        self._nonce = nonce
        self._nonces = _repeated(nonce)
        common = data_common(connection_id)
        # A count's common parts where all packets are ours and none asks for an ACK: the usual case
        self._ours = lru_cache(maxsize=2)(lambda count: common * count)
        self._common = int.from_bytes(common, "little")
        self._chunk_size = chunk_size
        self._packet_size = chunk_size + DATA_HEADER_SIZE
        self._buffer: bytearray | None = None
        """Buffer that the strided views lie over; another batch's buffer replaces them all."""

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

    def read_untrusted(self, batch: Batch) -> Contents:
        """Read a batch.

        A batch that arrived in order and whole, the usual case, is one burst and costs no loop
        over its packets.
        """
        buffer, length, segment_size, _ = batch
        if buffer is not self._buffer:
            self._look_at(buffer)
        packet_size = self._packet_size
        if segment_size != packet_size and (length > segment_size or length > packet_size):
            return self._read_singly(batch)
        count, rest = divmod(length, packet_size)
        slots = self._slots[:count]
        if rest >= DATA_HEADER_SIZE:
            at = count * packet_size
            slots.append(self._view[at + DATA_HEADER_SIZE : at + rest])
            count += 1
        contents = Contents([], [])
        if count <= MAX_BURST_PACKETS:
            if count:
                self._read(0, slots, contents)
        else:
            for at in range(0, count, MAX_BURST_PACKETS):
                self._read(at, slots[at : at + MAX_BURST_PACKETS], contents)
        return contents

    def _read(self, at: int, slots: list[memoryview], contents: Contents) -> None:
        """Read the packets of some slots, which begin at the buffer's slot ``at``."""
        count = len(slots)
        end = at + count
        hashes = chunk_hashes(slots)
        commons = self._commons[at:end].tobytes()
        words = self._numbers[at:end].tobytes()
        numbers = int.from_bytes(words, "little")
        checks = int.from_bytes(self._checks[at:end].tobytes(), "little")
        wrong = int.from_bytes(hashes, "little") ^ numbers ^ checks ^ self._nonces(count)
        asked = False
        foreign = 0
        if commons != self._ours(count):
            foreign = int.from_bytes(commons, "little") ^ self._common * _ones(count)
            asks = foreign & _ACK_REQUEST_BIT * _ones(count)
            foreign ^= asks
            asked = asks != 0
        first = numbers & _WORD_MASK
        if not wrong and not foreign and numbers == _steps(count) + first * _ones(count):
            contents.bursts.append(Burst(first & _LOW, first >> 32, slots, hashes, asked))
            return
        strays = set(_lanes_in_use(foreign))
        for lane in strays:
            place = (at + lane) * self._packet_size
            contents.strays.append((place, DATA_HEADER_SIZE + len(slots[lane])))
        none_of_ours = strays.union(_lanes_in_use(wrong))
        each = array("Q", words)
        for start, stop in _stretches(numbers, count, none_of_ours):
            first = each[start]
            burst = Burst(
                first & _LOW,
                first >> 32,
                slots[start:stop],
                hashes[start * HASH_SIZE : stop * HASH_SIZE],
                asked,
            )
            contents.bursts.append(burst)

    def _read_singly(self, batch: Batch) -> Contents:
        """Read a batch cut otherwise than into packets of this transfer, datagram by datagram."""
        contents = Contents([], [])
        for number, datagram in enumerate(batch.datagrams()):
            if len(datagram) > self._packet_size or datagram[0] != PacketType.DATA:
                contents.strays.append((number * batch.segment_size, len(datagram)))
                continue
            alone = BurstReader(self._connection_id, self._chunk_size, self._nonce)
            contents.bursts.extend(alone.read_untrusted(Batch.of(datagram)).bursts)
        return contents
