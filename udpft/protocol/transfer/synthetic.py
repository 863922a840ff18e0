"""What speed is measured with: bytes of no file, and a place that keeps none.

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
from udpft.protocol.contract import OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.params import MAX_BURST_BYTES, MAX_MEASURED_BYTES
from udpft.protocol.wire.hello import Hello, Role
from udpft.units import format_bytes

SYNTHETIC_NAME: Final = "(memory)"
"""What such a transfer is called, in a server's log: no client's word."""

PERIOD_BYTES: Final = 1 << 20
"""After so many bytes they begin again."""


@cache
def _period() -> memoryview:
    """The bytes once, and of the next time as many as a burst may need behind them."""
    once = shake_128(b"udpft").digest(PERIOD_BYTES)
    return memoryview(once + once[:MAX_BURST_BYTES])


class SyntheticSource:
    """So many bytes; a `session.OpenedSource`. ``identity`` is of the pattern, not of its length.

    Args:
        size: how many.
    """

    mtime_ns = 0
    identity = 1

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
        """Never."""
        return False

    def close(self) -> None:
        """Do nothing: it is for all."""


class Nowhere:
    """Where what is brought to measure with goes; an `intake.Place`, and its sink."""

    have: tuple[tuple[int, int], ...] = ()

    def __init__(self, hello: Hello) -> None:
        self.size = hello.size
        self.mtime_ns = hello.mtime_ns
        self.identity = hello.identity

    def open_sink(self, _: HandshakeResult, /) -> OpenedSink:
        """There is nothing to open."""
        return OpenedSink(self)

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        """Keep nothing. It has been checked before."""

    def commit(self) -> bool:
        """It is where it belongs."""
        return True

    def told(self, error: UdpftError) -> UdpftError:
        """There is nothing to hide."""
        return error

    def close(self, error: BaseException | None = None, received_bytes: int = 0) -> None:
        """There is nothing to give back."""


def open_synthetic(hello: Hello) -> SyntheticSource | Nowhere:
    """What a HELLO to measure with asks for: the bytes, or the place for them.

    Raises:
        Denied: of more than `MAX_MEASURED_BYTES`.
    """
    if hello.size > MAX_MEASURED_BYTES:
        most = format_bytes(MAX_MEASURED_BYTES)
        raise Denied(f"the server measures with up to {most} at once")
    return SyntheticSource(hello.size) if hello.role == Role.MEASURE else Nowhere(hello)
