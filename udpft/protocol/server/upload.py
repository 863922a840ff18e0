"""Server's end of an upload: reception, room on the disk, hashing of held chunks, commit.

The client sends what it has, and the server holds the rest: roles as in a download, with the
handshake the other way round. ACCEPT tells the client what is held already, and how fast it may be.

A server has other transfers to look after. So what is held is read a little at a time, while the
rest comes; and a place may take its time to commit, in which each FIN draws an ACK, so that the
client knows of life at this end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum, auto
from math import inf
from typing import Protocol

from udpft.errors import TimedOut, UdpftError
from udpft.protocol.contract import (
    NOT_READY_S,
    Batch,
    Completed,
    Event,
    Failed,
    NotReady,
    OpenedSink,
    Transmit,
    Verified,
)
from udpft.protocol.handshake.agreement import HandshakeResult, hole_chunks, whole_chunks
from udpft.protocol.params import GRANULARITY_S, QUIET_S
from udpft.protocol.server.download import Terms
from udpft.protocol.states import TransitionTable
from udpft.protocol.transfer.ack_schedule import ReceiveQueue
from udpft.protocol.transfer.receiver import FileLayout, Receiver
from udpft.protocol.transfer.work_budget import WorkBudget, WorkShare
from udpft.protocol.wire.accept import encode_accept, room_for_map
from udpft.protocol.wire.error import ErrorCode, code_of
from udpft.protocol.wire.hello import Role, fitted_map
from udpft.protocol.wire.packet import PacketType

_ASK_AGAIN_S = 0.002, 0.050
"""Seconds after which a place that commits is asked again: at first, and at most."""


class Place(Protocol):
    """Place that an upload goes to. ``size``, ``mtime_ns``, ``identity``: of the client's file."""

    size: int
    mtime_ns: int
    identity: int

    @property
    def have(self) -> tuple[tuple[int, int], ...]:
        """The byte ranges of it that are held."""
        ...

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Open it. Raises UdpftError."""
        ...

    def commit(self) -> bool:
        """Give the file, which is complete and verified, its name; whether that is done.

        Where not, it goes on, and is asked again.
        """
        ...

    def told(self, error: UdpftError) -> UdpftError:
        """An error in words that a stranger may read."""
        ...

    def close(self, error: BaseException | None = None, received_bytes: int = 0) -> None:
        """Give it back; ``error`` is what went wrong, and so many bytes have come for it."""
        ...


class ServerUploadState(Enum):
    """State of an upload, on the server."""

    RECEIVING = auto()
    COMMITTING = auto()
    CONFIRMED = auto()
    ENDED = auto()


class ServerUploadEvent(Enum):
    """Event in the life of an upload, on the server."""

    VERIFIED = auto()
    COMMITTED = auto()
    FAIL = auto()


_S, _E = ServerUploadState, ServerUploadEvent

SERVER_UPLOAD_STATES = TransitionTable(
    [_S.RECEIVING],
    [
        (_S.RECEIVING, _E.VERIFIED, _S.COMMITTING, "all is held, and the digests agree"),
        (_S.RECEIVING, _E.FAIL, _S.ENDED, "an error at either end, or silence"),
        (
            _S.COMMITTING,
            _E.COMMITTED,
            _S.CONFIRMED,
            "FIN_ACK, again for each FIN",
        ),
        (_S.COMMITTING, _E.FAIL, _S.ENDED, "the disk refuses, or the server stops"),
        (_S.CONFIRMED, _E.FAIL, _S.CONFIRMED, "the server stops: it is over already"),
        (_S.ENDED, _E.FAIL, _S.ENDED, "a second error"),
    ],
)
"""Transitions of an upload on the server; it begins in RECEIVING."""


def begin_upload(
    terms: Terms,
    place: Place,
    receive_queue: ReceiveQueue,
    now: float,
    work: WorkShare | None = None,
) -> ServerUpload:
    """Begin to take a client's file; ``work`` is its share, for hashing what is held of it.

    Raises:
        UdpftError: from the place, which is closed.
    """
    accept = terms.accept._replace(
        receive_room=receive_queue()[0], max_rate_bytes_per_s=terms.max_rate, have=place.have
    )
    if terms.hello.role == Role.PUT:
        room_bytes = room_for_map(terms.largest_accept, len(accept.have))
        accept = accept._replace(sparse_map=fitted_map(terms.hello.sparse_map, room_bytes))
    room = DiskRoom(receive_queue)
    try:
        opened = place.open_sink(HandshakeResult(accept, 0, b"", 0.0, accept.have))
        room.of_disk = opened.room
        receiver = Receiver(
            terms.ids,
            FileLayout.of(accept.size, accept.chunk_size),
            opened,
            receive_queue=room.receive_queue,
            now=now,
            idle_timeout_s=terms.idle_timeout_s,
            peer="client",
        )
        held_chunks = whole_chunks(accept.have, accept.chunk_size, accept.size)
        receiver.note_holes(
            hole_chunks(accept.sparse_map, accept.chunk_size, accept.size, held_chunks)
        )
    except UdpftError as error:
        place.close(error)
        raise place.told(error) from error
    except BaseException as error:
        place.close(error)
        raise
    prelude = encode_accept(accept, terms.hello.connection_id, terms.accept_size)
    held = Held(
        iter(opened.present), work or WorkBudget().share_of(None), now + terms.idle_timeout_s
    )
    return ServerUpload(receiver, place, prelude, now, held, room)


class DiskRoom:
    """Room for what a client brings: of the socket, and of what waits to be written.

    Args:
        of_socket: asks the socket.

    Attributes:
        of_disk: asks how many bytes may come before the disk has caught up; None where that does
            not matter. Set by the owner.
        dropped: datagrams that found no room.
    """

    def __init__(self, of_socket: ReceiveQueue) -> None:
        self._of_socket = of_socket
        self.of_disk: Callable[[], int] | None = None
        self.dropped = 0

    def receive_queue(self) -> tuple[int, int]:
        """Bytes that may come, and datagrams that found no room: see `ReceiveQueue`."""
        room, dropped = self._of_socket()
        if self.of_disk:
            room = min(room, self.of_disk())
        return room, dropped + self.dropped

    def takes(self, batch: Batch) -> bool:
        """Tell whether there is room for a batch; where not, it is as if the socket had none."""
        if not self.of_disk or batch.buffer[0] != PacketType.DATA:
            return True
        if self.of_disk() >= batch.length:
            return True
        self.dropped += -(-batch.length // max(1, batch.segment_size))
        return False


class Held:
    """Chunks of an upload that are held already, which are hashed while the rest comes.

    Args:
        runs: hashes of those chunks, with the number of each first one.
        work: its share in what the server hashes in a turn.
        patience_ends_at: until when they are hashed for a client that says nothing.

    Attributes:
        work: as ``work``.
        patience_ends_at: moved on with each packet from the client.
        due_at: when they are hashed on, in seconds; after those that had no turn.
    """

    def __init__(
        self, runs: Iterator[tuple[int, bytes]], work: WorkShare, patience_ends_at: float
    ) -> None:
        self._runs = runs
        self.work = work
        self.patience_ends_at = patience_ends_at
        self.due_at = -inf

    def next_runs(self, now: float) -> Iterator[tuple[int, bytes] | None]:
        """Iterate over the runs of this turn, if it is one; None after the last of all."""
        bursts = self.work.take()
        self.due_at = now + GRANULARITY_S if bursts else now
        for _ in range(bursts):
            run = next(self._runs, None)
            yield run
            if run is None:
                return


class ServerUpload:
    """One upload, from ACCEPT to FIN_ACK; a `contract.Endpoint`. See `begin_upload`.

    Args:
        receiver: the receiving end.
        place: the place that it fills.
        prelude: ACCEPT.
        now: seconds on the driver's clock.
        held: chunks that are held already.
        room: for what comes.

    Attributes:
        prelude: see above; repeated to a client that asks again.
        heard: whether the client has shown that it knows of the transfer.
        bytes_sent: bytes of all packets that left.
    """

    def __init__(
        self,
        receiver: Receiver,
        place: Place,
        prelude: bytes,
        now: float,
        held: Held,
        room: DiskRoom,
    ) -> None:
        self._room = room
        self._receiver = receiver
        self._place = place
        self._held: Held | None = held  # None once all was read
        self._idle_timeout_s = held.patience_ends_at - now
        self._state = ServerUploadState.RECEIVING
        self._control: deque[bytes] = deque([prelude])  # wait to be sent
        self._events: deque[Event] = deque()
        self._began = now
        self._commits_since = now  # when the place was first asked to commit
        self._ask_at = inf  # when a place that commits is asked again
        self._fin_ack = b""  # said again for each FIN, once confirmed
        self.prelude = prelude
        self.heard = False
        self.bytes_sent = 0

    @property
    def state(self) -> ServerUploadState:
        """The state, see `SERVER_UPLOAD_STATES`."""
        return self._state

    @property
    def is_busy_itself(self) -> bool:
        """Whether it reads what is held, or commits."""
        return self._held is not None or self._state is not ServerUploadState.RECEIVING

    @property
    def packets_resent(self) -> int:
        """Packets that the client needed beyond one a chunk."""
        return self._receiver.resent_packets

    @property
    def bytes_received(self) -> int:
        """Bytes of chunks that were new."""
        return self._receiver.bytes_received

    def _follow(self, event: ServerUploadEvent) -> None:
        self._state = SERVER_UPLOAD_STATES.follow(self._state, event)

    def is_abandoned(self, now: float) -> bool:
        """Whether its client has been silent so long that another one may take its place."""
        silent = now >= self._receiver.heard_at + QUIET_S
        return silent and self._state in (ServerUploadState.RECEIVING, ServerUploadState.ENDED)

    def repeat_prelude(self) -> None:
        """Queue ACCEPT again: the client has asked. Once it was heard, this does nothing."""
        if not self.heard and not self._control:
            self._control.append(self.prelude)

    def handle_datagrams(self, batch: Batch, now: float) -> None:
        """Take in a batch. When all is held and verified, it is committed."""
        if self._state is ServerUploadState.CONFIRMED:
            if batch.length and batch.buffer[0] == PacketType.FIN:
                self._control.append(self._fin_ack)  # the last one was lost
            return
        if batch.length and batch.buffer[0] == PacketType.HELLO:
            self._handle_question(batch, now)
            return
        if not self._room.takes(batch):
            return
        heard_at = self._receiver.heard_at
        try:
            self._receiver.handle_datagrams(batch, now)
        except UdpftError as error:
            self._fail(error)
        if self._held and self._receiver.heard_at > heard_at:
            self._held.patience_ends_at = now + self._idle_timeout_s
        self.heard = self.heard or self._receiver.heard_at > self._began
        self._proceed(now)

    def _handle_question(self, batch: Batch, now: float) -> None:
        """Tell a client that hears nothing, and asks, that this end is still here."""
        self._receiver.handle_datagrams(batch, now)
        if self._receiver.heard_at != now:
            return
        if self._held:
            self._held.patience_ends_at = now + self._idle_timeout_s
        if self.prelude not in self._control:
            self._control.append(self.prelude)

    def _proceed(self, now: float) -> None:
        """See whether it is time to commit, or over."""
        while event := self._receiver.poll_event():
            if isinstance(event, Verified):
                self._follow(ServerUploadEvent.VERIFIED)
                self._commits_since = now
                self._ask_at = now
            else:
                self._events.append(event)
                if self._state is ServerUploadState.RECEIVING:
                    self._follow(ServerUploadEvent.FAIL)
        if self._state is ServerUploadState.COMMITTING and now >= self._ask_at:
            self._commit(now)

    def _commit(self, now: float) -> None:
        """Ask the place whether it is done, and say so."""
        receiver = self._receiver
        first_s, longest_s = _ASK_AGAIN_S
        try:
            if not self._place.commit():
                waited_s = now - self._commits_since
                self._ask_at = now + max(first_s, min(longest_s, waited_s / 8))
                return
        except UdpftError as error:
            self._follow(ServerUploadEvent.FAIL)
            self._fail(error)
        else:
            self._follow(ServerUploadEvent.COMMITTED)
            self._events.clear()  # whatever the client said meanwhile, it is done
            receiver.confirm()
            while transmit := receiver.poll_transmit(now):
                self._fin_ack = bytes(transmit.data)
                self._control.append(self._fin_ack)
        self._proceed(now)

    def _fail(self, error: UdpftError) -> None:
        told = self._place.told(error)
        self._receiver.abort(told, code_of(told))

    def _read_on(self, now: float) -> None:
        """Hash some of what is held already, for a client that shows that it is there."""
        held = self._held
        assert held is not None
        if now >= held.patience_ends_at:
            self._held = None
            self._fail(TimedOut("the client fell silent while what is held was read"))
            return
        try:
            for run in held.next_runs(now):
                if run is None:
                    self._held = None
                    self._receiver.verify_if_complete()
                    return
                self._receiver.note_held(*run)
        except NotReady:
            held.due_at = now + NOT_READY_S
        except UdpftError as error:
            self._held = None
            self._fail(error)

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next datagram: ACCEPT, then those of the receiver."""
        if self._control:
            datagram = self._control.popleft()
            transmit: Transmit | None = Transmit(memoryview(datagram), len(datagram))
        else:
            if self._held and now >= self._held.due_at:
                self._read_on(now)
                self._proceed(now)
            transmit = self._receiver.poll_transmit(now)
        if transmit:
            self.bytes_sent += len(transmit.data)
        return transmit

    def poll_event(self) -> Event | None:
        """The next event: one Completed or Failed; none while it commits."""
        if self._state is ServerUploadState.COMMITTING:
            return None
        return self._events.popleft() if self._events else None

    def handle_timeout(self, now: float) -> None:
        """Give the upload up where nothing new came for too long, or go on committing it."""
        if self._state is not ServerUploadState.COMMITTING:
            self._receiver.handle_timeout(now)
        self._proceed(now)

    def next_timeout(self) -> float | None:
        """When something is due."""
        if self._held:
            return max(self._began, self._held.due_at)
        if self._state is ServerUploadState.COMMITTING:
            return self._ask_at
        return self._receiver.next_timeout()

    def abort(self, error: UdpftError, code: ErrorCode = ErrorCode.CANCELLED) -> None:
        """End the upload from this side, and tell the client why."""
        self._follow(ServerUploadEvent.FAIL)
        self._receiver.abort(error, code)
        self._proceed(-inf)

    def close(self, event: Completed | Failed) -> None:
        """Give the place back, now that it is over."""
        error = event.error if isinstance(event, Failed) else None
        self._place.close(error, self.bytes_received)
