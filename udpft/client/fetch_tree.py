"""Download of listings and trees.

A tree comes in two requests over one socket: its listing, then the contents of all its files as
one transfer. Thousands of small files so cost two handshakes and one digest. What cannot come is
told, and the rest comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from udpft.client.connection import Connection
from udpft.client.fetch import request, result_of
from udpft.client.tree_attempts import repeated
from udpft.client.tree_outcome import Omissions, TreeChoice, ended, nothing_sent
from udpft.client.tree_rules import Rules
from udpft.errors import NoSuchFile, PartialTransfer, UsageError
from udpft.net.clock import clock
from udpft.outcome.progress import Progress
from udpft.outcome.result import Result
from udpft.protocol.params import WILDCARDS
from udpft.protocol.wire.hello import RECURSIVE, REPORT, Role
from udpft.protocol.wire.listing import (
    MAX_LISTING_BYTES,
    Entry,
    MalformedListing,
    Reason,
    Report,
    decode_report_untrusted,
    identity_of,
)
from udpft.storage.destination import InMemory
from udpft.storage.trees.destination import TreeDestination
from udpft.storage.trees.survey import Link, PlacedEntries, TreeOptions


def fetch_listing(
    connection: Connection, pattern: str, *, recursive: bool = False
) -> tuple[list[Entry], int]:
    """Fetch the entries that a pattern names on the server, in order, and the listing's identity.

    Raises:
        NoSuchFile: nothing has that name.
        PartialTransfer: what came is no listing that could be followed.
        UdpftError: as `Client.fetch`.
    """
    report, identity = fetch_report(connection, pattern, RECURSIVE if recursive else 0)
    return report.entries, identity


def fetch_report(
    connection: Connection, pattern: str, flags: int, of_upload: int = 0
) -> tuple[Report, int]:
    """Fetch a listing, with what is not sent of it where the flags ask for that.

    Args:
        connection: to the server.
        pattern: of the names.
        flags: as HELLO has them.
        of_upload: identity of a listing that was stored, to hear what the server does not take.

    Raises: as `fetch_listing` does.
    """
    target = InMemory(MAX_LISTING_BYTES)
    target.have_of = of_upload
    request(connection, pattern, target, role=Role.LIST, flags=flags)
    data, target.data = bytes(target.data), bytearray()
    try:
        return decode_report_untrusted(data), identity_of(data)
    except MalformedListing as error:
        raise PartialTransfer(f"the server's listing makes no sense: {error}") from None


class _Plan(NamedTuple):
    """Plan of a tree: what of its listing goes where, and what is not to come.

    ``unwanted``: paths of files that the rules leave out.
    """

    placed: PlacedEntries
    links: list[Link]
    omissions: Omissions
    unwanted: set[str]


def fetch_tree(
    connection: Connection,
    pattern: str,
    folder: str,
    choice: TreeChoice,
    *,
    progress: Progress | None,
    on_resume: Progress | None,
) -> Result:
    """Fetch the files that a pattern names into a folder: see `Client.fetch_tree`."""
    began = clock()
    name, flags = pattern.rstrip("/"), REPORT | (RECURSIVE if choice.recursive else 0)

    def list_tree() -> tuple[Report, int]:
        return fetch_report(connection, name, flags)

    def transfer(listing: tuple[Report, int], trust: bool) -> Result:
        report, identity = listing
        plan = _plan(pattern, report, choice)
        if not report.entries and not plan.links:
            _refuse_nothing(pattern, plan.omissions)
        options = TreeOptions(choice.force, trust, choice.checksum, choice.resume, pattern)
        if choice.dry_run:
            return _dry(pattern, folder, plan, clock() - began)
        connection.check_size(pattern, sum(entry.size for entry in report.entries))
        with TreeDestination(
            Path(folder),
            name,
            plan.placed,
            identity,
            options._replace(unwanted=frozenset(plan.unwanted)),
            on_resume=on_resume,
            stop=connection.stop,
        ) as target:
            target.links = plan.links
            if target.is_needed:
                completed, download = request(
                    connection, name, target, role=Role.TREE, flags=flags, progress=progress
                )
            else:
                target.commit()
        if target.is_needed:
            if progress:
                progress(target.size, target.size)
            result = result_of(completed, download, pattern, folder, clock() - began)
        else:
            result = nothing_sent(pattern, str(target.folder), target.size, clock() - began)
        failed = {problem.path for problem in target.problems}
        places = {one.entry.path: one.place for one in plan.placed if one.entry.path in failed}
        for problem in target.problems:
            place = places.get(problem.path)
            where = problem.path if place is None else str(target.folder.joinpath(*place))
            plan.omissions.add(where, problem.reason, problem.words)
        result = result._replace(up_to_date=target.is_up_to_date, files=target.file_count)
        return ended(result, plan.omissions, target.notes)

    return repeated(list_tree, transfer, differs=_differs(pattern))


def _differs(pattern: str) -> Callable[[], str]:
    return lambda: f"a file of {pattern!r} that is here differs from the one there"


def _refuse_nothing(pattern: str, omissions: Omissions) -> None:
    """Refuse a name that nothing comes of. Raises NoSuchFile."""
    if not omissions.failed and len(omissions.all) == 1:
        [one] = omissions.all
        raise NoSuchFile(f"{pattern!r} is a {one.reason}, which is left out", hint="")


def _dry(pattern: str, folder: str, plan: _Plan, seconds: float) -> Result:
    """Result of a tree that is only looked at."""
    files = [
        one.entry
        for one in plan.placed
        if not one.entry.is_folder and one.entry.path not in plan.unwanted
    ]
    size = sum(entry.size for entry in files)
    result = nothing_sent(pattern, folder, size, seconds)
    listed = tuple((entry.path, entry.size) for entry in files)
    return ended(result._replace(files=len(files)), plan.omissions, listed=listed)


def _plan(pattern: str, report: Report, choice: TreeChoice) -> _Plan:
    """Decide what of a report goes where. Raises as `_placed` does."""
    placed = _placed(pattern, report.entries, recursive=choice.recursive)
    skipped = _depth_kept(pattern)
    omissions = Omissions()
    links: list[Link] = []
    unwanted: set[str] = set()
    rules = Rules(choice.rules)
    kept = []
    for one in placed if rules else ():
        if not rules.leave_out(one.place, is_folder=one.entry.is_folder):
            kept.append(one.entry)
        elif not one.entry.is_folder:
            unwanted.add(one.entry.path)
            kept.append(one.entry)
    pruned = Rules(choice.rules)
    for entry in report.not_sent:
        place = tuple(entry.path.split("/")[skipped:])
        if _is_left_out(pruned, place):
            continue
        if choice.links and entry.reason is Reason.SYMLINK and entry.target and place:
            links.append(Link(entry.path, place, entry.target))
        else:
            omissions.add_not_sent(entry, asked=choice.links)
    if rules:
        placed = PlacedEntries(kept, skipped)
    return _Plan(placed, links, omissions, unwanted)


def _is_left_out(rules: Rules, place: tuple[str, ...]) -> bool:
    """Tell whether rules leave out an entry, or a folder that it is in."""
    above = (place[:depth] for depth in range(1, len(place)))
    return any(rules.leave_out(one, is_folder=True) for one in above) or rules.leave_out(
        place, is_folder=False
    )


def _depth_kept(pattern: str) -> int:
    """Number of leading components that a pattern's entries lose."""
    asked = [part for part in pattern.split("/") if part not in ("", ".")]
    return len(asked) if pattern.endswith("/") or not asked else len(asked) - 1


def _placed(pattern: str, entries: Sequence[Entry], *, recursive: bool) -> PlacedEntries:
    """Assign each entry its place below the folder.

    The pattern decides, and not the server: an entry that it does not name is refused.

    Raises:
        PartialTransfer: the server listed what was not asked for.
        UsageError: two would have the same name.
    """
    asked = [part for part in pattern.split("/") if part not in ("", ".")]
    kept_from = _depth_kept(pattern)
    # Two have one place only where what differs in their paths is not kept.
    may_collide = any(sign in part for part in asked[:kept_from] for sign in WILDCARDS)
    placed: dict[str, Entry] = {}
    kept = []
    for entry in entries:
        components = entry.path.split("/")
        fits = len(components) >= len(asked) and (recursive or len(components) <= len(asked))
        if not fits or not all(map(_matches, components, asked)):
            if not recursive and len(components) == len(asked) + 1:
                raise UsageError(f"{pattern!r} is a folder", hint="-r fetches it whole")
            raise PartialTransfer("the server listed what was not asked for")
        if entry.is_folder and not recursive:
            continue
        if may_collide:
            place = "/".join(components[kept_from:])
            if place in placed and not (entry.is_folder and placed[place].is_folder):
                raise UsageError(
                    f"{placed[place].path!r} and {entry.path!r} would both become {place!r}"
                )
            placed[place] = entry
        kept.append(entry)
    return PlacedEntries(kept, kept_from)


def _matches(component: str, asked: str) -> bool:
    return component == asked or fnmatchcase(component, asked)
