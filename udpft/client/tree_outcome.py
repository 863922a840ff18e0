"""Outcome of a tree, in either direction: what came, what did not, and which error that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from udpft.client.tree_rules import Rule, parse_rule
from udpft.errors import DestinationExists, PartialTransfer, UdpftError, UsageError
from udpft.outcome.result import Result
from udpft.outcome.tree import Omission, TreeRecord, omission
from udpft.protocol.wire.listing import NotSent, Reason


class TreeChoice(NamedTuple):
    """Choice of what comes of a tree, and how.

    ``force``: replace different files. ``resume``: go on with what an earlier transfer left.
    ``checksum``: compare what has the same size. ``links``: symlinks too. ``hidden``: names that
    begin with a dot too, of a stored tree. ``rules``: what is left out. ``dry_run``: only look.
    ``recursive``: folders too, of a fetched tree.
    """

    force: bool = False
    resume: bool = True
    checksum: bool = False
    links: bool = False
    hidden: bool = False
    rules: Sequence[Rule] = ()
    dry_run: bool = False
    recursive: bool = True


class TreeParameters(TypedDict, total=False):
    """Parameters of `Client.fetch_tree` and `Client.store_tree` that are of trees alone.

    ``checksum``: compare files of the same size by their contents. ``links``: symlinks too, as
    symlinks, where they lead to somewhere in the tree. ``exclude``: patterns of what is left out;
    ``include``: of what comes all the same. ``rules``: both in an order of their own, each
    ``- PATTERN`` or ``+ PATTERN``; the first that matches decides, then those of ``include``, then
    those of ``exclude``. ``dry_run``: only say, in ``Result.tree``, what would come. ``hidden``:
    names that begin with a dot too, of a tree that is stored.
    """

    checksum: bool
    links: bool
    exclude: str | Sequence[str]
    include: str | Sequence[str]
    rules: str | Sequence[str]
    dry_run: bool
    hidden: bool


def choice_of(
    *, force: bool, resume: bool = True, recursive: bool = True, parameters: TreeParameters
) -> TreeChoice:
    """Read the parameters of a tree. Raises UsageError: a rule makes no sense."""
    return TreeChoice(
        force=force,
        resume=resume,
        checksum=parameters.get("checksum", False),
        links=parameters.get("links", False),
        hidden=parameters.get("hidden", False),
        rules=_rules_of(parameters),
        dry_run=parameters.get("dry_run", False),
        recursive=recursive,
    )


def _rules_of(parameters: TreeParameters) -> list[Rule]:
    texts = [
        *_each(parameters.get("rules", ()), "rules"),
        *(f"+ {one}" for one in _each(parameters.get("include", ()), "include")),
        *(f"- {one}" for one in _each(parameters.get("exclude", ()), "exclude")),
    ]
    return [parse_rule(text) for text in texts]


def _each(patterns: object, what: str) -> Sequence[str]:
    """Patterns as a sequence; a single one is one of its own. Raises UsageError."""
    if isinstance(patterns, str):
        return (patterns,)
    if isinstance(patterns, (list, tuple)) and all(isinstance(one, str) for one in patterns):
        return patterns
    raise UsageError(f"{what} is a pattern, or a list of patterns, and not {patterns!r:.100}")


class Omissions:
    """Entries that do not come, of one attempt at a tree.

    Attributes:
        all: the entries; grows with each.
    """

    def __init__(self) -> None:
        self.all: list[Omission] = []

    @property
    def failed(self) -> list[Omission]:
        """Those that failed."""
        return [one for one in self.all if one.kind == "failed"]

    @property
    def different(self) -> list[Omission]:
        """Those that differ from what has their names."""
        return [one for one in self.all if one.kind == "different"]

    def add(self, name: str, reason: Reason, words: str = "") -> None:
        """Add one, by the reason."""
        self.all.append(omission(name, reason, words))

    def add_not_sent(self, entry: NotSent, *, asked: bool) -> None:
        """Add one that the sender leaves out; ``asked``: symlinks were asked for."""
        words = ""
        if asked and entry.reason is Reason.SYMLINK:
            words = "the symlink leads out of the tree"
        self.all.append(omission(entry.path, entry.reason, words, entry.number))


def ended(
    result: Result,
    omissions: Omissions,
    notes: Sequence[str] = (),
    listed: tuple[tuple[str, int], ...] = (),
    *,
    stored: bool = False,
    dry: bool = False,
) -> Result:
    """Complete a tree's result by what did not come.

    Args:
        result: of the transfer.
        omissions: what did not come.
        notes: lines that the user should read.
        listed: names and sizes of what would come.
        stored: whether the tree goes to the server, for the hints.
        dry: whether it was only looked at, likewise.

    Raises:
        PartialTransfer: something failed; the error has the result.
        DestinationExists: something is different, and was not to be replaced; likewise.
    """
    result = result._replace(tree=TreeRecord(tuple(omissions.all), tuple(notes), listed))
    elsewhere = "--as" if stored else "--output"
    failed, different = omissions.failed, omissions.different
    error: UdpftError | None = None
    if failed:
        one = failed[0]
        error = PartialTransfer(
            f"{one.name}: {one.reason}{_more(len(failed))}",
            hint="the rest would come" if dry else "the rest has come",
        )
    elif different:
        one = different[0]
        error = DestinationExists(
            f"{one.name} {one.reason}{_more(len(different))}",
            hint=f"--force replaces them; {elsewhere} names another folder",
        )
    if error:
        error.result = result
        raise error
    return result


def _more(count: int) -> str:
    return f", and {count - 1} more" if count > 1 else ""


def nothing_sent(name: str, path: str, size: int, seconds: float) -> Result:
    """Result of a tree of which nothing had to be sent."""
    return Result(
        name=name,
        local_path=path,
        bytes=size,
        seconds=seconds,
        digest="",
        resent_packets=0,
        mode="reliable",
        verified=False,
        resumed_bytes=size,
        chunk_size=0,
    )
