"""The server's end of an upload: a `Receiver` that has an ACCEPT to repeat, and a place to fill.

The client sends what it has, and the server has: roles as in a download, with the handshake the
other way round. ACCEPT tells the client what is here already, and how fast it may be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple, Protocol

from udpft.errors import UdpftError
from udpft.protocol.accept import Accept, encode_accept
from udpft.protocol.download import Opened
from udpft.protocol.endpoint import Completed, Event, Failed, Transmit, Verified
from udpft.protocol.handshake import Introduction
from udpft.protocol.packets import (
    ErrorCode,
    Hello,
)
from udpft.protocol.receiver import Receiver

LINGER_S = 1.0
"""Seconds for which a committed upload answers a FIN that comes again, for FIN_ACK was lost: the
client must know. Three times in a row it is lost at 50 % every eighth time."""


class Place(Protocol):
    """Where an upload goes. ``size``, ``mtime_ns`` and ``identity`` are the client's file's."""

    size: int
    mtime_ns: int
    identity: int

    @property
    def have(self) -> tuple[tuple[int, int], ...]:
        """The byte ranges of it that are here."""
        ...

    def open_sink(self, introduction: Introduction) -> Opened:
        """Open it. Raises UdpftError, in words that a stranger may read, as all of these do."""
        ...

    def commit(self) -> None:
        """Give the file, which is complete and verified, its name."""
        ...

    def close(self, error: BaseException | None = None) -> None:
        """Give it back; ``error`` is what went wrong."""
        ...


class Terms(NamedTuple):
    """What a handshake has agreed on: ``max_rate`` is the server's own, in bytes per second."""

    hello: Hello
    accept: Accept
    accept_size: int
    max_rate: int
    idle_timeout_s: float


def take_in(
    terms: Terms, place: Any, receive_queue: Callable[[], tuple[int, int]], now: float
) -> Intake:
    """The end that takes a client's file. Raises UdpftError: from the place, which is closed."""
    hello = terms.hello
    accept = terms.accept._replace(
        receive_room=receive_queue()[0], max_rate_bytes_per_s=terms.max_rate, have=place.have
    )
    try:
        opened = place.open_sink(Introduction(accept, 0, b"", 0.0, accept.have))
        receiver = Receiver(
            connection_id=hello.connection_id,
            own_connection_id=accept.connection_id,
            nonce=hello.nonce,
            chunk_size=accept.chunk_size,
            size=accept.size,
            sink=opened.sink,
            receive_queue=receive_queue,
            now=now,
            idle_timeout_s=terms.idle_timeout_s,
            note_hashes=opened.note_hashes,
        )
        for first_chunk, hashes in opened.present:
            receiver.note_present(first_chunk, hashes)
    except BaseException as error:
        place.close(error)
        raise
    prelude = encode_accept(accept, hello.connection_id, terms.accept_size)
    return Intake(receiver, place, prelude, now)


class Intake:
    """One upload, from ACCEPT to FIN_ACK; an `endpoint.Endpoint`. See `Receiver`."""

    def __init__(self, receiver: Receiver, place: Place, prelude: bytes, now: float) -> None:
        self._receiver = receiver
        self._place = place
        self.prelude = prelude
        self._control: deque[bytes] = deque([prelude])
        self._events: deque[Event] = deque()
        self._began = now
        self._committed = False
        self._farewell = b""
        self._over_at = inf
        self.heard = False
        self.bytes_sent = 0
        self.ended_at = inf

    @property
    def packets_resent(self) -> int:
        """Packets that the client needed beyond one a chunk."""
        return self._receiver.resent_packets

    @property
    def bytes_received(self) -> int:
        """Of chunks that were new."""
        return self._receiver.bytes_received

    def repeat_prelude(self) -> None:
        """The client has asked again: ACCEPT was lost. Once it was heard, this does nothing."""
        if not self.heard and not self._control:
            self._control.append(self.prelude)

    def handle_datagrams(
        self, buffer: bytearray, length: int, segment_size: int, now: float
    ) -> None:
        """Take in a batch. When all is here and verified, it is committed."""
        if self._committed:
            self._control.append(self._farewell)  # FIN again: what we said to it was lost
            return
        try:
            self._receiver.handle_datagrams(buffer, length, segment_size, now)
            self.heard = self.heard or self._receiver.heard_at > self._began
            event = self._receiver.poll_event()
            if isinstance(event, Verified):
                self._place.commit()
                self._receiver.confirm()
                self._committed = True
                self.ended_at, self._over_at = now, now + LINGER_S
            elif event:
                self._events.append(event)
        except UdpftError as error:
            self._receiver.abort(error, ErrorCode.WRITE_FAILED)

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next datagram: ACCEPT, then what the receiver has to say."""
        if self._control:
            datagram = self._control.popleft()
            transmit: Transmit | None = Transmit(memoryview(datagram), len(datagram))
        else:
            transmit = self._receiver.poll_transmit(now)
            if transmit and self._committed:
                self._farewell = bytes(transmit.data)
        if transmit:
            self.bytes_sent += len(transmit.data)
        return transmit

    def poll_event(self) -> Event | None:
        """The next event: one Completed or Failed; Completed after `LINGER_S`."""
        if self._events:
            return self._events.popleft()
        return self._receiver.poll_event() if self._over_at in (-inf, inf) else None

    def handle_timeout(self, now: float) -> None:
        """Give the upload up where nothing new came for too long; end it when it has lingered."""
        self._receiver.handle_timeout(now)
        if now >= self._over_at:
            self._over_at = -inf

    def next_timeout(self) -> float | None:
        """When something is due."""
        if self._committed:
            return self._over_at
        return self._receiver.next_timeout()

    def abort(self, error: UdpftError, code: ErrorCode = ErrorCode.CANCELLED) -> None:
        """End the upload from this side, and tell the client why."""
        self._receiver.abort(error, code)

    def close(self, event: Completed | Failed) -> None:
        """Give the place back, now that it is over."""
        self._place.close(event.error if isinstance(event, Failed) else None)
