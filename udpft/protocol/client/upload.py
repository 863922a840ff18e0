"""Upload of a file to a server: the handshake, then the sending end, as one endpoint."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from math import inf
from random import Random

from udpft.errors import UdpftError
from udpft.protocol.contract import Batch, ChunkSource, Event, Failed, TransferIds, Transmit
from udpft.protocol.handshake.agreement import HandshakeResult, whole_chunks
from udpft.protocol.handshake.initiator import DEFAULT_OPTIONS, HandshakeOptions, Initiator
from udpft.protocol.params import IDLE_TIMEOUT_S, INITIAL_RECEIVE_ROOM, MAX_BURST_BYTES
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
    ENDED = auto()


class UploadEvent(Enum):
    """Event in the life of an upload, on the client."""

    ACCEPTED = auto()
    FAIL = auto()
    SENDER_ENDED = auto()


_S, _E = UploadState, UploadEvent

UPLOAD_STATES = TransitionTable(
    [_S.HANDSHAKE],
    [
        (_S.HANDSHAKE, _E.ACCEPTED, _S.SENDING, "ACCEPT: what the server has is left out"),
        (_S.HANDSHAKE, _E.FAIL, _S.ENDED, "ERROR, or no answer in time"),
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
        handshake: the server's answer; None until there is one.
        sender: the sending end; None during the handshake.
    """

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
        self._state = UploadState.HANDSHAKE
        self._initiator = Initiator(hello, now=now, options=options)
        self._events: deque[Event] = deque()
        self.handshake: HandshakeResult | None = None
        self.sender: Sender | None = None

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
            self._begin_sending(self._initiator.result, now)

    def _begin_sending(self, found: HandshakeResult, now: float) -> None:
        self._follow(UploadEvent.ACCEPTED)
        self.handshake = found
        accept, hello = found.accept, self._initiator.hello
        writer = BurstWriter(accept.chunk_size, bytearray(MAX_BURST_BYTES), accept.nonce)
        rates = (hello.max_rate_bytes_per_s, accept.max_rate_bytes_per_s)
        held = whole_chunks(accept.have, accept.chunk_size, hello.size)
        self.sender = Sender(
            TransferIds(accept.connection_id, hello.connection_id, accept.nonce),
            ChunkQueue(self._source, hello.size, writer, held),
            now=now,
            random=self._random,
            limits=SendLimits(
                accept.receive_room or INITIAL_RECEIVE_ROOM,
                min(filter(None, rates), default=0),
                self._idle_timeout_s,
            ),
        )

    def handle_timeout(self, now: float) -> None:
        """Act on the deadlines that have passed."""
        if self.sender:
            self.sender.handle_timeout(now)
        else:
            self._initiator.handle_timeout(now)
            self._proceed(now)

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next burst, or None."""
        if self.sender:
            return self.sender.poll_transmit(now)
        in_handshake = self._state is UploadState.HANDSHAKE
        hello = self._initiator.poll(now) if in_handshake else None
        return None if hello is None else Transmit(memoryview(hello), len(hello))

    def poll_event(self) -> Event | None:
        """The next event: see `Sender.poll_event`."""
        if self._events:
            return self._events.popleft()
        event = self.sender.poll_event() if self.sender else None
        if event:
            self._follow(UploadEvent.SENDER_ENDED)
        return event

    def next_timeout(self) -> float | None:
        """When something is due."""
        if self.sender:
            return self.sender.next_timeout()
        at = self._initiator.next_timeout
        return None if at == inf else at

    def abort(self, error: UdpftError, code: ErrorCode = ErrorCode.CANCELLED) -> None:
        """End the transfer from this side, and tell the server where there is one."""
        if self.sender:
            self.sender.abort(error, code)
        elif self._state is UploadState.HANDSHAKE:
            self._fail(error)

    def _fail(self, error: UdpftError) -> None:
        self._follow(UploadEvent.FAIL)
        self._events.append(Failed(error))
