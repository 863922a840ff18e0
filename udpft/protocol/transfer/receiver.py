"""Receiver: the end of a reliable transfer that gets the file.

Theory of operation
-------------------
A chunk is written to its place in the file as it arrives; out of order costs nothing, and there
is no reassembly buffer. Two sets of ranges are kept: of packet numbers, which acknowledgements
report and which drive the sender's speed (`ack_schedule`), and of chunks, which alone decide
whether the file is whole.

The digest is of the ordered list of chunk hashes (`file_digest`). It is computed as the prefix of
chunks without a hole grows.

When every chunk is held and FIN has brought the sender's digest, the two are compared. Equal: the
driver is told `Verified`, commits the file, and calls `confirm`, and only then FIN_ACK is sent.
"""

from collections import deque
from enum import Enum, auto
from math import inf
from typing import Final, NamedTuple, Self

from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    PartialTransfer,
    TimedOut,
    UdpftError,
)
from udpft.protocol.contract import (
    Batch,
    Completed,
    Event,
    Failed,
    OpenedSink,
    TransferIds,
    Transmit,
    Verified,
)
from udpft.protocol.params import (
    CLOSING_COPIES,
    DATA_HEADER_SIZE,
    IDLE_TIMEOUT_S,
    MAX_PACKETS,
    READING_BYTES_PER_S,
    STOOD_STILL_S,
)
from udpft.protocol.ranges import RangeSet
from udpft.protocol.states import TransitionTable
from udpft.protocol.transfer.ack_schedule import AckSchedule, ReceiveQueue
from udpft.protocol.transfer.closing import closing_packets
from udpft.protocol.transfer.file_digest import FileDigest, Repeated
from udpft.protocol.wire.ack import encode_ack
from udpft.protocol.wire.data import HASH_SIZE, Burst, BurstReader, chunk_hashes
from udpft.protocol.wire.error import ErrorCode, decode_error_untrusted
from udpft.protocol.wire.fin import Fin, decode_fin_untrusted, encode_fin
from udpft.protocol.wire.hello import decode_hello_untrusted
from udpft.protocol.wire.packet import MalformedPacket, PacketType, decode_untrusted

MAX_CHUNK_RANGES: Final = 16_384
"""Ranges of chunks with holes between them that a receiver keeps, at some 200 bytes each: a tenth
of all packets lost, of those that 10 Gbit/s and 100 ms have in flight. Whoever sends every other
chunk is not followed any further."""

MAX_BURSTS_A_BATCH: Final = 256
"""Bursts that are taken in of one batch, 10 ms of work: more than a batch of 2 kB chunks has,
however they are mixed up. The rest is as if it were lost."""

MAX_BEYOND: Final = 4 * MAX_CHUNK_RANGES
"""Chunks that may come where no more holes are followed, and none of which fills the first: whoever
sends what was lost first has filled it long before."""


class ReceiverState(Enum):
    """State of a receiver."""

    RECEIVING = auto()
    FINISHING = auto()
    VERIFIED = auto()
    ENDED = auto()


class ReceiverEvent(Enum):
    """Event in the life of a receiver."""

    FIN = auto()
    NEW_SESSION = auto()
    DIGESTS_AGREE = auto()
    CONFIRM = auto()
    FAIL = auto()


_S, _E = ReceiverState, ReceiverEvent

RECEIVER_STATES = TransitionTable(
    [_S.RECEIVING],
    [
        (_S.RECEIVING, _E.FIN, _S.FINISHING, "the sender has told its digest"),
        (_S.RECEIVING, _E.NEW_SESSION, _S.RECEIVING, "another server goes on with the file"),
        (_S.RECEIVING, _E.FAIL, _S.ENDED, "an error at either end, or silence"),
        (_S.FINISHING, _E.FIN, _S.FINISHING, "FIN again: chunks may still be missing"),
        (_S.FINISHING, _E.NEW_SESSION, _S.RECEIVING, "another server, which has yet to say FIN"),
        (_S.FINISHING, _E.DIGESTS_AGREE, _S.VERIFIED, "every chunk is held, and the file is right"),
        (
            _S.FINISHING,
            _E.FAIL,
            _S.ENDED,
            "an error, silence, or digests that differ",
        ),
        (_S.VERIFIED, _E.FIN, _S.VERIFIED, "FIN again, while the file is committed"),
        (_S.VERIFIED, _E.CONFIRM, _S.ENDED, "the file is committed: FIN_ACK"),
        (_S.VERIFIED, _E.FAIL, _S.ENDED, "the file could not be committed, or the peer gave up"),
        (_S.ENDED, _E.NEW_SESSION, _S.RECEIVING, "the server gave up, and another one goes on"),
        (_S.ENDED, _E.CONFIRM, _S.ENDED, "the peer gave up while the file was committed"),
    ],
)
"""Transitions of a receiver; it begins in RECEIVING."""


class FileLayout(NamedTuple):
    """Layout of a file in chunks: ``size`` bytes, cut every ``chunk_size``.

    ``last_chunk``: number of the last chunk, which is shorter than the others, and may be empty;
    ``last_length``: its bytes.
    """

    size: int
    chunk_size: int
    last_chunk: int
    last_length: int

    @classmethod
    def of(cls, size: int, chunk_size: int) -> Self:
        """The layout of a file of so many bytes."""
        last_chunk, last_length = divmod(size, chunk_size)
        return cls(size, chunk_size, last_chunk, last_length)


class ReceivedTotals:
    """Totals of a receiver, over all sessions of its transfer.

    Attributes:
        bytes_received: bytes of chunks that were new.
        bytes_held: bytes of chunks that were held before the transfer began.
        hole_bytes: bytes of the holes of a sparse file, which do not come.
        held_chunks: chunks of both kinds.
        duplicate_packets: packets whose chunk was held already.
    """

    __slots__ = ("bytes_held", "bytes_received", "duplicate_packets", "held_chunks", "hole_bytes")

    def __init__(self) -> None:
        self.bytes_received = 0
        self.bytes_held = 0
        self.hole_bytes = 0
        self.held_chunks = 0
        self.duplicate_packets = 0


class Receiver:
    """Receiving end of one transfer; a `contract.Endpoint`.

    Args:
        ids: numbers of the transfer's packets.
        layout: of the file, in chunks of the size that was agreed on.
        opened: the file. Written burst by burst, straight from the receive buffer; it is told the
            hashes of chunks once they are written. Chunks that it holds are for `note_held`.
        receive_queue: asks the socket: bytes that it has room for, datagrams it has dropped.
        now: seconds on the driver's clock.
        idle_timeout_s: seconds without a new chunk after which the transfer has failed.
        rtt_s: the path's round trip, by which it rests; 0 where it is unknown.
        peer: what the other end is called where it falls silent.

    Attributes:
        heard_at: when a packet of this transfer came last, new or not, in seconds; FINs not counted
            while chunks are missing.
        totals: what has come so far.
    """

    def __init__(
        self,
        ids: TransferIds,
        layout: FileLayout,
        opened: OpenedSink,
        *,
        receive_queue: ReceiveQueue,
        now: float,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        rtt_s: float = 0.0,
        peer: str = "server",
    ) -> None:
        self._ids = ids
        self._layout = layout
        self._sink = opened.sink
        self._note_hashes = opened.note_hashes
        self._idle_timeout_s = idle_timeout_s
        self._peer = peer
        self._state = ReceiverState.RECEIVING
        self._reader = BurstReader(ids.own_connection_id, layout.chunk_size, ids.nonce)
        packet_size = layout.chunk_size + DATA_HEADER_SIZE
        self._acks = AckSchedule(receive_queue, packet_size, now, rtt_s)
        self._chunks = RangeSet()  # held by now
        self._beyond = 0  # chunks passed over since the first hole was filled last
        self._digest = FileDigest()
        self._fin: Fin | None = None  # the sender's newest one
        self._control: deque[bytes] = deque()  # packets that wait to be sent
        self._events: deque[Event] = deque()
        self._last_progress_at = now  # when a new chunk came last
        self._patience_stopped = False  # held chunks were just read: patience begins anew
        self._reading_until = now  # until when the sender may send nothing new, for it reads
        self.heard_at = now
        self.totals = ReceivedTotals()

    @property
    def rest_until(self) -> float:
        """When the socket is to be read next, see `ReceiveModeration`."""
        return self._acks.rest_until

    @property
    def bytes_received(self) -> int:
        """Bytes of chunks that were new."""
        return self.totals.bytes_received

    @property
    def bytes_held(self) -> int:
        """Bytes of chunks that were held before the transfer began."""
        return self.totals.bytes_held

    @property
    def bundles_vanish(self) -> bool:
        """Whether packets arrive only one by one, because the path drops bursts."""
        return self._acks.bundles_vanish

    @property
    def duplicate_packets(self) -> int:
        """Packets whose chunk was held already."""
        return self.totals.duplicate_packets

    @property
    def resent_packets(self) -> int:
        """Packets that the sender needed beyond one a chunk, as far as packet numbers tell.

        Until FIN tells how many numbers were skipped, the few of them count, too.
        """
        return max(0, self._acks.packets_sent - self.chunks_received)

    @property
    def chunks_received(self) -> int:
        """Chunks that came, and were not held before."""
        return self._chunks.total - self.totals.held_chunks

    @property
    def chunks(self) -> RangeSet:
        """Chunks that are held by now."""
        return self._chunks

    @property
    def state(self) -> ReceiverState:
        """The state, see `RECEIVER_STATES`."""
        return self._state

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come from this end but its last packets."""
        return self._state is ReceiverState.ENDED

    @property
    def complete(self) -> bool:
        """Whether every chunk is held, verified or not."""
        return self._digest.chunks > self._layout.last_chunk

    def _follow(self, event: ReceiverEvent) -> None:
        self._state = RECEIVER_STATES.follow(self._state, event)

    def note_held(self, first_chunk: int, hashes: bytes) -> None:
        """Count chunks as held that the file had already, and that the HELLO said it has.

        Reading them may have taken its time, so patience begins with the next turn.
        """
        self._patience_stopped = True
        totals, layout = self.totals, self._layout
        stop = first_chunk + len(hashes) // HASH_SIZE
        totals.held_chunks += self._chunks.add(first_chunk, stop)
        end = min(stop * layout.chunk_size, layout.size)
        totals.bytes_held += end - first_chunk * layout.chunk_size
        self._digest.add(first_chunk, hashes)

    def note_holes(self, chunks: RangeSet) -> None:
        """Count chunks as held that are holes of the file, all zeros; those that are held already
        are left out.
        """
        layout = self._layout
        chunk_hash = chunk_hashes([memoryview(bytes(layout.chunk_size))]) if chunks else b""
        for start, stop in chunks:
            for first, end in self._chunks.holes(start, stop):
                self._chunks.add(first, end)
                self._digest.add_repeated(first, Repeated(chunk_hash, end - first))
                self.totals.held_chunks += end - first
                self.totals.hole_bytes += (end - first) * layout.chunk_size

    def change_session(self, ids: TransferIds, now: float) -> None:
        """Go on with what another session sends of the same file, in chunks of the same size.

        Packet numbers begin anew. What is still on its way from the old session is not heard.
        """
        self._follow(ReceiverEvent.NEW_SESSION)
        chunk_size = self._layout.chunk_size
        self._ids = ids
        self._reader = BurstReader(ids.own_connection_id, chunk_size, ids.nonce)
        self._control.clear()
        self._acks.begin_again(now)
        self._last_progress_at = now
        self.heard_at = now
        self._reading_until = now + self._chunks.total * chunk_size / READING_BYTES_PER_S
        self._fin = None

    # ------------------------------------------------------------------------------- incoming

    def handle_datagrams(self, batch: Batch, now: float) -> None:
        """Take in a batch: write its chunks, note its packets.

        Raises:
            UdpftError: from the sink, which cannot write.
        """
        if self._state is ReceiverState.ENDED:
            return
        contents = self._reader.read_untrusted(batch)
        if contents.bursts:
            self.heard_at = now
        for burst in contents.bursts[:MAX_BURSTS_A_BATCH]:
            self._take_in(burst, now)
        for at, size in contents.strays:
            self._handle_control(memoryview(batch.buffer)[at : at + size], now)
        self.verify_if_complete()

    def verify_if_complete(self) -> None:
        """Compare the digests, once all chunks and the sender's FIN are there."""
        if self._state is ReceiverState.FINISHING and self.complete:
            self._verify()

    def _take_in(self, burst: Burst, now: float) -> None:
        first, count = burst.first_chunk, len(burst.slots)
        stop = first + count
        if not self._lengths_fit(burst) or burst.first_packet + count > MAX_PACKETS:
            return
        if len(self._chunks) >= MAX_CHUNK_RANGES and first > self._chunks.first_missing():
            self._pass_over(count)
            return  # as if it were lost: what fills the first hole comes through
        self._beyond = 0
        self._acks.note(burst, now)
        missing = self._layout.last_chunk + 1 - self._chunks.total
        self._acks.rest(count, missing, now)
        if first >= self._chunks.stop:
            self._write(burst, 0, count)
            self._last_progress_at = now
            return
        # Some of these chunks may be held already, from an earlier packet.
        for start, end in self._chunks.holes(first, stop):
            self._write(burst, start - first, end - first)
            self._last_progress_at = now
            count -= end - start
        self.totals.duplicate_packets += count
        if self.complete and now < self._reading_until:
            self._last_progress_at = now  # the sender still compares what it has sent

    def _pass_over(self, count: int) -> None:
        """Pass over chunks beyond the last hole that is followed; not for ever."""
        self._beyond += count
        if self._beyond > MAX_BEYOND and not self.ended:
            violation = PartialTransfer(
                f"the {self._peer} sent ever more, and not what was missing"
            )
            self.abort(violation, ErrorCode.VIOLATION)

    def _lengths_fit(self, burst: Burst) -> bool:
        """Whether every chunk exists, and has the length that its place in the file asks for."""
        layout = self._layout
        stop = burst.first_chunk + len(burst.slots)
        if stop <= layout.last_chunk:
            return len(burst.slots[-1]) == layout.chunk_size
        return stop == layout.last_chunk + 1 and len(burst.slots[-1]) == layout.last_length

    def _write(self, burst: Burst, start: int, stop: int) -> None:
        """Write chunks ``[start, stop)`` of a burst, none of which was held, and hash on."""
        layout = self._layout
        first = burst.first_chunk + start
        slots = burst.slots if stop - start == len(burst.slots) else burst.slots[start:stop]
        if first < layout.last_chunk or layout.last_length:
            self._sink.writev(slots, first * layout.chunk_size)
        self._chunks.add(first, burst.first_chunk + stop)
        n_bytes = (stop - start - 1) * layout.chunk_size + len(slots[-1])
        self.totals.bytes_received += n_bytes
        hashes = burst.hashes[start * HASH_SIZE : stop * HASH_SIZE]
        if self._note_hashes:
            self._note_hashes(first, hashes)
        self._digest.add(first, hashes)
        if self.complete:
            self._reading_until = self.heard_at + layout.size / READING_BYTES_PER_S

    def _handle_control(self, datagram: memoryview, now: float) -> None:
        try:
            packet = decode_untrusted(datagram, self._ids.nonce)
            if packet.connection_id != self._ids.own_connection_id:
                return
            if packet.type is PacketType.RETRY:
                return  # from a server that knows nothing of this transfer
            if (
                packet.type is PacketType.HELLO
                and decode_hello_untrusted(packet).nonce != self._ids.nonce
            ):
                return  # a question, and not of this transfer's client
            # A FIN is small: where chunks are missing, it passes a path that has become too narrow.
            if packet.type is not PacketType.FIN or self.complete:
                self.heard_at = now
            if packet.type is PacketType.ACCEPT and now < self._reading_until:
                self._last_progress_at = now  # it still reads what we hold, for the digest
            elif packet.type is PacketType.FIN:
                self._handle_fin(decode_fin_untrusted(packet), packet.aux, now)
            elif packet.type is PacketType.ERROR:
                refusal = decode_error_untrusted(packet)
                if refusal.nonce == self._ids.nonce and not self.ended:
                    error = refusal.as_error(self._peer)
                    self._end(ReceiverEvent.FAIL, Failed(error, refusal.is_giving_up))
        except MalformedPacket:
            return

    def _handle_fin(self, fin: Fin, skipped: int, now: float) -> None:
        if fin.size == self._layout.size and not self.ended:
            self._follow(ReceiverEvent.FIN)
            self._fin = fin
            self._acks.skipped = skipped
            if self._acks:
                self._acks.due_at = now  # where chunks are still missing, it learns which

    def _verify(self) -> None:
        """Compare the digests: the one moment that decides whether the file is right."""
        assert self._fin is not None
        digest = self._digest.digest()
        if digest == self._fin.digest:
            self._follow(ReceiverEvent.DIGESTS_AGREE)
            self._events.append(Verified(digest))
        else:
            mismatch = DigestMismatch(
                "the file that arrived is not the one that was sent: the digests differ",
                hint="fetch it again; if it happens twice, the file changes while it is sent",
            )
            if self.totals.bytes_received or self.ended:
                self.abort(mismatch, ErrorCode.DIGEST_MISMATCH)
            elif self._peer == "server":
                # Nothing came: no damage on the way, and the server's log should not look so.
                self._fail(mismatch)
                told = DestinationExists("the client has a different file of that name")
                self._control.extend(closing_packets(self._ids, told, ErrorCode.EXISTS))
            else:
                self._fail(DigestMismatch("what is here already is a different file"))
                code = ErrorCode.DIGEST_MISMATCH
                self._control.extend(closing_packets(self._ids, mismatch, code))

    # ------------------------------------------------------------------------------- outgoing

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next datagram: control packets, then an acknowledgement where one is due."""
        if self._patience_stopped:
            self._patience_stopped = False
            self._last_progress_at = now
            self.heard_at = now
            self._reading_until = now + self.totals.bytes_held / READING_BYTES_PER_S
        if self._control:
            datagram = self._control.popleft()
        elif now >= self._acks.due_at and self._state is not ReceiverState.ENDED:
            ack = self._acks.report(self._digest.chunks, now)
            datagram = encode_ack(ack, self._ids.connection_id, self._ids.nonce)
        else:
            return None
        return Transmit(memoryview(datagram), len(datagram), self._acks.bundles_vanish)

    def confirm(self) -> None:
        """Tell the sender, repeatedly, that the file is committed: nobody stays to hear a loss."""
        assert self._fin is not None
        self._end(ReceiverEvent.CONFIRM, Completed(self._fin.digest))
        ids = self._ids
        fin_ack = encode_fin(PacketType.FIN_ACK, self._fin, ids.connection_id, ids.nonce)
        self._control.extend((fin_ack,) * CLOSING_COPIES)

    # ----------------------------------------------------------------------------- time, ends

    def handle_timeout(self, now: float) -> None:
        """Give the transfer up where nothing new came for too long; or hash on."""
        if self._digest.is_behind and self._state is not ReceiverState.ENDED:
            self._digest.advance()
            self._last_progress_at = now
            self.verify_if_complete()
        ends_at = self._last_progress_at + self._idle_timeout_s
        if now < ends_at or self._state is ReceiverState.ENDED or self._patience_stopped:
            return
        if now >= ends_at + STOOD_STILL_S:
            # It was this end that stood still, stopped or suspended: patience begins anew.
            self._last_progress_at = now
        else:
            stalled = TimedOut(
                f"nothing came from the {self._peer} for {self._idle_timeout_s:g} s",
                hint=f"see whether the {self._peer} still runs; --timeout sets how long to wait",
            )
            self.abort(stalled, ErrorCode.TIMED_OUT)

    def next_timeout(self) -> float | None:
        """When an acknowledgement is due, or patience ends."""
        if self._state is ReceiverState.ENDED:
            return None
        if self._digest.is_behind:
            return -inf  # the hashes of a long hole are taken in some at a time
        return min(self._acks.due_at, self._last_progress_at + self._idle_timeout_s)

    def poll_event(self) -> Event | None:
        """The next event: Verified, then Completed once confirmed; or Failed."""
        return self._events.popleft() if self._events else None

    def abort(self, error: UdpftError, code: ErrorCode = ErrorCode.CANCELLED) -> None:
        """End the transfer from this side, and tell the sender why."""
        if not self.ended:
            self._fail(error)
            self._control.extend(closing_packets(self._ids, error, code))

    def _fail(self, error: UdpftError) -> None:
        self._end(ReceiverEvent.FAIL, Failed(error))

    def _end(self, event: ReceiverEvent, outcome: Completed | Failed) -> None:
        self._follow(event)
        self._control.clear()
        self._events.append(outcome)
