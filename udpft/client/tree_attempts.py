"""Repeated attempts at a tree, which may change between its listing and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from udpft.errors import DestinationExists, DigestMismatch, SourceChanged
from udpft.outcome.result import Result

Listing = TypeVar("Listing")

ATTEMPTS = 3
"""How often a tree is listed, at most."""


def repeated(
    list_tree: Callable[[], Listing],
    transfer: Callable[[Listing, bool], Result],
    *,
    force: bool,
    is_different: Callable[[], DestinationExists | None],
) -> Result:
    """Transfer a tree; return the result of the attempt that ended well.

    Args:
        list_tree: makes the listing.
        transfer: transfers what is listed. Its second argument is whether files that the receiver
            has are trusted where size and time agree, or are compared.
        force: replace a file that was trusted wrongly, by another attempt that trusts none.
        is_different: makes the error for such a file without ``force``; None where the last attempt
            had nothing to trust.

    Raises:
        SourceChanged: the tree has changed during each attempt.
        DestinationExists: a file was trusted wrongly, and ``force`` is not set.
        DigestMismatch: what arrived is not what was sent, and trust is not the cause.
        UdpftError: as the two functions.
    """
    trust = True
    for left in reversed(range(ATTEMPTS)):
        listing = list_tree()
        try:
            return transfer(listing, trust)
        except SourceChanged:
            if not left:
                raise
        except DigestMismatch:
            error = is_different() if trust else None
            if error and not force:
                raise error from None
            if not error or not left:
                raise
            trust = False
    raise AssertionError("the last attempt returns or raises")
