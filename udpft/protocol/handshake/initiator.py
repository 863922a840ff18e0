"""Initiator: the client's side of the handshake, which finds the path's MTU on the way.

Theory of operation
-------------------
::

    client                                         server
      HELLO ×n, padded to the sizes to probe  ──▶
                                              ◀──  RETRY, cookie          keeps no state
      HELLO with the cookie, padded to the
      largest size that was answered          ──▶
                                              ◀──  ACCEPT, padded to a full DATA packet
                                              ◀──  DATA …

The server answers a HELLO without a valid cookie by a RETRY that is a twentieth of its size, and
forgets it: a spoofed source costs it one hash and draws less than it spent (RFC 8085, 3.1;
RFC 9000, 8.1.2). The cookie is a keyed hash of address, port, HELLO size and time, so it proves
that whoever sends it can read what is sent to that address, and is worthless elsewhere and later.
A client that fetches several files shows the same cookie again, and saves the first round trip.

The HELLOs have the Don't Fragment bit and leave largest first, so the first RETRY to come back
tells the largest datagram that the path carries, at no further round trip (RFC 8899 with the
handshake as its probe). Larger ones without an answer are sent once more where that takes little
time, for loss is not narrowness. ACCEPT is padded in turn, which tries the way back: where it does
not arrive, the client begins again with the next smaller size, and then with the smallest.

Where this machine's own link carries no more than Ethernet does, the path may have a modem in it.
There only the largest and the smallest leave at first, and long before the next ones; those between
them leave when the smallest has been answered, and the largest has not.
"""

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple

from udpft.errors import TimedOut, UdpftError, VersionMismatch
from udpft.protocol.handshake.agreement import HandshakeResult, held_ranges, rtt_to_tell_us
from udpft.protocol.params import (
    CHUNK_ALIGNMENT,
    CONNECT_TIMEOUT_S,
    DATA_HEADER_SIZE,
    GRANULARITY_S,
    KEYED_HELLO_OVERHEAD,
    MAX_CHUNK_SIZE,
    MIN_CHUNK_SIZE,
    MIN_DATAGRAM_SIZE,
    PROBE_SIZES,
    SEAL_OVERHEAD,
    STOOD_STILL_S,
    VERSION,
)
from udpft.protocol.wire.accept import Accept, decode_accept_untrusted
from udpft.protocol.wire.error import decode_error_untrusted
from udpft.protocol.wire.hello import NO_COOKIE, Hello, encode_hello
from udpft.protocol.wire.packet import MalformedPacket, Packet, PacketType, decode_untrusted
from udpft.protocol.wire.retry import Retry, decode_retry_untrusted

_U32, _U64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF

HELLO_INTERVALS_S: Final = (0.1, 0.2, 0.4, 0.8)
"""Seconds before the first repeats of a HELLO; then every `HELLO_INTERVAL_MAX_S`. They double,
because on a slow link they fill the queue that the answer waits for."""

THRIFTY_INTERVALS_S: Final = (1.5, 0.3, 0.3, 0.3, 0.6)
"""The same where the link may be slow: 9600 bit/s bring the first answer after 1.3 s. Two HELLOs
have left by then, so that one may be lost."""

HELLO_INTERVAL_MAX_S: Final = 1.0
"""Seconds between later repeats of a HELLO: who begins to listen late is found soon."""

MAX_ASK_AGAIN_RTT_S: Final = 0.03
"""Round trip in seconds up to which larger HELLOs without an answer are sent again before a smaller
datagram is settled for: they may have been lost by chance. It costs one round trip."""

MAX_ASK_BETWEEN_RTT_S: Final = 1.0
"""Round trip in seconds up to which sizes are asked for that have not been tried, where only the
smallest was answered. It costs one round trip."""

LONG_RTT_S: Final = 0.25
"""Round trip in seconds from which on it may be long because the path is slow."""

SLOW_RTT_S: Final = 1.0
"""Round trip in seconds from which on a path is probably slow. By how much later the smallest HELLO
is answered than the largest tells, and is waited for."""

_ETHERNET_SIZE = 1_472
"""Bytes of UDP payload that Ethernet carries; of links that carry more, none is slow."""

ASK_AGAIN_COPIES: Final = 2
"""Copies of each larger HELLO that is sent again: at 10 % loss each way, one in a hundred answers
fails to come by then."""

_SMALLEST_FIRST_AFTER = 3
"""Attempts without any answer after which the path may be slow, and the smallest leaves first."""

_SLOW_INTERVAL_S = 5.0
"""Seconds between repeats on such a path, at least: as long as its queue may be."""

_TOGETHER_S = 0.05
"""Seconds within which HELLOs that left together are answered where no queue holds them up."""

_SLOW_FACTOR = 4
"""Factor of the intervals on a path that answers one HELLO, and not those that left behind it: they
wait in its queue, and so does what is sent now."""

MAX_RETRY_WAIT_S: Final = 0.02
"""Seconds to wait, at most, for the answer to a larger HELLO that may have been overtaken."""

_UNANSWERED_BEFORE_SMALLER = 3
"""HELLOs with a cookie that bring no ACCEPT before a smaller datagram is tried: 0.7 s."""


def probe_sizes(chunk_size: int, *, keyed: bool = False) -> tuple[int, ...]:
    """Sizes of HELLO to try for a wanted chunk size: its own packet, then all usual smaller ones.

    Largest first; never empty, for the smallest is always among them. With a key, those of the
    sealed datagrams.
    """
    wanted = max(MIN_DATAGRAM_SIZE, chunk_size + DATA_HEADER_SIZE)
    if keyed:
        wanted = max(min(wanted + SEAL_OVERHEAD, PROBE_SIZES[0]), MIN_DATAGRAM_SIZE)
    return (wanted, *(size for size in PROBE_SIZES if size < wanted))


def unanswered(within_s: float, *, keyed: bool) -> TimedOut:
    """Error for a server that does not answer."""
    key = "is its key this one" if keyed else "does it want a key (--key-file)"
    return TimedOut(
        f"no answer within {within_s:g} s",
        hint=f"is the server running there, {key}, and is its UDP port open in the firewall? "
        "To public addresses a server is silent without --key-file or --insecure-public",
    )


def other_version(version: int) -> VersionMismatch:
    """Error for a server that speaks another version of the protocol."""
    return VersionMismatch(
        f"the server speaks version {version} of the protocol, this is {VERSION}",
        hint="install the same version of udpft at both ends",
    )


class HandshakeOptions(NamedTuple):
    """Options of a handshake: what a client knows of the path, and how patient it is.

    ``known_size``: bytes of the datagram that an earlier handshake on this socket found to pass,
    0 without one; the cookie in the HELLO is then its cookie. ``keyed``: datagrams grow on their
    way out, by what a key adds. ``largest``: bytes of the largest datagram that can leave this
    machine, as far as it knows; larger ones are tried, and not waited for. ``connect_timeout_s``:
    seconds to wait for an answer. ``sizes``: datagram sizes to probe, largest first; all usual ones
    where it is empty.
    """

    known_size: int = 0
    keyed: bool = False
    largest: float = inf
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    sizes: tuple[int, ...] = ()


DEFAULT_OPTIONS = HandshakeOptions()


class Initiator:
    """Client's side of the handshake.

    Call `poll` for datagrams to send until it returns None, `handle` with each that arrives,
    and look at ``result`` and ``error``: one of them ends it.

    Args:
        hello: the request.
        now: seconds on the driver's clock.
        options: see `HandshakeOptions`.
        ping: a RETRY is all that is wanted; ``rtt_s`` is set when it comes.

    Attributes:
        hello: the request as it stands: a repeat for a smaller datagram has other numbers.
        result: the server's consent, and what was found out on the way to it; None until then.
        error: why there will be none; None until then.
        rtt_s: the shortest round trip in seconds; None until a RETRY has come.
    """

    def __init__(
        self,
        hello: Hello,
        *,
        now: float,
        options: HandshakeOptions = DEFAULT_OPTIONS,
        ping: bool = False,
    ) -> None:
        self.hello = hello
        self._options = options
        self._sizes = options.sizes or probe_sizes(hello.chunk_size, keyed=options.keyed)
        """Sizes of HELLO in bytes that are still tried, largest first; fewer after a step down."""
        self._ping = ping
        self._give_up_at = now + options.connect_timeout_s
        """Seconds on the clock: when the handshake fails. A first answer moves it on."""
        self._answered = options.known_size
        """Bytes of the HELLO that brought the cookie; 0 without one, and after a step down."""
        self._answered_at = -inf
        """Seconds on the clock: when that cookie came."""
        self._attempt = 0
        """Attempts so far, each of one or more HELLOs."""
        self._unanswered = 0
        """Attempts since the start, the first answer, or the last step down."""
        self._stepped_down = 0
        """Times that smaller datagrams were tried because no ACCEPT came."""
        self._sent_at: dict[int, float] = {}
        """Seconds on the clock at which an attempt left, by its number modulo 256."""
        self._repeat_at = now
        """Seconds on the clock: when the next attempt is due. Each attempt and RETRY sets it."""
        self._keeps_up = bool(options.known_size)
        """Whether the path has answered smaller HELLOs beside the largest answered: it is not slow.
        Unknown on a path that was found before, and taken for granted."""
        self._awaits_smallest = False
        """Whether the largest was answered late, and the answer to the smallest is to tell why."""
        self._is_slow = False
        """Whether answers have come one by one, out of a queue: then nothing is sent in haste."""
        self._queue: deque[bytes] = deque()
        """HELLOs of the last attempt that `poll` has not returned yet."""
        self.result: HandshakeResult | None = None
        self.error: UdpftError | None = None
        self.rtt_s: float | None = None

    @property
    def done(self) -> bool:
        """Whether there is a handshake, an answered ping or an error."""
        return bool(self.result or self.error or (self._ping and self.rtt_s is not None))

    @property
    def largest_size(self) -> float:
        """Bytes of the largest datagram that is still tried; inf where none was given up.

        Larger ones brought no ACCEPT: the way back does not carry them.
        """
        return self._sizes[0] if self._stepped_down else inf

    def poll(self, now: float) -> bytes | None:
        """Return the next datagram to send, or None. Some may be larger than the path carries."""
        self._note_standstill(now)
        if not self.done and now >= self._repeat_at:
            self._repeat(now)
        return self._queue.popleft() if self._queue else None

    def _note_standstill(self, now: float) -> None:
        """Begin all times anew where it was this end that stood still, stopped or suspended."""
        late_s = now - self.next_timeout
        if late_s >= STOOD_STILL_S and self._attempt:
            self._sent_at.clear()  # what is answered now tells nothing of the path
            self._answered_at = now  # nor do answers that waited for this end
            self._give_up_at += late_s
            self._repeat_at = now

    def _repeat(self, now: float) -> None:
        """Queue the HELLOs of one attempt, and set the time of the next."""
        if self._answered and self._unanswered >= _UNANSWERED_BEFORE_SMALLER:
            # The way back carries no ACCEPT of this size.
            smaller = tuple(size for size in self._sizes if size < self._answered)
            self._sizes = smaller if self._stepped_down == 0 and smaller else self._sizes[-1:]
            self._stepped_down += 1
            self._answered = 0
            self._unanswered = 0
            # As a new request under new numbers: the old one's packets must not get mixed in.
            self.hello = self.hello._replace(
                cookie=NO_COOKIE,
                nonce=(self.hello.nonce + 1) & _U64,
                connection_id=(self.hello.connection_id + 1) & _U32,
            )
        self._awaits_smallest = False
        self._sent_at[self._attempt & 0xFF] = now
        self._enqueue(self._sizes_due())
        thrifty = self._is_thrifty and not self._answered
        intervals = THRIFTY_INTERVALS_S if thrifty else HELLO_INTERVALS_S
        interval_s = (*intervals, HELLO_INTERVAL_MAX_S)[min(self._unanswered, len(intervals))]
        if self._answered or self._is_thrifty:
            interval_s = max(interval_s, self._answer_s)
        if self._answered:
            if not self._keeps_up and self._is_thrifty:
                interval_s = max(interval_s, THRIFTY_INTERVALS_S[0])
            elif not self._keeps_up:
                interval_s *= _SLOW_FACTOR
            if self._is_slow:
                interval_s = max(interval_s, _SLOW_INTERVAL_S)
        self._repeat_at = now + interval_s
        self._attempt += 1
        self._unanswered += 1

    @property
    def _is_thrifty(self) -> bool:
        """Whether the link may be slow: it is known to carry no more than Ethernet does."""
        return self._options.largest <= _ETHERNET_SIZE

    @property
    def _answer_s(self) -> float:
        """Seconds within which an answer is to be expected, as far as is known."""
        # On a slow path, ACCEPT takes as long as HELLO, and RETRY nearly no time.
        known_fast = self._keeps_up and self._sizes[-1] not in (self._answered, self._sizes[0])
        round_trips = 2.25 if self._may_be_slow and not known_fast else 1.25
        # What a server answers that stood still tells of no round trip worth waiting for.
        return min(round_trips * (self.rtt_s or 0.0), _SLOW_INTERVAL_S)

    @property
    def _may_be_slow(self) -> bool:
        """Whether the link may be slow, by the answers that have come."""
        return self._is_thrifty and (self.rtt_s or 0.0) >= LONG_RTT_S

    def _sizes_due(self) -> tuple[int, ...]:
        """Sizes of the HELLOs of the next attempt, in the order in which they leave."""
        sizes, smallest = self._sizes, self._sizes[-1]
        if self._answered:
            return (self._answered,)
        thrifty = self._is_thrifty
        if not thrifty and (not self._attempt or self._stepped_down):
            return sizes
        # The middle ones wait for an answer: repeats of all would fill a slow link.
        largest = next((size for size in sizes if size <= self._options.largest), smallest)
        if thrifty and not self._attempt:
            # What is too large for this machine's link costs it nothing, if it is still so.
            return (*(size for size in sizes if size > largest), largest, smallest)
        ends = (largest, smallest) if largest > smallest else (largest,)
        patient = self._attempt >= (1 if thrifty else _SMALLEST_FIRST_AFTER)
        return ends[::-1] if patient else ends

    def _enqueue(self, sizes: Sequence[int]) -> None:
        hello = self.hello._replace(attempt=self._attempt)
        overhead = KEYED_HELLO_OVERHEAD if self._options.keyed else 0
        self._queue.extend(encode_hello(hello, size - overhead) for size in sizes)

    def handle(self, datagram: memoryview, now: float) -> None:
        """Take in a datagram; what is not for this handshake is ignored."""
        self._note_standstill(now)
        if self.done:
            return
        try:
            packet = decode_untrusted(datagram)
            if packet.connection_id == self.hello.connection_id:
                self._handle_packet(packet, now)
        except MalformedPacket:
            return

    def _handle_packet(self, packet: Packet, now: float) -> None:
        if packet.type is PacketType.RETRY:
            retry = decode_retry_untrusted(packet)
            if retry.nonce == self.hello.nonce and retry.hello_size in self._sizes:
                self._handle_retry(retry, now)
        elif packet.type is PacketType.ACCEPT:
            accept = decode_accept_untrusted(packet)
            if accept.nonce == self.hello.nonce and self._plausible(accept):
                self.result = HandshakeResult(
                    accept,
                    self._answered,
                    self.hello.cookie,
                    self._longest_rtt_s(now),
                    held_ranges(self.hello, accept),
                )
        elif packet.type is PacketType.ERROR:
            refusal = decode_error_untrusted(packet)
            if refusal.nonce == self.hello.nonce:
                self.error = refusal.as_error()

    def _longest_rtt_s(self, now: float) -> float:
        """Round trip of the handshake: that of RETRY, or of ACCEPT where that took long.

        Where a token bucket was full, RETRY tells nothing of the path.
        """
        rtt_s = self.rtt_s or self.hello.rtt_us * 1e-6
        sent_at = self._sent_at.get((self._attempt - 1) & 0xFF, now)
        accept_s = now - sent_at if self._unanswered == 1 else 0.0
        return accept_s if accept_s > max(rtt_s, LONG_RTT_S) else rtt_s

    def _plausible(self, accept: Accept) -> bool:
        # Whatever the server says, a chunk must be one that this end can hold.
        return (
            MIN_CHUNK_SIZE <= accept.chunk_size <= MAX_CHUNK_SIZE
            and accept.chunk_size % CHUNK_ALIGNMENT == 0
        )

    def _handle_retry(self, retry: Retry, now: float) -> None:
        sent_at = self._sent_at.get(retry.attempt)
        if sent_at is not None and (self.rtt_s is None or now - sent_at < self.rtt_s):
            self.rtt_s = now - sent_at
        if retry.version != VERSION:
            self.error = other_version(retry.version)
            return
        if self._ping:
            return
        took_s = 0.0 if sent_at is None else now - sent_at
        if self._answered and self._unanswered and self._is_thrifty and took_s >= LONG_RTT_S:
            # Answers come to what left before: what left last waits behind that, in a queue.
            patience_s = min(max(took_s, self._answer_s), _SLOW_INTERVAL_S)
            self._repeat_at = max(self._repeat_at, now + patience_s)
        if retry.hello_size >= self._answered:
            self._take_cookie(retry, now)
        elif self._awaits_smallest:
            self._take_smallest(retry, now)
        else:
            self._note_smaller(now)

    def _take_smallest(self, retry: Retry, now: float) -> None:
        """Go on where the answer to the smallest HELLO comes after a late one to the largest.

        Where it comes much later, the link is slow. Then the smallest is settled for: everything
        else would take longer there.
        """
        self._awaits_smallest = False
        self._repeat_at = now
        self._is_slow = now - self._answered_at >= (self.rtt_s or 0.0) / 2
        self._keeps_up = not self._is_slow
        if self._is_slow:
            self._answered = retry.hello_size
            self.hello = self.hello._replace(cookie=retry.cookie)

    def _note_smaller(self, now: float) -> None:
        """Note that a HELLO smaller than the largest answered was answered, too.

        At once, it tells that the path is not slow. Later, it tells that those which left together
        come out of a queue one by one: what is sent before it is empty lengthens it.
        """
        if now <= self._answered_at + _TOGETHER_S:
            self._keeps_up = True
            if self._is_thrifty and self._unanswered:
                soon_s = max(HELLO_INTERVALS_S[0], self._answer_s)
                self._repeat_at = min(self._repeat_at, now + soon_s)
        elif self._is_thrifty and not self._keeps_up:
            # Its first datagram may have found a full token bucket. The one with the cookie takes
            # as long from now on as this one has, and as long again for its answer.
            self._is_slow = True
            patience_s = min(2.5 * (now - self._answered_at), _SLOW_INTERVAL_S)
            self._repeat_at = max(self._repeat_at, now + patience_s)
        elif not self._keeps_up and not self._is_slow:
            # Its answer shows that there is room in the queue, once; what was sent before may
            # have found none.
            self._is_slow = True
            self._unanswered = 0
            self._repeat_at = now

    def _take_cookie(self, retry: Retry, now: float) -> None:
        """Take the cookie of a first answer, of one to a larger HELLO, or of a later one."""
        first = not self._answered
        if first:
            self._unanswered = 0
            self._give_up_at = now + self._options.connect_timeout_s
        larger = retry.hello_size > self._answered
        if not larger and retry.cookie == self.hello.cookie:
            return
        self._keeps_up = self._keeps_up or not first or retry.hello_size == self._sizes[-1]
        self._answered = retry.hello_size
        rtt_s = self.rtt_s or 0.0
        self.hello = self.hello._replace(cookie=retry.cookie, rtt_us=rtt_to_tell_us(rtt_s))
        if larger and self._unanswered and not first and self._may_be_slow:
            return  # the smaller one is on its way, with its own cookie: that is enough
        self._answered_at = now
        self._repeat_at = now
        largest = self._options.largest
        awaited = [size for size in self._sizes if retry.hello_size < size <= largest]
        if awaited:
            # The network may have put a smaller one's answer first: give it a moment to mend that.
            self._repeat_at += min(MAX_RETRY_WAIT_S, rtt_s / 8)
            if first:
                self._ask_again(awaited, rtt_s, now)
        elif first and self._is_thrifty and rtt_s >= SLOW_RTT_S:
            self._awaits_smallest = retry.hello_size > self._sizes[-1]
            self._repeat_at += rtt_s if self._awaits_smallest else 0.0

    def _ask_again(self, awaited: list[int], rtt_s: float, now: float) -> None:
        """Try larger sizes than the first one that was answered: they may have been lost, or never
        have been tried."""
        if rtt_s <= MAX_ASK_AGAIN_RTT_S and not self._stepped_down:
            patience_s = GRANULARITY_S + 2 * rtt_s
            copies = awaited[:1] if self._is_thrifty else awaited
            awaited = awaited + copies * (ASK_AGAIN_COPIES - 1)
        elif self._is_thrifty and len(awaited) > 1 and rtt_s <= MAX_ASK_BETWEEN_RTT_S:
            patience_s = rtt_s + min(MAX_RETRY_WAIT_S, rtt_s / 8)
        else:
            return
        self._queue.clear()
        self._sent_at[self._attempt & 0xFF] = now
        self._enqueue(awaited)
        self._attempt += 1
        self._repeat_at = now + patience_s

    def handle_timeout(self, now: float) -> None:
        """Give up where no answer came in time."""
        self._note_standstill(now)
        if not self.done and now >= self._give_up_at:
            self.error = unanswered(self._options.connect_timeout_s, keyed=self._options.keyed)

    @property
    def next_timeout(self) -> float:
        """Time at which `poll` or `handle_timeout` has something to do."""
        return inf if self.done else min(self._repeat_at, self._give_up_at)
