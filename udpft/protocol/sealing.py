"""Packets, sealed: encrypted and authenticated, a burst at a time.

A sealed packet, little-endian::

    0                8             16
    | common (u64)   | counter u64 | ciphertext ... | tag (16 bytes) |

- *common*: type 0x94, flags and aux 0, the receiver's connection id; authenticated with the rest.
- *counter*: counts the packets of one direction from 0 on; a nonce, so never used twice.
- *ciphertext*: a whole packet of the protocol within, header and all.

So the ends of a transfer see the packets that they would without a key. Each `REKEY_PACKETS`
counters have a key of their own, from which the one before cannot be had.

As in `burst`, what can be done for a burst is done for the burst; per packet remains one call of
the cipher, out of one buffer into the other, made from C by ``map``.
"""

from __future__ import annotations

import struct
from array import array
from itertools import repeat
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag

from udpft.protocol.endpoint import Transmit
from udpft.protocol.noise import Aead, Suite, next_key
from udpft.protocol.packets import KeyedType
from udpft.protocol.params import (
    MAX_BURST_BYTES,
    MAX_BURST_PACKETS,
    REKEY_PACKETS,
    SEAL_OVERHEAD,
)
from udpft.protocol.replay import ReplayWindow

SEALED_BURST_BYTES: Final = MAX_BURST_BYTES + MAX_BURST_PACKETS * SEAL_OVERHEAD
"""Bytes in the largest burst, sealed."""

# Header: type u8, flags u8, aux u16, connection id u32; counter u64
_HEADER = struct.Struct("<BBHIQ")
_COMMON_SIZE, _WORD = 8, 8
_MAX_COUNTER = 2**64 - 2  # the last one is Noise's, to make the next key with


class Keys:
    """The keys of one direction, each for `REKEY_PACKETS` counters: its *epoch*.

    Those of this epoch, the one before and the next are at hand.
    """

    def __init__(self, suite: Suite, key: bytes) -> None:
        self._suite = suite
        self._next_key = next_key(suite, key)
        self._epoch = 0
        self._aeads: dict[int, Aead] = {0: suite.aead(key), 1: suite.aead(self._next_key)}

    def of(self, counter: int) -> Aead | None:
        """The cipher for a counter, or None where that is of an epoch too far off."""
        return self._aeads.get(counter // REKEY_PACKETS)

    def reach(self, counter: int) -> None:
        """A counter is in use, for certain: go on to its epoch where it is the next one."""
        if counter // REKEY_PACKETS == self._epoch + 1:
            self._epoch += 1
            self._aeads.pop(self._epoch - 2, None)
            self._next_key = next_key(self._suite, self._next_key)
            self._aeads[self._epoch + 1] = self._suite.aead(self._next_key)


class Workbench:
    """What bursts are sealed or opened on, shared by all that take turns.

    ``buffer`` holds what was made last. Room for the nonces of a burst is beside it.
    """

    def __init__(self, size: int) -> None:
        self.buffer = bytearray(size)
        self.view = memoryview(self.buffer)
        nonces = memoryview(bytearray(16 * MAX_BURST_PACKETS))
        self._counters = nonces.cast("Q")[1::2]
        self._nonces = [nonces[at + 4 : at + 16] for at in range(0, len(nonces), 16)]

    def nonces(self, suite: Suite, counters: array[int]) -> list[memoryview]:
        """The nonces of up to `MAX_BURST_PACKETS` counters, good until the next call."""
        if suite.byte_order == "big":
            counters = counters[:]
            counters.byteswap()
        self._counters[: len(counters)] = memoryview(counters)
        return self._nonces[: len(counters)]


def _common(connection_id: int) -> bytes:
    return _HEADER.pack(KeyedType.SEALED, 0, 0, connection_id, 0)[:_COMMON_SIZE]


class Sealer:
    """Seals one direction of one transfer.

    Args:
        suite: how.
        key: of this direction, 32 bytes.
        connection_id: the receiver's.
        bench: where; of `SEALED_BURST_BYTES`.
    """

    def __init__(self, suite: Suite, key: bytes, connection_id: int, bench: Workbench) -> None:
        self._suite = suite
        self._keys = Keys(suite, key)
        self._bench = bench
        self._common = _common(connection_id)
        self._counter = 0
        self.bytes_sealed = 0

    def seal(self, transmit: Transmit) -> Transmit:
        """Seal a burst of packets; the result is good until the bench is next used."""
        data, size = transmit
        count = -(-len(data) // size)
        first = self._counter
        if first // REKEY_PACKETS != (first + count - 1) // REKEY_PACKETS:
            first += -first % REKEY_PACKETS  # a burst is under one key: leave the rest out
        assert first + count <= _MAX_COUNTER
        self._counter = first + count
        self._keys.reach(first)
        aead = self._keys.of(first)
        assert aead
        sealed_size = size + SEAL_OVERHEAD
        length = len(data) + count * SEAL_OVERHEAD
        out = self._bench.view[:length]
        self.bytes_sealed += length
        counters = array("Q", range(first, first + count))
        if count == 1:
            out[: _HEADER.size] = self._common + counters.tobytes()
        else:
            stride = sealed_size // _WORD
            words = self._bench.view[: count * sealed_size].cast("Q")
            words[::stride] = memoryview(self._common * count).cast("Q")
            words[1::stride] = memoryview(counters)
        packets = [data[at : at + size] for at in range(0, len(data), size)]
        places = [out[at + _HEADER.size : at + sealed_size] for at in range(0, length, sealed_size)]
        nonces = self._bench.nonces(self._suite, counters)
        written = sum(map(aead.encrypt_into, nonces, packets, repeat(self._common), places))
        assert written == length - count * _HEADER.size
        return Transmit(out, sealed_size)


class Opened(NamedTuple):
    """Packets at the start of the bench's buffer: cut every ``segment_size`` of ``length`` bytes,
    the last one perhaps shorter."""

    length: int
    segment_size: int


class Opener:
    """Opens what a `Sealer` sealed. What was changed on the way, or came before, is dropped.

    Args:
        suite: how.
        key: of this direction, 32 bytes.
        connection_id: ours.
        bench: where; as large as the largest batch.
    """

    def __init__(self, suite: Suite, key: bytes, connection_id: int, bench: Workbench) -> None:
        self._suite = suite
        self._keys = Keys(suite, key)
        self._bench = bench
        self._common = _common(connection_id)
        self._window = ReplayWindow()

    def open_untrusted(self, batch: memoryview, segment_size: int) -> Opened | None:
        """Open a batch of datagrams of ``segment_size``, the last one perhaps shorter.

        Returns:
            The packets that are authentic and new, in order; None where there are none.
        """
        length = self._open_together(batch, segment_size) or self._open_singly(batch, segment_size)
        return Opened(length, segment_size - SEAL_OVERHEAD) if length else None

    def _open_together(self, batch: memoryview, segment_size: int) -> int:
        """Open a batch in order and undamaged, the usual case; 0 where it is not."""
        count = -(-len(batch) // segment_size)
        last_size = len(batch) - (count - 1) * segment_size
        if not 1 < count <= MAX_BURST_PACKETS or segment_size % _WORD or last_size <= SEAL_OVERHEAD:
            return 0
        words = batch[: len(batch) // _WORD * _WORD].cast("Q")
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
        size = segment_size - SEAL_OVERHEAD
        length = len(batch) - count * SEAL_OVERHEAD
        out = self._bench.view[:length]
        sealed = [
            batch[at + _HEADER.size : at + segment_size]
            for at in range(0, len(batch), segment_size)
        ]
        places = [out[at : at + size] for at in range(0, length, size)]
        nonces = self._bench.nonces(self._suite, counters)
        try:
            opened = sum(map(aead.decrypt_into, nonces, sealed, repeat(self._common), places))
        except InvalidTag:
            return 0
        assert opened == length
        self._window.note_ahead(counters)
        self._keys.reach(counters[-1])
        return length

    def _open_singly(self, batch: memoryview, segment_size: int) -> int:
        """Open what is authentic and new of a batch, datagram by datagram."""
        length = 0
        for at in range(0, len(batch), segment_size):
            datagram = batch[at : at + segment_size]
            if len(datagram) <= SEAL_OVERHEAD or datagram[:_COMMON_SIZE] != self._common:
                continue
            counter = int.from_bytes(datagram[_COMMON_SIZE : _HEADER.size], "little")
            aead = self._keys.of(counter)
            if aead is None or not self._window.is_new(counter):
                continue
            place = self._bench.view[length : length + len(datagram) - SEAL_OVERHEAD]
            nonce = memoryview(self._suite.nonce(counter))
            try:
                aead.decrypt_into(nonce, datagram[_HEADER.size :], self._common, place)
            except InvalidTag:
                continue
            self._window.note(counter)
            self._keys.reach(counter)
            length += len(place)
        return length
