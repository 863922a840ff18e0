"""A client's whole upload: the handshake, then the sending end, as one endpoint.

GREETING  ACCEPT            →  SENDING, what the server has left out
GREETING  error, time       →  ENDED
SENDING   Completed, Failed →  ENDED
"""

from __future__ import annotations

from collections import deque
from math import inf
from random import Random

from udpft.errors import UdpftError
from udpft.protocol.contract import ChunkSource, Event, Failed, Transmit, datagrams
from udpft.protocol.handshake.initiator import HandshakeResult, Initiator, whole_chunks
from udpft.protocol.params import (
    CONNECT_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    INITIAL_RECEIVE_ROOM,
    MAX_BURST_BYTES,
)
from udpft.protocol.transfer.sender import Sender
from udpft.protocol.wire.data import BurstWriter
from udpft.protocol.wire.error import ErrorCode
from udpft.protocol.wire.hello import Hello


class Upload:
    """One file's way to the server; an `endpoint.Endpoint`.

    Args:
        hello: the request, with the file's size and identity.
        source: the file.
        now: seconds on the driver's clock.
        random: spreads the controller's probes.
        known_size, keyed, connect_timeout_s, idle_timeout_s: see `Download`.
    """

    def __init__(
        self,
        hello: Hello,
        *,
        source: ChunkSource,
        now: float,
        random: Random,
        known_size: int = 0,
        keyed: bool = False,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._source = source
        self._random = random
        self._idle_timeout_s = idle_timeout_s
        self._initiator = Initiator(
            hello,
            now=now,
            known_size=known_size,
            keyed=keyed,
            connect_timeout_s=connect_timeout_s,
        )
        self._events: deque[Event] = deque()
        self._ended = False
        self.handshake: HandshakeResult | None = None
        self.sender: Sender | None = None

    def handle_datagrams(
        self, buffer: bytearray, length: int, segment_size: int, now: float
    ) -> None:
        """Take in a batch, for whichever of the two is at work."""
        if self.sender:
            self.sender.handle_datagrams(buffer, length, segment_size, now)
            return
        for datagram in datagrams(buffer, length, segment_size):
            self._initiator.handle(datagram, now)
        self._proceed(now)

    def _proceed(self, now: float) -> None:
        """Go on to sending, or end, where the handshake is over."""
        found = self._initiator.handshake
        if self._initiator.error:
            self._end(self._initiator.error)
        elif found and not self._ended:
            self.handshake = found
            accept, hello = found.accept, self._initiator.hello
            writer = BurstWriter(accept.chunk_size, bytearray(MAX_BURST_BYTES), accept.nonce)
            limits = (hello.max_rate_bytes_per_s, accept.max_rate_bytes_per_s)
            self.sender = Sender(
                connection_id=accept.connection_id,
                own_connection_id=hello.connection_id,
                nonce=accept.nonce,
                source=self._source,
                size=hello.size,
                writer=writer,
                now=now,
                random=self._random,
                have=whole_chunks(accept.have, accept.chunk_size, hello.size),
                receive_room=accept.receive_room or INITIAL_RECEIVE_ROOM,
                max_rate_bytes_per_s=min(filter(None, limits), default=0),
                idle_timeout_s=self._idle_timeout_s,
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
        hello = None if self._ended else self._initiator.poll(now)
        return None if hello is None else Transmit(memoryview(hello), len(hello))

    def poll_event(self) -> Event | None:
        """The next event: see `Sender.poll_event`."""
        if self._events:
            return self._events.popleft()
        return self.sender.poll_event() if self.sender else None

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
        else:
            self._end(error)

    def _end(self, error: UdpftError) -> None:
        if not self._ended:
            self._ended = True
            self._events.append(Failed(error))
