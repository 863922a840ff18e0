"""Repeated attempts at a tree, which may change between its listing and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from udpft.errors import DigestMismatch, SourceChanged
from udpft.outcome.result import Result

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
