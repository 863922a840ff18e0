"""Files in memory for simulated transfers: sources, sinks, and places of uploads."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Protocol

from udpft.errors import UdpftError
from udpft.protocol.contract import HOLE_BLOCK_BYTES, NO_HOLES, OpenedSink, SparseMap
from udpft.protocol.handshake.agreement import HandshakeResult, whole_chunks
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.data import chunk_hashes
from udpft.protocol.wire.hello import Hello


def random_bytes(size: int, seed: int = 0) -> bytes:
    """Make a file's content: no two chunks of it are alike."""
    return Random(seed).randbytes(size)


class MemorySource:
    """File in memory that is sent; a `contract.OpenedSource`.

    Attributes:
        content: its bytes; a test may change them.
        size: bytes; a test may change it.
        mtime_ns: time of the last change, nanoseconds since the epoch.
        identity: of this version of the file.
        sparse_map: its holes; a test may set it.
        closed: whether the sender has closed it.
        is_changed: the answer of `changed`; a test may set it.
        is_suspect: whether `suspects` names all of it; a test may set it.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = len(content)
        self.mtime_ns = 0
        self.identity = 1
        self.sparse_map = NO_HOLES
        self.closed = False
        self.is_changed = False
        self.is_suspect = False

    def note_holes(self) -> None:
        """Count the blocks of it that are all zeros as holes."""
        size, block = self.size, HOLE_BLOCK_BYTES
        zeros = (n for n in range(0, size, block) if not any(self.content[n : n + block]))
        holes = RangeSet((n, n + block) for n in zeros)
        if holes:
            largest = sorted(holes, key=lambda hole: hole[0] - hole[1])
            self.sparse_map = SparseMap(max(0, size - holes.total), tuple(largest))

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        """Fill the slots from ``offset`` bytes on; return the bytes read."""
        begin = offset
        for slot in slots:
            piece = self.content[offset : offset + len(slot)]
            slot[: len(piece)] = piece
            offset += len(piece)
        return offset - begin

    def readv_now(self, slots: Sequence[memoryview], offset: int, /) -> int:
        """Do as `readv`: there is no disk to wait for."""
        return self.readv(slots, offset)

    def changed(self) -> bool:
        """Whether the file is no longer the one that was opened: ``is_changed``."""
        return self.is_changed

    def suspects(self) -> Sequence[tuple[int, int]]:
        """All of it where ``is_suspect``, else nothing."""
        return [(0, self.size)] if self.is_suspect else []

    def close(self) -> None:
        """Note that the sender has closed the file."""
        self.closed = True


class MemorySink:
    """File in memory that is received; a `contract.ChunkSink`.

    Attributes:
        content: its bytes; zeros where nothing was written yet.
        written: bytes written so far, repeated ones included.
    """

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)
        self.written = 0

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        """Write the slots one after another from ``offset`` bytes on."""
        for slot in slots:
            self.content[offset : offset + len(slot)] = slot
            offset += len(slot)
            self.written += len(slot)


def present_in(content: bytes | bytearray, handshake: HandshakeResult) -> list[tuple[int, bytes]]:
    """Hashes of the chunks that a server need not send, of a file's content that is held."""
    size, chunk_size = handshake.accept.size, handshake.accept.chunk_size
    view = memoryview(content)
    return [
        (start, chunk_hashes(view[at : at + chunk_size] for at in offsets))
        for start, stop in whole_chunks(handshake.have, chunk_size, size)
        if (offsets := range(start * chunk_size, min(stop * chunk_size, size), chunk_size))
    ]


class UploadedFiles(Protocol):
    """Record of a simulated server's uploads; see `SimNet` for its attributes."""

    stored: dict[str, bytes]
    left: dict[str, MemorySink]
    closed: list[tuple[str, BaseException | None, int]]


class MemoryPlace:
    """Place of one upload, in memory; an `upload.Place`.

    Args:
        files: the server's, for what comes of the upload.
        hello: the request.
        name: of the file.
        busy: commits that are not done yet when they are asked for.

    Attributes:
        size: bytes of the file.
        mtime_ns: time of its last change, nanoseconds since the epoch.
        identity: of the client's version of the file.
        have: byte ranges held of an earlier attempt.
        commits: times that `commit` was called.
    """

    def __init__(self, files: UploadedFiles, hello: Hello, name: str, busy: int) -> None:
        self.size = hello.size
        self.mtime_ns = hello.mtime_ns
        self.identity = hello.identity
        self._files = files
        self._name = name
        self._busy = busy
        left = files.left.pop(name, None)
        self._sink = left or MemorySink(hello.size)
        self.have: tuple[tuple[int, int], ...] = ((0, left.written),) if left else ()
        self.commits = 0

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Open the sink, with the chunks held of an earlier attempt."""
        return OpenedSink(self._sink, present_in(self._sink.content, handshake))

    def commit(self) -> bool:
        """Store the file under its name, or not yet; return whether that is done."""
        self.commits += 1
        if self.commits <= self._busy:
            return False
        self._files.stored[self._name] = bytes(self._sink.content)
        return True

    def told(self, error: UdpftError) -> UdpftError:
        """Return the error as it is: it holds no secret."""
        return error

    def close(self, error: BaseException | None = None, received_bytes: int = 0) -> None:
        """Record the end of the upload."""
        self._files.closed.append((self._name, error, received_bytes))
