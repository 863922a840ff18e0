"""Sealing of packets: encryption and authentication, a burst at a time.

A sealed packet, little-endian::

    0              8             16
    | common (u64) | counter u64 | ciphertext ... | tag (16 bytes) |

- *common*: type 0x94, flags and aux 0, the receiver's connection id.
- *counter*: counts the packets of one direction from 0 on; a nonce, so never used twice.
- *ciphertext*: a whole packet of the protocol within, header and all.

So the ends of a transfer see the packets that they would see without a key. The tag covers the
ciphertext, and the nonce the counter. The rest of the header needs no tag: it has one right value,
and one that is wrong leads to no key or to another.

Each `REKEY_PACKETS` counters have a key of their own, from which the one before cannot be had.

As in `wire.data`, what can be done for a burst is done for the burst. Per packet remains one call
of the cipher, from one buffer into another, made out of C by ``map``.
"""

from __future__ import annotations

import struct
from array import array
from itertools import repeat
from typing import Final

from cryptography.exceptions import InvalidTag

from udpft.protocol.contract import Batch, Transmit
from udpft.protocol.keyed.noise import Aead, Suite, next_key
from udpft.protocol.keyed.notice import KeyedType
from udpft.protocol.keyed.replay import ReplayWindow
from udpft.protocol.params import (
    MAX_BATCH_BYTES,
    MAX_BURST_BYTES,
    MAX_BURST_PACKETS,
    REKEY_PACKETS,
    SEAL_OVERHEAD,
)

SEALED_BURST_BYTES: Final = MAX_BURST_BYTES + MAX_BURST_PACKETS * SEAL_OVERHEAD
"""Bytes in the largest burst, sealed."""

# Header: type u8, flags u8, aux u16, connection id u32; counter u64
_HEADER = struct.Struct("<BBHIQ")
_COMMON_SIZE, _WORD = 8, 8
_MAX_COUNTER = 2**64 - 2  # the last one is Noise's, to make the next key with
_MAX_SIZES = 8  # of datagrams, whose views are kept: one or two are in use at a time


def _common(connection_id: int) -> bytes:
    return _HEADER.pack(KeyedType.SEALED, 0, 0, connection_id, 0)[:_COMMON_SIZE]


class Keys:
    """Keys of one direction, each for `REKEY_PACKETS` counters: its *epoch*.

    Those of this epoch, the one before and the next are at hand.
    """

    def __init__(self, suite: Suite, key: bytes) -> None:
        self._suite = suite
        self._next_key = next_key(suite, key)
        """Key of the epoch after this one; replaced with it."""
        self._epoch = 0
        """Number of this epoch: of the highest counter in use."""
        self._aeads: dict[int, Aead] = {0: suite.aead(key), 1: suite.aead(self._next_key)}
        """Ciphers by epoch: of this one, the next, and the one before if there is one."""

    def of(self, counter: int) -> Aead | None:
        """Return the cipher for a counter, or None where that is of an epoch too far off."""
        return self._aeads.get(counter // REKEY_PACKETS)

    def reach(self, counter: int) -> None:
        """Go on to the epoch of a counter that is in use for certain, where it is the next one."""
        if counter // REKEY_PACKETS == self._epoch + 1:
            self._epoch += 1
            self._aeads.pop(self._epoch - 2, None)
            self._next_key = next_key(self._suite, self._next_key)
            self._aeads[self._epoch + 1] = self._suite.aead(self._next_key)


class Slots:
    """Views of the same part of every datagram in a buffer, made once for each size.

    ``head``: bytes of each datagram that they leave out.
    """

    def __init__(self, head: int) -> None:
        self._head = head
        self._buffer: bytearray | None = None
        """Buffer that the views are of; another one replaces them all."""
        self._made: dict[int, list[memoryview]] = {}
        """Views made so far, by the datagrams' size in bytes; they grow in number."""

    def of(self, buffer: bytearray, length: int, size: int) -> list[memoryview]:
        """Views of ``length`` bytes of datagrams of ``size``, the last one perhaps shorter."""
        made = self._made.get(size) if buffer is self._buffer else None
        if made is None or len(made) * size < length:
            made = self._make(buffer, length, size)
        count, rest = divmod(length, size)
        if not rest:
            return made[:count]
        return [*made[:count], made[count][: rest - self._head]]

    def _make(self, buffer: bytearray, length: int, size: int) -> list[memoryview]:
        if buffer is not self._buffer or len(self._made) > _MAX_SIZES:
            self._buffer = buffer
            self._made.clear()
        made = self._made.setdefault(size, [])
        view = memoryview(buffer)
        for at in range(len(made) * size, length, size):
            made.append(view[at + self._head : at + size])
        return made


class SealingBuffers:
    """Buffers in which bursts are sealed or opened, shared by all that take turns.

    Attributes:
        buffer: datagrams made last; the next seal or open writes over them.
        view: of ``buffer``.
        sources: the parts of the given datagrams that go through the cipher.
        places: the parts of ``buffer`` that they go to.
    """

    def __init__(self, size: int, *, source_head: int = 0, place_head: int = 0) -> None:
        self.buffer = bytearray(size)
        self.view = memoryview(self.buffer)
        self.sources = Slots(source_head)
        self.places = Slots(place_head)
        # 16 bytes for each nonce, which are the last 12 of them: four zeros, then the counter
        nonces = memoryview(bytearray(16 * MAX_BURST_PACKETS))
        self._counters = nonces.cast("Q")[1::2]
        self._nonces = [nonces[at + 4 : at + 16] for at in range(0, len(nonces), 16)]

    @classmethod
    def for_sealing(cls) -> SealingBuffers:
        """Make the buffers of a `Sealer`."""
        return cls(SEALED_BURST_BYTES, place_head=_HEADER.size)

    @classmethod
    def for_opening(cls) -> SealingBuffers:
        """Make the buffers of an `Opener`."""
        return cls(MAX_BATCH_BYTES, source_head=_HEADER.size)

    def nonces(self, suite: Suite, counters: array[int]) -> list[memoryview]:
        """Nonces of up to `MAX_BURST_PACKETS` counters, good until the next call."""
        if suite.byte_order == "big":
            counters = counters[:]
            counters.byteswap()
        self._counters[: len(counters)] = memoryview(counters)
        return self._nonces[: len(counters)]


class Sealer:
    """Sealer of one direction of one transfer.

    Args:
        suite: the cipher suite.
        key: of this direction, 32 bytes.
        connection_id: the receiver's.
        buffers: for bursts, shared with other sealers.

    Attributes:
        bytes_sealed: bytes of all sealed datagrams so far; each `seal` adds to them.
    """

    def __init__(
        self, suite: Suite, key: bytes, connection_id: int, buffers: SealingBuffers
    ) -> None:
        self._suite = suite
        self._keys = Keys(suite, key)
        self._buffers = buffers
        self._common = _common(connection_id)
        self._counter = 0
        """Counter of the next packet; never goes back."""
        self.bytes_sealed = 0

    def seal(self, transmit: Transmit) -> Transmit:
        """Seal a packet, or a burst of them that begins its buffer, as those of `BurstWriter` do.

        The result is good until the buffers are next used.
        """
        data, size, singly, _ = transmit
        if len(data) <= size:
            sealed = self._seal_one(bytes(data))
            self.bytes_sealed += len(sealed)
            return Transmit(memoryview(sealed), len(sealed))
        assert isinstance(data.obj, bytearray)
        assert size % _WORD == 0
        buffers = self._buffers
        count = -(-len(data) // size)
        counters = self._take_counters(count)
        aead = self._keys.of(counters[0])
        assert aead
        sealed_size = size + SEAL_OVERHEAD
        length = len(data) + count * SEAL_OVERHEAD
        self.bytes_sealed += length
        words = buffers.view[: count * sealed_size].cast("Q")
        stride = sealed_size // _WORD
        words[::stride] = memoryview(self._common * count).cast("Q")
        words[1::stride] = memoryview(counters)
        nonces = buffers.nonces(self._suite, counters)
        packets = buffers.sources.of(data.obj, len(data), size)
        places = buffers.places.of(buffers.buffer, length, sealed_size)
        written = sum(map(aead.encrypt_into, nonces, packets, repeat(None), places))
        assert written == length - count * _HEADER.size
        return Transmit(buffers.view[:length], sealed_size, singly)

    def _seal_one(self, packet: bytes) -> bytes:
        counters = self._take_counters(1)
        aead = self._keys.of(counters[0])
        assert aead
        nonce = self._suite.nonce(counters[0])
        return self._common + counters.tobytes() + aead.encrypt(nonce, packet, None)

    def _take_counters(self, count: int) -> array[int]:
        """Take the next counters, all of one epoch: of the last one, a few may be left out."""
        first = self._counter
        if first // REKEY_PACKETS != (first + count - 1) // REKEY_PACKETS:
            first += -first % REKEY_PACKETS
        assert first + count <= _MAX_COUNTER
        self._counter = first + count
        self._keys.reach(first)
        return array("Q", range(first, first + count))


class Opener:
    """Opener of packets from a `Sealer`; it drops those that were changed, or came before.

    Args:
        suite: the cipher suite.
        key: of this direction, 32 bytes.
        connection_id: ours.
        buffers: for bursts, shared with other openers.
    """

    def __init__(
        self, suite: Suite, key: bytes, connection_id: int, buffers: SealingBuffers
    ) -> None:
        self._suite = suite
        self._keys = Keys(suite, key)
        self._buffers = buffers
        self._common = _common(connection_id)
        self._window = ReplayWindow()
        """Counters of the packets opened so far."""

    def open_untrusted(self, batch: Batch) -> Batch | None:
        """Open a batch.

        Returns:
            The packets that are authentic and new, in order, in the buffers' ``buffer``; None
            where there are none.
        """
        opened = self._open_together(batch) or self._open_singly(batch)
        size = batch.segment_size - SEAL_OVERHEAD
        return Batch(self._buffers.buffer, opened, size, batch.address) if opened else None

    def _open_together(self, batch: Batch) -> int:
        """Open a batch in order and undamaged, the usual case; 0 where it is not."""
        buffer, length, segment_size, _ = batch
        count = -(-length // segment_size)
        last_size = length - (count - 1) * segment_size
        if segment_size % _WORD or not 1 < count <= MAX_BURST_PACKETS or last_size <= SEAL_OVERHEAD:
            return 0
        words = memoryview(buffer)[: length // _WORD * _WORD].cast("Q")
        stride = segment_size // _WORD
        counters = array("Q", words[1::stride].tobytes())
        aead = self._keys.of(counters[0])
        if (
            words[::stride].tobytes() != self._common * count
            or not self._window.is_ahead(counters)
            or aead is None
            or aead is not self._keys.of(counters[-1])
        ):
            return 0
        buffers = self._buffers
        opened = length - count * SEAL_OVERHEAD
        nonces = buffers.nonces(self._suite, counters)
        sealed = buffers.sources.of(buffer, length, segment_size)
        places = buffers.places.of(buffers.buffer, opened, segment_size - SEAL_OVERHEAD)
        try:
            written = sum(map(aead.decrypt_into, nonces, sealed, repeat(None), places))
        except InvalidTag:
            return 0
        assert written == opened
        self._window.note_ahead(counters)
        self._keys.reach(counters[-1])
        return opened

    def _open_singly(self, batch: Batch) -> int:
        """Open what is authentic and new of a batch, datagram by datagram."""
        opened = 0
        for datagram in map(bytes, batch.datagrams()):
            if len(datagram) <= SEAL_OVERHEAD or not datagram.startswith(self._common):
                continue
            counter = int.from_bytes(datagram[_COMMON_SIZE : _HEADER.size], "little")
            aead = self._keys.of(counter)
            if aead is None or not self._window.is_new(counter):
                continue
            try:
                packet = aead.decrypt(self._suite.nonce(counter), datagram[_HEADER.size :], None)
            except InvalidTag:
                continue
            self._window.note(counter)
            self._keys.reach(counter)
            self._buffers.buffer[opened : opened + len(packet)] = packet
            opened += len(packet)
        return opened
