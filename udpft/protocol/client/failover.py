"""A server that falls silent in mid-transfer: is it still there, or another one in its place?

Theory of operation
-------------------
A server that was killed and started again knows nothing of its transfers, and says nothing to their
packets. A path that is cut looks the same. The client tells them apart by asking: a HELLO under the
transfer's own connection ids, without a cookie. ::

    LISTENING   silence, or the port is closed       →  ASKING: a question each half second
    ASKING      anything of the transfer             →  LISTENING
    ASKING      RETRY to a question                  →  LEAVING: there is a server, without it
    ASKING      no answer for a while                →  GREETING: a new HELLO beside each question
    GREETING    anything of the transfer             →  LISTENING: the new HELLO is forgotten
    GREETING    RETRY to the new HELLO, and then no
                answer to the question beside it     →  LEAVING
    LEAVING     ACCEPT                               →  ``handshake``: the transfer goes on there
    LEAVING     ERROR                                →  ``error``; BUSY: asked again, later

A living server that has the transfer answers with its ACCEPT, padded as always. Where the path no
longer carries datagrams of that size, that is as lost as DATA is, and the new HELLO finds what it
does carry. Where the path was cut and comes back, question and HELLO arrive together, and so do the
answers.

LEAVING begins with an ERROR to the old session, should there be one: two never send at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from udpft.errors import ServerBusy, UdpftError
from udpft.protocol.handshake.initiator import HandshakeResult, Initiator, probe_sizes
from udpft.protocol.params import (
    CLOSING_COPIES,
    DATA_HEADER_SIZE,
    KEYED_HELLO_OVERHEAD,
    MAX_OVERTAKING_S,
    MIN_DATAGRAM_SIZE,
    QUESTION_INTERVAL_S,
    QUIET_S,
)
from udpft.protocol.wire.error import ErrorCode, Refusal, encode_error
from udpft.protocol.wire.hello import NO_COOKIE, Hello, encode_hello
from udpft.protocol.wire.packet import MalformedPacket, PacketType, decode_untrusted
from udpft.protocol.wire.retry import decode_retry_untrusted

_U32, _U64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
_PACED_PACKETS = 4  # twice what a server sends at once at the lowest rates


class Failover:
    """Looks after one transfer's server, and for the next one.

    Call `poll` until it returns None, and `handle` with every datagram while it is ``awake``. Both
    are told when the transfer was heard of last, for that sends it back to sleep.

    Args:
        hello: the request that the transfer began with.
        handshake: the answer to it.
        held: asks for the byte ranges that are here by now.
        keyed: datagrams are sealed on their way out, and grow by it.
    """

    def __init__(
        self,
        hello: Hello,
        handshake: HandshakeResult,
        held: Callable[[], tuple[tuple[int, int], ...]],
        *,
        keyed: bool = False,
    ) -> None:
        self._keyed = keyed
        self._hello = self._hello_used = hello
        self._accept = accept = handshake.accept
        self._held = held
        patience_s = QUIET_S + 2 * handshake.rtt_s
        if hello.max_rate_bytes_per_s:
            packet_size = accept.chunk_size + DATA_HEADER_SIZE
            patience_s += _PACED_PACKETS * packet_size / hello.max_rate_bytes_per_s
        self._quiet_s = patience_s
        self._answer_s = QUIET_S + 2 * handshake.rtt_s
        self._overtaking_s = MAX_OVERTAKING_S + handshake.rtt_s
        self._asking_since: float | None = None
        self._ask_at = inf
        self._asked_at = -inf
        self._greet_at = inf
        self._leave_at = inf
        self._leaving = False
        self._initiator: Initiator | None = None
        self._queue: deque[bytes] = deque()
        self.handshake: HandshakeResult | None = None
        self.error: UdpftError | None = None

    @property
    def hello(self) -> Hello:
        """The request used last: what ``handshake`` answers."""
        return self._initiator.hello if self._initiator else self._hello_used

    @property
    def awake(self) -> bool:
        """Whether it asks or greets, and so wants to see what comes."""
        return self._asking_since is not None

    def note_refused(self, now: float) -> None:
        """The port is closed: do not wait for silence."""
        if not self.awake:
            self._ask(now)

    def _ask(self, now: float) -> None:
        self._asking_since = self._ask_at = now
        self._greet_at = now + self._answer_s

    def _listen_again(self, heard_at: float) -> bool:
        """Go back to sleep, if the transfer was heard of; return whether we sleep."""
        if self._asking_since is None:
            return True
        if heard_at < self._asking_since or self._leaving:
            return False
        self._asking_since = None
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
        if self._listen_again(heard_at):
            if now < heard_at + self._quiet_s:
                return None
            self._ask(now)
        if now >= self._leave_at:
            self._leave(now)
        # Before each HELLO, so that where one gets through, a living transfer has been asked.
        greeting_at = self._initiator.next_timeout if self._initiator else self._greet_at
        undecided = not self._leaving and self._leave_at == inf
        if undecided and now >= min(self._ask_at, greeting_at) and now > self._asked_at:
            self._asked_at = now
            self._ask_at = now + QUESTION_INTERVAL_S
            question = self._hello._replace(cookie=NO_COOKIE, have=(), attempt=0)
            size = MIN_DATAGRAM_SIZE - (KEYED_HELLO_OVERHEAD if self._keyed else 0)
            self._queue.append(encode_hello(question, size, self._accept.connection_id))
        if self._queue:
            return self._queue.popleft()
        if now >= self._greet_at:
            self._greet(now)
        if not self._initiator or self._leave_at < inf:
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
            have_of=self._accept.identity,
        )
        self._initiator = Initiator(
            hello,
            now=now,
            sizes=probe_sizes(chunk_size, keyed=self._keyed),
            keyed=self._keyed,
            connect_timeout_s=inf,
        )

    def _leave(self, now: float) -> None:
        """Give the old session up, for there is a server that lets us in again."""
        self._leave_at = inf
        if not self._leaving:
            self._leaving = True
            refusal = Refusal(self._accept.nonce, ErrorCode.CANCELLED, "the client begins anew")
            farewell = encode_error(refusal, self._accept.connection_id)
            self._queue.extend((farewell,) * CLOSING_COPIES)
            if not self._initiator:
                self._greet(now)

    # ------------------------------------------------------------------------------- incoming

    def handle(self, datagram: memoryview, now: float, heard_at: float) -> None:
        """Take in a datagram, after the transfer has seen it."""
        if self._listen_again(heard_at) or self.handshake or self.error:
            return
        if self._is_retry_to_a_question(datagram):
            self._leave(now)
            return
        initiator = self._initiator
        if not initiator:
            return
        initiator.handle(datagram, now)
        if initiator.hello.cookie != NO_COOKIE and not self._leaving and self._leave_at == inf:
            self._leave_at = now + self._overtaking_s
        self.handshake = initiator.handshake
        if isinstance(initiator.error, ServerBusy):
            self._stop_greeting(now + initiator.error.retry_after_s)
        else:
            self.error = initiator.error

    def _is_retry_to_a_question(self, datagram: memoryview) -> bool:
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
        if self._listen_again(heard_at):
            return heard_at + self._quiet_s
        if self._queue:
            return -inf
        if self._leave_at < inf:
            return self._leave_at
        greeting_at = self._initiator.next_timeout if self._initiator else inf
        return min(self._greet_at, greeting_at, inf if self._leaving else self._ask_at)
