"""The server's end of an upload: a `Receiver` that has an ACCEPT to repeat, and a place to fill.

The client sends what it has, and the server has: roles as in a download, with the handshake the
other way round. ACCEPT tells the client what is here already, and how fast it may be. ::

    RECEIVING   all is here, the digests agree  →  COMMITTING: the place is asked until it is done
    RECEIVING   error, silence                  →  ENDED
    COMMITTING  done                            →  ENDED: FIN_ACK, again for each FIN
    COMMITTING  the disk refuses                →  ENDED

A server has other transfers to look after. So what is here is read a little at a time, while the
rest comes; and a place may take its time to commit, in which each FIN draws an ACK, so that the
client knows of life at this end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, NamedTuple, Protocol

from udpft.errors import UdpftError
from udpft.protocol.contract import Completed, Event, Failed, OpenedSink, Transmit, Verified
from udpft.protocol.handshake.initiator import HandshakeResult
from udpft.protocol.params import QUIET_S
from udpft.protocol.transfer.receiver import Receiver
from udpft.protocol.wire.accept import Accept, encode_accept
from udpft.protocol.wire.error import ErrorCode, code_of
from udpft.protocol.wire.hello import Hello
from udpft.protocol.wire.packet import PacketType

_READ_A_TURN = 16
"""Bursts of what is here that are read in one go: some milliseconds."""

_ASK_AGAIN_S = 0.002, 0.050
"""Seconds after which a place that commits is asked again: at first, and at most."""


class Place(Protocol):
    """Where an upload goes. ``size``, ``mtime_ns`` and ``identity`` are the client's file's."""

    size: int
    mtime_ns: int
    identity: int

    @property
    def have(self) -> tuple[tuple[int, int], ...]:
        """The byte ranges of it that are here."""
        ...

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Open it. Raises UdpftError."""
        ...

    def commit(self) -> bool:
        """Give the file, which is complete and verified, its name; whether that is done.

        Where not, it goes on, and is asked again.
        """
        ...

    def told(self, error: UdpftError) -> UdpftError:
        """An error in words that a stranger may read."""
        ...

    def close(self, error: BaseException | None = None, received_bytes: int = 0) -> None:
        """Give it back; ``error`` is what went wrong, and so many bytes have come for it."""
        ...


class Terms(NamedTuple):
    """What a handshake has agreed on: ``max_rate`` is the server's own, in bytes per second."""

    hello: Hello
    accept: Accept
    accept_size: int
    max_rate: int
    idle_timeout_s: float


def accept_upload(
    terms: Terms, place: Any, receive_queue: Callable[[], tuple[int, int]], now: float
) -> ServerUpload:
    """The end that takes a client's file. Raises UdpftError: from the place, which is closed."""
    hello = terms.hello
    accept = terms.accept._replace(
        receive_room=receive_queue()[0], max_rate_bytes_per_s=terms.max_rate, have=place.have
    )
    try:
        opened = place.open_sink(HandshakeResult(accept, 0, b"", 0.0, accept.have))
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
            peer="client",
        )
    except UdpftError as error:
        place.close(error)
        raise place.told(error) from error
    except BaseException as error:
        place.close(error)
        raise
    prelude = encode_accept(accept, hello.connection_id, terms.accept_size)
    return ServerUpload(receiver, place, prelude, now, iter(opened.present))


class ServerUpload:
    """One upload, from ACCEPT to FIN_ACK; an `endpoint.Endpoint`. See `accept_upload`.

    Args:
        receiver: the receiving end.
        place: what it fills.
        prelude: ACCEPT.
        now: seconds on the driver's clock.
        present: the hashes of what is here already, with the number of each first chunk.
    """

    def __init__(
        self,
        receiver: Receiver,
        place: Place,
        prelude: bytes,
        now: float,
        present: Iterator[tuple[int, bytes]],
    ) -> None:
        self._receiver = receiver
        self._place = place
        self.prelude = prelude
        self._present: Iterator[tuple[int, bytes]] | None = present
        self._control: deque[bytes] = deque([prelude])
        self._events: deque[Event] = deque()
        self._began = now
        self._commits_since = self._ask_at = inf
        self._farewell = b""
        self.heard = False
        self.bytes_sent = 0

    @property
    def packets_resent(self) -> int:
        """Packets that the client needed beyond one a chunk."""
        return self._receiver.resent_packets

    @property
    def bytes_received(self) -> int:
        """Of chunks that were new."""
        return self._receiver.bytes_received

    def is_abandoned(self, now: float) -> bool:
        """Whether its client has been silent so long that another one may take its place."""
        silent = now >= self._receiver.heard_at + QUIET_S
        return silent and self._commits_since == inf and not self._farewell

    def repeat_prelude(self) -> None:
        """The client has asked again: ACCEPT was lost. Once it was heard, this does nothing."""
        if not self.heard and not self._control:
            self._control.append(self.prelude)

    def handle_datagrams(
        self, buffer: bytearray, length: int, segment_size: int, now: float
    ) -> None:
        """Take in a batch. When all is here and verified, it is committed."""
        if self._farewell:
            if length and buffer[0] == PacketType.FIN:
                self._control.append(self._farewell)  # what we said to it was lost
            return
        try:
            self._receiver.handle_datagrams(buffer, length, segment_size, now)
        except UdpftError as error:
            self._fail(error)
        self.heard = self.heard or self._receiver.heard_at > self._began
        self._proceed(now)

    def _proceed(self, now: float) -> None:
        """See whether it is time to commit, or over."""
        while event := self._receiver.poll_event():
            if isinstance(event, Verified):
                self._commits_since = self._ask_at = now
            else:
                self._events.append(event)
        if now >= self._ask_at:
            self._commit(now)

    def _commit(self, now: float) -> None:
        """Ask the place whether it is done, and say so."""
        receiver = self._receiver
        first_s, longest_s = _ASK_AGAIN_S
        try:
            if not self._place.commit():
                waited_s = now - self._commits_since
                self._ask_at = now + max(first_s, min(longest_s, waited_s / 8))
                return
        except UdpftError as error:
            self._fail(error)
        else:
            self._events.clear()  # whatever the client said meanwhile, it is done
            receiver.confirm()
            while transmit := receiver.poll_transmit(now):
                self._farewell = bytes(transmit.data)
                self._control.append(self._farewell)
        self._commits_since = self._ask_at = inf
        self._proceed(now)

    def _fail(self, error: UdpftError) -> None:
        told = self._place.told(error)
        self._receiver.abort(told, code_of(told))

    def _read_on(self) -> None:
        """Hash some of what is here already."""
        assert self._present is not None
        try:
            for _ in range(_READ_A_TURN):
                run = next(self._present, None)
                if run is None:
                    self._present = None
                    self._receiver.verify_if_complete()
                    return
                self._receiver.note_present(*run)
        except UdpftError as error:
            self._present = None
            self._fail(error)

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next datagram: ACCEPT, then what the receiver has to say."""
        if self._control:
            datagram = self._control.popleft()
            transmit: Transmit | None = Transmit(memoryview(datagram), len(datagram))
        else:
            if self._present:
                self._read_on()
                self._proceed(now)
            transmit = self._receiver.poll_transmit(now)
        if transmit:
            self.bytes_sent += len(transmit.data)
        return transmit

    def poll_event(self) -> Event | None:
        """The next event: one Completed or Failed; none while it commits."""
        if self._commits_since < inf:
            return None
        return self._events.popleft() if self._events else None

    def handle_timeout(self, now: float) -> None:
        """Give the upload up where nothing new came for too long, or go on committing it."""
        if self._commits_since == inf:
            self._receiver.handle_timeout(now)
        self._proceed(now)

    def next_timeout(self) -> float | None:
        """When something is due."""
        if self._present:
            return self._began  # at once
        if self._commits_since < inf:
            return self._ask_at
        return self._receiver.next_timeout()

    def abort(self, error: UdpftError, code: ErrorCode = ErrorCode.CANCELLED) -> None:
        """End the upload from this side, and tell the client why."""
        self._commits_since = self._ask_at = inf
        self._receiver.abort(error, code)
        self._proceed(-inf)

    def close(self, event: Completed | Failed) -> None:
        """Give the place back, now that it is over."""
        error = event.error if isinstance(event, Failed) else None
        self._place.close(error, self.bytes_received)
