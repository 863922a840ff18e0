"""The server without its socket: lets clients in, and shares one socket among their transfers.

A driver calls, in this order: `Listener.handle_datagrams` for each batch received;
`Listener.handle_timeout` once `Listener.next_timeout` has come; `Listener.poll_transmit` until it
returns None, sending each result before the next call; `Listener.poll_ended` until it returns
None.

Transfers take turns (`turns`), so that a client on a fast path does not starve the others.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from udpft.errors import (
    Denied,
    NoSuchFile,
    PartialTransfer,
    ServerBusy,
    UdpftError,
    UploadRefused,
    VersionMismatch,
)
from udpft.protocol.contract import Completed, Failed, OpenedSource, Transmit, datagrams
from udpft.protocol.handshake.address_validation import AddressValidator
from udpft.protocol.handshake.initiator import agreed_chunk_size
from udpft.protocol.keyed.notice import KeyedType
from udpft.protocol.params import (
    COOKIE_EPOCH_S,
    DATA_HEADER_SIZE,
    IDLE_TIMEOUT_S,
    INITIAL_RECEIVE_ROOM,
    KEYED_ANSWER_OVERHEAD,
    MAX_BURST_BYTES,
    MAX_CHUNKS,
    MAX_ENDED_REMEMBERED,
    MAX_REPLIES_WAITING,
    SEAL_OVERHEAD,
    VERSION,
)
from udpft.protocol.server.admission import Admission
from udpft.protocol.server.scheduler import Scheduler
from udpft.protocol.server.session import Outcome, PeerAddress, Session, accept_download
from udpft.protocol.server.upload import Place, ServerUpload, Terms, accept_upload
from udpft.protocol.transfer.sender import Sender
from udpft.protocol.transfer.synthetic import SYNTHETIC_NAME, open_synthetic
from udpft.protocol.wire.accept import Accept
from udpft.protocol.wire.error import ErrorCode, Refusal, code_of, encode_error, reason_of
from udpft.protocol.wire.hello import Hello, Role
from udpft.protocol.wire.packet import PacketType, connection_id_untrusted

if TYPE_CHECKING:
    from udpft.protocol.keyed.channel import KeyedAcceptor, ServerChannel

_UPLOADS = (Role.PUT, Role.PUT_LIST, Role.PUT_TREE, Role.MEASURE_PUT)
_ROLES = (Role.GET, Role.LIST, Role.TREE, Role.MEASURE, *_UPLOADS)

LINGER_S = 3.0
"""Seconds for which an upload that is over answers each FIN: its client must know, and asks every
second at least."""

_U64 = 0xFFFF_FFFF_FFFF_FFFF


class AddressedTransmit(NamedTuple):
    """A burst and where it goes."""

    transmit: Transmit
    address: Any


class Listener:
    """All reliable transfers of one server.

    Args:
        open_source: opens what a HELLO asks for under a name, both a client's words and so
            untrusted; raises an `UdpftError` that the client is told.
        secret: 32 random bytes, for the cookies.
        draw_id: draws a connection id: 32 bits that nobody can guess.
        random: spreads the controllers' probes.
        admission: how many transfers there may be; more are told to come back.
        max_rate_bytes_per_s: of each transfer; 0 for no limit.
        idle_timeout_s: seconds without progress after which a transfer is dropped.
        gate: where there is a key: whoever does not pass it hears nothing.
        open_place: opens where an upload goes, as ``open_source`` opens what is fetched; None
            where there are no uploads.
        receive_queue: asks the socket, for uploads: see `Receiver`.
        usage: asked when a transfer begins; its answer is in `Outcome` then.
    """

    def __init__(
        self,
        *,
        open_source: Callable[[Hello, str], OpenedSource],
        secret: bytes,
        draw_id: Callable[[], int],
        random: Random,
        admission: Admission | None = None,
        max_rate_bytes_per_s: int = 0,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        gate: KeyedAcceptor | None = None,
        open_place: Callable[[Hello, str], Place] | None = None,
        receive_queue: Callable[[], tuple[int, int]] = lambda: (INITIAL_RECEIVE_ROOM, 0),
        usage: Callable[[], Any] = lambda: None,
    ) -> None:
        self._usage = usage
        self._open_place = open_place
        self._receive_queue = receive_queue
        self._gate = gate
        self._open_source = open_source
        self._doorkeeper = AddressValidator(secret)
        self._draw_id = draw_id
        self._random = random
        self._admission = admission or Admission()
        self._max_rate_bytes_per_s = max_rate_bytes_per_s
        self._idle_timeout_s = idle_timeout_s
        self._buffer = bytearray(MAX_BURST_BYTES)
        self._sessions: dict[int, Session] = {}
        self._by_hello: dict[tuple[PeerAddress, int], Session] = {}
        self._ended_hellos: OrderedDict[tuple[PeerAddress, int], float] = OrderedDict()
        self._lingering: OrderedDict[int, tuple[Session, float]] = OrderedDict()
        self._replies: deque[AddressedTransmit] = deque()
        self._replied = False
        self._turns = Scheduler()
        self._timers: list[tuple[float, int, Session]] = []
        self._timer_count = 0
        self._ended: deque[Outcome] = deque()
        self.draining = False

    def __len__(self) -> int:
        """Transfers at work."""
        return len(self._sessions)

    def senders(self) -> list[Sender]:
        """The sending ends of the transfers at work: to look at, for a trace over time."""
        ends = (session.end for session in self._sessions.values())
        return [end for end in ends if isinstance(end, Sender)]

    # ------------------------------------------------------------------------------- incoming

    def handle_datagrams(
        self,
        buffer: bytearray,
        length: int,
        segment_size: int,
        address: PeerAddress,
        now: float,
    ) -> None:
        """Take in a batch from one address."""
        if self._gate:
            self._handle_sealed(self._gate, buffer, length, segment_size, address, now)
            return
        if length >= 8 and buffer[0] != PacketType.HELLO:
            session = self._session_of(buffer)
            if session:
                if session.address == address:
                    session.end.handle_datagrams(buffer, length, segment_size, now)
                    self._turns.wake(session)
                return
        source = repr(address).encode()
        for datagram in datagrams(buffer, length, segment_size):
            if self._is_a_question(datagram, address, now):
                continue
            greeting = self._doorkeeper.validate_untrusted(datagram, source, now)
            if isinstance(greeting, Hello):
                self._let_in(greeting, len(datagram), address, now)
            elif greeting:
                self._reply(greeting, address)

    def _session_of(self, buffer: bytearray) -> Session | None:
        """Whom a datagram is for: a transfer at work, or an upload whose client may not know yet
        that it is over, for FIN_ACK was lost."""
        connection_id = connection_id_untrusted(buffer)
        session = self._sessions.get(connection_id)
        if session or connection_id not in self._lingering:
            return session
        return self._lingering[connection_id][0]

    def _is_a_question(self, datagram: memoryview, address: PeerAddress, now: float) -> bool:
        """Take in a datagram if it names a transfer: a HELLO that asks whether it is still known.

        Such a one may arrive in one batch with others of its size that begin something new.
        """
        alone = bytearray(datagram)
        session = self._sessions.get(connection_id_untrusted(alone)) if len(alone) >= 8 else None
        if not session or session.address != address:
            return False
        session.end.handle_datagrams(alone, len(alone), len(alone), now)
        self._turns.wake(session)
        return True

    def _handle_sealed(
        self,
        gate: KeyedAcceptor,
        buffer: bytearray,
        length: int,
        segment_size: int,
        address: PeerAddress,
        now: float,
    ) -> None:
        """Take in a batch where there is a key."""
        if length >= 8 and buffer[0] == KeyedType.SEALED:
            session = self._session_of(buffer)
            if session and session.channel and session.address == address:
                opened = session.channel.open_untrusted(buffer, length, segment_size)
                if opened:
                    session.end.handle_datagrams(gate.buffer, *opened, now)
                    self._turns.wake(session)
            return
        source = repr(address).encode()
        for datagram in datagrams(buffer, length, segment_size):
            channel = gate.read_hello_untrusted(datagram)
            if channel is None:
                continue
            size = len(datagram)
            hello = memoryview(channel.hello)
            if self._is_a_question(hello, address, now):
                continue
            greeting = self._doorkeeper.validate_untrusted(hello, source, now, size)
            if isinstance(greeting, Hello):
                self._let_in(greeting, size, address, now, channel)
            elif greeting:
                self._reply(channel.seal_retry(greeting), address)

    def _let_in(
        self,
        hello: Hello,
        hello_size: int,
        address: PeerAddress,
        now: float,
        channel: ServerChannel | None = None,
    ) -> None:
        """Begin a transfer, once for each HELLO however often it comes."""
        key = (address, hello.nonce)
        if key in self._ended_hellos:
            return
        if known := self._by_hello.get(key):
            known.end.repeat_prelude()
            self._turns.wake(known)
            return
        self._replace(address, hello.nonce, now)
        try:
            source, name = self._open(hello, address, now)
        except UdpftError as error:
            self._refuse(hello, address, error, channel)
            return
        connection_id = self._draw_id()
        while not connection_id or self._is_taken(connection_id):
            connection_id = self._draw_id()
        keyed = channel is not None
        chunk_size = agreed_chunk_size(hello.chunk_size, hello_size, keyed=keyed)
        if source.size // chunk_size >= MAX_CHUNKS:
            source.close()
            too_large = Denied("the file is too large for chunks this small")
            self._refuse(hello, address, too_large, channel)
            return
        accept = Accept(
            hello.nonce, connection_id, chunk_size, source.size, source.mtime_ns, source.identity
        )
        packet_size = chunk_size + DATA_HEADER_SIZE
        accept_size = packet_size
        max_rate = self._max_rate_bytes_per_s
        if channel:
            accept_size -= KEYED_ANSWER_OVERHEAD - SEAL_OVERHEAD
            max_rate = max_rate * packet_size // (packet_size + SEAL_OVERHEAD)
        terms = Terms(hello, accept, accept_size, max_rate, self._idle_timeout_s)
        end: Sender | ServerUpload
        try:
            if hello.role in _UPLOADS:
                end = accept_upload(terms, source, self._receive_queue, now)
            else:
                end = accept_download(terms, source, self._buffer, self._random, now)
        except UdpftError as error:
            self._refuse(hello, address, error, channel)
            return
        if channel:
            channel.begin(
                end.prelude, connection_id=hello.connection_id, own_connection_id=connection_id
            )
        session = Session(name, address, key, connection_id, source, end, now, channel)
        session.chunk_size, session.client_rate = chunk_size, hello.max_rate_bytes_per_s
        session.usage = self._usage()
        self._sessions[connection_id] = self._by_hello[key] = session
        self._admission.begin(address)
        self._turns.wake(session)

    def _is_taken(self, connection_id: int) -> bool:
        return connection_id in self._sessions or connection_id in self._lingering

    def _replace(self, address: PeerAddress, nonce: int, now: float) -> None:
        """End the transfer that a client never heard of: it begins again under the next nonce."""
        known = self._by_hello.get((address, (nonce - 1) & _U64))
        if known and not known.end.heard:
            known.replaced = True
            self._end(known, Failed(PartialTransfer("the client began again")), now)

    def _open(
        self, hello: Hello, address: PeerAddress, now: float
    ) -> tuple[OpenedSource | Place, str]:
        if hello.version != VERSION or hello.role not in _ROLES:
            raise VersionMismatch(f"the server speaks version {VERSION} of the protocol")
        if self.draining:
            raise ServerBusy("the server is stopping", hint="try again in a moment")
        self._admission.check(address, now)
        open_file: Callable[[Hello, str], OpenedSource | Place] | None = self._open_source
        if hello.role in _UPLOADS:
            open_file = self._open_place
        if not open_file:
            raise UploadRefused(
                "the server takes no uploads", hint="`udpft serve --writable` would"
            )
        if hello.role in (Role.MEASURE, Role.MEASURE_PUT):
            return open_synthetic(hello), SYNTHETIC_NAME
        try:
            name = hello.name.decode()
        except UnicodeDecodeError:
            raise NoSuchFile("no such file on the server") from None
        if hello.role in _UPLOADS:
            self._end_abandoned(name, now)
        return open_file(hello, name), name

    def _end_abandoned(self, name: str, now: float) -> None:
        """End an upload of a name whose client has gone: it, or another one, begins again."""
        for session in list(self._sessions.values()):
            end = session.end
            if session.name == name and isinstance(end, ServerUpload) and end.is_abandoned(now):
                self._end(session, Failed(PartialTransfer("another upload took its place")), now)
                session.replaced = True

    def _refuse(
        self,
        hello: Hello,
        address: PeerAddress,
        error: UdpftError,
        channel: ServerChannel | None = None,
    ) -> None:
        wait_s = error.retry_after_s if isinstance(error, ServerBusy) else 0.0
        refusal = Refusal(hello.nonce, code_of(error), reason_of(error), wait_s)
        answer = encode_error(refusal, hello.connection_id)
        self._reply(channel.seal_answer(answer) if channel else answer, address)

    def _reply(self, datagram: bytes, address: PeerAddress) -> None:
        if len(self._replies) < MAX_REPLIES_WAITING:
            self._replies.append(
                AddressedTransmit(Transmit(memoryview(datagram), len(datagram)), address)
            )

    # ------------------------------------------------------------------------------- outgoing

    def poll_transmit(self, now: float) -> AddressedTransmit | None:
        """The next burst of the next transfer that has one, or None.

        Where strangers wait for replies, it is one for them and one for a transfer.
        """
        self._replied = not self._replied
        if self._replies and self._replied:
            return self._replies.popleft()
        while self._turns:
            session = self._turns.next()
            transmit = None if session.replaced else session.end.poll_transmit(now)
            if transmit:
                self._turns.sent(len(transmit.data))
                if session.channel:
                    transmit = session.channel.seal(transmit)
                return AddressedTransmit(transmit, session.address)
            self._turns.has_nothing()
            if not session.replaced:
                self._settle(session, now)
        return self._replies.popleft() if self._replies else None

    def _settle(self, session: Session, now: float) -> None:
        """A transfer has nothing to send: see whether it is over, or when it wants to be woken."""
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
        self._ended_hellos[session.key] = now + 2 * COOKIE_EPOCH_S
        if len(self._ended_hellos) > MAX_ENDED_REMEMBERED:
            self._ended_hellos.popitem(last=False)
        self._admission.end(session.address)
        session.close(event)
        session.timer_at = -inf
        if session.replaced:
            return
        self._ended.append(session.ended(event, now))
        if isinstance(session.end, ServerUpload) and isinstance(event, Completed):
            self._lingering[session.connection_id] = session, now + LINGER_S

    # ----------------------------------------------------------------------------- time, ends

    def handle_timeout(self, now: float) -> None:
        """Wake the transfers whose time has come."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            at, _, session = heapq.heappop(timers)
            if at != session.timer_at:
                continue  # an earlier one took its place, or the transfer is over
            session.timer_at = inf
            session.end.handle_timeout(now)
            self._turns.wake(session)
        while self._ended_hellos and next(iter(self._ended_hellos.values())) <= now:
            self._ended_hellos.popitem(last=False)
        while self._lingering and next(iter(self._lingering.values()))[1] <= now:
            self._lingering.popitem(last=False)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` or `poll_transmit` has something to do; -inf for at once."""
        if self._turns or self._replies:
            return -inf
        return self._timers[0][0] if self._timers else None

    def poll_ended(self) -> Outcome | None:
        """The next transfer that is over, or None."""
        return self._ended.popleft() if self._ended else None

    def abort_all(self, error: UdpftError) -> None:
        """End every transfer, telling each client why."""
        for session in self._sessions.values():
            session.end.abort(error, ErrorCode.SHUTTING_DOWN)
            self._turns.wake(session)
