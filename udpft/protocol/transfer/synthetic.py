"""Synthetic source and destination, for measuring speed: bytes of no file, and none kept.

The bytes look random, so that nothing on the way makes them fewer; and they are the same each
time, so that a server goes on with what another one began. Nobody looks into them: whether they
have arrived, the hashes and the digest tell, as they do of any file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import shake_128
from typing import Final

from udpft.errors import Denied, UdpftError
from udpft.protocol.contract import NO_HOLES, OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.params import MAX_BURST_BYTES, MAX_MEASURED_BYTES
from udpft.protocol.wire.hello import Hello, Role
from udpft.units import format_bytes

SYNTHETIC_NAME: Final = "(memory)"
"""Name of such a transfer in a server's log, whatever the client calls it."""

PERIOD_BYTES: Final = 1 << 20
"""Bytes after which they begin again."""


@cache
def _period() -> memoryview:
    """One period of the bytes, and of the next as many as a burst may need behind it."""
    once = shake_128(b"udpft").digest(PERIOD_BYTES)
    return memoryview(once + once[:MAX_BURST_BYTES])


class SyntheticSource:
    """Synthetic source: so many bytes; a `contract.OpenedSource`.

    Args:
        size: bytes.

    Attributes:
        identity: of the bytes, whatever their number; so a server can go on with another's.
    """

    mtime_ns = 0
    identity = 1
    sparse_map = NO_HOLES

    def __init__(self, size: int) -> None:
        self.size = size

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        """Fill the slots of a burst, in order, from ``offset`` bytes on."""
        period, begin = _period(), offset % PERIOD_BYTES
        at = begin
        for slot in slots:
            stop = at + len(slot)
            slot[:] = period[at:stop]
            at = stop
        return at - begin

    def changed(self) -> bool:
        """Return False: the bytes never change."""
        return False

    def suspects(self) -> Sequence[tuple[int, int]]:
        """Return nothing: the bytes never change."""
        return ()

    def close(self) -> None:
        """Do nothing: no file is open."""


class SyntheticPlace:
    """Destination of synthetic bytes, which keeps none; an `upload.Place`, and its sink."""

    have: tuple[tuple[int, int], ...] = ()

    def __init__(self, hello: Hello) -> None:
        self.size = hello.size
        self.mtime_ns = hello.mtime_ns
        self.identity = hello.identity

    def open_sink(self, _: HandshakeResult, /) -> OpenedSink:
        """Open the place, which is its own sink."""
        return OpenedSink(self)

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        """Discard the chunks, whose hashes were checked before."""

    def commit(self) -> bool:
        """Return True: there is nothing to store."""
        return True

    def told(self, error: UdpftError) -> UdpftError:
        """Return the error as it is: it holds no secret."""
        return error

    def close(self, error: BaseException | None = None, received_bytes: int = 0) -> None:
        """Do nothing: there is no file."""


def open_synthetic(hello: Hello) -> SyntheticSource | SyntheticPlace:
    """Open what a HELLO to measure with asks for: the source of the bytes, or their place.

    Raises:
        Denied: of more than `MAX_MEASURED_BYTES`.
    """
    if hello.size > MAX_MEASURED_BYTES:
        most = format_bytes(MAX_MEASURED_BYTES)
        raise Denied(f"the server measures with up to {most} at once")
    return SyntheticSource(hello.size) if hello.role == Role.MEASURE else SyntheticPlace(hello)
