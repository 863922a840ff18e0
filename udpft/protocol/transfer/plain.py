"""Plain protocol: one datagram with a file's name, answered by the file in chunks.

Theory of operation
-------------------
The client sends one datagram: the name, UTF-8, no terminator; a trailing newline is forgiven, so
that ``echo hello.txt | nc -u`` is a client. The server answers with the file in order, in
datagrams of 2048 bytes; the first one that is shorter ends the file. A file whose size is a
multiple of 2048, the empty file too, therefore ends with an empty datagram.

There are no sequence numbers, no acknowledgements, no errors: a missing file gets no answer. A
datagram lost in the middle leaves a file that is shorter or in disorder, and nothing says so.
That is what the reliable protocol is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Protocol

from udpft.errors import SourceChanged, VersionMismatch
from udpft.protocol.contract import NOT_READY_S, ChunkSink, ChunkSource, NotReady
from udpft.protocol.params import CHUNK_SIZE, MAX_BURST_INTERVAL_S, MAX_NAME_BYTES

# Bytes of a request: a name, and perhaps CR LF
_REQUEST_LIMIT = MAX_NAME_BYTES + 2


class NotARequest(Exception):
    """Error: the datagram asks for no file."""


def is_plain(first_byte: int) -> bool:
    """Whether a client's datagram that begins so is plain: 0 is reserved, 0x80–0xBF reliable."""
    return first_byte != 0 and not 0x80 <= first_byte <= 0xBF


def encode_request(name: str) -> bytes:
    """Write the datagram that asks for a file."""
    return name.encode(errors="surrogateescape")


def decode_request_untrusted(datagram: bytes) -> str:
    """Read the name that a datagram asks for.

    Raises:
        NotARequest: empty, too long, or of another protocol.
    """
    if not 0 < len(datagram) <= _REQUEST_LIMIT or not is_plain(datagram[0]):
        raise NotARequest
    name = datagram.decode(errors="surrogateescape")  # the bytes that it is, UTF-8 or not
    name = name.removesuffix("\n").removesuffix("\r")
    if not name:
        raise NotARequest
    return name


class _Readable(ChunkSource, Protocol):
    @property
    def size(self) -> int: ...


class PlainSender:
    """Sender of one plain transfer, on the server: reads the file, chunk by chunk, at a rate.

    Args:
        source: the file.
        rate_bytes_per_s: of payload; nothing else keeps the receiver's buffer from overflowing.
        now: seconds on the driver's clock.

    Attributes:
        bytes_sent: bytes of the file in the datagrams polled so far.
        done: whether the last datagram was polled.
    """

    def __init__(self, source: _Readable, *, rate_bytes_per_s: float, now: float) -> None:
        self._source = source
        self._interval_s = CHUNK_SIZE / rate_bytes_per_s
        self._next_at = now
        """Seconds on the clock: when the next datagram may leave. Each one moves it on."""
        self._chunk = memoryview(bytearray(CHUNK_SIZE))
        self.bytes_sent = 0
        self.done = False

    def poll(self, now: float) -> memoryview | None:
        """Return the next datagram, or None until `next_timeout`. Valid until the next call.

        Raises:
            UdpftError: the file cannot be read, or became shorter.
        """
        if self.done or now < self._next_at:
            return None
        # Time not used is kept for a millisecond, then it is gone: late is no reason to flood.
        self._next_at = max(self._next_at, now - MAX_BURST_INTERVAL_S) + self._interval_s
        left = self._source.size - self.bytes_sent
        length = min(CHUNK_SIZE, left)
        slots: Sequence[memoryview] = [self._chunk[:length]]
        try:
            got = self._source.readv(slots, self.bytes_sent) if length else 0
        except NotReady:
            self._next_at = now + NOT_READY_S
            return None
        if got != length:
            raise SourceChanged.under_way("became shorter")
        self.bytes_sent += length
        self.done = length < CHUNK_SIZE
        return self._chunk[:length]

    @property
    def next_timeout(self) -> float:
        """Time at which the next datagram may leave; inf after the last one."""
        return inf if self.done else self._next_at


class PlainReceiver:
    """Receiver of one plain transfer, on the client: writes chunks in the order of arrival.

    Args:
        sink: the file.

    Attributes:
        bytes_received: bytes written to the file; each datagram adds to them.
        datagrams_received: datagrams of the file so far.
        done: whether the datagram that ends the file has come.
    """

    def __init__(self, sink: ChunkSink) -> None:
        self._sink = sink
        self.bytes_received = 0
        self.datagrams_received = 0
        self.done = False

    def handle(self, datagram: memoryview) -> None:
        """Take in one datagram.

        Raises:
            VersionMismatch: it is longer than a chunk, so the server speaks something else.
            UdpftError: the file cannot be written.
        """
        if self.done:
            return
        if len(datagram) > CHUNK_SIZE:
            raise VersionMismatch(
                f"a datagram of {len(datagram)} bytes came: that is not the plain protocol",
                hint="is there another program on that port?",
            )
        self.datagrams_received += 1
        if datagram:
            self._sink.writev([datagram], self.bytes_received)
        self.bytes_received += len(datagram)
        self.done = len(datagram) < CHUNK_SIZE
