"""Failover of a transfer whose server falls silent: is it still there, or another in its place?

Theory of operation
-------------------
A server that was killed and started again knows nothing of its transfers, and says nothing to their
packets. A path that is cut looks the same. The client tells them apart by asking: a HELLO under the
transfer's own connection ids, without a cookie. Where nothing answers it for a while, a new HELLO
goes along, under new numbers. Downloads and uploads do the same.

A living server that has the transfer answers the question with its ACCEPT, padded as always; and
an upload's question is as large as its DATA. Where the path no longer carries datagrams of that
size, that is as lost as DATA is, and the new HELLO finds what it does carry. Where the path was cut
and comes back, question and HELLO arrive together, and so do the answers: so a RETRY to the new
HELLO is not believed before the question beside it has had its time.

Leaving begins with an ERROR to the old session, should there be one: two never send at once. A
server that says itself that it has given the session up, because it stops or has heard nothing from
us, is asked anew without a question.

Where nothing is heard for long, the way there may be what is stuck: a NAT that still maps our port
to a container that is gone, or an address that this machine no longer has. So the next HELLO leaves
from a new port. Whoever answers it validates our address like any other client's.

The states are in `FAILOVER_STATES`.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from math import inf
from typing import Final, NamedTuple

from udpft.errors import ServerBusy, UdpftError
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.handshake.initiator import HandshakeOptions, Initiator, probe_sizes
from udpft.protocol.params import (
    CLOSING_COPIES,
    DATA_HEADER_SIZE,
    IDLE_TIMEOUT_S,
    KEYED_HELLO_OVERHEAD,
    MIN_DATAGRAM_SIZE,
    QUESTION_INTERVAL_S,
    QUIET_S,
)
from udpft.protocol.states import TransitionTable
from udpft.protocol.wire.error import ErrorCode, Refusal, encode_error
from udpft.protocol.wire.hello import NO_COOKIE, Hello, Role, encode_hello
from udpft.protocol.wire.packet import MalformedPacket, PacketType, decode_untrusted
from udpft.protocol.wire.retry import decode_retry_untrusted

_U32, _U64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF

MAX_OVERTAKING_S: Final = 0.1
"""Seconds, and a round trip, by which the answer to a new HELLO may overtake the one to a question:
it is small, and a server sends it first."""

_DOWNLOADS = (Role.GET, Role.LIST, Role.TREE, Role.MEASURE, Role.RANGE)
"""Roles in which it is the client that holds a part of the file already."""

NEW_PORT_AFTER: Final = 0.4
"""Share of a transfer's patience after which a server that was not heard is asked from a new port:
later than the ten seconds of darkness after which the old session is to go on."""

_PACED_PACKETS = 4
"""Packets whose time at the rate asked for is no silence: twice what a server sends at once at the
lowest rates."""


class FailoverState(Enum):
    """State of a failover."""

    LISTENING = auto()
    ASKING = auto()
    GREETING = auto()
    DECIDING = auto()
    LEAVING = auto()
    DONE = auto()


class FailoverEvent(Enum):
    """Event in the life of a failover."""

    SILENCE = auto()
    HEARD = auto()
    UNANSWERED = auto()
    RETRY_TO_QUESTION = auto()
    RETRY_TO_HELLO = auto()
    BUSY = auto()
    FINISHED = auto()
    GIVEN_UP = auto()
    PATIENCE_OVER = auto()


_S, _E = FailoverState, FailoverEvent

FAILOVER_STATES = TransitionTable(
    [_S.LISTENING],
    [
        (
            _S.LISTENING,
            _E.SILENCE,
            _S.ASKING,
            "silence, or a closed port: it is asked",
        ),
        *(
            (state, _E.GIVEN_UP, _S.LEAVING, "the server has given the session up, and says so")
            for state in (_S.LISTENING, _S.ASKING, _S.GREETING, _S.DECIDING, _S.LEAVING)
        ),
        (_S.LEAVING, _E.PATIENCE_OVER, _S.DONE, "no server has let the transfer in again"),
        (_S.ASKING, _E.HEARD, _S.LISTENING, "anything of the transfer: the server is alive"),
        (
            _S.ASKING,
            _E.UNANSWERED,
            _S.GREETING,
            "no answer: a new HELLO beside each question",
        ),
        (
            _S.ASKING,
            _E.RETRY_TO_QUESTION,
            _S.LEAVING,
            "a server, without the transfer",
        ),
        (
            _S.GREETING,
            _E.HEARD,
            _S.LISTENING,
            "anything of the transfer: no new HELLO",
        ),
        (
            _S.GREETING,
            _E.RETRY_TO_QUESTION,
            _S.LEAVING,
            "a server, without the transfer",
        ),
        (
            _S.GREETING,
            _E.RETRY_TO_HELLO,
            _S.DECIDING,
            "a server: the question has its time",
        ),
        (_S.GREETING, _E.BUSY, _S.ASKING, "the server has no room: a new HELLO later"),
        (_S.GREETING, _E.FINISHED, _S.DONE, "ACCEPT or ERROR to the new HELLO"),
        (_S.DECIDING, _E.HEARD, _S.LISTENING, "anything of the transfer: it was the same server"),
        (_S.DECIDING, _E.RETRY_TO_QUESTION, _S.LEAVING, "it does not know the transfer"),
        (_S.DECIDING, _E.UNANSWERED, _S.LEAVING, "the question was not answered in its time"),
        (_S.DECIDING, _E.BUSY, _S.DECIDING, "the server has no room: a new HELLO later"),
        (_S.DECIDING, _E.FINISHED, _S.DONE, "ACCEPT or ERROR to the new HELLO"),
        (_S.LEAVING, _E.RETRY_TO_QUESTION, _S.LEAVING, "a RETRY to an earlier question"),
        (_S.LEAVING, _E.BUSY, _S.LEAVING, "the server has no room: a new HELLO later"),
        (_S.LEAVING, _E.FINISHED, _S.DONE, "ACCEPT: the transfer goes on there; or ERROR"),
    ],
)
"""Transitions of a failover; it begins in LISTENING."""


class _Times(NamedTuple):
    """Times of a failover, in seconds.

    ``answer_s``: that a question has to be answered. ``quiet_s``: of silence that is no question.
    ``overtaking_s``: by which the answer to a HELLO may overtake that to a question.
    ``patience_s``: for which the transfer waits for a server.
    """

    answer_s: float
    quiet_s: float
    overtaking_s: float
    patience_s: float


class Failover:
    """Watch over one transfer's server, and search for the next one.

    Call `poll` until it returns None, and `handle` with every datagram while it is ``awake``. Both
    are told when the transfer was heard of last, for that sends it back to sleep.

    Args:
        hello: the request that the transfer began with.
        handshake: the answer to it.
        held: asks for the byte ranges that are held by now.
        keyed: datagrams are sealed on their way out, and grow by it.
        question_size: bytes of a question's datagram: of an upload, of a full DATA packet.
        patience_s: seconds for which the transfer waits for a server.

    Attributes:
        result: the answer of the server that the transfer goes on with; None until there is one.
        error: why there will be none; None until then.
    """

    def __init__(
        self,
        hello: Hello,
        handshake: HandshakeResult,
        held: Callable[[], tuple[tuple[int, int], ...]],
        *,
        keyed: bool = False,
        question_size: int = MIN_DATAGRAM_SIZE,
        patience_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._keyed = keyed
        self._question_size = question_size
        self._hello = hello
        self._hello_used = hello  # the newest request that was begun, see `hello`
        self._accept = handshake.accept
        self._held = held
        answer_s = QUIET_S + 2 * handshake.rtt_s
        self._times = _Times(
            answer_s,
            answer_s + _paced_s(hello, handshake),
            MAX_OVERTAKING_S + handshake.rtt_s,
            patience_s,
        )
        self._state = FailoverState.LISTENING
        self._asking_since = -inf  # when it woke
        self._ask_at = inf  # when the next question is due
        self._asked_at = -inf  # when the last one left
        self._greet_at = inf  # when a new handshake begins
        self._leave_at = inf  # until when the question beside a HELLO has time
        self._initiator: Initiator | None = None  # the new handshake
        self._queue: deque[bytes] = deque()  # to be sent
        self._new_port_at = inf  # when to ask from a new port; moved on each time
        self._given_up: UdpftError | None = None  # the server's word that it has
        self._give_up_at = inf  # until when another one is looked for then
        self.result: HandshakeResult | None = None
        self.error: UdpftError | None = None

    @property
    def state(self) -> FailoverState:
        """The state, see `FAILOVER_STATES`."""
        return self._state

    @property
    def hello(self) -> Hello:
        """The request used last: what ``result`` answers."""
        return self._initiator.hello if self._initiator else self._hello_used

    @property
    def has_left(self) -> bool:
        """Whether the old session is given up."""
        return self._state in (FailoverState.LEAVING, FailoverState.DONE)

    @property
    def awake(self) -> bool:
        """Whether it asks or greets, and so wants to see what comes."""
        return self._state is not FailoverState.LISTENING

    def note_refused(self, now: float) -> None:
        """Note that the port is closed: do not wait for silence."""
        if not self.awake:
            self._ask(now)

    def note_given_up(self, error: UdpftError, now: float) -> None:
        """Note that the server has given the session up: another one is asked for, for a while.

        ``error`` is its word, which ends the transfer where there is none in time.
        """
        if self._given_up is None:
            self._given_up, self._give_up_at = error, now + self._times.patience_s
        if self._state is FailoverState.LISTENING:
            self._asking_since = now
            self._new_port_at = now + NEW_PORT_AFTER * self._times.patience_s
        is_new = self._state is not FailoverState.LEAVING
        self._follow(FailoverEvent.GIVEN_UP)
        self._leave_at = inf
        if is_new:
            self._queue.clear()
            if not self._initiator:
                self._greet(now)

    def from_new_port(self, now: float) -> bool:
        """Whether what `poll` has just returned is to leave from a new port."""
        if now < self._new_port_at or not self._initiator:
            return False
        self._new_port_at = now + NEW_PORT_AFTER * self._times.patience_s
        return True

    def _follow(self, event: FailoverEvent) -> None:
        self._state = FAILOVER_STATES.follow(self._state, event)

    def _ask(self, now: float) -> None:
        self._follow(FailoverEvent.SILENCE)
        self._asking_since = now
        self._ask_at = now
        self._greet_at = now + self._times.answer_s
        self._new_port_at = now + NEW_PORT_AFTER * self._times.patience_s

    def _listens(self, heard_at: float) -> bool:
        """Go back to sleep, if the transfer was heard of; return whether it sleeps."""
        if self._state is FailoverState.LISTENING:
            return True
        if heard_at < self._asking_since or not FAILOVER_STATES.has(
            self._state, FailoverEvent.HEARD
        ):
            return False
        self._follow(FailoverEvent.HEARD)
        self._leave_at = inf
        self._queue.clear()
        self._stop_greeting()
        return True

    def _stop_greeting(self, again_at: float = inf) -> None:
        self._hello_used, self._initiator = self.hello, None
        self._greet_at = again_at

    # ------------------------------------------------------------------------------- outgoing

    def poll(self, now: float, heard_at: float) -> bytes | None:
        """The next datagram to send, or None."""
        if self._listens(heard_at):
            if now < heard_at + self._times.quiet_s:
                return None
            self._ask(now)
        if now >= self._give_up_at and self._state is FailoverState.LEAVING:
            self._follow(FailoverEvent.PATIENCE_OVER)
            self.error = self._given_up
            return None
        if self._state is FailoverState.DONE:
            return None
        if self._state is FailoverState.DECIDING and now >= self._leave_at:
            self._leave(FailoverEvent.UNANSWERED, now)
        # Before each HELLO, so that where one gets through, a living transfer has been asked.
        undecided = self._state in (FailoverState.ASKING, FailoverState.GREETING)
        greeting_at = self._initiator.next_timeout if self._initiator else self._greet_at
        if undecided and now >= min(self._ask_at, greeting_at) and now > self._asked_at:
            self._asked_at = now
            self._ask_at = now + QUESTION_INTERVAL_S
            question = self._hello._replace(cookie=NO_COOKIE, have=(), attempt=0)
            size = self._question_size - (KEYED_HELLO_OVERHEAD if self._keyed else 0)
            self._queue.append(encode_hello(question, size, self._accept.connection_id))
        if self._queue:
            return self._queue.popleft()
        if now >= self._greet_at:
            if self._state is FailoverState.ASKING:
                self._follow(FailoverEvent.UNANSWERED)
            self._greet(now)
        if not self._initiator or self._state is FailoverState.DECIDING:
            return None
        return self._initiator.poll(now)

    def _greet(self, now: float) -> None:
        """Begin a handshake, under new numbers, for what is still missing."""
        self._greet_at = inf
        latest, chunk_size = self.hello, self._accept.chunk_size
        hello = self._hello._replace(
            nonce=(latest.nonce + 1) & _U64,
            connection_id=(latest.connection_id + 1) & _U32,
            chunk_size=chunk_size,
            cookie=NO_COOKIE,
            have=self._held(),
            have_of=self._accept.identity if self._hello.role in _DOWNLOADS else 0,
        )
        sizes = probe_sizes(chunk_size, keyed=self._keyed)
        options = HandshakeOptions(keyed=self._keyed, connect_timeout_s=inf, sizes=sizes)
        self._initiator = Initiator(hello, now=now, options=options)

    def _leave(self, event: FailoverEvent, now: float) -> None:
        """Give the old session up, for there is a server that lets us in again."""
        self._leave_at = inf
        first_time = self._state is not FailoverState.LEAVING
        self._follow(event)
        if first_time:
            refusal = Refusal(self._accept.nonce, ErrorCode.CANCELLED, "the client begins anew")
            goodbye = encode_error(refusal, self._accept.connection_id)
            self._queue.extend((goodbye,) * CLOSING_COPIES)
            if not self._initiator:
                self._greet(now)

    # ------------------------------------------------------------------------------- incoming

    def handle(self, datagram: memoryview, now: float, heard_at: float) -> None:
        """Take in a datagram, after the transfer has seen it."""
        if self._listens(heard_at) or self._state is FailoverState.DONE:
            return
        if self._is_retry_to_question(datagram):
            self._leave(FailoverEvent.RETRY_TO_QUESTION, now)
            return
        initiator = self._initiator
        if not initiator:
            return
        initiator.handle(datagram, now)
        if initiator.hello.cookie != NO_COOKIE and self._state is FailoverState.GREETING:
            self._follow(FailoverEvent.RETRY_TO_HELLO)
            self._leave_at = now + self._times.overtaking_s
        if isinstance(initiator.error, ServerBusy):
            self._follow(FailoverEvent.BUSY)
            self._stop_greeting(now + initiator.error.retry_after_s)
        elif initiator.result or initiator.error:
            self._follow(FailoverEvent.FINISHED)
            self.result = initiator.result
            self.error = initiator.error

    def _is_retry_to_question(self, datagram: memoryview) -> bool:
        try:
            packet = decode_untrusted(datagram)
            return (
                packet.type is PacketType.RETRY
                and packet.connection_id == self._hello.connection_id
                and decode_retry_untrusted(packet).nonce == self._hello.nonce
            )
        except MalformedPacket:
            return False

    def next_timeout(self, heard_at: float) -> float:
        """When `poll` has something to do."""
        if self._listens(heard_at):
            return heard_at + self._times.quiet_s
        if self._queue:
            return -inf
        if self._state is FailoverState.DECIDING:
            return self._leave_at
        if self._state is FailoverState.DONE:
            return inf
        greeting_at = self._initiator.next_timeout if self._initiator else inf
        asking = self._state in (FailoverState.ASKING, FailoverState.GREETING)
        asking_at = self._ask_at if asking else inf
        return min(self._greet_at, greeting_at, asking_at, self._give_up_at)


def _paced_s(hello: Hello, handshake: HandshakeResult) -> float:
    """Seconds between two bursts of an end that is paced as slowly as either asks."""
    rates = (hello.max_rate_bytes_per_s, handshake.accept.max_rate_bytes_per_s)
    rate = min(filter(None, rates), default=0)
    packet_size = handshake.accept.chunk_size + DATA_HEADER_SIZE
    return _PACED_PACKETS * packet_size / rate if rate else 0.0
