"""Download of a file from a server: the handshake, then the receiving end, as one endpoint."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from math import inf

from udpft.errors import SourceChanged, UdpftError
from udpft.protocol.client.failover import Failover
from udpft.protocol.contract import (
    Batch,
    Completed,
    Event,
    Failed,
    OpenedSink,
    TransferIds,
    Transmit,
)
from udpft.protocol.handshake.agreement import (
    HandshakeResult,
    byte_ranges,
    hole_chunks,
    whole_chunks,
)
from udpft.protocol.handshake.initiator import DEFAULT_OPTIONS, HandshakeOptions, Initiator
from udpft.protocol.params import IDLE_TIMEOUT_S
from udpft.protocol.ranges import RangeSet
from udpft.protocol.states import TransitionTable
from udpft.protocol.transfer.closing import parting_words
from udpft.protocol.transfer.receiver import FileLayout, Receiver, ReceiverState
from udpft.protocol.wire.accept import Accept
from udpft.protocol.wire.error import ErrorCode, Refusal, encode_error
from udpft.protocol.wire.hello import Hello


class DownloadState(Enum):
    """State of a download, on the client."""

    HANDSHAKE = auto()
    RECEIVING = auto()
    ABANDONED = auto()
    ENDED = auto()


class DownloadEvent(Enum):
    """Event in the life of a download, on the client."""

    ACCEPTED = auto()
    FAIL = auto()
    OTHER_SERVER = auto()
    OTHER_CHUNKS = auto()
    GIVEN_UP = auto()
    RECEIVER_ENDED = auto()


_S, _E = DownloadState, DownloadEvent

DOWNLOAD_STATES = TransitionTable(
    [_S.HANDSHAKE],
    [
        (_S.HANDSHAKE, _E.ACCEPTED, _S.RECEIVING, "ACCEPT: ``open_sink`` is called with it"),
        (_S.HANDSHAKE, _E.FAIL, _S.ENDED, "ERROR, no answer in time, or a sink that does not open"),
        (_S.RECEIVING, _E.OTHER_SERVER, _S.RECEIVING, "another server goes on with the same file"),
        (_S.RECEIVING, _E.OTHER_CHUNKS, _S.RECEIVING, "the same, in chunks of another size"),
        (_S.RECEIVING, _E.GIVEN_UP, _S.ABANDONED, "the server has ended the session, by its clock"),
        (_S.ABANDONED, _E.OTHER_SERVER, _S.RECEIVING, "it goes on, here or there"),
        (_S.ABANDONED, _E.OTHER_CHUNKS, _S.RECEIVING, "the same, in chunks of another size"),
        (_S.ABANDONED, _E.FAIL, _S.ENDED, "no server has let it in again in time"),
        (_S.RECEIVING, _E.RECEIVER_ENDED, _S.ENDED, "the receiver has told its outcome"),
    ],
)
"""Transitions of a download on the client; it begins in HANDSHAKE."""


class Download:
    """Download of one file, on the client; a `contract.Endpoint`.

    Args:
        hello: the request.
        open_sink: called with the server's consent; returns where the file goes and the hashes of
            chunks that are held already, which are those that ``have`` holds whole; or raises an
            `UdpftError`, which ends the transfer and is told to the server. Called again where
            the transfer goes on in chunks of another size.
        receive_queue: asks the socket, see `Receiver`.
        now: seconds on the driver's clock.
        options: of the handshake.
        idle_timeout_s: seconds without progress after which the transfer has failed.

    Attributes:
        handshake: the newest server's answer; None until there is one.
        receiver: the receiving end; None during the handshake.
    """

    def __init__(
        self,
        hello: Hello,
        *,
        open_sink: Callable[[HandshakeResult], OpenedSink],
        receive_queue: Callable[[], tuple[int, int]],
        now: float,
        options: HandshakeOptions = DEFAULT_OPTIONS,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._open_sink = open_sink
        self._receive_queue = receive_queue
        self._idle_timeout_s = idle_timeout_s
        self._keyed = options.keyed
        self._state = DownloadState.HANDSHAKE
        self._initiator = Initiator(hello, now=now, options=options)
        self._failover: Failover | None = None  # watches the server, once there is one
        self._events: deque[Event] = deque()  # of the handshake
        self._holes: list[tuple[int, int]] = []  # chunks of a sparse file that do not come
        self._closing: bytes | None = None  # an ERROR to a server that was let down
        # Totals of receivers that were given up for chunks of another size
        self._received_before = 0
        self._resent_before = 0
        self.handshake: HandshakeResult | None = None
        self.receiver: Receiver | None = None

    @property
    def rest_until(self) -> float:
        """When the socket is to be read next."""
        return self.receiver.rest_until if self.receiver else 0.0

    @property
    def bytes_received(self) -> int:
        """Bytes of chunks that were new, from all servers."""
        return self._received_before + (self.receiver.bytes_received if self.receiver else 0)

    @property
    def bytes_held(self) -> int:
        """Bytes of the file that are held by now."""
        if not self.receiver:
            return 0
        return self.receiver.bytes_held + self.hole_bytes + self.receiver.bytes_received

    @property
    def hole_bytes(self) -> int:
        """Bytes of the holes of a sparse file, which do not come."""
        return self.receiver.totals.hole_bytes if self.receiver else 0

    @property
    def resent_packets(self) -> int:
        """Packets that the servers needed beyond one a chunk."""
        return self._resent_before + (self.receiver.resent_packets if self.receiver else 0)

    @property
    def resent_share(self) -> float:
        """Share of the packets so far that were needed beyond one a chunk."""
        chunks = self.receiver.chunks_received if self.receiver else 0
        return self.resent_packets / max(1, chunks + self.resent_packets)

    @property
    def bundles_vanish(self) -> bool:
        """Whether packets arrive only one by one, because the path drops bursts."""
        return self.receiver is not None and self.receiver.bundles_vanish

    @property
    def largest_size(self) -> float:
        """Bytes of the largest datagram that the handshake still tries: see `Initiator`."""
        return self._initiator.largest_size

    def senders(self) -> tuple[()]:
        """Sending ends at this end: none, as `Upload.senders` has one."""
        return ()

    def note_refused(self, now: float) -> None:
        """Note that nothing listens at the other end, now; another server may soon."""
        if self._failover:
            self._failover.note_refused(now)

    @property
    def answered(self) -> bool:
        """Whether the server has answered the request in any way."""
        return self.handshake is not None or self._initiator.rtt_s is not None

    def _follow(self, event: DownloadEvent) -> None:
        self._state = DOWNLOAD_STATES.follow(self._state, event)

    # ------------------------------------------------------------------------------- handshake

    def handle_datagrams(self, batch: Batch, now: float) -> None:
        """Take in a batch, for the handshake or the receiver.

        Raises:
            UdpftError: from the sink, which cannot write.
        """
        if self.receiver:
            self.receiver.handle_datagrams(batch, now)
            if self._failover and self._failover.awake:
                self._look_for_another_server(batch, now)
            if self.receiver.ended:
                self._note_end(now)
            return
        for count, datagram in enumerate(batch.datagrams(), 1):
            self._initiator.handle(datagram, now)
            self._proceed(now)
            if self.receiver:
                # The kernel may have joined the first DATA to ACCEPT.
                self.receiver.handle_datagrams(batch.after(count), now)
                return

    def _proceed(self, now: float) -> None:
        """Go on to receiving, or end, where the handshake is over."""
        if self._state is not DownloadState.HANDSHAKE:
            return
        found = self._initiator.result
        if self._initiator.error:
            self._fail(self._initiator.error)
        elif found:
            self.handshake = found
            try:
                opened = self._open_sink(found)
            except UdpftError as error:
                self._let_down(found.accept, error)
                self._fail(error)
                return
            self._follow(DownloadEvent.ACCEPTED)
            self._begin_receiving(opened, found, self._initiator.hello, now)

    def _begin_receiving(
        self, opened: OpenedSink, found: HandshakeResult, hello: Hello, now: float
    ) -> None:
        accept = found.accept
        self.receiver = Receiver(
            _ids(hello, accept),
            FileLayout.of(accept.size, accept.chunk_size),
            opened,
            receive_queue=self._receive_queue,
            now=now,
            idle_timeout_s=self._idle_timeout_s,
            rtt_s=found.rtt_s,
        )
        for first_chunk, hashes in opened.present:
            self.receiver.note_held(first_chunk, hashes)
        self._note_holes(found)
        self._failover = self._new_failover(hello, found)

    def _note_holes(self, found: HandshakeResult) -> None:
        """Count the holes of a sparse file as held, but for what is held here: that may differ."""
        assert self.receiver
        accept = found.accept
        if accept.sparse_map.holes:
            held = whole_chunks(found.have, accept.chunk_size, accept.size)
            holes = hole_chunks(accept.sparse_map, accept.chunk_size, accept.size, held)
            self.receiver.note_holes(holes)
            self._holes = list(holes)

    def _new_failover(self, hello: Hello, found: HandshakeResult) -> Failover:
        return Failover(
            hello, found, self._held, keyed=self._keyed, patience_s=self._idle_timeout_s
        )

    def _let_down(self, accept: Accept, error: UdpftError) -> None:
        """Tell a server that has agreed to a transfer that there will be none, and why."""
        reason, code = parting_words(error)
        refusal = Refusal(accept.nonce, code, reason)
        self._closing = encode_error(refusal, accept.connection_id)

    # ------------------------------------------------------------------------- another server

    def _held(self) -> tuple[tuple[int, int], ...]:
        """The byte ranges that another server need not send."""
        assert self.receiver
        assert self.handshake
        accept = self.handshake.accept
        holes = set(self._holes)  # which it finds itself; HELLO has room for a few ranges
        held = RangeSet(run for run in self.receiver.chunks if run not in holes)
        return byte_ranges(held, accept.chunk_size, accept.size)

    def _note_end(self, now: float) -> None:
        """Take in how the receiver has ended: where the server gave up, another one is asked."""
        assert self.receiver
        assert self._failover
        while event := self.receiver.poll_event():
            if isinstance(event, Failed) and event.given_up:
                self._follow(DownloadEvent.GIVEN_UP)
                self._failover.note_given_up(event.error, now)
            else:
                self._events.append(event)

    def _look_for_another_server(self, batch: Batch, now: float) -> None:
        assert self.receiver
        assert self._failover
        failover = self._failover
        for count, datagram in enumerate(batch.datagrams(), 1):
            abandoned = self._state is DownloadState.ABANDONED
            over = (ReceiverState.VERIFIED, ReceiverState.ENDED)
            if self.receiver.state in over and not abandoned:
                return
            failover.handle(datagram, now, self.receiver.heard_at)
            if failover.error:
                self.abort(failover.error)
            elif failover.result:
                self._change_server(failover.hello, failover.result, now)
                self.receiver.handle_datagrams(batch.after(count), now)
                return

    def _change_server(self, hello: Hello, found: HandshakeResult, now: float) -> None:
        """Go on with another server, where it has the same file."""
        assert self.receiver
        assert self.handshake
        old, new = self.handshake.accept, found.accept
        try:
            if (new.identity, new.size) != (old.identity, old.size):
                raise SourceChanged("the file changed on the server while it was sent")
            if (new.chunk_size, new.sparse_map) == (old.chunk_size, old.sparse_map):
                self._follow(DownloadEvent.OTHER_SERVER)
                self.receiver.change_session(_ids(hello, new), now)
                self._failover = self._new_failover(hello, found)
            else:
                self._follow(DownloadEvent.OTHER_CHUNKS)
                self._received_before = self.bytes_received
                self._resent_before = self.resent_packets
                self._begin_receiving(self._open_sink(found), found, hello, now)
        except UdpftError as error:
            self._let_down(new, error)
            self.abort(error)
            return
        self.handshake = found

    # -------------------------------------------------------------------------------- always

    def handle_timeout(self, now: float) -> None:
        """Act on the deadlines that have passed."""
        if self.receiver:
            self.receiver.handle_timeout(now)
        else:
            self._initiator.handle_timeout(now)
            self._proceed(now)

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next datagram to send, or None."""
        datagram: bytes | None = None
        if self._closing:
            datagram, self._closing = self._closing, None
        elif self.receiver:
            transmit = self.receiver.poll_transmit(now)
            if transmit or not self._failover:
                return transmit
            if self.receiver.ended and self._state is not DownloadState.ABANDONED:
                return None
            return self._poll_failover(self._failover, now)
        elif self._state is DownloadState.HANDSHAKE:
            datagram = self._initiator.poll(now)
        return None if datagram is None else Transmit(memoryview(datagram), len(datagram))

    def _poll_failover(self, failover: Failover, now: float) -> Transmit | None:
        assert self.receiver
        datagram = failover.poll(now, self.receiver.heard_at)
        if datagram is None:
            if failover.error and self._state is DownloadState.ABANDONED:
                self._fail(failover.error)
            return None
        renewed = failover.from_new_port(now)
        return Transmit(memoryview(datagram), len(datagram), from_new_port=renewed)

    def poll_event(self) -> Event | None:
        """The next event: see `Receiver.poll_event`."""
        receiving = self._state is DownloadState.RECEIVING
        event: Event | None = None
        if self._events:
            event = self._events.popleft()
        elif receiving and self.receiver:
            event = self.receiver.poll_event()
        if event and receiving and isinstance(event, (Completed, Failed)):
            self._follow(DownloadEvent.RECEIVER_ENDED)
        return event

    def next_timeout(self) -> float | None:
        """When something is due."""
        if self.receiver:
            due_at = self.receiver.next_timeout()
            if due_at is None and self._state is DownloadState.ABANDONED:
                due_at = inf
            if due_at is None or not self._failover:
                return due_at
            return min(due_at, self._failover.next_timeout(self.receiver.heard_at))
        at = self._initiator.next_timeout
        return None if at == inf else at

    def abort(self, error: UdpftError, code: ErrorCode = ErrorCode.CANCELLED) -> None:
        """End the transfer from this side, and tell the server where there is one."""
        if self._state is DownloadState.ABANDONED:
            self._fail(error)
        elif self.receiver:
            self.receiver.abort(error, code)
        elif self._state is DownloadState.HANDSHAKE:
            self._fail(error)

    def _fail(self, error: UdpftError) -> None:
        self._follow(DownloadEvent.FAIL)
        self._events.append(Failed(error))


def _ids(hello: Hello, accept: Accept) -> TransferIds:
    """The numbers of the packets of a transfer that a server has agreed to."""
    return TransferIds(accept.connection_id, hello.connection_id, accept.nonce)
