"""Words for the entries of a tree that do not come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from udpft.protocol.wire.listing import Reason

Kind = Literal["left_out", "failed", "different"]

_WORDS = {
    Reason.SYMLINK: ("symlink", "symlinks"),
    Reason.FIFO: ("FIFO", "FIFOs"),
    Reason.SOCKET: ("socket", "sockets"),
    Reason.DEVICE: ("device", "devices"),
    Reason.HIDDEN: ("hidden name", "hidden names"),
    Reason.DENIED: ("permission denied",),
    Reason.READ_ERROR: ("it cannot be read: input/output error",),
    Reason.TOO_LONG: ("its path is too long",),
    Reason.TOO_DEEP: ("it is nested too deep",),
    Reason.CHANGING: ("it changes while it is sent",),
    Reason.UNREADABLE: ("it cannot be read",),
    Reason.REFUSED: ("no such name can be there",),
    Reason.DIFFERENT: ("exists and is a different file",),
    Reason.FOLDED: ("the file system takes it for another name of the tree",),
}
assert set(_WORDS) == set(Reason)


class Omission(NamedTuple):
    """Entry of a tree that did not come.

    ``kind``: left out, as symlinks and hidden names are; failed; or different, which was not to be
    replaced. ``reason``: in words. ``number``: of hidden names, which are counted by folder.
    """

    name: str
    kind: Kind
    reason: str
    number: int = 1


class TreeRecord(NamedTuple):
    """Record of what did not come of a tree, and of what else there is to say of it.

    ``omissions``: entries that did not come. ``notes``: lines that the user should read.
    ``listed``: names and sizes of the files that would come, of a dry run.
    """

    omissions: tuple[Omission, ...] = ()
    notes: tuple[str, ...] = ()
    listed: tuple[tuple[str, int], ...] = ()


def omission(name: str, reason: Reason, words: str = "", number: int = 1) -> Omission:
    """Make one of a reason that is known; ``words`` say more than it does."""
    if reason is Reason.DIFFERENT:
        return Omission(name, "different", words or _WORDS[reason][0])
    if reason > Reason.HIDDEN or words:
        return Omission(name, "failed", words or _WORDS[reason][0])
    return Omission(name, "left_out", _WORDS[reason][number > 1], number)


def count_left_out(omissions: Iterable[Omission]) -> str:
    """Number of entries that were left out, by kind, in words; empty for none."""
    singular = {plural: one for one, plural in (w for w in _WORDS.values() if len(w) == 2)}
    counts: Counter[str] = Counter()
    for one in omissions:
        if one.kind == "left_out":
            counts[singular.get(one.reason, one.reason)] += one.number
    plurals = {one: plural for plural, one in singular.items()}
    return ", ".join(
        f"{count} {name if count == 1 else plurals.get(name, name)}"
        for name, count in counts.items()
    )
