"""A client's whole fetch: the handshake, then the receiving end, as one endpoint.

GREETING   ACCEPT      →  RECEIVING    ``open_sink`` is called with it
GREETING   error, time →  ENDED
RECEIVING  Completed, Failed →  ENDED
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import NamedTuple

from udpft.errors import UdpftError
from udpft.protocol.endpoint import ChunkSink, Event, Failed, Transmit
from udpft.protocol.handshake import Initiator, Introduction
from udpft.protocol.packets import ErrorCode, Hello, Refusal, encode_error
from udpft.protocol.params import CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S
from udpft.protocol.receiver import Receiver


class Opened(NamedTuple):
    """Where a file goes, and what of it is there: (first chunk, hashes) of runs of chunks."""

    sink: ChunkSink
    present: Iterable[tuple[int, bytes]] = ()


class Download:
    """One file's way here; an `endpoint.Endpoint`.

    Args:
        hello: the request.
        open_sink: called once with the server's consent; returns where the file goes and the
            hashes of chunks that are there already, or raises an `UdpftError`, which ends the
            transfer and is told to the server.
        receive_queue: see `Receiver`.
        now: seconds on the driver's clock.
        sizes: datagram sizes to probe, largest first; by default all usual ones.
        known_size: what an earlier handshake found to pass, where ``hello`` has its cookie.
        connect_timeout_s: seconds to wait for an answer.
        idle_timeout_s: seconds without progress after which the transfer has failed.
    """

    def __init__(
        self,
        hello: Hello,
        *,
        open_sink: Callable[[Introduction], Opened],
        receive_queue: Callable[[], tuple[int, int]],
        now: float,
        sizes: tuple[int, ...] = (),
        known_size: int = 0,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._open_sink = open_sink
        self._receive_queue = receive_queue
        self._idle_timeout_s = idle_timeout_s
        self._events: deque[Event] = deque()
        self._initiator = Initiator(
            hello,
            now=now,
            sizes=sizes,
            known_size=known_size,
            connect_timeout_s=connect_timeout_s,
        )
        self._farewell: bytes | None = None
        self._ended = False
        self.introduction: Introduction | None = None
        self.receiver: Receiver | None = None

    def handle_datagrams(
        self, buffer: bytearray, length: int, segment_size: int, now: float
    ) -> None:
        """Take in a batch, for whichever of the two is at work.

        Raises:
            UdpftError: from the sink, which cannot write.
        """
        if self.receiver:
            self.receiver.handle_datagrams(buffer, length, segment_size, now)
            return
        view = memoryview(buffer)
        for at in range(0, length, segment_size):
            self._initiator.handle(view[at : min(at + segment_size, length)], now)
            self._proceed(now)
            if self.receiver:
                # The kernel may have joined the first DATA to ACCEPT.
                rest = buffer[at + segment_size : length]
                self.receiver.handle_datagrams(rest, len(rest), segment_size, now)
                return

    def _proceed(self, now: float) -> None:
        """Go on to receiving, or end, where the handshake is over."""
        found = self._initiator.introduction
        if self._initiator.error and not self._ended:
            self._end(self._initiator.error)
        elif found and not self.introduction and not self._ended:
            self.introduction = found
            accept = found.accept
            try:
                opened = self._open_sink(found)
            except UdpftError as error:
                refusal = Refusal(accept.nonce, ErrorCode.CANCELLED, "")
                self._farewell = encode_error(refusal, accept.connection_id)
                self._end(error)
                return
            self.receiver = Receiver(
                connection_id=accept.connection_id,
                own_connection_id=self._initiator.hello.connection_id,
                nonce=accept.nonce,
                chunk_size=accept.chunk_size,
                size=accept.size,
                sink=opened.sink,
                receive_queue=self._receive_queue,
                now=now,
                idle_timeout_s=self._idle_timeout_s,
            )
            for first_chunk, hashes in opened.present:
                self.receiver.note_present(first_chunk, hashes)

    def handle_timeout(self, now: float) -> None:
        """Act on the deadlines that have passed."""
        if self.receiver:
            self.receiver.handle_timeout(now)
        else:
            self._initiator.handle_timeout(now)
            self._proceed(now)

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next datagram to send, or None."""
        if self.receiver:
            return self.receiver.poll_transmit(now)
        if self._farewell:
            datagram, self._farewell = self._farewell, None
        elif not self._ended and not self.introduction:
            hello = self._initiator.poll(now)
            if hello is None:
                return None
            datagram = hello
        else:
            return None
        return Transmit(memoryview(datagram), len(datagram))

    def poll_event(self) -> Event | None:
        """The next event: see `Receiver.poll_event`."""
        if self._events:
            return self._events.popleft()
        return self.receiver.poll_event() if self.receiver else None

    def next_timeout(self) -> float | None:
        """When something is due."""
        if self.receiver:
            return self.receiver.next_timeout()
        at = self._initiator.next_timeout
        return None if at == inf else at

    def abort(self, error: UdpftError, code: ErrorCode = ErrorCode.CANCELLED) -> None:
        """End the transfer from this side, and tell the server where there is one."""
        if self.receiver:
            self.receiver.abort(error, code)
        elif not self._ended:
            self._end(error)

    def _end(self, error: UdpftError) -> None:
        self._ended = True
        self._events.append(Failed(error))
