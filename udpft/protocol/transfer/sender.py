"""Sender: the end of a reliable transfer that has the file.

Theory of operation
-------------------
Chunks leave in order for the first time, and again, under a new packet number, when a packet that
carried them is declared lost. Lost chunks go first (`chunk_queue`). What is sent is bounded by
three things: the congestion controller's window and pace, and the room that the receiver last
reported (`flow`).

The sender hashes each chunk as it leaves for the first time, and when it has done so with the
last one it knows the digest of the file. What may have changed on the disk since is read and
hashed again first (`ChunkQueue.compare`), while the last chunk is repeated as a sign of life. It
then says FIN, and says it again each probe timeout until FIN_ACK comes: the end is an agreement,
not a silence.

The first datagram is a prelude, which is ACCEPT where the server sends: it is repeated with each
probe until the peer shows by any packet that it knows our connection id.
"""

from __future__ import annotations

from collections import deque
from math import inf
from random import Random
from typing import Final

from udpft.errors import PartialTransfer, SourceChanged, TimedOut, UdpftError
from udpft.protocol.contract import (
    NOT_READY_S,
    Batch,
    Completed,
    Event,
    Failed,
    NotReady,
    TransferIds,
    Transmit,
)
from udpft.protocol.params import MAX_PACKETS, MAX_PTO_S, STOOD_STILL_S
from udpft.protocol.recovery.congestion import CongestionController
from udpft.protocol.recovery.delivery_rate import DeliveryRate
from udpft.protocol.recovery.loss_detection import (
    CircuitBreaker,
    SentBurst,
    SentHistory,
    Verdicts,
)
from udpft.protocol.recovery.packet_numbers import PacketNumbers
from udpft.protocol.recovery.rtt import RttEstimator
from udpft.protocol.transfer.chunk_queue import ChunkQueue, Chunks
from udpft.protocol.transfer.closing import closing_packets
from udpft.protocol.transfer.flow import NO_LIMITS, FlowControl, SendLimits
from udpft.protocol.transfer.sender_states import (
    HEARD_AND_READ,
    NOT_HELD_ALL,
    PEER_HOLDS_ALL,
    READ,
    SENDER_STATES,
    UNHEARD,
    SenderEvent,
    SenderState,
)
from udpft.protocol.transfer.sender_timers import SenderTimers
from udpft.protocol.transfer.sent_totals import SentTotals
from udpft.protocol.transfer.work_budget import BURSTS_A_TURN
from udpft.protocol.wire.ack import Ack, decode_ack_untrusted
from udpft.protocol.wire.data import ACK_REQUEST, data_common
from udpft.protocol.wire.error import ErrorCode, decode_error_untrusted
from udpft.protocol.wire.fin import Fin, decode_fin_untrusted, encode_fin
from udpft.protocol.wire.hello import decode_hello_untrusted
from udpft.protocol.wire.packet import (
    MalformedPacket,
    Packet,
    PacketType,
    decode_untrusted,
)

PERSISTENT_CONGESTION_PTOS: Final = 3
"""Probes without an answer after which the estimate of the path is forgotten (RFC 9002, 7.6)."""

_PROBE_PACKETS = 2
"""Packets that a probe may send beyond the windows (RFC 9002, 6.2.4)."""

_UNHEARD_PTO_S = 3.0
"""Seconds between probes, at most, before the first ACK."""

_SIGN_OF_LIFE_S = 1.0
"""Seconds between repeats of the last chunk while nothing else is to be sent but later."""

_FORGET_AFTER_PTOS = 3
"""Probe timeouts after which a packet declared lost can no longer be merely late."""


class Sender:
    """Sending end of one transfer; a `contract.Endpoint`.

    Args:
        ids: numbers of the transfer's packets.
        queue: the file's chunks, and the send buffer: it may be shared by taking turns.
        now: seconds on the driver's clock.
        random: spreads the controller's probes, and skips packet numbers; not to be guessed.
        prelude: a datagram to send before anything else.
        limits: what the peer and the user have set.

    Attributes:
        ids: see above.
        prelude: see above; said again to a peer that asks whether the transfer is known.
        rtt: the round trip, from ACKs.
        congestion: the congestion controller.
        totals: what has left so far.
    """

    def __init__(
        self,
        ids: TransferIds,
        queue: ChunkQueue,
        *,
        now: float,
        random: Random,
        prelude: bytes = b"",
        limits: SendLimits = NO_LIMITS,
    ) -> None:
        self.ids = ids
        self._queue = queue
        self._state = SenderState.UNHEARD if prelude else SenderState.SENDING
        # First words of DATA packets: as they are, and of one that asks for an ACK
        common = data_common(ids.connection_id)
        self._commons = common, data_common(ids.connection_id, ACK_REQUEST)
        self._control: deque[bytes] = deque([prelude] if prelude else [])  # wait to be sent
        self._events: deque[Event] = deque()
        self._numbers = PacketNumbers(random)  # of DATA packets
        self._ask_at = 0  # the packet number from which on a burst asks for an ACK
        self._fin: Fin | None = None  # known once every chunk was read
        self._history = SentHistory()
        self._breaker = CircuitBreaker(now)
        self._delivery = DeliveryRate(now)
        self._flow = FlowControl(queue.writer, limits, now)
        self._timers = SenderTimers(now, limits.idle_timeout_s)
        self._work = limits.work
        self.prelude = prelude
        self.rtt = RttEstimator()
        self.congestion = CongestionController(random)
        self.totals = SentTotals()
        self._flow.decide(self.congestion, self.rtt.min_rtt_s)

    @property
    def state(self) -> SenderState:
        """The state, see `SENDER_STATES`."""
        return self._state

    @property
    def packets_sent(self) -> int:
        """DATA packets that left, repeats included."""
        return self.totals.packets

    @property
    def packets_resent(self) -> int:
        """DATA packets that carried a chunk again."""
        return self.totals.resent

    @property
    def bytes_sent(self) -> int:
        """Bytes of all packets that left."""
        return self.totals.n_bytes

    @property
    def delivered(self) -> int:
        """Packets that were delivered: acknowledged, each counted once."""
        return self._delivery.delivered

    @property
    def receiver_drops(self) -> int:
        """Datagrams that the receiver's buffer had no room for, during this transfer."""
        return self._flow.receiver_drops

    @property
    def sends_singly(self) -> bool:
        """Whether packets leave one by one, because the path drops the kernel's bursts."""
        return self._history.fates.bursts_vanish

    @property
    def spoken_at(self) -> float:
        """When a packet came last that shows that the peer knows the transfer, in seconds."""
        return self._timers.spoken_at

    @property
    def patience_ends_at(self) -> float:
        """When the transfer has failed, unless there is progress; in seconds."""
        return self._timers.patience_ends_at

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come from this end but its last packets."""
        return self._state is SenderState.ENDED

    @property
    def is_busy_itself(self) -> bool:
        """Whether it hashes what the peer holds, or waits for its disk."""
        return self._timers.waits_for_itself(hashes=self._queue.holds_next)

    @property
    def _peer(self) -> str:
        """What the other end is called: a server begins with ACCEPT, a client without."""
        return "client" if self.prelude else "server"

    @property
    def heard(self) -> bool:
        """Whether the peer has shown that it knows of the transfer; always so without a prelude."""
        return self._state not in UNHEARD

    def _follow(self, event: SenderEvent) -> None:
        self._state = SENDER_STATES.follow(self._state, event)

    # ------------------------------------------------------------------------------- incoming

    def handle_datagrams(self, batch: Batch, now: float) -> None:
        """Take in a batch; what is damaged or not for us is dropped without a word."""
        ids = self.ids
        for datagram in batch.datagrams():
            try:
                packet = decode_untrusted(datagram, ids.nonce)
                ours = packet.connection_id == ids.own_connection_id
                if ours and self._state is not SenderState.ENDED:
                    self._handle(packet, now)
            except MalformedPacket:
                continue

    def _handle(self, packet: Packet, now: float) -> None:
        if packet.type is PacketType.ACK:
            self._handle_ack(decode_ack_untrusted(packet), now)
        elif packet.type is PacketType.FIN_ACK:
            fin = decode_fin_untrusted(packet)
            if fin == self._fin:
                self._end(SenderEvent.FIN_ACK, Completed(fin.digest))
        elif packet.type is PacketType.ERROR:
            refusal = decode_error_untrusted(packet)
            if refusal.nonce == self.ids.nonce:
                error = refusal.as_error(self._peer)
                self._end(SenderEvent.FAIL, Failed(error, refusal.is_giving_up))
        elif packet.type is PacketType.ACCEPT:
            self._timers.spoken_at = now  # the answer to a question: the server knows us
        elif packet.type is PacketType.HELLO:
            # A client that hears nothing asks whether we are still here.
            asks = decode_hello_untrusted(packet).nonce == self.ids.nonce
            if asks:
                self._timers.note_peer(now)
            if asks and self.prelude:
                if self._state in UNHEARD:
                    self._follow(SenderEvent.HEARD)  # it was sent to our connection id
                    self._timers.heard_at = now
                    self._probe_with_data()
                if self.prelude not in self._control:
                    self._control.append(self.prelude)

    def _handle_ack(self, ack: Ack, now: float) -> None:
        queue, timers, history = self._queue, self._timers, self._history
        beyond = ack.ranges[0][1] > self._numbers.next or ack.first_missing > queue.chunk_count
        if beyond or history.names_skipped(ack.ranges):
            # Packets acknowledged that were never sent: optimistic acks, RFC 9000, 21.4.
            violation = PartialTransfer("the receiver acknowledged what was never sent")
            self.abort(violation, ErrorCode.VIOLATION)
            return
        if self._state in UNHEARD:
            self._follow(SenderEvent.HEARD)
        timers.heard_at = now
        if self._state is SenderState.CLOSING and not self.prelude:
            timers.progress_at = now  # a server that has all of it puts it in its place
        verdicts = history.acknowledge(ack.ranges)
        newest = verdicts.newest
        if newest or self._work or ack.first_missing == queue.chunk_count:
            timers.note_peer(now)  # a server's ACK of a small FIN tells not that DATA gets through
        if newest is not None:
            if verdicts.largest_is_new:
                self.rtt.update(now - newest.sent_at, ack.ack_delay_s)
            timers.ptos = 0
            timers.probes = 0
            timers.progress_at = now
        if verdicts.acked or verdicts.late:
            self._note_order(now, verdicts)
        self._flow.note_room(ack)
        queue.note_first_missing(ack.first_missing)
        self._judge(now, verdicts)
        if newest is not None:
            self._inform_controller(now, newest, verdicts)
        history.forget(now - _FORGET_AFTER_PTOS * self.rtt.pto_s)
        self._flow.note_in_flight(history.packets_in_flight, now)
        if ack.first_missing == queue.chunk_count and self._state in NOT_HELD_ALL:
            self._follow(SenderEvent.PEER_HOLDS_ALL)
            self._say_fin()

    def _note_order(self, now: float, verdicts: Verdicts) -> None:
        """Take in packets that came later than they should have, and whether the path reorders."""
        for start, stop in verdicts.late_chunks:
            self._queue.note_arrived(start, stop)
        if verdicts.late:
            self.congestion.on_late(now)
        overtaken = verdicts.overtaken_since < inf
        if overtaken or self.rtt.reorders:
            longest_s = now - verdicts.overtaken_since if overtaken else 0.0
            n = verdicts.acked + verdicts.late
            self.rtt.note_overtaken(now, longest_s, now - verdicts.sent_sum_s / n)
            self._history.counts_overtakers = not self.rtt.reorders

    def _judge(self, now: float, verdicts: Verdicts) -> None:
        """Declare lost what is overdue, and give up a path that loses nearly everything."""
        look_again = self._history.judge(now, self.rtt.loss_delay_s, verdicts)
        self._timers.loss_at = inf if look_again is None else look_again
        for start, stop in verdicts.lost_chunks:
            self._queue.note_lost(start, stop)
        if self._breaker.trips(verdicts.acked, verdicts.lost, now):
            self.abort(TimedOut("the path loses nearly every packet"), ErrorCode.TIMED_OUT)

    def _inform_controller(self, now: float, newest: SentBurst, verdicts: Verdicts) -> None:
        """Give the controller its sample (draft-ietf-ccwg-bbr, 4.1)."""
        flight, min_rtt_s = newest.flight, self.rtt.min_rtt_s
        arrived = verdicts.acked + verdicts.late
        sample = self._delivery.sample(arrived, newest.sent_at, flight, min_rtt_s, now)
        self.congestion.on_tally(verdicts.tally)
        self.congestion.on_ack(
            now,
            epoch=newest.epoch,
            rtt_s=now - newest.sent_at,
            lateness_s=self.rtt.lateness_s,
            sample=sample,
            in_flight=self._history.packets_in_flight,
        )
        self._flow.passes_one = self._history.fates.only_first_passes
        self._flow.decide(self.congestion, min_rtt_s)

    # ------------------------------------------------------------------------------- outgoing

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next burst: control packets, then lost chunks, then new ones."""
        if self._control and not self._timers.data_first:
            datagram = self._control.popleft()
            self._timers.sent_at = now
            self.totals.n_bytes += len(datagram)
            return Transmit(memoryview(datagram), len(datagram))
        self._timers.data_first = False
        if self._state is SenderState.ENDED:
            return None
        queue = self._queue
        if queue.is_comparing:
            return self._compare(now)
        if self._timers.probes:
            allowed = 1  # probes leave one by one: a path may drop what leaves together
        else:
            allowed = self._flow.allowance(self._history.packets_in_flight, queue, now)
            if not allowed:
                return None
        if self._numbers.next + allowed >= MAX_PACKETS:
            self.abort(PartialTransfer("the transfer took more packets than can be numbered"))
            return self.poll_transmit(now)
        if now < self._timers.source_at:
            return None
        try:
            self._timers.source_at = 0.0
            if queue.holds_next:
                self._pass_over(now)
                return self.poll_transmit(now) if self._control else None
            return self._send_chunks(allowed, now)
        except NotReady:
            self._timers.source_at = now + NOT_READY_S
            return None
        except UdpftError as error:
            return self._fail_to_read(error, now)

    def _fail_to_read(self, error: UdpftError, now: float) -> Transmit | None:
        changed = isinstance(error, SourceChanged)
        self.abort(error, ErrorCode.CHANGED if changed else ErrorCode.READ_FAILED)
        return self.poll_transmit(now)

    def _compare(self, now: float) -> Transmit | None:
        """Hash again what may have changed, instead of sending anything."""
        queue, timers = self._queue, self._timers
        if now < timers.source_at:
            return None
        try:
            timers.source_at = 0.0
            queue.compare(BURSTS_A_TURN)
            timers.progress_at = now
            timers.heard_at = now  # nobody is asked anything meanwhile
            if not queue.find_suspects():
                self._finish_first_pass()
            elif now >= timers.sent_at + _SIGN_OF_LIFE_S:
                queue.repeat_last()
        except NotReady:
            timers.source_at = now + NOT_READY_S
            return None
        except UdpftError as error:
            return self._fail_to_read(error, now)
        return self.poll_transmit(now) if self._control else None

    def _pass_over(self, now: float) -> None:
        """Hash chunks that the receiver holds instead of sending them."""
        bursts = self._timers.bursts_to_hash(self._work, now)
        if not bursts:
            return
        self._queue.pass_over(bursts)
        self._timers.progress_at = now
        if self._queue.first_pass_over:
            self._finish_first_pass()

    def _take_chunks(self, allowed: int) -> tuple[Chunks, list[memoryview]]:
        """Take chunks to send, up to a number, and read them. Raises as `ChunkQueue.load`."""
        queue = self._queue
        lost = queue.any_lost
        chunks = queue.take(allowed)
        if not chunks:
            return chunks, []
        try:
            return chunks, queue.load(chunks)
        except NotReady:
            queue.put_back(chunks, lost)
            raise

    def _send_chunks(self, allowed: int, now: float) -> Transmit | None:
        chunks, slots = self._take_chunks(allowed)
        if not chunks:
            return None
        queue, count, history = self._queue, len(chunks), self._history
        plain, asking = self._commons
        wants_train = self.congestion.wants_train
        last = asking if self._wants_ack(chunks, wants_train) else plain
        first = asking if wants_train else b""
        skipped = self._numbers.skip()
        if skipped is not None:
            history.skip(skipped)
        packet, writer = self._numbers.next, queue.writer
        data, hashes = writer.seal(plain, last, packet, chunks, slots, first)
        if not queue.note_hashes(chunks, hashes):
            self.totals.resent += count
        elif queue.first_pass_over:
            self._finish_first_pass()
        if not history.packets_in_flight:
            self._delivery.begin_flight(now)
        history.add(
            SentBurst(
                packet,
                packet + count,
                chunks,
                now,
                self._delivery.state,
                self.congestion.epoch,
                (1 << count) - 1,
            )
        )
        timers, totals = self._timers, self.totals
        self._numbers.next = packet + count
        timers.probes = max(0, timers.probes - count)
        self._flow.note_sent(count, history.packets_in_flight, now)
        timers.sent_at = now
        totals.packets += count
        totals.n_bytes += len(data)
        return Transmit(data, writer.packet_size, history.fates.bursts_vanish)

    def _wants_ack(self, chunks: Chunks, wants_train: bool) -> bool:
        """Whether the burst should draw an ACK at once: twice a window, and for the last chunk."""
        flow = self._flow
        left = flow.window - self._history.packets_in_flight - len(chunks)
        stop = self._numbers.next + len(chunks)
        wanted = left < flow.burst or stop >= self._ask_at or wants_train
        if wanted:
            self._ask_at = stop + (flow.window - flow.burst) // 2
        return wanted or chunks[-1] == self._queue.chunk_count - 1

    def _finish_first_pass(self) -> None:
        """Note that every chunk has been read once: the digest is known.

        Unless something may have changed since: that is compared first.

        Raises:
            SourceChanged: the file can no longer be read as it was.
        """
        if self._queue.find_suspects():
            return
        self._fin = Fin(self._queue.size, self._queue.digest())
        self._follow(SenderEvent.ALL_READ)
        self._say_fin()

    def _say_fin(self) -> None:
        """Queue FIN, where the digest is known."""
        if self._state in READ:
            assert self._fin
            ids = self.ids
            skipped = self._numbers.skipped
            fin = encode_fin(PacketType.FIN, self._fin, ids.connection_id, ids.nonce, skipped)
            if fin not in self._control:
                self._control.append(fin)

    def repeat_prelude(self) -> None:
        """Queue the prelude: the peer has asked again. Once heard, this does nothing."""
        if self._state in UNHEARD and self.prelude not in self._control:
            self._control.append(self.prelude)

    # ----------------------------------------------------------------------------- time, ends

    def handle_timeout(self, now: float) -> None:
        """Declare losses that are due, probe a silent peer, or give the transfer up."""
        if self._state is SenderState.ENDED:
            return
        timers = self._timers
        patience_ends_at, unconfirmed_at = timers.patience_ends_at, self._unconfirmed_at()
        if now >= min(patience_ends_at, unconfirmed_at) + STOOD_STILL_S:
            # It was this end that stood still, stopped or suspended: patience begins anew.
            timers.progress_at = timers.heard_at = now
            patience_ends_at, unconfirmed_at = timers.patience_ends_at, self._unconfirmed_at()
        if now >= unconfirmed_at:
            # It was sent everything, and went away without a word.
            assert self._fin
            self._end(SenderEvent.UNCONFIRMED, Completed(self._fin.digest, confirmed=False))
        elif timers.source_at and now >= timers.disk_patience_ends_at:
            self.abort(PartialTransfer("the disk brings nothing any more"), ErrorCode.READ_FAILED)
        elif now >= patience_ends_at:
            self.abort(TimedOut(f"the {self._peer} stopped answering"), ErrorCode.TIMED_OUT)
        elif timers.loss_at < inf:
            if now >= timers.loss_at:
                verdicts = Verdicts()
                self._judge(now, verdicts)
                self.congestion.on_tally(verdicts.tally)
        elif now >= self._probe_at():
            self._probe(now)

    def note_abandoned(self) -> None:
        """Note that another session is begun in place of this one: its peer confirms nothing."""
        self._timers.fin_patience_s = inf

    def _unconfirmed_at(self) -> float:
        """When a peer that was sent everything, and was heard before, has been silent too long."""
        if self._state not in HEARD_AND_READ:
            return inf
        return self._timers.heard_at + self._timers.fin_patience_s

    def _probe_at(self) -> float:
        """When a silent peer is probed: the PTO, doubling (RFC 9002, 6.2)."""
        timers = self._timers
        if not self._history.packets_in_flight:
            if self._state is SenderState.SENDING or self._state is SenderState.READING:
                return inf
            if self._work and self._queue.holds_next:
                return inf  # a peer that hears nothing asks, and so shows that it is there
        # Of a path that was never heard, nobody knows how slow it is.
        longest_s = max(MAX_PTO_S, self.rtt.pto_s) if self.heard else _UNHEARD_PTO_S
        return timers.sent_at + min(longest_s, self.rtt.pto_s * 2.0**timers.ptos)

    def _probe(self, now: float) -> None:
        """Say something that a living peer must answer."""
        timers = self._timers
        timers.ptos += 1
        timers.sent_at = now
        self.repeat_prelude()
        self._say_fin()
        if self._probe_with_data():
            # A policer may pass no more than the first packet of each probe: DATA has its turns.
            timers.data_first = not self.heard and timers.ptos % 2 == 0
            if timers.ptos == PERSISTENT_CONGESTION_PTOS:
                self.congestion.on_persistent_congestion()
                self._flow.decide(self.congestion, self.rtt.min_rtt_s)

    def _probe_with_data(self) -> bool:
        """Let packets leave as a probe, where any is in flight; return whether they may."""
        if not self._history.packets_in_flight or self._state in PEER_HOLDS_ALL:
            return False
        self._timers.probes = _PROBE_PACKETS
        if not self._queue.is_due:
            for start, stop in self._history.give_up_oldest(_PROBE_PACKETS):
                self._queue.note_lost(start, stop)
        return True

    def next_timeout(self) -> float | None:
        """When something is due: a loss, a probe, the next paced burst, the end of patience."""
        if self._state is SenderState.ENDED:
            return None
        timers, queue = self._timers, self._queue
        if queue.is_comparing:
            return (
                timers.source_at or timers.progress_at
            )  # at once, or when the disk is asked again
        at = timers.loss_at if timers.loss_at < inf else self._probe_at()
        at = min(at, timers.patience_ends_at, self._unconfirmed_at())
        if queue.is_due and self._flow.window_room(self._history.packets_in_flight, queue):
            ready_at = max(self._flow.ready_at, timers.source_at)
            if self._work and queue.holds_next:
                ready_at = max(ready_at, timers.hash_at)
            at = min(at, ready_at)
        return at

    def poll_event(self) -> Event | None:
        """The next event: one Completed or Failed, and then no more."""
        return self._events.popleft() if self._events else None

    def abort(self, error: UdpftError, code: ErrorCode = ErrorCode.CANCELLED) -> None:
        """End the transfer from this side, and tell the peer why."""
        if self._state is not SenderState.ENDED:
            self._end(SenderEvent.FAIL, Failed(error))
            self._control.extend(closing_packets(self.ids, error, code))

    def _end(self, event: SenderEvent, outcome: Completed | Failed) -> None:
        self._follow(event)
        self._control.clear()
        self._events.append(outcome)
