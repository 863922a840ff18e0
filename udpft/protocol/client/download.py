"""A client's whole fetch: the handshake, then the receiving end, as one endpoint.

GREETING   ACCEPT      →  RECEIVING    ``open_sink`` is called with it
GREETING   error, time →  ENDED
RECEIVING  Completed, Failed →  ENDED
RECEIVING  ACCEPT of another server, in the place of one that fell silent:
           the same file, in chunks of the same size  →  RECEIVING
           in chunks of another size  →  RECEIVING    ``open_sink`` is called again
           another file  →  ENDED
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from udpft.errors import SourceChanged, UdpftError
from udpft.protocol.client.failover import Failover
from udpft.protocol.contract import Event, Failed, OpenedSink, Transmit, datagrams
from udpft.protocol.handshake.initiator import HandshakeResult, Initiator, byte_ranges
from udpft.protocol.params import CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S
from udpft.protocol.transfer.receiver import Receiver
from udpft.protocol.wire.error import ErrorCode, Refusal, encode_error
from udpft.protocol.wire.hello import Hello


class Download:
    """One file's way here; an `endpoint.Endpoint`.

    Args:
        hello: the request.
        open_sink: called with the server's consent; returns where the file goes and the hashes of
            chunks that are there already, which are those that ``have`` holds whole; or raises an
            `UdpftError`, which ends the transfer and is told to the server. Called again where
            the transfer goes on in chunks of another size.
        receive_queue: see `Receiver`.
        now: seconds on the driver's clock.
        sizes: datagram sizes to probe, largest first; by default all usual ones.
        known_size: what an earlier handshake found to pass, where ``hello`` has its cookie.
        keyed: datagrams are sealed on their way out, and grow by it.
        largest: bytes of the largest datagram that can leave this machine, see `Initiator`.
        connect_timeout_s: seconds to wait for an answer.
        idle_timeout_s: seconds without progress after which the transfer has failed.
    """

    def __init__(
        self,
        hello: Hello,
        *,
        open_sink: Callable[[HandshakeResult], OpenedSink],
        receive_queue: Callable[[], tuple[int, int]],
        now: float,
        sizes: tuple[int, ...] = (),
        known_size: int = 0,
        keyed: bool = False,
        largest: float = inf,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._open_sink = open_sink
        self._receive_queue = receive_queue
        self._idle_timeout_s = idle_timeout_s
        self._keyed = keyed
        self._events: deque[Event] = deque()
        self._initiator = Initiator(
            hello,
            now=now,
            sizes=sizes,
            known_size=known_size,
            keyed=keyed,
            largest=largest,
            connect_timeout_s=connect_timeout_s,
        )
        self._farewell: bytes | None = None
        self._ended = False
        self._successor: Failover | None = None
        self._received_before = self._resent_before = 0
        self.handshake: HandshakeResult | None = None
        self.receiver: Receiver | None = None

    @property
    def bytes_received(self) -> int:
        """Of chunks that were new, from all servers."""
        return self._received_before + (self.receiver.bytes_received if self.receiver else 0)

    @property
    def bytes_here(self) -> int:
        """Bytes of the file that are here by now."""
        if not self.receiver:
            return 0
        return self.receiver.bytes_present + self.receiver.bytes_received

    @property
    def resent_packets(self) -> int:
        """Packets that the servers needed beyond one a chunk."""
        return self._resent_before + (self.receiver.resent_packets if self.receiver else 0)

    @property
    def resent_share(self) -> float:
        """Of the packets so far, those that were needed beyond one a chunk."""
        chunks = self.receiver.chunks_received if self.receiver else 0
        return self.resent_packets / max(1, chunks + self.resent_packets)

    def note_refused(self, now: float) -> None:
        """Nothing listens at the other end, now; another server may soon."""
        if self._successor:
            self._successor.note_refused(now)

    def handle_datagrams(
        self, buffer: bytearray, length: int, segment_size: int, now: float
    ) -> None:
        """Take in a batch, for whichever of the two is at work.

        Raises:
            UdpftError: from the sink, which cannot write.
        """
        if self.receiver:
            self.receiver.handle_datagrams(buffer, length, segment_size, now)
            if self._successor and self._successor.awake:
                self._look_for_a_successor(buffer, length, segment_size, now)
            return
        for count, datagram in enumerate(datagrams(buffer, length, segment_size), 1):
            self._initiator.handle(datagram, now)
            self._proceed(now)
            if self.receiver:
                # The kernel may have joined the first DATA to ACCEPT.
                rest = buffer[count * segment_size : length]
                self.receiver.handle_datagrams(rest, len(rest), segment_size, now)
                return

    def _proceed(self, now: float) -> None:
        """Go on to receiving, or end, where the handshake is over."""
        found = self._initiator.handshake
        if self._initiator.error and not self._ended:
            self._end(self._initiator.error)
        elif found and not self.handshake and not self._ended:
            self.handshake = found
            accept = found.accept
            try:
                opened = self._open_sink(found)
            except UdpftError as error:
                refusal = Refusal(accept.nonce, ErrorCode.CANCELLED, "")
                self._farewell = encode_error(refusal, accept.connection_id)
                self._end(error)
                return
            self._begin_receiving(opened, found, self._initiator.hello, now)

    def _begin_receiving(
        self, opened: OpenedSink, found: HandshakeResult, hello: Hello, now: float
    ) -> None:
        accept = found.accept
        self.receiver = Receiver(
            connection_id=accept.connection_id,
            own_connection_id=hello.connection_id,
            nonce=accept.nonce,
            chunk_size=accept.chunk_size,
            size=accept.size,
            sink=opened.sink,
            receive_queue=self._receive_queue,
            now=now,
            idle_timeout_s=self._idle_timeout_s,
            note_hashes=opened.note_hashes,
        )
        for first_chunk, hashes in opened.present:
            self.receiver.note_present(first_chunk, hashes)
        self._successor = Failover(hello, found, self._held, keyed=self._keyed)

    # ----------------------------------------------------------------------- another server

    def _held(self) -> tuple[tuple[int, int], ...]:
        """The byte ranges that another server need not send."""
        assert self.receiver
        assert self.handshake
        accept = self.handshake.accept
        return byte_ranges(self.receiver.chunks, accept.chunk_size, accept.size)

    def _look_for_a_successor(
        self, buffer: bytearray, length: int, segment_size: int, now: float
    ) -> None:
        assert self.receiver
        assert self._successor
        successor = self._successor
        for count, datagram in enumerate(datagrams(buffer, length, segment_size), 1):
            if self.receiver.ended:
                return
            successor.handle(datagram, now, self.receiver.heard_at)
            if successor.error:
                self.receiver.abort(successor.error)
            elif successor.handshake:
                self._change_server(successor.hello, successor.handshake, now)
                rest = buffer[count * segment_size : length]
                self.receiver.handle_datagrams(rest, len(rest), segment_size, now)
                return

    def _change_server(self, hello: Hello, found: HandshakeResult, now: float) -> None:
        """Go on with another server, where it has the same file."""
        assert self.receiver
        assert self.handshake
        old, new = self.handshake.accept, found.accept
        try:
            if (new.identity, new.size) != (old.identity, old.size):
                raise SourceChanged("the file changed on the server while it was sent")
            if new.chunk_size == old.chunk_size:
                self.receiver.change_session(
                    connection_id=new.connection_id,
                    own_connection_id=hello.connection_id,
                    nonce=new.nonce,
                    now=now,
                )
                self._successor = Failover(hello, found, self._held, keyed=self._keyed)
            else:
                self._received_before = self.bytes_received
                self._resent_before = self.resent_packets
                self._begin_receiving(self._open_sink(found), found, hello, now)
        except UdpftError as error:
            refusal = Refusal(new.nonce, ErrorCode.CANCELLED, "")
            self._farewell = encode_error(refusal, new.connection_id)
            self.receiver.abort(error)
            return
        self.handshake = found

    # -------------------------------------------------------------------------------- always

    def handle_timeout(self, now: float) -> None:
        """Act on the deadlines that have passed."""
        if self.receiver:
            self.receiver.handle_timeout(now)
        else:
            self._initiator.handle_timeout(now)
            self._proceed(now)

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next datagram to send, or None."""
        if self._farewell:
            datagram, self._farewell = self._farewell, None
        elif self.receiver:
            transmit = self.receiver.poll_transmit(now)
            if transmit or self.receiver.ended or not self._successor:
                return transmit
            question = self._successor.poll(now, self.receiver.heard_at)
            if question is None:
                return None
            datagram = question
        elif not self._ended and not self.handshake:
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
            due_at = self.receiver.next_timeout()
            if due_at is None or not self._successor:
                return due_at
            return min(due_at, self._successor.next_timeout(self.receiver.heard_at))
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
