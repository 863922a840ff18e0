"""Path probe: measures a path's round trip, its loss, and the largest datagram it carries.

A probe is a number of HELLOs without a cookie, at a steady pace. Each of them draws a RETRY
that names its attempt and its size, so one answer tells the round trip, and all of them together
the loss. In the first rounds a HELLO of every larger size goes along: the largest that is
answered is the path's MTU. The server keeps no state of any of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Final

from udpft.errors import UdpftError
from udpft.protocol.contract import Batch, Completed, Event, Failed, Transmit
from udpft.protocol.handshake.initiator import other_version, unanswered
from udpft.protocol.params import CONNECT_TIMEOUT_S, KEYED_HELLO_OVERHEAD, PROBE_SIZES, VERSION
from udpft.protocol.wire.hello import Hello, encode_hello
from udpft.protocol.wire.packet import MalformedPacket, PacketType, decode_untrusted
from udpft.protocol.wire.retry import decode_retry_untrusted

PATH_PROBE_PINGS: Final = 20
"""Pings of one probe: enough to see a loss of 10 % nine times out of ten."""

PATH_PROBE_INTERVAL_S: Final = 0.05
"""Seconds between the pings of a probe: 24 kB/s, and a second in all."""

PATH_PROBE_SIZE_ROUNDS: Final = 5
"""Rounds of a probe in which the larger sizes are tried too: at 25 % loss each way, 1 in 60
misses the largest that the path carries."""

PATH_PROBE_PATIENCE_S: Final = 0.5
"""Seconds that a probe waits for answers after its last ping, at least."""

assert PATH_PROBE_SIZE_ROUNDS <= PATH_PROBE_PINGS <= 256  # an attempt is numbered in eight bits


class PathProbe:
    """Probe of one path by a client; a `contract.Endpoint`. Ends with Completed or Failed.

    Args:
        hello: to be repeated; its name and what it asks for do not matter.
        now: seconds on the driver's clock.
        pings: HELLOs of the smallest size, at most 256: an attempt is numbered in eight bits.
        sizes: of HELLOs in bytes, largest first.
        keyed: datagrams are sealed on their way out, and grow by it.
        connect_timeout_s: seconds to wait for the first answer.

    Attributes:
        round_trips_s: seconds, of the pings answered so far, in the order of the answers.
        largest_answered: bytes of UDP payload, so far; 0 where there was no answer.
    """

    rest_until = 0.0

    def __init__(
        self,
        hello: Hello,
        *,
        now: float,
        pings: int = PATH_PROBE_PINGS,
        sizes: Sequence[int] = PROBE_SIZES,
        keyed: bool = False,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._hello = hello
        self._pings = pings
        self._sizes = tuple(sizes)
        # Bytes by which a HELLO grows when it is sealed
        self._overhead = KEYED_HELLO_OVERHEAD if keyed else 0
        self._connect_timeout_s = connect_timeout_s
        self._began = now
        self._round_at = now
        """Seconds on the clock: when the next ping may leave. Each ping moves it on."""
        self._sent_at: list[float] = []
        """Seconds on the clock at which the pings left, by their attempts' numbers."""
        self._answered: set[int] = set()
        """Attempts whose ping was answered."""
        self._queue: deque[bytes] = deque()
        """HELLOs of this round that `poll_transmit` has not returned yet."""
        self._events: deque[Event] = deque()
        """The end, until `poll_event` has returned it."""
        self._ended = False
        """Whether the probe is over, well or not."""
        self.round_trips_s: list[float] = []
        self.largest_answered = 0

    @property
    def sent(self) -> int:
        """Number of pings that have left."""
        return len(self._sent_at)

    @property
    def lost(self) -> int:
        """Number of pings without an answer, so far."""
        return self.sent - len(self.round_trips_s)

    @property
    def round_trip_s(self) -> float:
        """Median round trip in seconds. Raises StatisticsError where there was no answer."""
        return median(self.round_trips_s)

    def handle_datagrams(self, batch: Batch, now: float) -> None:
        """Take in a batch; what is no answer to this probe is ignored."""
        for datagram in batch.datagrams():
            try:
                packet = decode_untrusted(datagram)
                if packet.connection_id != self._hello.connection_id:
                    continue
                if packet.type is not PacketType.RETRY:
                    continue
                retry = decode_retry_untrusted(packet)
            except MalformedPacket:
                continue
            if retry.nonce != self._hello.nonce or retry.hello_size not in self._sizes:
                continue
            if retry.version != VERSION:
                self._end(other_version(retry.version))
                return
            self._note(retry.attempt, retry.hello_size, now)

    def _note(self, attempt: int, size: int, now: float) -> None:
        self.largest_answered = max(self.largest_answered, size)
        ping = size == self._sizes[-1] and attempt < self.sent
        if ping and attempt not in self._answered:  # a duplicate is no second answer
            self._answered.add(attempt)
            self.round_trips_s.append(now - self._sent_at[attempt])

    def poll_transmit(self, now: float) -> Transmit | None:
        """Return the next HELLO, or None. Some may be larger than the path carries."""
        if not self._ended and self.sent < self._pings and now >= self._round_at:
            self._round_at = now + PATH_PROBE_INTERVAL_S
            sizes = self._sizes if self.sent < PATH_PROBE_SIZE_ROUNDS else self._sizes[-1:]
            hello = self._hello._replace(attempt=self.sent)
            self._sent_at.append(now)
            # The ping leaves first: it should not wait behind the large ones.
            self._queue.extend(encode_hello(hello, size - self._overhead) for size in sizes[::-1])
        if not self._queue:
            return None
        datagram = self._queue.popleft()
        return Transmit(memoryview(datagram), len(datagram))

    def handle_timeout(self, now: float) -> None:
        """End where all was answered, or where nobody need wait for more."""
        if self._ended or self.next_timeout() > now:
            return
        if not self.round_trips_s and not self.largest_answered:
            if now >= self._began + self._connect_timeout_s:
                self._end(unanswered(self._connect_timeout_s, keyed=self._overhead > 0))
        elif self.sent == self._pings:
            self._ended = True
            self._events.append(Completed(b""))

    def next_timeout(self) -> float:
        """Time at which the next ping, or the end, is due."""
        if self.sent < self._pings:
            return self._round_at
        if not self.largest_answered:
            return max(self._round_at, self._began + self._connect_timeout_s)
        if not self.lost:
            return self._round_at  # a moment more for the large ones
        patience_s = max(PATH_PROBE_PATIENCE_S, 2 * max(self.round_trips_s, default=0.0))
        return self._sent_at[-1] + patience_s

    def poll_event(self) -> Event | None:
        """Return the next event: one Completed or Failed."""
        return self._events.popleft() if self._events else None

    def _end(self, error: UdpftError) -> None:
        if not self._ended:
            self._ended = True
            self._events.append(Failed(error))
