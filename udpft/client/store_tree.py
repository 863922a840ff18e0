"""Upload of a tree: a listing, then the contents of all its files as one transfer.

The mirror image of `fetch_tree`. What the server does not take, it tells in a report, and the rest
is sent without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from stat import S_IMODE

from udpft.client.connection import Connection
from udpft.client.fetch_tree import fetch_report
from udpft.client.store import result_of, send
from udpft.client.tree_attempts import repeated
from udpft.client.tree_outcome import Omissions, TreeChoice, ended, nothing_sent
from udpft.client.tree_rules import Rules
from udpft.errors import (
    DestinationExists,
    LocalReadFailed,
    NoSuchFile,
    PartialTransfer,
    SourceChanged,
    UdpftError,
)
from udpft.net.clock import clock
from udpft.outcome.progress import Progress
from udpft.outcome.result import Result
from udpft.protocol.wire.hello import AFRESH, CHECKSUM, FORCE, RECURSIVE, REPORT, Role
from udpft.protocol.wire.listing import (
    Entry,
    NotSent,
    Reason,
    Report,
    encode_any,
    encode_path,
    identity_of,
)
from udpft.storage.served_folder import ServedRoot
from udpft.storage.source_file import SourceFile
from udpft.storage.trees.failures import Failures
from udpft.storage.trees.files import TreeSource
from udpft.storage.trees.unsized import as_read
from udpft.storage.trees.walk import report_of


def store_tree(
    connection: Connection,
    path: str,
    as_name: str | None,
    choice: TreeChoice,
    *,
    progress: Progress | None,
) -> Result:
    """Store a folder, with all that is below it, on the server: see `Client.store_tree`."""
    began = clock()
    top, name = _names(path, as_name)
    with ServedRoot(path, hidden=choice.hidden) as root:
        tree = _LocalTree(root, top, choice)
        if choice.dry_run:
            return _dry(connection, tree, name, path)

        def list_tree() -> tuple[Report, int]:
            report = tree.listing()
            listing = b"".join(map(encode_any, report.entries))
            listing += b"".join(map(encode_any, report.not_sent))
            with _source_of(listing) as source:
                send(connection, source, name, Role.PUT_LIST, flags=REPORT)
                return report, source.identity

        earlier = 0  # identity of the listing that the last attempt had

        def transfer(listing: tuple[Report, int], trust: bool) -> Result:
            nonlocal earlier
            report, identity = listing
            have_of, earlier = earlier if trust else 0, identity
            flags = REPORT | (FORCE if choice.force else 0) | (0 if trust else AFRESH)
            flags |= CHECKSUM if choice.checksum else 0
            source = TreeSource(report.entries, identity, tree.open, tree.note_failure)
            try:
                with closing(source):
                    sent = send(
                        connection,
                        source,
                        name,
                        Role.PUT_TREE,
                        flags=flags,
                        have_of=have_of if have_of != identity else 0,
                        progress=progress,
                    )
            except (DestinationExists, PartialTransfer) as error:
                if tree.note_refused(_refused(connection, name, identity)):
                    raise SourceChanged(f"the server refuses: {tree.refused_count}") from error
                raise
            files = sum(not entry.is_folder for entry in report.entries)
            result = result_of(*sent, name, path, source.size, clock() - began)
            return ended(result._replace(files=files), tree.omissions)

        return repeated(
            list_tree,
            transfer,
            differs=lambda: f"a file of {name!r} on the server differs, of the same size and time",
        )


def _names(path: str, as_name: str | None) -> tuple[str, str]:
    """Name a stored tree's top folder, empty for the served one, and the tree."""
    own_name = os.path.basename(os.path.abspath(path))
    top = as_name or ""
    if not path.endswith("/") and (not top or top.endswith("/")):
        top += own_name
    top = top.rstrip("/")
    return top, top or own_name or "tree"


def _refused(connection: Connection, name: str, identity: int) -> list[NotSent]:
    """Ask the server for what it does not take of a tree; nothing from one that cannot tell."""
    with suppress(UdpftError):
        return fetch_report(connection, name, REPORT, identity)[0].not_sent
    return []


class _LocalTree:
    """Local folder that is stored, as its listing on the server is to be.

    Args:
        root: the folder.
        top: name on the server of the folder that its entries go to; empty for the served one.
        choice: of what comes.

    Attributes:
        omissions: entries that are not sent, of the last listing.
        _refused: entries that the server does not take, by their paths there; grows.
        _failures: files that could not be read.
    """

    def __init__(self, root: ServedRoot, top: str, choice: TreeChoice) -> None:
        self._root = root
        self._top = top
        self._choice = choice
        self._refused: dict[str, NotSent] = {}
        self._failures = Failures()
        self.omissions = Omissions()

    @property
    def refused_count(self) -> int:
        """Number of entries that the server does not take."""
        return len(self._refused)

    def listing(self) -> Report:
        """List the folder. What is not sent in the report are symlinks that are to be made.

        Raises:
            LocalReadFailed: it cannot be read.
        """
        self.omissions = Omissions()
        report = Report([], [])
        rules = Rules(self._choice.rules)
        status = os.stat(self._root.path)
        if self._top:
            report.entries.append(
                Entry(self._top, True, 0, status.st_mtime_ns, S_IMODE(status.st_mode))
            )
        try:
            refuse = self._failures.reason
            found = report_of(self._root, "", recursive=True, refuse=refuse)
            for entry in as_read(self._root, found):
                if entry is not None:
                    self._take(report, entry, rules)
        except (OSError, UdpftError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            reason = cause.strerror if isinstance(cause, OSError) else str(error)
            raise LocalReadFailed(f"cannot read {self._root.path}: {reason}") from error
        for refused in self._refused.values():
            words = refused.target
            if refused.reason is Reason.DIFFERENT:
                words = f"is on the server, and {words or 'is a different file'}"
            self.omissions.add(refused.path, refused.reason, words)
        return report

    def _take(self, report: Report, entry: Entry | NotSent, rules: Rules) -> None:
        """Take an entry into the listing, or note why not."""
        place = entry.path.split("/")
        is_folder = isinstance(entry, Entry) and entry.is_folder
        # Hidden names are counted by folder, under a name that no rule is meant for.
        counted = isinstance(entry, NotSent) and entry.reason is Reason.HIDDEN
        if not counted and rules.leave_out(place, is_folder=is_folder):
            return
        own_path = entry.path
        if self._top:
            entry = entry._replace(path=f"{self._top}/{entry.path}")
        if entry.path in self._refused:
            return
        if isinstance(entry, Entry):
            report.entries.append(entry)
        elif self._choice.links and entry.reason is Reason.SYMLINK and entry.target:
            report.not_sent.append(entry)
        else:
            self.omissions.add_not_sent(
                entry._replace(path=os.path.join(self._root.path, own_path)),
                asked=self._choice.links,
            )

    def open(self, entry: Entry) -> SourceFile:
        """Open the file of an entry. Raises as `ServedRoot.open_at` does."""
        return self._root.open_at(encode_path(self._own_path(entry)).split(b"/"))

    def _own_path(self, entry: Entry) -> str:
        return entry.path[len(self._top) + 1 :] if self._top else entry.path

    def note_failure(self, entry: Entry, error: UdpftError | None) -> None:
        """Note that a file cannot be sent: see `Failures.note`."""
        self._failures.note(entry._replace(path=self._own_path(entry)), error)

    def note_refused(self, refused: list[NotSent]) -> bool:
        """Note entries that the server does not take; return whether any is new."""
        new = [one for one in refused if one.path not in self._refused]
        self._refused |= {one.path: one for one in new}
        return bool(new)


def _dry(connection: Connection, tree: _LocalTree, name: str, path: str) -> Result:
    """Result of a tree that is only looked at, and compared with what the server lists."""
    began = clock()
    report = tree.listing()
    there: dict[str, Entry] = {}
    with suppress(NoSuchFile):
        listed = fetch_report(connection, name, RECURSIVE)[0]
        there = {entry.path: entry for entry in listed.entries}
    files = [entry for entry in report.entries if not entry.is_folder]
    coming = []
    for entry in files:
        known = there.get(entry.path)
        if known is None or (known.size, known.mtime_ns) != (entry.size, entry.mtime_ns):
            coming.append((entry.path, entry.size))
    size = sum(entry.size for entry in files)
    result = nothing_sent(name, path, size, clock() - began)
    return ended(result._replace(files=len(coming)), tree.omissions, listed=tuple(coming))


@contextmanager
def _source_of(listing: bytes) -> Iterator[SourceFile]:
    """Open a listing as a file to send."""
    fd = os.memfd_create("udpft-listing")
    with open(fd, "wb", closefd=False) as file:
        file.write(listing)
    with SourceFile(fd, os.fstat(fd)) as source:
        source.identity = identity_of(listing)
        yield source
