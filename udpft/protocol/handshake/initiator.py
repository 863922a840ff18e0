"""How a transfer begins: who is there, is the address real, how large may a datagram be.

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
handshake as its probe). ACCEPT is padded in turn, which tries the way back: where it does not
arrive, the client begins again with the next smaller size, and then with the smallest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from udpft.errors import TimedOut, UdpftError, UsageError, VersionMismatch
from udpft.protocol.params import (
    CHUNK_ALIGNMENT,
    CHUNK_SIZE,
    CONNECT_TIMEOUT_S,
    DATA_HEADER_SIZE,
    HELLO_INTERVAL_MAX_S,
    HELLO_INTERVALS_S,
    KEYED_HELLO_OVERHEAD,
    MAX_CHUNK_SIZE,
    MAX_NAME_BYTES,
    MAX_RETRY_WAIT_S,
    MIN_CHUNK_SIZE,
    MIN_DATAGRAM_SIZE,
    PROBE_SIZES,
    SEAL_OVERHEAD,
    VERSION,
)
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.accept import Accept, decode_accept_untrusted
from udpft.protocol.wire.error import decode_error_untrusted
from udpft.protocol.wire.hello import MAX_HAVE, NO_COOKIE, Hello, encode_hello
from udpft.protocol.wire.packet import MalformedPacket, Packet, PacketType, decode_untrusted
from udpft.protocol.wire.retry import Retry, decode_retry_untrusted

_U32, _U64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF

_UNANSWERED_BEFORE_SMALLER = 3
"""HELLOs with a cookie that bring no ACCEPT before a smaller datagram is tried: 0.7 s."""


def probe_sizes(chunk_size: int, *, keyed: bool = False) -> tuple[int, ...]:
    """Sizes of HELLO to try for a wanted chunk size: its own packet, then all usual smaller ones.

    Largest first; never empty, for the smallest is always there. With a key, those of the sealed
    datagrams.
    """
    wanted = max(MIN_DATAGRAM_SIZE, chunk_size + DATA_HEADER_SIZE)
    if keyed:
        wanted = max(min(wanted + SEAL_OVERHEAD, PROBE_SIZES[0]), MIN_DATAGRAM_SIZE)
    return (wanted, *(size for size in PROBE_SIZES if size < wanted))


def agreed_chunk_size(wanted: int, hello_size: int, *, keyed: bool = False) -> int:
    """The chunk size of a transfer: what was asked for, as far as the path carries it."""
    headers = DATA_HEADER_SIZE + (SEAL_OVERHEAD if keyed else 0)
    fits = (hello_size - headers) // CHUNK_ALIGNMENT * CHUNK_ALIGNMENT
    wanted = wanted // CHUNK_ALIGNMENT * CHUNK_ALIGNMENT or CHUNK_SIZE
    return max(MIN_CHUNK_SIZE, min(fits, wanted, MAX_CHUNK_SIZE))


def held_ranges(hello: Hello, accept: Accept) -> tuple[tuple[int, int], ...]:
    """The byte ranges that will not be sent: those of HELLO, where they are of ACCEPT's file."""
    return hello.have if hello.have_of in (0, accept.identity) else ()


def byte_ranges(chunks: RangeSet, chunk_size: int, size: int) -> tuple[tuple[int, int], ...]:
    """The bytes in the largest runs of chunks, as many runs as a HELLO can name, in order."""
    ranges = [(first * chunk_size, min(stop * chunk_size, size)) for first, stop in chunks]
    ranges = [(start, stop) for start, stop in ranges if start < stop]  # no empty last chunk
    ranges.sort(key=lambda pair: pair[0] - pair[1])
    return tuple(sorted(ranges[:MAX_HAVE]))


def whole_chunks(byte_ranges: Sequence[tuple[int, int]], chunk_size: int, size: int) -> RangeSet:
    """The chunks of a file of ``size`` bytes that byte ranges hold whole.

    The last chunk counts where the file's end is in a range, but never where it is empty: it is
    then nothing that anybody could have.
    """
    chunks = RangeSet()
    for start, stop in byte_ranges:
        first = -(-start // chunk_size)
        last = stop // chunk_size if stop < size else -(-size // chunk_size)
        if start <= stop <= size:
            chunks.add(first, last)
    return chunks


def unanswered(within_s: float, *, keyed: bool) -> TimedOut:
    """The error that a server does not answer."""
    key = "is its key this one" if keyed else "does it want a key (--key-file)"
    return TimedOut(
        f"no answer within {within_s:g} s",
        hint=f"is the server running there, {key}, and is its UDP port open in the firewall?",
    )


def other_version(version: int) -> VersionMismatch:
    """The error that a server speaks another version of the protocol."""
    return VersionMismatch(
        f"the server speaks version {version} of the protocol, this is {VERSION}",
        hint="install the same version of udpft at both ends",
    )


def encode_name(name: str) -> bytes:
    """A name as HELLO carries it. One that is no UTF-8 leaves as the bytes that it was typed as.

    Raises:
        UsageError: it is too long, or no text.
    """
    try:
        encoded = name.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"{name!r} is no file's name") from None
    if len(encoded) > MAX_NAME_BYTES:
        raise UsageError(f"the name has {len(encoded)} bytes; {MAX_NAME_BYTES} is the most")
    return encoded


class HandshakeResult(NamedTuple):
    """What the handshake found out.

    ``hello_size``: bytes of the datagram that the path carried, 0 where it was not this
    handshake that tried; ``cookie``: what the server believes us by; ``rtt_s``: 0 where unknown;
    ``have``: byte ranges that the server will not send, for we said that we have them.
    """

    accept: Accept
    hello_size: int
    cookie: bytes
    rtt_s: float
    have: tuple[tuple[int, int], ...] = ()


class Initiator:
    """The client's side of the handshake.

    Call `poll` for datagrams to send until it returns None, `handle` with each that arrives,
    and look at ``handshake`` and ``error``: one of them ends it. ``hello`` is the request as it
    stands: a repeat for a smaller datagram has other numbers. With ``ping``, a RETRY is all
    that is wanted, and ``rtt_s`` is set when it is there. ``known_size``: of the datagram that an
    earlier handshake on this socket found to pass; the cookie in the HELLO is then its cookie.
    ``keyed``: datagrams grow on their way out, by what a key adds. ``largest``: bytes of the
    largest datagram that can leave this machine, as far as it knows; larger ones are tried, and
    not waited for.
    """

    def __init__(
        self,
        hello: Hello,
        *,
        now: float,
        sizes: Sequence[int] = (),
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        ping: bool = False,
        known_size: int = 0,
        keyed: bool = False,
        largest: float = inf,
    ) -> None:
        self.hello = hello
        self._largest = largest
        self._sizes = tuple(sizes) or probe_sizes(hello.chunk_size, keyed=keyed)
        self._overhead = KEYED_HELLO_OVERHEAD if keyed else 0
        self._ping = ping
        self._connect_timeout_s = connect_timeout_s
        self._give_up_at = now + connect_timeout_s
        self._answered = known_size  # size of the HELLO that brought the cookie, 0 without one
        self._attempt = 0
        self._unanswered = 0
        self._stepped_down = 0
        self._sent_at: dict[int, float] = {}
        self._repeat_at = now
        self._queue: deque[bytes] = deque()
        self.handshake: HandshakeResult | None = None
        self.error: UdpftError | None = None
        self.rtt_s: float | None = None

    @property
    def done(self) -> bool:
        """Whether there is a handshake, an answered ping or an error."""
        return bool(self.handshake or self.error or (self._ping and self.rtt_s is not None))

    def poll(self, now: float) -> bytes | None:
        """The next datagram to send, or None. Some may be larger than the path carries."""
        if not self.done and now >= self._repeat_at:
            self._repeat(now)
        return self._queue.popleft() if self._queue else None

    def _repeat(self, now: float) -> None:
        """Queue the HELLOs of one attempt, and set the time of the next."""
        if self._answered and self._unanswered >= _UNANSWERED_BEFORE_SMALLER:
            # The way back carries no ACCEPT of this size.
            smaller = tuple(size for size in self._sizes if size < self._answered)
            self._sizes = smaller if self._stepped_down == 0 and smaller else self._sizes[-1:]
            self._stepped_down += 1
            self._answered = self._unanswered = 0
            # As a new request under new numbers: the old one's packets must not get mixed in.
            self.hello = self.hello._replace(
                cookie=NO_COOKIE,
                nonce=(self.hello.nonce + 1) & _U64,
                connection_id=(self.hello.connection_id + 1) & _U32,
            )
        hello = self.hello._replace(attempt=self._attempt)
        self._sent_at[self._attempt & 0xFF] = now
        sizes = (self._answered,) if self._answered else self._sizes
        self._queue.extend(encode_hello(hello, size - self._overhead) for size in sizes)
        repeats = self._unanswered if self._answered else self._attempt
        intervals = (*HELLO_INTERVALS_S, HELLO_INTERVAL_MAX_S)
        interval_s = intervals[min(repeats, len(HELLO_INTERVALS_S))]
        if self._answered and self.rtt_s:
            interval_s = max(interval_s, 1.25 * self.rtt_s)
        self._repeat_at = now + interval_s
        self._attempt += 1
        self._unanswered += 1

    def handle(self, datagram: memoryview, now: float) -> None:
        """Take in a datagram; what is not for this handshake is ignored."""
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
                self.handshake = HandshakeResult(
                    accept,
                    self._answered,
                    self.hello.cookie,
                    self.rtt_s or 0.0,
                    held_ranges(self.hello, accept),
                )
        elif packet.type is PacketType.ERROR:
            refusal = decode_error_untrusted(packet)
            if refusal.nonce == self.hello.nonce:
                self.error = refusal.as_error()

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
        elif not self._ping and retry.hello_size >= self._answered:
            self._take_cookie(retry, now)

    def _take_cookie(self, retry: Retry, now: float) -> None:
        """A first answer, one to a larger HELLO, or a new cookie because the old one expired."""
        if not self._answered:
            self._unanswered = 0
            self._give_up_at = now + self._connect_timeout_s
        larger = retry.hello_size > self._answered
        if larger or retry.cookie != self.hello.cookie:
            self._answered = retry.hello_size
            self.hello = self.hello._replace(cookie=retry.cookie)
            # The network may have put a smaller one's answer first: give it a moment to mend that.
            jitter_s = min(MAX_RETRY_WAIT_S, (self.rtt_s or 0.0) / 8)
            awaited = any(retry.hello_size < size <= self._largest for size in self._sizes)
            self._repeat_at = now + jitter_s if awaited else now

    def handle_timeout(self, now: float) -> None:
        """Give up where no answer came in time."""
        if not self.done and now >= self._give_up_at:
            self.error = unanswered(self._connect_timeout_s, keyed=self._overhead > 0)

    @property
    def next_timeout(self) -> float:
        """When `poll` or `handle_timeout` has something to do."""
        return inf if self.done else min(self._repeat_at, self._give_up_at)
