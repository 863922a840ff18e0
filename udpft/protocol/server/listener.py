"""Listener: all reliable transfers of one server, without its socket.

A driver calls, in this order: `Listener.handle_datagrams` for each batch received;
`Listener.handle_timeout` once `Listener.next_timeout` has come; `Listener.poll_transmit` until it
returns None, sending each result before the next call; `Listener.poll_outcome` and
`Listener.poll_refused` until they return None.

Transfers take turns (`scheduler`), so that a client on a fast path does not starve the others.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from udpft.errors import NoSuchFile, PartialTransfer, ServerBusy, TimedOut, UdpftError
from udpft.protocol.contract import Batch, Completed, Failed, Transmit
from udpft.protocol.handshake.address_validation import AddressValidator
from udpft.protocol.keyed.notice import KeyedType
from udpft.protocol.params import INITIAL_RECEIVE_ROOM
from udpft.protocol.server.ended import EndedHellos
from udpft.protocol.server.eviction import Eviction
from udpft.protocol.server.failure import failure_of
from udpft.protocol.server.greeting_limit import GreetingLimit
from udpft.protocol.server.outcome import Outcome, Refused
from udpft.protocol.server.scheduler import Scheduler
from udpft.protocol.server.session import PeerAddress, Session
from udpft.protocol.server.session_creation import (
    DEFAULT_LIMITS,
    UPLOADS,
    Entropy,
    Limits,
    OpenPlace,
    OpenSource,
    Request,
    SessionCreation,
)
from udpft.protocol.server.upload import ServerUpload
from udpft.protocol.transfer.ack_schedule import ReceiveQueue
from udpft.protocol.transfer.sender import Sender
from udpft.protocol.transfer.work_budget import WorkBudget
from udpft.protocol.wire.error import ErrorCode, Refusal, code_of, encode_error, reason_of
from udpft.protocol.wire.hello import Hello, Role
from udpft.protocol.wire.packet import COMMON, PacketType, connection_id_untrusted

if TYPE_CHECKING:
    from udpft.protocol.keyed.channel import KeyedAcceptor, ServerChannel

MAX_REPLIES_WAITING: Final = 1_024
"""RETRYs and refusals that wait to be sent; what a flood asks for beyond them is lost."""

LINGER_S = 3.0
"""Seconds for which an upload that is over answers each FIN: its client must know, and asks every
second at least."""

_U64 = 0xFFFF_FFFF_FFFF_FFFF


class AddressedTransmit(NamedTuple):
    """Burst to send, and the address that it goes to."""

    transmit: Transmit
    address: Any


class Listener:
    """All reliable transfers of one server.

    Args:
        open_source: opens files to be fetched, see `OpenSource`.
        entropy: random numbers.
        limits: of the server.
        open_place: opens places for uploads, see `OpenPlace`; None where there are none.
        acceptor: where there is a key: who cannot seal a HELLO for it hears nothing.
        receive_queue: asks the socket, for uploads: see `Receiver`.
        usage: asked when a transfer begins; its answer is in the `Outcome` then.
        on_failure: told of each exception that nobody expected; see `failure`. Must not raise.
    """

    def __init__(
        self,
        *,
        open_source: OpenSource,
        entropy: Entropy,
        limits: Limits = DEFAULT_LIMITS,
        open_place: OpenPlace | None = None,
        acceptor: KeyedAcceptor | None = None,
        receive_queue: ReceiveQueue = lambda: (INITIAL_RECEIVE_ROOM, 0),
        usage: Callable[[], Any] = lambda: None,
        on_failure: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._usage = usage
        self._on_failure = on_failure
        self._acceptor = acceptor
        self._work = WorkBudget()
        self._validator = AddressValidator(entropy.secret)
        self._creation = SessionCreation(
            open_source,
            open_place,
            entropy,
            limits,
            self._work,
            receive_queue=receive_queue,
            is_taken=self._is_taken,
            end_abandoned=self.end_abandoned,
        )
        self._eviction = Eviction(self._creation.admission.charged_host)
        self._greeting_limit = GreetingLimit(self._creation.admission.charged_host)
        self._sessions: dict[int, Session] = {}  # at work, by connection id
        self._by_hello: dict[tuple[PeerAddress, int], Session] = {}  # at work, by `Session.key`
        self._ended_hellos = EndedHellos()  # a replay of them draws nothing
        # Uploads that are over, and until when they answer each FIN
        self._lingering: OrderedDict[int, tuple[Session, float]] = OrderedDict()
        self._replies: deque[AddressedTransmit] = deque()  # to strangers
        self._replied = False  # whether the last burst was one of these
        self._scheduler: Scheduler[Session] = Scheduler()
        self._timers: list[tuple[float, int, Session]] = []  # a heap; the number breaks ties
        self._timer_count = 0
        self._outcomes: deque[Outcome] = deque()
        self._refused: deque[Refused] = deque(maxlen=MAX_REPLIES_WAITING)

    def __len__(self) -> int:
        """Transfers at work."""
        return len(self._sessions)

    @property
    def draining(self) -> bool:
        """Whether no more transfers are admitted, for the server stops."""
        return self._creation.draining

    @draining.setter
    def draining(self, draining: bool) -> None:
        """Admit no more transfers, or again."""
        self._creation.draining = draining

    def senders(self) -> list[Sender]:
        """The sending ends of the transfers at work: to look at, for a trace over time."""
        ends = (session.end for session in self._sessions.values())
        return [end for end in ends if isinstance(end, Sender)]

    # ------------------------------------------------------------------------------- incoming

    def handle_datagrams(self, batch: Batch, now: float) -> None:
        """Take in a batch from one address."""
        if self._acceptor:
            self._handle_sealed(self._acceptor, batch, now)
            return
        if batch.length >= COMMON.size and batch.buffer[0] != PacketType.HELLO:
            session = self._session_of(batch.buffer)
            if session:
                if session.address == batch.address:
                    self._hand(session, batch, now)
                return
        source = repr(batch.address).encode()
        for datagram in self._greetings(batch, now):
            if self._is_question(datagram, batch.address, now):
                continue
            answer = self._validator.validate_untrusted(datagram, source, now)
            if isinstance(answer, Hello):
                self._let_in(Request(answer, len(datagram), batch.address), now)
            elif answer:
                self._reply(answer, batch.address)

    def _greetings(self, batch: Batch, now: float) -> Iterable[memoryview]:
        """Take as many datagrams of a batch for no transfer as its address may send."""
        count = -(-batch.length // max(1, batch.segment_size))
        taken = self._greeting_limit.take(batch.address, count, now)
        return islice(batch.datagrams(), taken)

    def _session_of(self, buffer: bytearray) -> Session | None:
        """The transfer that a datagram is for: one at work, or an upload whose client may not know
        yet that it is over, for FIN_ACK was lost."""
        connection_id = connection_id_untrusted(buffer)
        session = self._sessions.get(connection_id)
        if session or connection_id not in self._lingering:
            return session
        return self._lingering[connection_id][0]

    def _is_question(self, datagram: memoryview, address: PeerAddress, now: float) -> bool:
        """Take in a datagram if it names a transfer: a HELLO that asks whether it is still known.

        Such a one may arrive in one batch with others of its size that begin something new.
        """
        if len(datagram) < COMMON.size:
            return False
        session = self._sessions.get(connection_id_untrusted(datagram))
        if not session or session.address != address:
            return False
        self._hand(session, Batch.of(datagram, address), now)
        return True

    def _hand(self, session: Session, batch: Batch, now: float) -> None:
        """Hand a batch to the transfer that it is for."""
        if session.silent:
            return
        try:
            session.end.handle_datagrams(batch, now)
        except Exception as error:
            self._fail(session, error, now)
        self._scheduler.wake(session)

    def _handle_sealed(self, acceptor: KeyedAcceptor, batch: Batch, now: float) -> None:
        """Take in a batch where there is a key."""
        if batch.length >= COMMON.size and batch.buffer[0] == KeyedType.SEALED:
            session = self._session_of(batch.buffer)
            if session and session.channel and session.address == batch.address:
                opened = session.channel.open_untrusted(batch)
                if opened:
                    self._hand(session, opened, now)
            return
        source = repr(batch.address).encode()
        for datagram in self._greetings(batch, now):
            channel = acceptor.read_hello_untrusted(datagram)
            if channel is None:
                continue
            size = len(datagram)
            hello = memoryview(channel.hello)
            if self._is_question(hello, batch.address, now):
                continue
            answer = self._validator.validate_untrusted(hello, source, now, size)
            if isinstance(answer, Hello):
                self._let_in(Request(answer, size, batch.address, channel), now)
            elif answer:
                self._reply(channel.seal_retry(answer), batch.address)

    def _let_in(self, request: Request, now: float) -> None:
        """Begin a transfer, once for each HELLO however often it comes."""
        key = (request.address, request.hello.nonce)
        if self._ended_hellos.knows(key, now):
            return
        if known := self._by_hello.get(key):
            known.end.repeat_prelude()
            self._scheduler.wake(known)
            return
        self._replace(*key, now)
        if not self.draining:
            self._make_room(request.address, now)
        try:
            session = self._creation.begin(request, now)
        except UdpftError as error:
            self._refuse(request, error)
            return
        except Exception as error:
            self._on_failure(error)
            self._refuse(request, failure_of(error))
            return
        session.usage = self._usage()
        self._sessions[session.connection_id] = session
        self._by_hello[key] = session
        self._scheduler.wake(session)

    def _make_room(self, address: PeerAddress, now: float) -> None:
        """End a transfer that brings nothing, where there is no room for another one."""
        admission = self._creation.admission
        if admission.has_its_share(address):
            host = admission.charged_host(address)
        elif admission.is_full:
            host = None
        else:
            return
        if not self.make_way(host, now):
            admission.note_no_room(host)

    def make_way(self, host: Hashable | None, now: float) -> bool:
        """End a transfer that brings nothing, if there is one; return whether there was.

        ``host``: whose transfers alone may go; None for all.
        """
        victim = self._eviction.next_victim(self._sessions, now, host)
        if victim is None:
            return False
        error: UdpftError
        if victim.end.heard:  # which may go on when there is room
            error = TimedOut(
                "the server is full, and hardly anything of this transfer arrived lately"
            )
        else:
            error = ServerBusy("the server is full", hint="try again in a moment")
        self._cut_off(
            victim, error, now, ErrorCode.TIMED_OUT if victim.end.heard else ErrorCode.BUSY
        )
        return True

    def _is_taken(self, connection_id: int) -> bool:
        return connection_id in self._sessions or connection_id in self._lingering

    def _replace(self, address: PeerAddress, nonce: int, now: float) -> None:
        """End the transfer that a client never heard of: it begins again under the next nonce."""
        known = self._by_hello.get((address, (nonce - 1) & _U64))
        if known and not known.end.heard:
            known.silent = True
            self._end(known, Failed(PartialTransfer("the client began again")), now)

    def end_abandoned(self, name: str, now: float) -> None:
        """End an upload of a name whose client has gone: it, or another one, begins again."""
        for session in list(self._sessions.values()):
            end = session.end
            if session.name == name and isinstance(end, ServerUpload) and end.is_abandoned(now):
                self._end(session, Failed(PartialTransfer("another upload took its place")), now)
                session.silent = True

    def _refuse(self, request: Request, error: UdpftError) -> None:
        hello = request.hello
        # Of who brings a tree, and asks whether there is anything: no is an answer.
        answered = isinstance(error, NoSuchFile) and hello.role == Role.LIST and hello.have_of
        if not answered and not isinstance(error, ServerBusy):  # who is to come back asks often
            name = hello.name.decode(errors="surrogateescape")
            upload = hello.role in UPLOADS
            self._refused.append(Refused(name, request.address, upload, error))
        answer = _error_packet(request.hello, error, code_of(error))
        channel: ServerChannel | None = request.channel
        self._reply(channel.seal_answer(answer) if channel else answer, request.address)

    def _reply(self, datagram: bytes, address: PeerAddress) -> None:
        if len(self._replies) < MAX_REPLIES_WAITING:
            transmit = Transmit(memoryview(datagram), len(datagram))
            self._replies.append(AddressedTransmit(transmit, address))

    # ------------------------------------------------------------------------------- outgoing

    def poll_transmit(self, now: float) -> AddressedTransmit | None:
        """The next burst of the next transfer that has one, or None.

        Where strangers wait for replies, it is one for them and one for a transfer.
        """
        self._replied = not self._replied
        if self._replies and self._replied:
            return self._replies.popleft()
        while self._scheduler:
            session = self._scheduler.next()
            try:
                transmit = None if session.silent else session.end.poll_transmit(now)
                if transmit:
                    self._scheduler.sent(len(transmit.data))
                    if session.channel:
                        transmit = session.channel.seal(transmit)
                    return AddressedTransmit(transmit, session.address)
                self._scheduler.has_nothing()
                if not session.silent:
                    self._settle(session, now)
            except Exception as error:
                self._fail(session, error, now)
        return self._replies.popleft() if self._replies else None

    def _settle(self, session: Session, now: float) -> None:
        """See whether a transfer with nothing to send is over, or when it wants to be woken."""
        event = session.end.poll_event()
        if isinstance(event, (Completed, Failed)):
            self._end(session, event, now)
            return
        at = session.end.next_timeout()
        if at is not None and at < session.timer_at:
            session.timer_at = at
            self._timer_count += 1
            heapq.heappush(self._timers, (at, self._timer_count, session))

    def _end(self, session: Session, event: Completed | Failed, now: float) -> None:
        del self._sessions[session.connection_id], self._by_hello[session.key]
        self._ended_hellos.add(session.key, now)
        self._creation.admission.end(session.address)
        session.timer_at = -inf
        try:
            session.close(event)
        except Exception as error:  # a disk that fails as late as that changes nothing
            self._on_failure(error)
        if session.silent:
            return
        self._outcomes.append(session.outcome(event, now))
        if isinstance(session.end, ServerUpload) and isinstance(event, Completed):
            self._lingering[session.connection_id] = session, now + LINGER_S

    def _fail(self, session: Session, error: Exception, now: float) -> None:
        """End a transfer whose own code has failed, so that nothing more is asked of it."""
        self._on_failure(error)
        if self._sessions.get(session.connection_id) is session:
            failure = failure_of(error)
            self._cut_off(session, failure, now, code_of(failure))
        session.silent = True

    def _cut_off(self, session: Session, error: UdpftError, now: float, code: ErrorCode) -> None:
        """End a transfer at once, and tell its client why."""
        self._end(session, Failed(error), now)
        session.silent = True
        packet = _error_packet(session.terms.hello, error, code)
        if session.channel:
            sealed = session.channel.seal(Transmit(memoryview(packet), len(packet)))
            packet = bytes(sealed.data)
        self._reply(packet, session.address)

    # ----------------------------------------------------------------------------- time, ends

    def handle_timeout(self, now: float) -> None:
        """Wake the transfers whose time has come, and let them hash for another turn."""
        self._work.refill()
        timers = self._timers
        while timers and timers[0][0] <= now:
            at, _, session = heapq.heappop(timers)
            if at != session.timer_at:
                continue  # an earlier one took its place, or the transfer is over
            session.timer_at = inf
            try:
                session.end.handle_timeout(now)
            except Exception as failure:
                self._fail(session, failure, now)
            self._scheduler.wake(session)
        self._ended_hellos.forget(now)
        while self._lingering and next(iter(self._lingering.values()))[1] <= now:
            self._lingering.popitem(last=False)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` or `poll_transmit` has something to do; -inf for at once."""
        if self._scheduler or self._replies:
            return -inf
        return self._timers[0][0] if self._timers else None

    def poll_outcome(self) -> Outcome | None:
        """The outcome of the next transfer that is over, or None."""
        return self._outcomes.popleft() if self._outcomes else None

    def poll_refused(self) -> Refused | None:
        """The next request that was refused, but for those that are to come back; or None."""
        return self._refused.popleft() if self._refused else None

    def abort_all(self, error: UdpftError) -> None:
        """End every transfer, telling each client why."""
        for session in list(self._sessions.values()):
            try:
                session.end.abort(error, ErrorCode.SHUTTING_DOWN)
            except Exception as failure:
                self._fail(session, failure, session.began)
            self._scheduler.wake(session)


def _error_packet(hello: Hello, error: UdpftError, code: ErrorCode) -> bytes:
    """Write the ERROR by which a client is told why its request, or its transfer, is over."""
    wait_s = error.retry_after_s if isinstance(error, ServerBusy) else 0.0
    refusal = Refusal(hello.nonce, code, reason_of(error), wait_s)
    return encode_error(refusal, hello.connection_id)
