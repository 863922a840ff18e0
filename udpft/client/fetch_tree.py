"""Download of listings and trees.

A tree comes in two requests over one socket: its listing, then the contents of all its files as
one transfer. Thousands of small files so cost two handshakes and one digest. What cannot come is
told, and the rest comes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import NamedTuple

from udpft.client.connection import Connection
from udpft.client.fetch import request, result_of
from udpft.client.tree_attempts import HeldAtFirst, repeated
from udpft.client.tree_comparison import (
    MAX_COMPARED,
    MAX_COMPARED_DRY,
    LocalFile,
    compare_files,
)
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
from udpft.storage.partfile import write_failure
from udpft.storage.trees.destination import TreeDestination
from udpft.storage.trees.folders import FOLDER_FLAGS, Folders
from udpft.storage.trees.survey import (
    DIFFERENT_CONTENT,
    Link,
    Placed,
    PlacedEntries,
    Problem,
    TreeOptions,
    survey,
)


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
    held = HeldAtFirst()

    def list_tree() -> tuple[Report, int]:
        return fetch_report(connection, name, flags)

    def transfer(listing: tuple[Report, int], trust: bool) -> Result:
        report, identity = listing
        plan = _plan(pattern, report, choice)
        if not report.entries and not plan.links:
            _refuse_nothing(pattern, plan.omissions)
        if choice.dry_run:
            return _dry(connection, pattern, folder, plan, choice, began)
        options = TreeOptions(choice.force, trust, choice.checksum, choice.resume, pattern)
        options = options._replace(
            unwanted=frozenset(plan.unwanted), compare=partial(_compare, connection, MAX_COMPARED)
        )
        connection.check_size(pattern, sum(entry.size for entry in report.entries))
        with TreeDestination(
            Path(folder),
            name,
            plan.placed,
            identity,
            options,
            on_resume=on_resume,
            stop=connection.stop,
        ) as target:
            target.links = plan.links
            held.note(target.layout, target.have, trust=trust)
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
        _add_problems(plan, target.folder, target.problems)
        here = target.files_here()
        size = sum(entry.size for entry in here)
        resumed_bytes = held.bytes_of(here) if held.attempts > 1 else result.resumed_bytes
        result = result._replace(
            bytes=size,
            resumed_bytes=min(size, resumed_bytes),
            verified=result.verified or not target.size,  # its listing was, and that is all
            up_to_date=target.is_up_to_date,
            files=len(here),
        )
        return ended(result, plan.omissions, target.notes)

    return repeated(list_tree, transfer, differs=_differs(pattern))


def _differs(pattern: str) -> Callable[[], str]:
    return lambda: f"a file of {pattern!r} that is here differs from the one there"


def _refuse_nothing(pattern: str, omissions: Omissions) -> None:
    """Refuse a name that nothing comes of. Raises NoSuchFile."""
    if not omissions.failed and len(omissions.all) == 1:
        [one] = omissions.all
        raise NoSuchFile(f"{pattern!r} is a {one.reason}, which is left out", hint="")


def _add_problems(plan: _Plan, folder: Path, problems: Sequence[Problem]) -> None:
    """Add what cannot come, by its place, to what is not to come."""
    failed = {problem.path for problem in problems}
    places = {one.entry.path: one.place for one in plan.placed if one.entry.path in failed}
    for problem in problems:
        place = places.get(problem.path)
        where = problem.path if place is None else str(folder.joinpath(*place))
        plan.omissions.add(where, problem.reason, problem.words)


def _compare(
    connection: Connection, limit: int, folders: Folders, files: Sequence[Placed]
) -> Collection[str] | None:
    """Compare files with those on the server: see `compare_files`."""
    local = (
        (path.path, LocalFile(path.size, place[-1], partial(folders.open, place[:-1])))
        for path, place in files
    )
    return compare_files(connection, local, limit=limit)


def _dry(
    connection: Connection,
    pattern: str,
    folder: str,
    plan: _Plan,
    choice: TreeChoice,
    began: float,
) -> Result:
    """Result of a tree that is only looked at, and compared with what is here."""
    files = plan.placed.files()
    settled: set[int] = {at for at, one in enumerate(files) if one.entry.path in plan.unwanted}
    notes: list[str] = []
    if os.path.isdir(folder):
        options = TreeOptions(
            choice.force,
            unwanted=frozenset(plan.unwanted),
            compare=partial(_compare, connection, MAX_COMPARED_DRY),
        )
        settled |= _settled(connection, Path(folder), plan, options, choice, notes)
    coming = tuple(
        (one.entry.path, one.entry.size) for at, one in enumerate(files) if at not in settled
    )
    size = sum(size for _, size in coming)
    result = nothing_sent(pattern, folder, size, clock() - began)
    result = result._replace(
        files=len(coming), up_to_date=not coming, verified=choice.checksum and not notes
    )
    return ended(result, plan.omissions, notes, coming, dry=True)


def _settled(
    connection: Connection,
    folder: Path,
    plan: _Plan,
    options: TreeOptions,
    choice: TreeChoice,
    notes: list[str],
) -> set[int]:
    """Numbers of the files that would not come, for they are here, or cannot.

    ``notes``: a line is added where only a transfer could tell.
    """
    try:
        folder_fd = os.open(folder, FOLDER_FLAGS & ~os.O_NOFOLLOW)
    except OSError as error:
        raise write_failure(folder, error) from error
    folders = Folders(folder_fd)
    try:
        found = survey(folders, folder, plan.placed, options, None)
        files, unknown = plan.placed.files(), set(found.unproven)
        if choice.checksum:
            alike = sorted(found.held - found.retimed)
            same = _compare(connection, MAX_COMPARED_DRY, folders, [files[at] for at in alike])
            if same is None:
                unknown.update(alike)
                same = {files[at].entry.path for at in alike}
            for number in alike:
                path = files[number].entry.path
                if path in same:
                    continue
                found.held.discard(number)
                if not choice.force:
                    found.skipped.add(number)
                    found.problems.append(Problem(path, Reason.DIFFERENT, DIFFERENT_CONTENT))
    finally:
        folders.close()
        os.close(folder_fd)
    if unknown:
        notes.append(f"{len(unknown)} files of the same size would be compared by their contents")
    _add_problems(plan, folder, found.problems)
    return found.held | found.skipped


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
