"""The sending end of a reliable transfer.

Theory of operation
-------------------
Chunks leave in order for the first time, and again, under a new packet number, when a packet that
carried them is declared lost. Lost chunks go first. What is sent is bounded by three things: the
congestion controller's window and pace, and the room that the receiver last reported.

The sender hashes each chunk as it leaves for the first time, and when it has done so with the
last one it knows the digest of the file. It then says FIN, and says it again each probe timeout
until FIN_ACK comes: the end is an agreement, not a silence.

The first datagram is a prelude, which is ACCEPT where the server sends: it is repeated with each
probe until the peer shows by any packet that it knows our connection id.
"""

from __future__ import annotations

from collections import deque
from math import inf
from random import Random

from udpft.errors import PartialTransfer, SourceChanged, TimedOut, UdpftError
from udpft.protocol.contract import ChunkSource, Completed, Event, Failed, Transmit, datagrams
from udpft.protocol.params import (
    CLOSING_COPIES,
    FIN_PATIENCE_S,
    IDLE_TIMEOUT_S,
    INITIAL_RECEIVE_ROOM,
    MAX_BURST_INTERVAL_S,
    MAX_PACKETS,
    MAX_PTO_S,
    PERSISTENT_CONGESTION_PTOS,
)
from udpft.protocol.ranges import RangeSet
from udpft.protocol.recovery.congestion import CongestionController, Phase
from udpft.protocol.recovery.loss_detection import CircuitBreaker, SentBurst, SentHistory, Verdicts
from udpft.protocol.recovery.pacing import Pacer
from udpft.protocol.recovery.rtt import RttEstimator
from udpft.protocol.transfer.chunk_queue import ChunkQueue, Chunks
from udpft.protocol.wire.ack import Ack, decode_ack_untrusted
from udpft.protocol.wire.data import ACK_REQUEST, BurstWriter, data_common
from udpft.protocol.wire.error import ErrorCode, Refusal, decode_error_untrusted, encode_error
from udpft.protocol.wire.fin import Fin, decode_fin_untrusted, encode_fin
from udpft.protocol.wire.hello import decode_hello_untrusted
from udpft.protocol.wire.packet import MalformedPacket, Packet, PacketType, decode_untrusted

_MIN_FLOW_WINDOW = 2
_ROOM_SHARE = 0.75  # of the receiver's room: its report is old, and the pipe's content a guess
_PROBE_PACKETS = 2
_PASSED_BURSTS_A_TURN = 16
_FORGET_AFTER_PTOS = 3


class Sender:
    """One end of one transfer, the one with the file; an `endpoint.Endpoint`.

    Args:
        connection_id: the receiver's; it stands in every packet sent.
        own_connection_id: ours; packets with another one are not for us.
        nonce: of the HELLO that began the transfer; packets without it are not for us.
        source: the file. Read burst by burst, straight into the send buffer.
        size: the file's size in bytes.
        writer: the send buffer, of the transfer's chunk size; may be shared by taking turns.
        now: seconds on the driver's clock.
        random: spreads the controller's probes.
        prelude: a datagram to send before anything else.
        have: chunks that the receiver holds already: hashed for the digest, and not sent.
        receive_room: bytes that the receiver's socket holds, from its HELLO.
        max_rate_bytes_per_s: the pace is never faster; 0 for no limit. Counts UDP payload.
        idle_timeout_s: seconds without progress after which the transfer has failed.
    """

    def __init__(
        self,
        *,
        connection_id: int,
        own_connection_id: int,
        nonce: int,
        source: ChunkSource,
        size: int,
        writer: BurstWriter,
        now: float,
        random: Random,
        prelude: bytes = b"",
        have: RangeSet | None = None,
        receive_room: int = INITIAL_RECEIVE_ROOM,
        max_rate_bytes_per_s: int = 0,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._connection_id = connection_id
        self._own_connection_id = own_connection_id
        self._nonce = nonce
        self._size = size
        self._writer = writer
        self._supply = ChunkQueue(source, size, writer, have)
        self._common = data_common(connection_id)
        self._common_ack = data_common(connection_id, ACK_REQUEST)
        self._max_packets_per_s = max_rate_bytes_per_s / writer.packet_size or inf
        self._idle_timeout_s = idle_timeout_s
        self._control: deque[bytes] = deque([prelude] if prelude else [])
        self.prelude = self._greeting = prelude
        self._events: deque[Event] = deque()
        self._ended = self._shut = False
        self._next_packet = self._ask_at = 0
        self._fin: bytes | None = None
        self._peer_has_all = False
        self.rtt = RttEstimator()
        self.congestion = CongestionController(random)
        self._history = SentHistory()
        self._breaker = CircuitBreaker(now)
        self._pacer = Pacer()
        self._open_since = now  # inf while the windows are closed
        self._receive_room = receive_room
        self._receiver_drops: int | None = None  # its socket may be older than this transfer
        self._room_share = _ROOM_SHARE
        self._delivered = 0
        self._delivered_at = self._first_sent_at = now
        self._last_sent_at = self._last_progress_at = self._last_heard_at = now
        self._loss_at: float | None = None
        self._ptos = self._probes = 0
        self._decide_limits()
        self.packets_sent = self.packets_resent = self.bytes_sent = 0
        self.receiver_drops = 0  # datagrams that its buffer had no room for, during this transfer

    # ------------------------------------------------------------------------------- incoming

    def handle_datagrams(
        self, buffer: bytearray, length: int, segment_size: int, now: float
    ) -> None:
        """Take in a batch; what is damaged or not for us is dropped without a word."""
        for datagram in datagrams(buffer, length, segment_size):
            try:
                packet = decode_untrusted(datagram, self._nonce)
                if packet.connection_id == self._own_connection_id and not self._ended:
                    self._handle(packet, now)
            except MalformedPacket:
                continue

    def _handle(self, packet: Packet, now: float) -> None:
        if packet.type is PacketType.ACK:
            self._handle_ack(decode_ack_untrusted(packet), now)
        elif packet.type is PacketType.FIN_ACK:
            fin = decode_fin_untrusted(packet)
            if self._fin and fin == self._own_fin:
                self._end(Completed(fin.digest))
        elif packet.type is PacketType.ERROR:
            refusal = decode_error_untrusted(packet)
            if refusal.nonce == self._nonce:
                self._end(Failed(refusal.as_error()))
        elif packet.type is PacketType.HELLO:
            # A client that hears nothing asks whether we are still here.
            asks = decode_hello_untrusted(packet).nonce == self._nonce
            if asks and self._greeting not in self._control:
                self._control.append(self._greeting)

    def _handle_ack(self, ack: Ack, now: float) -> None:
        if ack.ranges[0][1] > self._next_packet or ack.first_missing > self._supply.chunk_count:
            # Packets acknowledged that were never sent: optimistic acks, RFC 9000, 21.4.
            violation = PartialTransfer("the receiver acknowledged what was never sent")
            self.abort(violation, ErrorCode.VIOLATION)
            return
        self.prelude = b""
        self._last_heard_at = now
        history = self._history
        verdicts = history.acknowledge(ack.ranges)
        newest = verdicts.newest
        if newest is not None:
            if verdicts.largest_is_new:
                self.rtt.update(now - newest.sent_at, ack.ack_delay_s)
            self._ptos = self._probes = 0
            self._delivered += verdicts.acked
            self._last_progress_at = now
        for start, stop in verdicts.late_chunks:
            self._supply.note_arrived(start, stop)
        self._note_room(ack)
        self._supply.note_first_missing(ack.first_missing)
        self._judge(now, verdicts)
        if newest is not None:
            self._inform_controller(now, newest, verdicts)
        history.forget(now - _FORGET_AFTER_PTOS * self.rtt.pto_s)
        if self._open_since == inf and self._window - history.packets_in_flight >= self._burst:
            self._open_since = now
        if ack.first_missing == self._supply.chunk_count and not self._peer_has_all:
            self._peer_has_all = True
            self._say_fin()

    def _note_room(self, ack: Ack) -> None:
        """Believe the receiver's room, less so after each time that its buffer overflowed."""
        self._receive_room = ack.room
        known, self._receiver_drops = self._receiver_drops, ack.drops
        if known is not None and ack.drops != known:
            self.receiver_drops += max(0, ack.drops - known)
            self._room_share = max(0.1, self._room_share * 0.7)
        else:
            self._room_share += (_ROOM_SHARE - self._room_share) / 1000

    def _judge(self, now: float, verdicts: Verdicts) -> None:
        delay = self.rtt.loss_delay_s(self._history.time_threshold)
        self._loss_at = self._history.judge(now, delay, verdicts)
        for start, stop in verdicts.lost_chunks:
            self._supply.note_lost(start, stop)
        if self._breaker.trips(verdicts.acked, verdicts.lost, now):
            self.abort(TimedOut("the path loses nearly every packet"), ErrorCode.TIMED_OUT)

    def _inform_controller(self, now: float, newest: SentBurst, verdicts: Verdicts) -> None:
        """Give the controller its sample (draft-ietf-ccwg-bbr, 4.1)."""
        sent_s = newest.sent_at - newest.first_sent_at
        interval_s = max(sent_s, now - newest.delivered_at)
        self._delivered_at = now
        self._first_sent_at = newest.sent_at
        good = interval_s >= self.rtt.min_rtt_s and interval_s > 0
        self.congestion.on_tally(verdicts.tally)
        self.congestion.on_ack(
            now,
            epoch=newest.epoch,
            rtt_s=now - newest.sent_at,
            lateness_s=self.rtt.lateness_s,
            delivery_rate=(self._delivered - newest.delivered) / interval_s if good else 0.0,
            sent_at_delivered=newest.delivered,
            delivered=self._delivered,
            in_flight=self._history.packets_in_flight,
        )
        self._decide_limits()

    # ------------------------------------------------------------------------------- outgoing

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next burst: control packets, then lost chunks, then new ones."""
        if self._control:
            datagram = self._control.popleft()
            self._last_sent_at = now
            self.bytes_sent += len(datagram)
            return Transmit(memoryview(datagram), len(datagram))
        if self._ended:
            return None
        allowed = self._probes or (self._allowance(now) if now >= self._pacer.ready_at else 0)
        if not allowed:
            return None
        if self._next_packet + allowed > MAX_PACKETS:
            self.abort(PartialTransfer("the transfer took more packets than can be numbered"))
            return self.poll_transmit(now)
        try:
            if self._supply.holds_next:
                self._pass_over(now)
                return self.poll_transmit(now) if self._control else None
            chunks = self._supply.take(allowed)
            return self._send_chunks(chunks, now) if chunks else None
        except UdpftError as error:
            changed = isinstance(error, SourceChanged)
            self.abort(error, ErrorCode.CHANGED if changed else ErrorCode.READ_FAILED)
            return self.poll_transmit(now)

    def _decide_limits(self) -> None:
        """Set the limits of what may be in flight and in a burst, which change with each ACK."""
        congestion, writer = self.congestion, self._writer
        # The receiver's buffer, and what the path itself holds.
        known = 0.75 if congestion.phase is Phase.STARTUP else 1.0
        pipe = known * congestion.bandwidth * self.rtt.min_rtt_s
        flow_window = int(self._receive_room * self._room_share / writer.packet_size + pipe)
        self._window = max(_MIN_FLOW_WINDOW, min(congestion.window, flow_window))
        self._rate = min(congestion.pacing_rate, self._max_packets_per_s)
        roomy = congestion.window <= flow_window
        # A small buffer filled by one burst would leave its sender nothing to do meanwhile.
        longest = max(writer.send_capacity, int(congestion.burst_limit) if roomy else 0)
        self._longest = min(writer.capacity, longest, flow_window)
        # Four a window keep both ends at work; in a small buffer, two of whole sends cost less.
        sends = max(1, self._window // (4 if roomy else 2) // writer.send_capacity)
        burst = min(writer.capacity, sends * writer.send_capacity, congestion.burst_packets)
        paced = self._max_packets_per_s * MAX_BURST_INTERVAL_S
        self._burst = max(_MIN_FLOW_WINDOW, int(paced)) if paced < burst else burst

    def _allowance(self, now: float) -> int:
        """Packets of the next burst: all that fell due, where a busy server's turn comes late."""
        allowed, late_s = self._window_room(), self._pacer.late_s(now, self._open_since)
        if allowed == self._burst and late_s > MAX_BURST_INTERVAL_S:
            # In time, they would have been sent one by one, and acknowledged by now.
            in_window = max(self._window, self._longest) - self._history.packets_in_flight
            return max(allowed, int(min(late_s * self._rate, in_window, self._longest)))
        return allowed

    def _window_room(self) -> int:
        """Packets of the next burst that the windows allow, whatever the pace says."""
        in_flight = self._history.packets_in_flight
        room, burst = self._window - in_flight, self._burst
        if room >= burst and not self._shut:
            return burst
        fast = burst >= self._writer.send_capacity
        urgent = self._supply.first_pass_over or (self._supply.any_lost and not fast)
        if room <= 0 or (room < in_flight and not urgent):
            # A window that opens by a few packets at a time would make every burst a small one;
            # and on a fast path each ACK would draw one burst, and each burst one ACK.
            self._shut = fast
            return 0
        self._shut = False
        return min(room, burst)

    def _pass_over(self, now: float) -> None:
        """Hash chunks that the receiver holds instead of sending them."""
        self._supply.pass_over(_PASSED_BURSTS_A_TURN)
        self._last_progress_at = now
        if self._supply.first_pass_over:
            self._finish_first_pass()

    def _send_chunks(self, chunks: Chunks, now: float) -> Transmit:
        supply, count, history = self._supply, len(chunks), self._history
        last = self._common_ack if self._wants_ack(chunks) else self._common
        slots = supply.load(chunks)
        first = self._common_ack if self.congestion.wants_train else b""
        packet, writer = self._next_packet, self._writer
        data, hashes = writer.seal(self._common, last, packet, chunks, slots, first)
        if not supply.note_hashes(chunks, hashes):
            self.packets_resent += count
        elif supply.first_pass_over:
            self._finish_first_pass()
        if not history.packets_in_flight:
            self._delivered_at = self._first_sent_at = now
        history.add(
            SentBurst(
                packet,
                packet + count,
                chunks,
                now,
                self._delivered,
                self._delivered_at,
                self._first_sent_at,
                self.congestion.epoch,
                (1 << count) - 1,
            )
        )
        self._next_packet = packet + count
        self._probes = max(0, self._probes - count)
        self._pacer.sent(count, self._rate, now, self._pacer.late_s(now, self._open_since))
        if self._window - history.packets_in_flight < self._burst:
            self._open_since = inf
        self._last_sent_at = now
        self.packets_sent += count
        self.bytes_sent += len(data)
        return Transmit(data, writer.packet_size)

    def _wants_ack(self, chunks: Chunks) -> bool:
        """Whether the burst should draw an ACK at once: twice a window, and for the last chunk."""
        left = self._window - self._history.packets_in_flight - len(chunks)
        stop = self._next_packet + len(chunks)
        wanted = left < self._burst or stop >= self._ask_at or self.congestion.wants_train
        if wanted:
            self._ask_at = stop + (self._window - self._burst) // 2
        return wanted or chunks[-1] == self._supply.chunk_count - 1

    def _finish_first_pass(self) -> None:
        """Every chunk has been read once: the digest is known."""
        self._own_fin = Fin(self._size, self._supply.digest())
        self._fin = encode_fin(PacketType.FIN, self._own_fin, self._connection_id, self._nonce)
        self._say_fin()

    def _say_fin(self) -> None:
        if self._fin and self._fin not in self._control:
            self._control.append(self._fin)

    @property
    def heard(self) -> bool:
        """Whether the peer has shown that it knows of the transfer; always so without a prelude."""
        return not self.prelude

    def repeat_prelude(self) -> None:
        """The peer has asked again, so what we answered was lost; once heard, this does nothing."""
        if self.prelude and self.prelude not in self._control:
            self._control.append(self.prelude)

    # ----------------------------------------------------------------------------- time, ends

    def handle_timeout(self, now: float) -> None:
        """Declare losses that are due, probe a silent peer, or give the transfer up."""
        if self._ended:
            return
        if now >= self._unconfirmed_at():
            # It was sent everything, and went away without a word.
            self._end(Completed(self._own_fin.digest, confirmed=False))
        elif now >= self._last_progress_at + self._idle_timeout_s:
            self.abort(TimedOut("the receiver stopped answering"), ErrorCode.TIMED_OUT)
        elif self._loss_at is not None:
            if now >= self._loss_at:
                verdicts = Verdicts()
                self._judge(now, verdicts)
                self.congestion.on_tally(verdicts.tally)
        elif now >= self._probe_at():
            self._probe(now)

    def _unconfirmed_at(self) -> float:
        """When a peer that was sent everything, and was heard before, has been silent too long."""
        if self._fin is None or self.prelude:
            return inf
        return self._last_heard_at + min(FIN_PATIENCE_S, self._idle_timeout_s)

    def _probe_at(self) -> float:
        """When a silent peer is probed: the PTO, doubling (RFC 9002, 6.2)."""
        if self._history.packets_in_flight or self._fin or self.prelude:
            return self._last_sent_at + min(MAX_PTO_S, self.rtt.pto_s * 2.0**self._ptos)
        return inf

    def _probe(self, now: float) -> None:
        """Say something that a living peer must answer."""
        self._ptos += 1
        self._last_sent_at = now
        self.repeat_prelude()
        self._say_fin()
        if self._history.packets_in_flight and not self._peer_has_all:
            self._probes = _PROBE_PACKETS
            if not self._supply.is_due:
                for start, stop in self._history.give_up_oldest(_PROBE_PACKETS):
                    self._supply.note_lost(start, stop)
            if self._ptos == PERSISTENT_CONGESTION_PTOS:
                self.congestion.on_persistent_congestion()
                self._decide_limits()

    def next_timeout(self) -> float | None:
        """When something is due: a loss, a probe, the next paced burst, the end of patience."""
        if self._ended:
            return None
        at = self._loss_at if self._loss_at is not None else self._probe_at()
        at = min(at, self._last_progress_at + self._idle_timeout_s, self._unconfirmed_at())
        if self._supply.is_due and self._window_room():
            at = min(at, self._pacer.ready_at)
        return at

    def poll_event(self) -> Event | None:
        """The next event: one Completed or Failed, and then no more."""
        return self._events.popleft() if self._events else None

    def abort(self, error: UdpftError, code: ErrorCode = ErrorCode.CANCELLED) -> None:
        """End the transfer from this side, and tell the peer why."""
        if not self._ended:
            refusal = Refusal(self._nonce, code, str(error))
            self._end(Failed(error))
            self._control.extend((encode_error(refusal, self._connection_id),) * CLOSING_COPIES)

    def _end(self, event: Event) -> None:
        self._ended = True
        self._control.clear()
        self._events.append(event)
