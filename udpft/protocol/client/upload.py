"""Upload of a file to a server: the handshake, then the sending end, as one endpoint."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from math import inf
from random import Random

from udpft.errors import UdpftError
from udpft.protocol.client.failover import Failover
from udpft.protocol.contract import Batch, ChunkSource, Event, Failed, TransferIds, Transmit
from udpft.protocol.handshake.agreement import (
    HandshakeResult,
    hole_chunks,
    taken_map,
    whole_chunks,
)
from udpft.protocol.handshake.initiator import DEFAULT_OPTIONS, HandshakeOptions, Initiator
from udpft.protocol.params import (
    DATA_HEADER_SIZE,
    IDLE_TIMEOUT_S,
    INITIAL_RECEIVE_ROOM,
    MAX_BURST_BYTES,
    MIN_DATAGRAM_SIZE,
    SEAL_OVERHEAD,
)
from udpft.protocol.states import TransitionTable
from udpft.protocol.transfer.chunk_queue import ChunkQueue
from udpft.protocol.transfer.flow import SendLimits
from udpft.protocol.transfer.sender import Sender
from udpft.protocol.wire.data import BurstWriter
from udpft.protocol.wire.error import ErrorCode
from udpft.protocol.wire.hello import Hello


class UploadState(Enum):
    """State of an upload, on the client."""

    HANDSHAKE = auto()
    SENDING = auto()
    ABANDONED = auto()
    ENDED = auto()


class UploadEvent(Enum):
    """Event in the life of an upload, on the client."""

    ACCEPTED = auto()
    FAIL = auto()
    OTHER_SERVER = auto()
    GIVEN_UP = auto()
    SENDER_ENDED = auto()


_S, _E = UploadState, UploadEvent

UPLOAD_STATES = TransitionTable(
    [_S.HANDSHAKE],
    [
        (_S.HANDSHAKE, _E.ACCEPTED, _S.SENDING, "ACCEPT: what the server has is left out"),
        (_S.HANDSHAKE, _E.FAIL, _S.ENDED, "ERROR, or no answer in time"),
        (_S.SENDING, _E.OTHER_SERVER, _S.SENDING, "another session goes on with what is missing"),
        (_S.SENDING, _E.GIVEN_UP, _S.ABANDONED, "the server has ended the session, by its clock"),
        (_S.ABANDONED, _E.OTHER_SERVER, _S.SENDING, "it goes on, here or there"),
        (_S.ABANDONED, _E.FAIL, _S.ENDED, "no server has let it in again in time"),
        (_S.SENDING, _E.SENDER_ENDED, _S.ENDED, "the sender has told its outcome"),
    ],
)
"""Transitions of an upload on the client; it begins in HANDSHAKE."""


class Upload:
    """Upload of one file, on the client; a `contract.Endpoint`.

    Args:
        hello: the request, with the file's size and identity.
        source: the file.
        now: seconds on the driver's clock.
        random: spreads the controller's probes.
        options: of the handshake.
        idle_timeout_s: seconds without progress after which the transfer has failed.

    Attributes:
        handshake: the newest server's answer; None until there is one.
        sender: the sending end, of the newest session; None during the handshake.
        held_at_first: byte ranges that the server held when the transfer began.
        hole_bytes: bytes of the holes of a sparse file that are not sent, and that the server does
            not hold otherwise; of the newest session.
    """

    rest_until = 0.0

    def __init__(
        self,
        hello: Hello,
        *,
        source: ChunkSource,
        now: float,
        random: Random,
        options: HandshakeOptions = DEFAULT_OPTIONS,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._source = source
        self._random = random
        self._idle_timeout_s = idle_timeout_s
        self._keyed = options.keyed
        self._state = UploadState.HANDSHAKE
        self._initiator = Initiator(hello, now=now, options=options)
        self._failover: Failover | None = None  # watches the server, once there is one
        self._events: deque[Event] = deque()
        self._resent_before = 0  # packets, by senders of sessions that were left
        self.handshake: HandshakeResult | None = None
        self.sender: Sender | None = None
        self.held_at_first: tuple[tuple[int, int], ...] = ()
        self.hole_bytes = 0

    def senders(self) -> list[Sender]:
        """The sending end, if there is one yet: to look at, for a trace over time."""
        return [self.sender] if self.sender else []

    @property
    def packets_resent(self) -> int:
        """Packets that carried a chunk again, in all sessions."""
        return self._resent_before + (self.sender.packets_resent if self.sender else 0)

    @property
    def largest_size(self) -> float:
        """Bytes of the largest datagram that the handshake still tries: see `Initiator`."""
        return self._initiator.largest_size

    def note_refused(self, now: float) -> None:
        """Note that nothing listens at the other end, now; another server may soon."""
        if self._failover:
            self._failover.note_refused(now)

    @property
    def answered(self) -> bool:
        """Whether the server has answered the request in any way."""
        return self.handshake is not None or self._initiator.rtt_s is not None

    def _follow(self, event: UploadEvent) -> None:
        self._state = UPLOAD_STATES.follow(self._state, event)

    def handle_datagrams(self, batch: Batch, now: float) -> None:
        """Take in a batch, for the handshake or the sender."""
        if self.sender:
            self.sender.handle_datagrams(batch, now)
            if self._failover and self._failover.awake:
                self._look_for_another_server(batch, now)
            if self.sender.ended:
                self._note_end(now)
            return
        for datagram in batch.datagrams():
            self._initiator.handle(datagram, now)
        self._proceed(now)

    def _proceed(self, now: float) -> None:
        """Go on to sending, or end, where the handshake is over."""
        if self._state is not UploadState.HANDSHAKE:
            return
        if self._initiator.error:
            self._fail(self._initiator.error)
        elif self._initiator.result:
            self._follow(UploadEvent.ACCEPTED)
            self.held_at_first = self._initiator.result.accept.have
            self._begin_sending(self._initiator.hello, self._initiator.result, now)

    def _begin_sending(self, hello: Hello, found: HandshakeResult, now: float) -> None:
        self.handshake = found
        accept = found.accept
        writer = BurstWriter(accept.chunk_size, bytearray(MAX_BURST_BYTES), accept.nonce)
        rates = (hello.max_rate_bytes_per_s, accept.max_rate_bytes_per_s)
        held = whole_chunks(accept.have, accept.chunk_size, hello.size)
        sparse_map = taken_map(hello.sparse_map, accept.sparse_map)
        holes = hole_chunks(sparse_map, accept.chunk_size, hello.size)
        self.hole_bytes = (
            hole_chunks(sparse_map, accept.chunk_size, hello.size, held).total * accept.chunk_size
        )
        self.sender = Sender(
            TransferIds(accept.connection_id, hello.connection_id, accept.nonce),
            ChunkQueue(self._source, hello.size, writer, held, holes),
            now=now,
            random=self._random,
            limits=SendLimits(
                accept.receive_room or INITIAL_RECEIVE_ROOM,
                min(filter(None, rates), default=0),
                self._idle_timeout_s,
            ),
        )
        self.sender.rtt.begin_with(found.rtt_s)
        packet_size = accept.chunk_size + DATA_HEADER_SIZE + (SEAL_OVERHEAD if self._keyed else 0)
        self._failover = Failover(
            hello,
            found,
            tuple,
            keyed=self._keyed,
            question_size=max(MIN_DATAGRAM_SIZE, packet_size),
            patience_s=self._idle_timeout_s,
        )

    # ------------------------------------------------------------------------- another server

    @property
    def _has_left(self) -> bool:
        """Whether the sender's session was given up, and nothing is to be sent in it."""
        return self._failover is not None and self._failover.has_left

    def _note_end(self, now: float) -> None:
        """Take in how the sender has ended: where the server gave up, another one is asked."""
        assert self.sender
        assert self._failover
        while event := self.sender.poll_event():
            if isinstance(event, Failed) and event.given_up:
                self._follow(UploadEvent.GIVEN_UP)
                self._failover.note_given_up(event.error, now)
            else:
                self._events.append(event)

    def _look_for_another_server(self, batch: Batch, now: float) -> None:
        assert self.sender
        assert self._failover
        failover = self._failover
        for count, datagram in enumerate(batch.datagrams(), 1):
            if self.sender.ended and self._state is not UploadState.ABANDONED:
                return
            failover.handle(datagram, now, self.sender.spoken_at)
            if failover.error:
                self.abort(failover.error)
            elif failover.result:
                self._follow(UploadEvent.OTHER_SERVER)
                self._resent_before += self.sender.packets_resent
                self._begin_sending(failover.hello, failover.result, now)
                self.sender.handle_datagrams(batch.after(count), now)
                return

    def _poll_failover(self, failover: Failover, now: float) -> Transmit | None:
        assert self.sender
        datagram = failover.poll(now, self.sender.spoken_at)
        if datagram is None:
            if failover.error and self._state is UploadState.ABANDONED:
                self._fail(failover.error)
            return None
        renewed = failover.from_new_port(now)
        return Transmit(memoryview(datagram), len(datagram), from_new_port=renewed)

    # -------------------------------------------------------------------------------- always

    def handle_timeout(self, now: float) -> None:
        """Act on the deadlines that have passed."""
        if self.sender:
            if self._has_left:
                self.sender.note_abandoned()
            self.sender.handle_timeout(now)
        else:
            self._initiator.handle_timeout(now)
            self._proceed(now)

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next burst, or None."""
        if self.sender and self._failover:
            abandoned = self._state is UploadState.ABANDONED
            if not self._has_left or (self.sender.ended and not abandoned):
                transmit = self.sender.poll_transmit(now)
                if transmit or self.sender.ended:
                    return transmit
            return self._poll_failover(self._failover, now)
        in_handshake = self._state is UploadState.HANDSHAKE
        hello = self._initiator.poll(now) if in_handshake else None
        return None if hello is None else Transmit(memoryview(hello), len(hello))

    def poll_event(self) -> Event | None:
        """The next event: see `Sender.poll_event`."""
        if self._events:
            event: Event | None = self._events.popleft()
        elif self._state is UploadState.SENDING and self.sender:
            event = self.sender.poll_event()
        else:
            return None
        if event and self._state is UploadState.SENDING:
            self._follow(UploadEvent.SENDER_ENDED)
        return event

    def next_timeout(self) -> float | None:
        """When something is due."""
        if self.sender and self._failover:
            failover_at = self._failover.next_timeout(self.sender.spoken_at)
            if self._state is UploadState.ABANDONED:
                return failover_at
            at = self.sender.patience_ends_at if self._has_left else self.sender.next_timeout()
            return None if at is None else min(at, failover_at)
        at = self._initiator.next_timeout
        return None if at == inf else at

    def abort(self, error: UdpftError, code: ErrorCode = ErrorCode.CANCELLED) -> None:
        """End the transfer from this side, and tell the server where there is one."""
        if self._state is UploadState.SENDING and self.sender:
            self.sender.abort(error, code)
        elif self._state in (UploadState.HANDSHAKE, UploadState.ABANDONED):
            self._fail(error)

    def _fail(self, error: UdpftError) -> None:
        self._follow(UploadEvent.FAIL)
        self._events.append(Failed(error))
