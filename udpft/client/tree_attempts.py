"""Repeated attempts at a tree, which may change between its listing and its end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from udpft.errors import DigestMismatch, SourceChanged
from udpft.outcome.result import Result

if TYPE_CHECKING:
    from udpft.protocol.wire.listing import Entry
    from udpft.storage.trees.files import Layout

Listing = TypeVar("Listing")

ATTEMPTS = 3
"""How often a tree is listed, at most, but for files that cannot be read."""

MAX_ATTEMPTS = 100
"""How often it is listed where each time one more file cannot be read, and is left out."""


def repeated(
    list_tree: Callable[[], Listing],
    transfer: Callable[[Listing, bool], Result],
    *,
    differs: Callable[[], str],
) -> Result:
    """Transfer a tree; return the result of the attempt that ended well.

    Args:
        list_tree: makes the listing.
        transfer: transfers what is listed. Its second argument is whether files that the receiver
            has are trusted where size and time agree, or are compared.
        differs: says that a file was trusted wrongly, and another attempt trusts none.

    Raises:
        SourceChanged: the tree has changed during each attempt.
        DigestMismatch: what arrived is not what was sent, and trust is not the cause.
        UdpftError: as the two functions.
    """
    trust, left, reasons = True, ATTEMPTS, set[str]()
    for _ in range(MAX_ATTEMPTS):
        listing = list_tree()
        left -= 1
        try:
            return transfer(listing, trust)
        except SourceChanged as error:
            # A sender that names another file each time leaves them out one by one.
            if str(error) in reasons and not left > 0:
                raise
            if str(error) not in reasons and ":" in str(error):
                left += 1
            reasons.add(str(error))
            if left <= 0:
                raise
        except DigestMismatch:
            if not trust or left <= 0:
                raise
            trust = False
    raise SourceChanged(differs())


class HeldAtFirst:
    """Record of what the receiver of a tree held before the first attempt at it.

    A later attempt finds there what an earlier one brought, and should not call it held.

    Attributes:
        attempts: number of those that are noted.
        _first: layout of the tree, and ranges that were held, of the first of them; None before.
    """

    def __init__(self) -> None:
        self.attempts = 0
        self._first: tuple[Layout, Sequence[tuple[int, int]]] | None = None

    def note(self, layout: Layout, ranges: Sequence[tuple[int, int]], *, trust: bool) -> None:
        """Note what is held as an attempt begins. One that trusts nothing is as the first."""
        self.attempts += 1
        if self.attempts == 1 or not trust:
            self._first = layout, ranges

    def bytes_of(self, files: Iterable[Entry]) -> int:
        """Bytes of these files that were held."""
        held = _held_of(*self._first) if self._first else {}
        return sum(min(file.size, held.get(file.path, 0)) for file in files)


def _held_of(layout: Layout, ranges: Iterable[tuple[int, int]]) -> dict[str, int]:
    """Bytes of each file of a tree that lie in ranges, which are apart; none of the others."""
    held: dict[str, int] = {}
    starts: Sequence[int] = layout.starts
    for start, stop in ranges:
        number = bisect_right(starts, start) - 1
        while number < len(layout.files) and starts[number] < stop:
            length = min(stop, starts[number + 1]) - max(start, starts[number])
            if length > 0:
                path = layout.files[number].path
                held[path] = held.get(path, 0) + length
            number += 1
    return held
