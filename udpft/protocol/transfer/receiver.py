"""The receiving end of a reliable transfer.

Theory of operation
-------------------
A chunk is written to its place in the file as it arrives; out of order costs nothing, and there
is no reassembly buffer. Two sets of ranges are kept: of packet numbers, which acknowledgements
report and which drive the sender's speed, and of chunks, which alone decide whether the file is
whole.

The digest is of the ordered list of chunk hashes. It is computed as the prefix of chunks without
a hole grows; the hashes of chunks beyond the first hole wait in memory, 8 bytes each.

When every chunk is here and FIN has brought the sender's digest, the two are compared. Equal: the
driver is told `Verified`, commits the file, and calls `confirm`, and only then FIN_ACK is sent.

An acknowledgement is due at once when a packet is missing, when the sender asks, and after every
`ACK_EVERY_BYTES`; else after `MAX_ACK_DELAY_S` (RFC 9000, 13.2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from xxhash import xxh3_128

from udpft.errors import DigestMismatch, TimedOut, UdpftError
from udpft.protocol.contract import ChunkSink, Completed, Event, Failed, Transmit, Verified
from udpft.protocol.params import (
    ACK_EVERY_BYTES,
    ACK_EVERY_ROOM,
    ACK_REPEATS,
    CLOSING_COPIES,
    DATA_HEADER_SIZE,
    IDLE_TIMEOUT_S,
    MAX_ACK_DELAY_S,
    MAX_ACK_RANGES,
    MAX_PACKETS,
    READING_BYTES_PER_S,
)
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.data import HASH_SIZE, Burst, BurstReader
from udpft.protocol.wire.error import (
    ErrorCode,
    Refusal,
    decode_error_untrusted,
    encode_error,
    reason_of,
)
from udpft.protocol.wire.fin import Fin, decode_fin_untrusted, encode_fin
from udpft.protocol.wire.packet import MalformedPacket, PacketType, decode_untrusted


class Receiver:
    """One end of one transfer, the one that gets the file; an `endpoint.Endpoint`.

    Args:
        connection_id: the sender's; it stands in every packet sent.
        own_connection_id: ours; packets with another one are not for us.
        nonce: of the HELLO that began the transfer; packets without it are not for us.
        chunk_size: as agreed in the handshake.
        size: the file's size in bytes.
        sink: the file. Written burst by burst, straight from the receive buffer.
        receive_queue: asks the socket: bytes that it has room for, datagrams it has dropped.
        now: seconds on the driver's clock.
        idle_timeout_s: seconds without a new chunk after which the transfer has failed.
        note_hashes: told the hashes of chunks once they are written, by the first one's number.
        peer: what the other end is called where it falls silent.

    Attributes:
        heard_at: when a packet of this transfer came last, new or not.
        bytes_received: of chunks that were new.
        bytes_present: of those that were here already.
    """

    def __init__(
        self,
        *,
        connection_id: int,
        own_connection_id: int,
        nonce: int,
        chunk_size: int,
        size: int,
        sink: ChunkSink,
        receive_queue: Callable[[], tuple[int, int]],
        now: float,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        note_hashes: Callable[[int, bytes], None] | None = None,
        peer: str = "server",
    ) -> None:
        self._connection_id = connection_id
        self._own_connection_id = own_connection_id
        self._nonce = nonce
        self._chunk_size = chunk_size
        self._size = size
        self._last_chunk = size // chunk_size
        self._last_length = size - self._last_chunk * chunk_size
        self._sink = sink
        self._receive_queue = receive_queue
        self._idle_timeout_s = idle_timeout_s
        self._note_hashes = note_hashes
        self._peer = peer
        self._reader = BurstReader(own_connection_id, chunk_size, nonce)
        self._events: deque[Event] = deque()
        self._control: deque[bytes] = deque()
        self._ended = False
        self._paused = False

        self._packets = RangeSet()
        self._reported = deque([0] * ACK_REPEATS, maxlen=ACK_REPEATS)
        self._unacknowledged = 0
        room = receive_queue()[0]
        ack_every_bytes = min(ACK_EVERY_BYTES, int(room * ACK_EVERY_ROOM))
        self._ack_every = ack_every_bytes // (chunk_size + DATA_HEADER_SIZE)
        self._ack_at = inf
        self._largest_at = now
        self._last_progress_at = now

        self._chunks = RangeSet()
        self._present_chunks = 0
        self._earlier_packets = 0
        self._reading_until = now
        self._hashed_chunks = 0
        self._digest = xxh3_128()
        self._early_hashes: dict[int, bytes] = {}
        self._fin: Fin | None = None
        self._verified = False
        self.heard_at = now
        self.bytes_received = 0
        self.bytes_present = 0
        self.duplicate_packets = 0

    @property
    def resent_packets(self) -> int:
        """Packets that the sender needed beyond one a chunk, as far as packet numbers tell."""
        sent = self._packets.stop + self._earlier_packets
        return max(0, sent - self._chunks.total + self._present_chunks)

    @property
    def chunks_received(self) -> int:
        """Those that came, and were not here already."""
        return self._chunks.total - self._present_chunks

    @property
    def chunks(self) -> RangeSet:
        """Those that are here."""
        return self._chunks

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come from this end but its last words."""
        return self._ended

    @property
    def complete(self) -> bool:
        """Whether every chunk is here, verified or not."""
        return self._hashed_chunks > self._last_chunk

    def note_present(self, first_chunk: int, hashes: bytes) -> None:
        """Count chunks as here that the file holds already, and that the HELLO said it has.

        Reading them may have taken its time, so patience begins with the next turn.
        """
        self._paused = True
        stop = first_chunk + len(hashes) // HASH_SIZE
        self._present_chunks += self._chunks.add(first_chunk, stop)
        n_bytes = min(stop * self._chunk_size, self._size) - first_chunk * self._chunk_size
        self.bytes_present += n_bytes
        self._hash_on(first_chunk, hashes)

    def change_session(
        self, *, connection_id: int, own_connection_id: int, nonce: int, now: float
    ) -> None:
        """Go on with what another session sends of the same file, in chunks of the same size.

        Packet numbers begin anew. What is still on its way from the old session is not heard.
        """
        self._connection_id = connection_id
        self._own_connection_id = own_connection_id
        self._nonce = nonce
        self._reader = BurstReader(own_connection_id, self._chunk_size, nonce)
        self._control.clear()
        self._earlier_packets += self._packets.stop
        self._packets = RangeSet()
        self._reported.extend([0] * ACK_REPEATS)
        self._unacknowledged = 0
        self._ack_at = inf
        self._largest_at = self._last_progress_at = self.heard_at = now
        self._reading_until = now + self._chunks.total * self._chunk_size / READING_BYTES_PER_S
        self._fin = None

    # ------------------------------------------------------------------------------- incoming

    def handle_datagrams(
        self, buffer: bytearray, length: int, segment_size: int, now: float
    ) -> None:
        """Take in a batch: write its chunks, note its packets.

        Raises:
            UdpftError: from the sink, which cannot write.
        """
        if self._ended:
            return
        batch = self._reader.read_untrusted(buffer, length, segment_size)
        if batch.bursts:
            self.heard_at = now
        for burst in batch.bursts:
            self._take_in(burst, now)
        for at, size in batch.strays:
            self._handle_control(memoryview(buffer)[at : at + size], now)
        if self._fin:
            self.verify_if_complete()

    def verify_if_complete(self) -> None:
        """Compare the digests, once all chunks and the sender's FIN are here."""
        if self._fin and not self._verified and self.complete:
            self._verify()

    def _take_in(self, burst: Burst, now: float) -> None:
        first, count = burst.first_chunk, len(burst.slots)
        stop = first + count
        if not self._lengths_fit(burst) or burst.first_packet + count > MAX_PACKETS:
            return
        packets = self._packets
        end = burst.first_packet + count
        newest = packets.stop
        after_a_pause = not newest or now > self._largest_at + MAX_ACK_DELAY_S
        if end > newest:
            self._largest_at = now
        if burst.first_packet != newest or burst.ack_request or after_a_pause:
            self._ack_at = now  # a gap, the past, a new train: the sender should know at once
        packets.add(burst.first_packet, end)
        self._unacknowledged += count
        if self._unacknowledged >= self._ack_every:
            self._ack_at = now
        elif self._ack_at == inf:
            self._ack_at = now + MAX_ACK_DELAY_S
        if first >= self._chunks.stop:
            self._write(burst, 0, count)
            self._last_progress_at = now
            return
        # Some of these chunks may be here already, from an earlier packet.
        for start, end in self._chunks.holes(first, stop):
            self._write(burst, start - first, end - first)
            self._last_progress_at = now
            count -= end - start
        self.duplicate_packets += count

    def _lengths_fit(self, burst: Burst) -> bool:
        """Whether every chunk exists, and has the length that its place in the file asks for."""
        stop = burst.first_chunk + len(burst.slots)
        if stop <= self._last_chunk:
            return len(burst.slots[-1]) == self._chunk_size
        return stop == self._last_chunk + 1 and len(burst.slots[-1]) == self._last_length

    def _write(self, burst: Burst, start: int, stop: int) -> None:
        """Write chunks ``[start, stop)`` of a burst, none of which was here, and hash on."""
        first = burst.first_chunk + start
        slots = burst.slots if stop - start == len(burst.slots) else burst.slots[start:stop]
        if first < self._last_chunk or self._last_length:
            self._sink.writev(slots, first * self._chunk_size)
        self._chunks.add(first, burst.first_chunk + stop)
        n_bytes = (stop - start - 1) * self._chunk_size + len(slots[-1])
        self.bytes_received += n_bytes
        hashes = burst.hashes[start * HASH_SIZE : stop * HASH_SIZE]
        if self._note_hashes:
            self._note_hashes(first, hashes)
        self._hash_on(first, hashes)

    def _hash_on(self, first: int, hashes: bytes) -> None:
        """Take the hashes of chunks, each once and in any order, into the digest."""
        if first != self._hashed_chunks:
            self._early_hashes[first] = hashes
            return
        self._digest.update(hashes)
        self._hashed_chunks += len(hashes) // HASH_SIZE
        early = self._early_hashes
        while early and self._hashed_chunks in early:
            waiting = early.pop(self._hashed_chunks)
            self._digest.update(waiting)
            self._hashed_chunks += len(waiting) // HASH_SIZE

    def _handle_control(self, datagram: memoryview, now: float) -> None:
        try:
            packet = decode_untrusted(datagram, self._nonce)
            if packet.connection_id != self._own_connection_id or packet.type is PacketType.RETRY:
                return  # RETRY: from a server that knows nothing of this transfer
            self.heard_at = now
            if packet.type is PacketType.ACCEPT and now < self._reading_until:
                self._last_progress_at = now  # it still reads what we have, for the digest
            elif packet.type is PacketType.FIN:
                fin = decode_fin_untrusted(packet)
                if fin.size == self._size:
                    self._fin = fin
                    if self._packets:
                        self._ack_at = now  # where chunks are still missing, it learns which
            elif packet.type is PacketType.ERROR:
                refusal = decode_error_untrusted(packet)
                if refusal.nonce == self._nonce:
                    self._end(Failed(refusal.as_error()))
        except MalformedPacket:
            return

    def _verify(self) -> None:
        """Compare the digests: the one moment that decides whether the file is right."""
        assert self._fin is not None
        digest = self._digest.digest()
        if digest == self._fin.digest:
            self._verified = True
            self._events.append(Verified(digest))
        else:
            mismatch = DigestMismatch(
                "the file that arrived is not the one that was sent: the digests differ",
                hint="fetch it again; if it happens twice, the file changes while it is sent",
            )
            self.abort(mismatch, ErrorCode.DIGEST_MISMATCH)

    # ------------------------------------------------------------------------------- outgoing

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next datagram: control packets, then an acknowledgement where one is due."""
        if self._paused:
            self._paused = False
            self._last_progress_at = self.heard_at = now
            self._reading_until = now + self.bytes_present / READING_BYTES_PER_S
        if self._control:
            datagram = self._control.popleft()
        elif now >= self._ack_at and not self._ended:
            datagram = self._acknowledge(now)
        else:
            return None
        return Transmit(memoryview(datagram), len(datagram))

    def _acknowledge(self, now: float) -> bytes:
        """Report the newest ranges, those that the last few reports named already left out."""
        room, drops = self._receive_queue()
        oldest = self._reported[0]
        newest = self._packets.newest(MAX_ACK_RANGES)
        ranges = [pair for pair in newest if pair[1] > oldest] or newest[:1]
        self._reported.append(self._packets.stop)
        self._packets.drop_oldest(MAX_ACK_RANGES)
        self._unacknowledged = 0
        self._ack_at = inf
        ack = Ack(now - self._largest_at, room, self._hashed_chunks, drops, ranges)
        return encode_ack(ack, self._connection_id, self._nonce)

    def confirm(self) -> None:
        """The file is committed: tell the sender. Repeatedly, for nobody stays to hear a loss."""
        assert self._fin is not None
        fin_ack = encode_fin(PacketType.FIN_ACK, self._fin, self._connection_id, self._nonce)
        self._end(Completed(self._fin.digest))
        self._control.extend((fin_ack,) * CLOSING_COPIES)

    # ----------------------------------------------------------------------------- time, ends

    def handle_timeout(self, now: float) -> None:
        """Give the transfer up where nothing new came for too long."""
        if self._ended or self._paused:
            return
        if now >= self._last_progress_at + self._idle_timeout_s:
            stalled = TimedOut(
                f"nothing came from the {self._peer} for {self._idle_timeout_s:g} s",
                hint=f"see whether the {self._peer} still runs; --timeout sets how long to wait",
            )
            self.abort(stalled, ErrorCode.TIMED_OUT)

    def next_timeout(self) -> float | None:
        """When an acknowledgement is due, or patience ends."""
        if self._ended:
            return None
        return min(self._ack_at, self._last_progress_at + self._idle_timeout_s)

    def poll_event(self) -> Event | None:
        """The next event: Verified, then Completed once confirmed; or Failed."""
        return self._events.popleft() if self._events else None

    def abort(self, error: UdpftError, code: ErrorCode = ErrorCode.CANCELLED) -> None:
        """End the transfer from this side, and tell the sender why."""
        if not self._ended:
            refusal = Refusal(self._nonce, code, reason_of(error))
            self._end(Failed(error))
            self._control.extend((encode_error(refusal, self._connection_id),) * CLOSING_COPIES)

    def _end(self, event: Event) -> None:
        self._ended = True
        self._control.clear()
        self._events.append(event)
