"""Trees that clients store: their listings, their destinations, and reports of what was refused.

A listing comes first and waits for its tree. Where something of the tree cannot be taken, a client
that knows of reports is refused, asks for the report, and sends the rest.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from udpft.errors import (
    Denied,
    DestinationExists,
    LocalWriteFailed,
    NoSuchFile,
    ServerBusy,
    SourceChanged,
)
from udpft.protocol.contract import OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.wire.hello import AFRESH, CHECKSUM, FORCE, REPORT, Hello
from udpft.protocol.wire.listing import (
    Entry,
    MalformedListing,
    NotSent,
    Reason,
    Report,
    decode_report_untrusted,
    encode_not_sent,
    encode_path,
    identity_of,
)
from udpft.storage.destination import InMemory
from udpft.storage.part_name import is_part_name
from udpft.storage.served_folder import MAX_DEPTH, ServedRoot
from udpft.storage.source_file import SourceFile
from udpft.storage.trees.destination import TreeDestination
from udpft.storage.trees.staging import staging_name
from udpft.storage.trees.survey import Link, PlacedEntries, Problem, TreeOptions

if TYPE_CHECKING:
    from udpft.net.stop import Stop

MAX_UPLOAD_LISTING_BYTES = 16 << 20
"""Bytes of a tree's listing: more than a hundred thousand entries."""

MAX_UPLOAD_LISTINGS_BYTES = 3 * MAX_UPLOAD_LISTING_BYTES
"""Bytes of all listings that are held or being received."""

MAX_UPLOAD_LISTINGS_BYTES_A_HOST = 2 * MAX_UPLOAD_LISTING_BYTES
"""Of those, bytes of the listings of one host."""

LISTING_KEPT_S = 30.0
"""Seconds for which a listing waits for its tree, and a report for its client."""

MAX_REPORTS_BYTES = MAX_UPLOAD_LISTING_BYTES
"""Bytes of all reports that wait for their clients; the oldest go first."""

_REPORT_OVERHEAD = 256
"""Bytes that a report counts beyond its own."""


NO_HIDDEN = "the server takes no names that begin with a dot"
"""Words for a hidden name on a server without ``--hidden``."""

TOO_DEEP = f"the server takes no folders nested more than {MAX_DEPTH} deep"
"""Words for a path that is nested too deep."""


def _denied(refused: NotSent) -> Denied:
    """Error for a client that is refused a listing for a name."""
    hint = "`udpft serve --hidden` takes them" if refused.target == NO_HIDDEN else ""
    return Denied(f"{refused.path!r}: {refused.target}", hint=hint)


def _key(identity: int) -> str:
    """Key of the staging folder of a listing: see `staging_name`."""
    return f"{identity:016x}"


@contextmanager
def _no_collection() -> Iterator[None]:
    """Context without collections of garbage, which would hold up every thread.

    Each looks at all entries of all listings, a hundred thousand and more, and none is garbage.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


class _Listing(InMemory):
    """Target of a tree's listing.

    Args:
        check: called with all of it, once it is verified; keeps it, or raises.

    Attributes:
        _check: as ``check``.
    """

    def __init__(self, check: Callable[[bytes], None]) -> None:
        super().__init__(MAX_UPLOAD_LISTING_BYTES)
        self._check = check

    def commit(self) -> None:
        """Check whether it can be followed. Raises Denied."""
        self._check(bytes(self.data))


class _StoredTree:
    """Target of a stored tree, which refuses it in the end where not all of it could be placed.

    Args:
        target: the destination.
        refuse: called with the problems; raises where there are any.

    Attributes:
        have: byte ranges of the tree that are held already; never changes.
        have_of: identity of the listing.
        compares: False: nothing is compared by this.
        _target: the destination; None once this is closed.
    """

    compares = False

    def __init__(self, target: TreeDestination, refuse: Callable[[list[Problem]], None]) -> None:
        self._target: TreeDestination | None = target
        self._refuse = refuse
        self.have = target.have
        self.have_of = target.have_of

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Open the sink: see `TreeDestination.open_sink`."""
        assert self._target
        return self._target.open_sink(handshake)

    def commit(self) -> None:
        """Put everything in its place that can be. Raises UdpftError: something cannot."""
        assert self._target
        self._target.commit()
        problems = self._target.problems
        self.close()
        self._refuse(problems)

    def new_sizes(self) -> list[int]:
        """Sizes of the files that are not there yet, and of the folders, that take none."""
        assert self._target
        return self._target.new_sizes()

    def is_different(self) -> DestinationExists:
        """Make the error that a file that was held is a different one."""
        return DestinationExists("a file on the server differs", hint="--force replaces it")

    def close(self, error: BaseException | None = None) -> None:
        """Keep what can be resumed, or remove it."""
        target, self._target = self._target, None  # the entries of a large tree take memory
        if target:
            target.close(error)
            target.forget()


class _Kept(NamedTuple):
    """Listing or report that waits for its client.

    ``used_at``: when it was used last, by the monotonic clock. ``host``: that it is charged to.
    """

    data: bytes
    used_at: float
    host: Hashable = None


class TreeUploads:
    """Listings and destinations of the trees that one server's clients store.

    Args:
        root: the served folder.
        on_notice: called, from any thread, with lines for the server's log.

    Attributes:
        _coming_bytes: sizes of the listings that are being received, by the host that sends them.
        _listings: listings that wait for their trees, by identity. Dropped when they were used
            `LISTING_KEPT_S` ago. Threads add to it.
        _reports: reports that wait for their clients, likewise. Threads add to it.
    """

    def __init__(self, root: ServedRoot, on_notice: Callable[[str], None]) -> None:
        self._root = root
        self._on_notice = on_notice
        self._coming_bytes: dict[Hashable, int] = {}
        self._listings: dict[int, _Kept] = {}
        self._reports: dict[int, _Kept] = {}

    # -------------------------------------------------------------------------------- listings

    def open_listing(self, hello: Hello, host: Hashable = None) -> InMemory:
        """Open the target of a tree's listing. Raises Denied, ServerBusy.

        ``host``: that it is charged to; None for nobody.
        """
        if hello.size > MAX_UPLOAD_LISTING_BYTES:
            raise Denied("the tree has too many files", hint="bring it folder by folder")
        kept = list(self._listings.values())  # in one go, for threads add to it
        coming = self._coming_bytes
        held = sum(coming.values()) + sum(len(one.data) for one in kept)
        of_host = coming.get(host, 0) + sum(len(one.data) for one in kept if one.host == host)
        if held + hello.size > MAX_UPLOAD_LISTINGS_BYTES or (
            host is not None and of_host + hello.size > MAX_UPLOAD_LISTINGS_BYTES_A_HOST
        ):
            raise ServerBusy("the server has too many listings of trees at once")
        coming[host] = coming.get(host, 0) + hello.size
        report = bool(hello.flags & REPORT)
        return _Listing(partial(self._keep, hello.identity, host, tells=report))

    def note_listing_closed(self, host: Hashable, size: int, _received: int) -> None:
        """Note that a listing of so many bytes is not being received any more."""
        left = self._coming_bytes.pop(host) - size
        if left:
            self._coming_bytes[host] = left

    def _keep(self, identity: int, host: Hashable, data: bytes, *, tells: bool = False) -> None:
        """Check whether a listing may be followed on this server, and keep it. Runs in a thread.

        ``tells``: the client is going to ask which names it was refused for.
        """
        try:
            with _no_collection():
                report = decode_report_untrusted(data)
        except MalformedListing as error:
            raise Denied(f"the tree's listing makes no sense: {error}") from None
        if identity != identity_of(data):
            raise Denied("the tree's listing is not the one that was announced")
        refused = self._refused_names([*report.entries, *report.not_sent])
        if refused:
            if tells:
                self._keep_report(identity, b"".join(map(encode_not_sent, refused.values())))
            raise _denied(next(iter(refused.values())))
        self._listings[identity] = _Kept(data, monotonic(), host)

    def _refused_names(self, entries: Iterable[Entry | NotSent]) -> dict[str, NotSent]:
        """Names that this server does not take, by their paths; of a folder, itself alone."""
        refused: dict[str, NotSent] = {}
        for entry in entries:
            path = entry.path
            plain = "/." not in f"/{path}" and path.count("/") < MAX_DEPTH
            if plain and self._root.takes(path):
                continue
            if found := self._refuse_name(path, path.split("/")):
                refused.setdefault(found.path, found)
        return refused

    def _refuse_name(self, path: str, components: list[str]) -> NotSent | None:
        """Refuse the first of a path's components that is not taken; None where all are."""
        for number, component in enumerate(components):
            words = ""
            if number >= MAX_DEPTH:
                words = TOO_DEEP
            elif is_part_name(encode_path(component)):
                words = "no name for an upload"
            elif component.startswith(".") and not self._root.hidden:
                words = NO_HIDDEN
            if words:
                reason = Reason.TOO_DEEP if words == TOO_DEEP else Reason.REFUSED
                return NotSent("/".join(components[: number + 1]), reason, words)
        if not self._root.takes(path):
            return NotSent(path, Reason.REFUSED, "not to be brought here")
        return None

    # ----------------------------------------------------------------------------------- trees

    def open_tree(self, hello: Hello, name: str, stop: Stop | None = None) -> _StoredTree:
        """Open the destination of a tree. Runs in a thread, and ``stop`` breaks it off.

        Raises:
            SourceChanged: its listing is not held.
            DestinationExists, LocalWriteFailed: it, or something of it, cannot be taken.
            Denied: it is not what was listed.
        """
        known = self._listings.get(hello.identity)
        if not known:
            raise SourceChanged("the server does not have the tree's listing", hint="try again")
        self._listings[hello.identity] = known._replace(used_at=monotonic())
        with _no_collection():
            return self._open_listed(hello, name, decode_report_untrusted(known.data), stop)

    def _open_listed(
        self, hello: Hello, name: str, report: Report, stop: Stop | None
    ) -> _StoredTree:
        target = TreeDestination(
            Path(),
            name,
            PlacedEntries(report.entries),
            hello.identity,
            TreeOptions(
                force=bool(hello.flags & FORCE),
                trust=not hello.flags & AFRESH,
                checksum=bool(hello.flags & CHECKSUM),
                key=_key(hello.identity),
                earlier=staging_name(name, _key(hello.have_of)) if hello.have_of else "",
                on_removed=self._on_notice,
            ),
            stop=stop,
            folder_fd=self._root.open_folder([]),
        )
        try:
            if target.size != hello.size:
                raise Denied("the tree is not the one that was listed")
            self._refuse(hello, target.problems)
        except BaseException as error:
            target.close(error)
            raise
        target.links = [
            Link(one.path, tuple(one.path.split("/")), one.target)
            for one in report.not_sent
            if one.reason is Reason.SYMLINK
        ]
        return _StoredTree(target, partial(self._refuse, hello))

    def _refuse(self, hello: Hello, problems: list[Problem]) -> None:
        """Refuse a tree of which something cannot be taken, and keep the report of it.

        Raises:
            DestinationExists: something is there that is different.
            LocalWriteFailed: something cannot be written.
        """
        if not problems:
            return
        if hello.flags & REPORT:
            found = [NotSent(one.path, one.reason, one.words) for one in problems]
            data = b"".join(map(encode_not_sent, found))
            self._keep_report(hello.identity, data)
        different = [one for one in problems if one.reason is Reason.DIFFERENT]
        if different:
            more = f", and {len(different) - 1} more" if len(different) > 1 else ""
            raise DestinationExists(f"{different[0].path} exists and is a different file{more}")
        one = problems[0]
        raise LocalWriteFailed(f"cannot write {one.path}: {one.words or one.reason.name.lower()}")

    # --------------------------------------------------------------------------------- reports

    def _keep_report(self, identity: int, data: bytes) -> None:
        """Keep the report of a tree for its client. Runs in a thread."""
        self._reports.pop(identity, None)
        self._reports[identity] = _Kept(data, monotonic())
        kept = list(self._reports.items())  # in one go, for threads add to it
        held = sum(_REPORT_OVERHEAD + len(one.data) for _, one in kept)
        for other, one in kept[:-1]:
            if held <= MAX_REPORTS_BYTES:
                break
            self._reports.pop(other, None)
            held -= _REPORT_OVERHEAD + len(one.data)

    def open_report(self, identity: int) -> SourceFile:
        """Open the report of a tree as a file to send. Raises NoSuchFile: there is none."""
        kept = self._reports.get(identity)
        if kept is None:
            raise NoSuchFile("the server has no report of that tree")
        fd = os.memfd_create("udpft-report")
        with open(fd, "wb", closefd=False) as file:
            file.write(kept.data)
        source = SourceFile(fd, os.fstat(fd))
        source.identity = identity_of(kept.data)
        return source

    @property
    def holds_any(self) -> bool:
        """Whether a listing or a report waits for its client."""
        return bool(self._listings or self._reports)

    def forget(self) -> None:
        """Drop listings and reports that no client came back for."""
        before = monotonic() - LISTING_KEPT_S
        for kept in (self._listings, self._reports):
            for identity, one in list(kept.items()):
                if one.used_at < before:
                    del kept[identity]
