"""Range of a file, sent as a file of its own: its chunks, digest and identity are the range's.

So a range costs the sender what it has of bytes, however large the file is, and all that holds for
files holds for it: loss, resumption, another server that goes on, and changes while it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from xxhash import xxh3_64_intdigest

from udpft.errors import PartialTransfer, RangeNotThere
from udpft.protocol.contract import NO_HOLES, NowSource
from udpft.protocol.wire.accept import Accept, Part
from udpft.units import format_bytes

_U64: Final = 2**64 - 1


def bytes_of_range(wanted: tuple[int, int], size: int) -> tuple[int, int]:
    """Find the bytes of a file that a range names: first and stop.

    What lies behind the file's end is left out; and of a first byte before its beginning, as of the
    last 500 bytes of a file of 300, the file's first one is taken.

    Args:
        wanted: the range; see `Hello`.
        size: of the file.

    Raises:
        RangeNotThere: none of it is there. Of an empty file, what begins at its beginning is: it is
            all that the file has.
    """
    first, stop = wanted
    if first < 0:
        first = max(0, size + first)
    stop = min(stop, size)
    if first < stop or first == stop == 0 < wanted[1]:
        return first, stop
    raise RangeNotThere(
        f"the file has {format_bytes(size)}, and nothing of that range",
        hint=f"its bytes are 0 to {size - 1}" if size else "it is empty",
    )


def check_granted(accept: Accept, wanted: tuple[int, int]) -> None:
    """See that a server consents to send the range that was asked for.

    Raises:
        PartialTransfer: it would send another one.
    """
    part = accept.part
    granted = part.first, part.first + accept.size
    with suppress(RangeNotThere):
        if part.file_identity and bytes_of_range(wanted, part.file_size) == granted:
            return
    raise PartialTransfer("the server would send another range than was asked for")


class FileRange:
    """Range of an open file; a `contract.NowSource`.

    Args:
        source: the file, taken over: it is closed where the range cannot be made, too.
        wanted: the range; see `Hello`.

    Attributes:
        sparse_map: `NO_HOLES`: those of its file are sent, as zeros.
        part: where in the file it lies; never changes, nor do the others.
        size: bytes of the range.
        mtime_ns: time of the file's last change, nanoseconds since the epoch.
        identity: of the range of this version of the file: another one has another. It depends on
            the range's first byte, and with its size says which range it is.

    Raises:
        RangeNotThere: the file has nothing of it.
    """

    sparse_map = NO_HOLES

    def __init__(self, source: NowSource, wanted: tuple[int, int]) -> None:
        try:
            first, stop = bytes_of_range(wanted, source.size)
        except RangeNotThere:
            source.close()
            raise
        self._source = source
        self.part = Part(first, source.size, source.identity or 1)
        self.size = stop - first
        self.mtime_ns = source.mtime_ns
        words = self.part.file_identity.to_bytes(8, "little") + first.to_bytes(8, "little")
        self.identity = xxh3_64_intdigest(words) or 1

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        """Fill the slots, in order, from ``offset`` bytes of the range on."""
        return self._source.readv(slots, self.part.first + offset)

    def readv_now(self, slots: Sequence[memoryview], offset: int, /) -> int:
        """Read what is in memory; return -1 where that is not all of it."""
        return self._source.readv_now(slots, self.part.first + offset)

    def changed(self) -> bool:
        """Tell whether the file can no longer be read as it was when it was opened."""
        return self._source.changed()

    def suspects(self) -> Sequence[tuple[int, int]]:
        """Byte ranges of this range that may have changed."""
        first = self.part.first
        found = (
            (max(a, first) - first, min(b - first, self.size)) for a, b in self._source.suspects()
        )
        return [(begin, stop) for begin, stop in found if begin < stop]

    def close(self) -> None:
        """Close the file."""
        self._source.close()
