"""Interfaces between a driver and an endpoint, and between an endpoint and its file.

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

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, Self

from udpft.errors import UdpftError


class Transmit(NamedTuple):
    """Datagrams to send: ``data`` cut every ``segment_size`` bytes, the last one perhaps shorter.

    Valid until the endpoint is next asked for one. ``singly``: from now on they are to leave one by
    one to this peer, and what comes from it is not to be joined: the path drops bursts.
    ``from_new_port``: the datagram, and all that follow it, are to leave from a new port.
    """

    data: memoryview
    segment_size: int
    singly: bool = False
    from_new_port: bool = False


class Batch(NamedTuple):
    """Datagrams that were received together.

    They stand at the start of ``buffer``: ``length`` bytes, cut every ``segment_size``, the last
    one perhaps shorter. ``address``: whom they come from, on a socket that many send to, as the
    driver names it; None on a connected one.
    """

    buffer: bytearray
    length: int
    segment_size: int
    address: Any = None

    @classmethod
    def of(cls, datagram: bytes | memoryview, address: Any = None) -> Self:
        """Make a batch of a single datagram."""
        return cls(bytearray(datagram), len(datagram), max(1, len(datagram)), address)

    def datagrams(self) -> Iterator[memoryview]:
        """Iterate over the datagrams, as views of the buffer."""
        view, size = memoryview(self.buffer), self.segment_size
        for at in range(0, self.length, size):
            yield view[at : min(at + size, self.length)]

    def kept(self) -> Self:
        """Copy the batch to a buffer of its own, which nothing will be received into."""
        return self._replace(buffer=self.buffer[: self.length])

    def after(self, count: int) -> "Batch":
        """Copy the datagrams behind the first ``count`` to a buffer of their own."""
        rest = self.buffer[count * self.segment_size : self.length]
        return Batch(rest, len(rest), self.segment_size, self.address)


class TransferIds(NamedTuple):
    """Identifiers by which the packets of a transfer are told from all others.

    ``connection_id``: the peer's; it stands in every packet that is sent. ``own_connection_id``:
    ours; packets with another one are not for us. ``nonce``: of the HELLO that began the transfer;
    the check of a packet is bound to it.
    """

    connection_id: int
    own_connection_id: int
    nonce: int


class SparseMap(NamedTuple):
    """Map of a sparse file: its holes, which read as zeros and take no room.

    ``data_bytes``: bytes of the file that are in no hole; they alone need room. ``holes``: byte
    ranges (start, stop) of holes, the largest first; perhaps not of all. They begin and end at
    multiples of `HOLE_BLOCK_BYTES`, the last one of the file perhaps behind its end.
    """

    data_bytes: int = 0
    holes: tuple[tuple[int, int], ...] = ()


NO_HOLES: Final = SparseMap()
"""Map of a file without holes, or of one of which nobody knows."""

HOLE_BLOCK_BYTES: Final = 4096
"""Bytes of a block: holes are told in whole ones."""

MAX_HOLES: Final = 1024
"""Holes that are told of a file, at most; of others, the zeros are sent."""


class NotReady(Exception):
    """Signal: the disk has not brought the bytes yet; ask again after `NOT_READY_S`."""


NOT_READY_S: Final = 0.001
"""Seconds after which a source that was not ready is asked again."""


class ChunkSource(Protocol):
    """File being sent, chunk by chunk."""

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        """Fill the slots, in order, from ``offset`` bytes on; return the bytes read.

        Fewer than the slots hold means that the file has become shorter.

        Raises:
            UdpftError: the file cannot be read.
            NotReady: not yet; nothing was read. Only a server's sources raise it.
        """
        ...

    def changed(self) -> bool:
        """Whether the file can no longer be read as it was when it was opened."""
        ...

    def suspects(self) -> Sequence[tuple[int, int]]:
        """Byte ranges that may have changed since they were read first: their content will tell.

        Asked for once, when everything was read; what is read after that is only compared.
        """
        ...


class ChunkSink(Protocol):
    """File being received, chunk by chunk."""

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        """Write the slots one after another from ``offset`` bytes on.

        Raises:
            UdpftError: the file cannot be written.
        """
        ...


class OpenedSource(ChunkSource, Protocol):
    """Open file to be sent, with its size, time and identity."""

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        ...

    @property
    def mtime_ns(self) -> int:
        """Time of the last change, nanoseconds since the epoch."""
        ...

    @property
    def identity(self) -> int:
        """Identity: 64 bits that change when the file is written to."""
        ...

    @property
    def sparse_map(self) -> SparseMap:
        """Holes of the file, as it is now: what stands in them need not be read."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class NowSource(OpenedSource, Protocol):
    """Open file or tree that can be read with and without waiting for a disk."""

    def readv_now(self, slots: Sequence[memoryview], offset: int, /) -> int:
        """Read as `readv` does what is in memory; return -1 where that is not all of it."""
        ...


class OpenedSink(NamedTuple):
    """Open destination of a file, and the chunks of it that are held already.

    ``present``: (first chunk, hashes) of runs of held chunks. ``note_hashes`` is called with the
    same of chunks that were written. ``room``: tells how many bytes may come before the disk has
    caught up; None where that does not matter.
    """

    sink: ChunkSink
    present: Iterable[tuple[int, bytes]] = ()
    note_hashes: Callable[[int, bytes], None] | None = None
    room: Callable[[], int] | None = None


class Verified(NamedTuple):
    """Event: every chunk has come, and the digest agrees. Commit, then call ``confirm``."""

    digest: bytes


class Completed(NamedTuple):
    """Event: the transfer has ended well. ``confirmed``: False where the peer left unheard."""

    digest: bytes
    confirmed: bool = True


class Failed(NamedTuple):
    """Event: the transfer has ended with an error.

    ``given_up``: the peer has ended the session for want of patience, or because it stops; nothing
    is wrong with the file, and another session may go on.
    """

    error: UdpftError
    given_up: bool = False


Event = Verified | Completed | Failed


class Endpoint(Protocol):
    """One end of one transfer; see the module's docstring for the order of calls."""

    @property
    def rest_until(self) -> float:
        """Time before which the driver lets datagrams wait, and takes them in together."""
        ...

    def handle_datagrams(self, batch: Batch, now: float) -> None:
        """Take in a batch of datagrams."""
        ...

    def handle_timeout(self, now: float) -> None:
        """Act on the deadlines that have passed; harmless when none has."""
        ...

    def poll_transmit(self, now: float) -> Transmit | None:
        """Return the next burst to send, or None."""
        ...

    def poll_event(self) -> Event | None:
        """Return the next event, or None."""
        ...

    def next_timeout(self) -> float | None:
        """Time on the driver's clock at which `handle_timeout` or `poll_transmit` is due."""
        ...
