"""Upload of a tree: a listing, then the contents of all its files as one transfer.

The mirror image of `fetch_tree`. What the server does not take, it tells in a report, and the rest
is sent without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from errno import ENOTDIR
from functools import partial
from stat import S_IMODE

from udpft.client.connection import Connection
from udpft.client.fetch_tree import fetch_report
from udpft.client.store import result_of, send
from udpft.client.tree_attempts import HeldAtFirst, repeated
from udpft.client.tree_comparison import (
    MAX_COMPARED,
    MAX_COMPARED_DRY,
    LocalFile,
    compare_files,
)
from udpft.client.tree_outcome import Omissions, TreeChoice, ended, nothing_sent
from udpft.client.tree_rules import Rules
from udpft.errors import (
    Denied,
    DestinationExists,
    LocalReadFailed,
    NoSuchFile,
    PartialTransfer,
    ServerRefused,
    SourceChanged,
    UdpftError,
    UsageError,
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
    order_of,
)
from udpft.storage.served_folder import ServedRoot
from udpft.storage.source_file import SourceFile
from udpft.storage.trees.failures import Failures
from udpft.storage.trees.files import TreeSource
from udpft.storage.trees.survey import DIFFERENT_CONTENT, REFUSALS, is_same_time
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
    with _opened(path, hidden=choice.hidden) as root:
        tree = _LocalTree(root, top, choice)
        held = HeldAtFirst()

        def list_tree() -> tuple[Report, int]:
            return _store_listing(connection, tree, name)

        if choice.dry_run:
            return _dry(connection, tree, list_tree, name, path)

        earlier = 0  # identity of the listing that the last attempt had

        def transfer(listing: tuple[Report, int], trust: bool) -> Result:
            nonlocal earlier
            report, identity = listing
            have_of, earlier = earlier if trust else 0, identity
            flags = REPORT | (FORCE if choice.force else 0) | (0 if trust else AFRESH)
            flags |= CHECKSUM if choice.checksum or tree.same else 0
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
                refused = _refused(connection, name, identity)
                refused = _without_same(connection, tree, listing, refused)
                if tree.note_refused(refused):
                    raise SourceChanged(f"the server refuses: {tree.answers}") from error
                raise
            finally:
                if connection.held_at_first is not None:
                    held.note(source.layout, connection.held_at_first, trust=trust)
            files = source.layout.files
            result = result_of(*sent, name, path, source.size, clock() - began)
            if held.attempts > 1:
                resumed_bytes = held.bytes_of(files)
                result = result._replace(
                    resumed_bytes=resumed_bytes, up_to_date=0 < resumed_bytes == source.size
                )
            return ended(result._replace(files=len(files)), tree.omissions, stored=True)

        return repeated(
            list_tree,
            transfer,
            differs=lambda: f"a file of {name!r} on the server differs, of the same size and time",
        )


def _names(path: str, as_name: str | None) -> tuple[str, str]:
    """Name a stored tree's top folder, empty for the served one, and the tree.

    Raises:
        UsageError: the name leads out of the served folder.
    """
    own_name = os.path.basename(os.path.abspath(path))
    parts = [part for part in (as_name or "").split("/") if part not in ("", ".")]
    if (as_name or "").startswith("/") or ".." in parts:
        raise UsageError(
            f"{as_name!r} leads out of the folder that the server serves",
            hint="--as takes a name below that folder, or . for the folder itself",
        )
    into = not as_name or as_name.endswith("/")
    if not path.endswith("/") and into and own_name:
        parts.append(own_name)
    top = "/".join(parts)
    return top, top or own_name or "tree"


@contextmanager
def _opened(path: str, *, hidden: bool) -> Iterator[ServedRoot]:
    """Open a folder to be sent. Raises LocalReadFailed."""
    try:
        root = ServedRoot(path, hidden=hidden)
    except LocalReadFailed as error:
        cause = error.__cause__
        reason = cause.strerror if isinstance(cause, OSError) else str(cause)
        hint = ""
        if isinstance(cause, PermissionError):
            hint = "to send it takes the permission to read and to search it"
        raise LocalReadFailed(f"cannot read {path}: {reason}", hint=hint) from cause
    with root:
        yield root


def _store_listing(connection: Connection, tree: _LocalTree, name: str) -> tuple[Report, int]:
    """Store a tree's listing, without what the server refuses by its name.

    Raises:
        Denied: the server refuses the whole.
        LocalReadFailed: the folder cannot be read.
        UdpftError: as `send`.
    """
    while True:
        report = tree.listing()
        listing = b"".join(map(encode_any, report.entries))
        listing += b"".join(map(encode_any, report.not_sent))
        with _source_of(listing) as source:
            try:
                send(connection, source, name, Role.PUT_LIST, flags=REPORT)
                return report, source.identity
            except Denied:
                refused = _refused(connection, name, source.identity)
                if not tree.note_refused(refused) or tree.is_refused(tree.top):
                    raise


def _refused(connection: Connection, name: str, identity: int) -> list[NotSent]:
    """Ask the server for what it does not take of a tree; nothing from one that cannot tell."""
    with suppress(UdpftError):
        return fetch_report(connection, name, REPORT, identity)[0].not_sent
    return []


def _there(connection: Connection, tree: _LocalTree, identity: int) -> dict[str, Entry]:
    """Entries that the server has where a tree goes, by their paths; none where it lists none."""
    with suppress(NoSuchFile):
        listed = fetch_report(connection, tree.top, RECURSIVE, identity)[0]
        return {entry.path: entry for entry in listed.entries}
    return {}


def _has_size(known: Entry | None, size: int) -> bool:
    """Tell whether the server has a file of this size."""
    return known is not None and not known.is_folder and known.size == size


def _in_its_way(entry: Entry, there: dict[str, Entry]) -> str:
    """Words for what the server has in the place of an entry, or on the way to it; else empty."""
    known = there.get(entry.path)
    if known and known.is_folder != entry.is_folder:
        return "a folder has its name" if known.is_folder else "a file has its name"
    above = entry.path.rpartition("/")[0]
    while above:
        if above in there and not there[above].is_folder:
            return REFUSALS[ENOTDIR]
        above = above.rpartition("/")[0]
    return ""


def _without_same(
    connection: Connection,
    tree: _LocalTree,
    listing: tuple[Report, int],
    refused: list[NotSent],
) -> list[NotSent]:
    """Compare what the server refuses for its time alone; return what is refused for good."""
    different = {
        one.path
        for one in refused
        if one.reason is Reason.DIFFERENT and not one.target and one.path not in tree.same
    }
    if not different:
        return refused
    report, identity = listing
    there: dict[str, Entry] = {}
    with suppress(ServerRefused):
        there = _there(connection, tree, identity)
    if not there:  # it lists nothing, as one over a remote shell: the digest of the tree is to tell
        tree.note_same(different)
        return [one for one in refused if one.path not in different]
    alike = [
        entry
        for entry in report.entries
        if entry.path in different and _has_size(there.get(entry.path), entry.size)
    ]
    same = tree.compare(connection, alike, MAX_COMPARED)
    tree.note_same(same)
    compared = {entry.path for entry in alike}
    return [
        one._replace(target=DIFFERENT_CONTENT) if one.path in compared else one
        for one in refused
        if one.path not in same
    ]


class _LocalTree:
    """Local folder that is stored, as its listing on the server is to be.

    Args:
        root: the folder.
        top: name on the server of the folder that its entries go to; empty for the served one.
        choice: of what comes.

    Attributes:
        top: as ``top``; never changes.
        choice: as ``choice``; never changes.
        omissions: entries that are not sent, of the last listing.
        same: paths there of files that the server has under another time; grows.
        answers: number of answers of the server that changed what is sent; grows.
        _refused: entries that the server does not take, by their paths there; grows.
        _failures: files that could not be read.
        _news: whether ``same`` has grown since `note_refused` was called last.
    """

    def __init__(self, root: ServedRoot, top: str, choice: TreeChoice) -> None:
        self._root = root
        self.top = top
        self.choice = choice
        self._refused: dict[str, NotSent] = {}
        self._failures = Failures()
        self.omissions = Omissions()
        self.same: set[str] = set()
        self._news = False
        self.answers = 0

    def listing(self) -> Report:
        """List the folder. What is not sent in the report are symlinks that are to be made.

        Raises:
            LocalReadFailed: it cannot be read.
        """
        self.omissions = Omissions()
        report = Report([], [])
        rules = Rules(self.choice.rules)
        status = os.stat(self._root.path)
        if self.top:
            report.entries.append(
                Entry(self.top, True, 0, status.st_mtime_ns, S_IMODE(status.st_mode))
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
            self.add_refused(refused)
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
        if self.top:
            entry = entry._replace(path=f"{self.top}/{entry.path}")
        if self._refused and self.is_refused(entry.path):
            return
        if isinstance(entry, Entry):
            report.entries.append(entry)
        elif self.choice.links and entry.reason is Reason.SYMLINK and entry.target:
            report.not_sent.append(entry)
        else:
            self.omissions.add_not_sent(
                entry._replace(path=os.path.join(self._root.path, own_path)),
                asked=self.choice.links,
            )

    def open(self, entry: Entry) -> SourceFile:
        """Open the file of an entry. Raises as `ServedRoot.open_at` does."""
        return self._root.open_at(encode_path(self._own_path(entry)).split(b"/"))

    def _own_path(self, entry: Entry) -> str:
        return entry.path[len(self.top) + 1 :] if self.top else entry.path

    def note_failure(self, entry: Entry, error: UdpftError | None) -> None:
        """Note that a file cannot be sent: see `Failures.note`."""
        self._failures.note(entry._replace(path=self._own_path(entry)), error)

    def note_refused(self, refused: list[NotSent]) -> bool:
        """Note entries that the server does not take; return whether another attempt can help."""
        new = [one for one in refused if one.path not in self._refused]
        self._refused |= {one.path: one for one in new}
        again = bool(new) or self._news
        self._news = False
        self.answers += again
        return again

    def note_same(self, paths: Collection[str]) -> None:
        """Note files that the server has, whatever their times there are."""
        self._news = self._news or not self.same.issuperset(paths)
        self.same.update(paths)

    def add_different(self, entry: Entry, words: str, coming: list[Entry]) -> None:
        """Note a file that differs on the server: it comes where that is forced, and else not."""
        if self.choice.force:
            coming.append(entry)
        else:
            self.add_refused(NotSent(entry.path, Reason.DIFFERENT, words))

    def add_refused(self, refused: NotSent) -> None:
        """Note an entry that the server does not take."""
        words = refused.target
        if refused.reason is Reason.DIFFERENT:
            words = f"is on the server, and {words or 'is a different file'}"
        self.omissions.add(refused.path, refused.reason, words)

    def is_refused(self, path: str) -> bool:
        """Whether the server does not take an entry, or a folder that it is in."""
        while path:
            if path in self._refused:
                return True
            path = path.rpartition("/")[0]
        return False

    def compare(
        self, connection: Connection, entries: Sequence[Entry], limit: int
    ) -> Collection[str]:
        """Compare files with those on the server, unless they are too many.

        Returns:
            The paths of those that are the same; of all where only the digest of the tree can tell.
        """
        with ExitStack() as opened:

            def open_folder(entry: Entry) -> int:
                opened.close()
                fd = self._root.open_folder(encode_path(self._own_path(entry)).split(b"/")[:-1])
                opened.callback(os.close, fd)
                return fd

            files = (
                (
                    entry.path,
                    LocalFile(
                        entry.size, entry.path.rpartition("/")[2], partial(open_folder, entry)
                    ),
                )
                for entry in entries
            )
            same = compare_files(connection, files, limit=limit)
        return {entry.path for entry in entries} if same is None else same


def _dry(
    connection: Connection,
    tree: _LocalTree,
    list_tree: Callable[[], tuple[Report, int]],
    name: str,
    path: str,
) -> Result:
    """Result of a tree that is only looked at, and compared with what the server lists."""
    began = clock()
    report, identity = list_tree()
    there = _there(connection, tree, identity)
    choice = tree.choice
    coming: list[Entry] = []
    doubtful: list[Entry] = []
    for entry in report.entries:
        known = there.get(entry.path)
        if words := _in_its_way(entry, there):
            tree.add_refused(NotSent(entry.path, Reason.REFUSED, words))
        elif entry.is_folder:
            continue
        elif known is None:
            coming.append(entry)
        elif known.size != entry.size:
            tree.add_different(entry, "", coming)
        elif choice.checksum or not is_same_time(known.mtime_ns, entry.mtime_ns):
            doubtful.append(entry)
    notes = []
    if choice.force and not choice.checksum:
        coming += doubtful
    elif len(doubtful) > MAX_COMPARED_DRY:
        notes = [f"{len(doubtful)} files of the same size would be compared by their contents"]
    else:
        same = tree.compare(connection, doubtful, MAX_COMPARED_DRY)
        for entry in doubtful:
            if entry.path not in same:
                tree.add_different(entry, DIFFERENT_CONTENT, coming)
    coming.sort(key=order_of)
    size = sum(entry.size for entry in coming)
    result = nothing_sent(name, path, size, clock() - began)
    result = result._replace(
        files=len(coming), up_to_date=not coming, verified=choice.checksum and not notes
    )
    listed = tuple((entry.path, entry.size) for entry in coming)
    return ended(result, tree.omissions, notes, listed, stored=True, dry=True)


@contextmanager
def _source_of(listing: bytes) -> Iterator[SourceFile]:
    """Open a listing as a file to send."""
    fd = os.memfd_create("udpft-listing")
    with open(fd, "wb", closefd=False) as file:
        file.write(listing)
    with SourceFile(fd, os.fstat(fd)) as source:
        source.identity = identity_of(listing)
        yield source
