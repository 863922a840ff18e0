"""What a driver and an endpoint ask of each other, and what an endpoint asks of a file.

An endpoint is one end of one transfer. It owns no socket and no clock. A driver calls, in this
order, each time something happened:

1. `Endpoint.handle_datagrams` for what the network brought,
2. `Endpoint.handle_timeout` once `Endpoint.next_timeout` has come,
3. `Endpoint.poll_transmit` until it returns None, sending each result before the next call,
   because the buffer of one is written over by the next,
4. `Endpoint.poll_event` until it returns None,
5. `Endpoint.next_timeout` for how long to wait.

This is the poll contract of quinn-proto, with one difference: a datagram is too small a unit for
Python, so everything is per *burst*, up to 64 KiB of equal datagrams back to back in one buffer,
the last of them perhaps shorter. That is what the kernel's UDP segmentation and coalescing take
and give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from udpft.errors import UdpftError


class Transmit(NamedTuple):
    """Datagrams to send: ``data`` cut every ``segment_size`` bytes, the last one perhaps shorter.

    Valid until the endpoint is next asked for one.
    """

    data: memoryview
    segment_size: int


def datagrams(buffer: bytearray, length: int, segment_size: int) -> Iterator[memoryview]:
    """A batch cut into its datagrams: ``length`` bytes at the start of ``buffer``."""
    view = memoryview(buffer)
    for at in range(0, length, segment_size):
        yield view[at : min(at + segment_size, length)]


class ChunkSource(Protocol):
    """A file being sent."""

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        """Fill the slots, in order, from ``offset`` bytes on; return the bytes read.

        Fewer than the slots hold means that the file has become shorter.

        Raises:
            UdpftError: the file cannot be read.
        """
        ...

    def changed(self) -> bool:
        """Whether the file is no longer the one that was opened."""
        ...


class ChunkSink(Protocol):
    """A file being received."""

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        """Write the slots one after another from ``offset`` bytes on.

        Raises:
            UdpftError: the file cannot be written.
        """
        ...


class OpenedSource(ChunkSource, Protocol):
    """A file to be sent, opened."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def mtime_ns(self) -> int:
        """Time of the last change, nanoseconds since the epoch."""
        ...

    @property
    def identity(self) -> int:
        """64 bits that change when the file is replaced or written to."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


class OpenedSink(NamedTuple):
    """Where a file goes, and what of it is there: (first chunk, hashes) of runs of chunks.

    ``note_hashes`` is told those of the chunks that are written, by the first one's number.
    """

    sink: ChunkSink
    present: Iterable[tuple[int, bytes]] = ()
    note_hashes: Callable[[int, bytes], None] | None = None


class Verified(NamedTuple):
    """The receiver has every chunk, and the digest agrees. Commit, then call ``confirm``."""

    digest: bytes


class Completed(NamedTuple):
    """The transfer has ended well. ``confirmed`` is False where the peer left without saying so."""

    digest: bytes
    confirmed: bool = True


class Failed(NamedTuple):
    """The transfer has ended with an error."""

    error: UdpftError


Event = Verified | Completed | Failed


class Endpoint(Protocol):
    """One end of one transfer; see the module's docstring for the order of calls."""

    def handle_datagrams(
        self, buffer: bytearray, length: int, segment_size: int, now: float
    ) -> None:
        """Take in ``length`` bytes at the start of ``buffer``: datagrams of ``segment_size``."""
        ...

    def handle_timeout(self, now: float) -> None:
        """Act on the deadlines that have passed; harmless when none has."""
        ...

    def poll_transmit(self, now: float) -> Transmit | None:
        """The next burst to send, or None."""
        ...

    def poll_event(self) -> Event | None:
        """The next thing to know, or None."""
        ...

    def next_timeout(self) -> float | None:
        """When `handle_timeout` or `poll_transmit` has something to do, on the driver's clock."""
        ...
