"""Listings of a server, and layouts of its trees: made in slices, shared, counted and forgotten.

Theory of operation
-------------------
A listing takes seconds where there are a million files. So it is made a slice at a time, between
turns of the loop, and a client that comes before its end is told to come back. Who asked meanwhile
is served with it, and so is the tree that follows it; whoever asks later has a new one made, for
files may have changed. Where a call may hang, a thread makes it, see `slow_disk`; and where one has
held up the loop, on a local disk that is slow.

A listing lies in an anonymous file, and a tree's layout in memory. All transfers of the same
listing, or of its tree, share one. What they take is counted, in all and for each host; past a
bound, the answer is *busy*.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator
from copy import copy
from math import inf
from typing import Final
from weakref import WeakSet, WeakValueDictionary

from xxhash import xxh3_64

from udpft.errors import Denied, ServerBusy
from udpft.protocol.server.session_creation import Asker
from udpft.protocol.wire.hello import RECURSIVE, REPORT
from udpft.protocol.wire.listing import MAX_LISTING_BYTES, encode_any, entries_from
from udpft.server.slow_disk import DiskThreads, is_remote, is_remote_below
from udpft.storage.served_folder import ServedRoot
from udpft.storage.source_file import SourceFile
from udpft.storage.trees.failures import Failures
from udpft.storage.trees.files import Layout
from udpft.storage.trees.unsized import as_read
from udpft.storage.trees.walk import Step, report_of, steps_of

SLICE_S = 0.005
"""Seconds for which a listing is made in one go: a thousand entries. A longer one is gone on with
between turns, and its client told to come back."""

SLOW_STEP_S = 0.05
"""Seconds that a step of a listing takes beyond its slice where the disk is slow: threads go on."""

SLOW_KEPT_S = 60.0
"""Seconds after such a step for which threads make all listings."""

LISTING_RETRY_AFTER_S = 0.2
"""Seconds after which that client is to come back at the latest."""

MIN_RETRY_AFTER_S = 0.02
"""Seconds after which it is to come back at the earliest: as long as the listing has taken."""

MAX_IN_THE_MAKING = 8
"""Listings that are made at the same time, or wait for their clients."""

MAX_MAKINGS_A_HOST = 4
"""Of those, for one host: the others find room whatever it asks for."""

ABANDONED_AFTER_S = 3.0
"""Seconds after which a listing that nobody has asked for again makes way for another, where there
is no room."""

LISTING_KEPT_S = 30.0
"""Seconds for which a listing that took its time waits to be fetched."""

MAX_LISTINGS_BYTES = 2 * MAX_LISTING_BYTES
"""Bytes of all listings that are made, wait or are being sent."""

MAX_TREE_FILES = 500_000
"""Files of all trees that are being sent, each of which takes some 300 bytes. A single tree may
have more."""

_HOST_SHARE: Final = 1 / 2
"""Part of these that one host may have."""

MAX_AWAITING = 1_024
"""Clients that are known to wait for one listing; others have it made anew."""

_BLOCK_BYTES: Final = 64 << 10


class Listing:
    """Listing in an anonymous file, which is gone with this object.

    Args:
        host: that it is charged to; None for nobody.

    Attributes:
        host: as ``host``.
        size: bytes; grows while it is made.
        file_count: entries; grows likewise.
        identity: of the listing; 0 while it is made.
        _fd: descriptor of the file.
        _hash: of the bytes written so far.
    """

    def __init__(self, host: Hashable) -> None:
        self.host = host
        self.size = 0
        self.file_count = 0
        self.identity = 0
        self._hash = xxh3_64()
        self._fd = -1
        self._fd = os.memfd_create("udpft-listing")

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def write(self, block: bytearray) -> None:
        """Write on. Raises Denied: nobody would take it in."""
        self._hash.update(block)
        os.write(self._fd, block)
        self.size += len(block)
        if self.size > MAX_LISTING_BYTES:
            raise Denied("the listing is too long", hint="ask for a folder further down")

    def end(self) -> None:
        """End it: it has an identity now."""
        self.identity = self._hash.intdigest() or 1

    def read(self, offset: int) -> bytes:
        """Read a block from an offset on."""
        return os.pread(self._fd, _BLOCK_BYTES, offset)

    def open(self) -> SourceFile:
        """Open it as a file to send."""
        fd = os.dup(self._fd)
        return _ListingSource(self, fd)


class _ListingSource(SourceFile):
    """Listing being sent, which keeps it alive and so counted."""

    __slots__ = ("_listing",)

    def __init__(self, listing: Listing, fd: int) -> None:
        super().__init__(fd, os.fstat(fd))
        self._listing = listing
        self.identity = listing.identity


class Tree(Layout):
    """Layout of a tree that is being sent.

    Args:
        listing: of the tree.

    Attributes:
        identity: of the listing.
        file_count: files that it has, or will have when it was read.
        host: that it is charged to; None for nobody.
    """

    def __init__(self, listing: Listing, host: Hashable) -> None:
        super().__init__(())
        self.identity = listing.identity
        self.file_count = listing.file_count
        self.host = host


class _Making:
    """Listing in the making, or finished and waiting for its clients.

    Args:
        listing: which is filled.
        entries: steps of the walk that finds them.
        clock: seconds.

    Attributes:
        listing: as ``listing``; another one with the same content, once that is found.
        tree: its layout; None until one was asked for, and read.
        began_at: when the work at hand was begun, by the clock.
        finished_at: when the work at hand was finished or failed, by the clock; inf until then.
        asked_at: when a client asked for it last. Set by the owner.
        awaited_by: addresses of the clients that were told to come back. Set by the owner.
        fetched: whether a client has fetched it. Set by the owner.
        in_thread: whether a thread works at it. Set by the owner.
        given_up: whether that thread is to end. Set by the owner.
        error: the exception that ended it; None otherwise.
        _steps: the work at hand.
    """

    def __init__(
        self, listing: Listing, entries: Iterator[Step], clock: Callable[[], float]
    ) -> None:
        self._clock = clock
        self.listing = listing
        self.tree: Tree | None = None
        self.began_at = clock()
        self.finished_at = inf
        self.asked_at = clock()
        self.awaited_by: set[Hashable] = set()
        self.fetched = False
        self.in_thread = False
        self.given_up = False
        self.error: Exception | None = None
        self._steps = _listing_steps(listing, entries)

    @property
    def at_work(self) -> bool:
        """Whether it is not finished."""
        return self.finished_at == inf

    @property
    def waits_for_loop(self) -> bool:
        """Whether it is not finished, and no thread works at it."""
        return self.finished_at == inf and not self.in_thread

    def work(self, slice_s: float) -> float:
        """Go on for a slice of time; return the seconds that it took beyond that.

        An error is kept in ``error``.
        """
        until = self._clock() + slice_s
        try:
            for _ in self._steps:
                late_s = self._clock() - until
                if late_s > 0 or self.given_up:
                    return late_s
        except Exception as error:
            self.error = error.with_traceback(None)  # which holds all of this
        self.finished_at = self._clock()
        return self.finished_at - until

    def read(self, tree: Tree) -> None:
        """Go on with its tree, which is read from the listing."""
        self.tree = tree
        self.began_at = self._clock()
        self._steps = _tree_steps(self.listing, tree)
        self.finished_at = inf


def _listing_steps(listing: Listing, entries: Iterator[Step]) -> Iterator[None]:
    """Write a listing, in steps. Raises as the walk does, and Denied."""
    block = bytearray()
    for entry in entries:
        if entry is not None:
            block += encode_any(entry)
            listing.file_count += 1
            if len(block) >= _BLOCK_BYTES:
                listing.write(block)
                block.clear()
        yield None
    listing.write(block)
    listing.end()


def _tree_steps(listing: Listing, tree: Tree) -> Iterator[None]:
    """Read a listing into the layout of its tree, in steps."""
    at = 0
    while at < listing.size:
        entries, length = entries_from(listing.read(at))
        at += length
        for count, entry in enumerate(entries, 1):
            tree.add(entry)
            if count % 64 == 0:
                yield None
        yield None


class Listings:
    """Listings of one server's folder, and layouts of its trees.

    Args:
        root: the served folder.
        failures: files that could not be sent, which reports leave out.
        threads: that wait for disks.
        clock: seconds.

    Attributes:
        _makings: those that took more than a slice: at work, or waiting for their clients, by
            pattern and flags. At most `MAX_IN_THE_MAKING`.
        _known: listings that are held, by identity; gone with their last use.
        _held: the same, and those in the making.
        _trees: layouts of trees, by identity; gone with their last use.
        _slice_left_s: seconds of this turn that are left for listings that are asked for.
        _slow_until: when threads no more make all listings, by the clock; -inf at first.
    """

    def __init__(
        self,
        root: ServedRoot,
        failures: Failures,
        threads: DiskThreads,
        clock: Callable[[], float],
    ) -> None:
        self._root = root
        self._failures = failures
        self._threads = threads
        self._clock = clock
        self._remote = is_remote(root.fileno())
        self._makings: dict[tuple[str, int], _Making] = {}
        self._known: WeakValueDictionary[int, Listing] = WeakValueDictionary()
        self._held: WeakSet[Listing] = WeakSet()
        self._trees: WeakValueDictionary[int, Tree] = WeakValueDictionary()
        self._slice_left_s = SLICE_S
        self._slow_until = -inf

    # -------------------------------------------------------------------------------- the loop

    @property
    def at_work(self) -> bool:
        """Whether something is in the making, so that `work` has something to do."""
        return any(making.waits_for_loop for making in self._makings.values())

    def work(self) -> None:
        """Begin a turn: go on with one for a slice of time, and drop those that nobody fetched."""
        self._slice_left_s = SLICE_S
        now = self._clock()
        for key, making in list(self._makings.items()):
            if now > _kept_until(making):
                self._drop(key)
            elif making.waits_for_loop:
                self._work_at(making, SLICE_S)
                self._makings[key] = self._makings.pop(key)  # the next one's turn
                return

    def next_timeout(self) -> float:
        """When `work` has something to do; -inf for at once, inf for never."""
        if self.at_work:
            return -inf
        return min(map(_kept_until, self._makings.values()), default=inf)

    def close(self) -> None:
        """Drop all."""
        for key in list(self._makings):
            self._drop(key)

    def _drop(self, key: tuple[str, int]) -> None:
        self._makings.pop(key).given_up = True

    # --------------------------------------------------------------------------------- clients

    def open(self, pattern: str, flags: int, asker: Asker) -> Listing:
        """Find or make a listing.

        Args:
            pattern: of the names listed; untrusted.
            flags: RECURSIVE, for all that is below matching folders too, and REPORT.
            asker: that asks for it.

        Raises:
            ServerBusy: it is not made yet, or there is no room.
            NoSuchFile, Denied, OSError: it cannot be made.
        """
        key = (pattern, flags)
        making = self._makings.get(key)
        if making and making.fetched and asker.address not in making.awaited_by:
            self._drop(key)
        return self._finished(key, asker).listing

    def open_tree(self, pattern: str, flags: int, asker: Asker) -> Tree:
        """Find or make the layout of a tree. Raises as `open` does."""
        key = (pattern, flags)
        making = self._finished(key, asker)
        if making.tree is None:
            making.tree = self._trees.get(making.listing.identity)
        if making.tree is None:
            tree = Tree(making.listing, asker.host)
            self._check_files(tree)
            making.read(tree)
            self._finish(key, making, asker)
        assert making.tree
        self._trees[making.tree.identity] = making.tree
        return making.tree

    def _finished(self, key: tuple[str, int], asker: Asker) -> _Making:
        """Find or make what is asked for. Raises as `open` does."""
        making = self._makings.get(key)
        if making is None:
            making = self._begin(key, asker.host)
        self._finish(key, making, asker)
        return making

    def _begin(self, key: tuple[str, int], host: Hashable) -> _Making:
        pattern, flags = key
        self._check_bytes(host, 1)
        recursive = bool(flags & RECURSIVE)
        entries: Iterator[Step]
        if flags & REPORT:
            refuse = self._failures.reason
            found = report_of(self._root, pattern, recursive=recursive, refuse=refuse)
            entries = as_read(self._root, found)
        else:
            entries = steps_of(self._root, pattern, recursive=recursive)
        listing = Listing(host)
        self._held.add(listing)
        making = _Making(listing, entries, self._clock)
        slow = self._slow_until > 0 and self._clock() < self._slow_until
        if self._remote or slow or is_remote_below(self._root.fileno()):
            making.in_thread = True
            self._threads.begin_or_busy(lambda: making.work(inf)).wait(SLICE_S)
        return making

    def _work_at(self, making: _Making, slice_s: float) -> None:
        """Go on with one for a slice of time, unless there is no room for what it has come to."""
        if making.work(slice_s) >= SLOW_STEP_S:
            self._slow_until = self._clock() + SLOW_KEPT_S
            if making.at_work:
                making.in_thread = self._threads.begin(lambda: making.work(inf)) is not None
        try:
            self._check_bytes(making.listing.host, 0)
        except ServerBusy as full:
            making.error = making.error or full
            making.finished_at = self._clock()

    def _finish(self, key: tuple[str, int], making: _Making, asker: Asker) -> None:
        """Work at what was asked for, if there is time in this turn; it is kept if that takes more.

        Raises:
            ServerBusy: it is not finished yet, or there is no room for it.
            NoSuchFile, Denied, OSError: it cannot be made.
        """
        began = making.asked_at = self._clock()
        if making.waits_for_loop and self._slice_left_s > 0:
            self._work_at(making, self._slice_left_s)
            self._slice_left_s -= self._clock() - began
        if making.at_work:
            self._keep(key, making)
            if len(making.awaited_by) < MAX_AWAITING:
                making.awaited_by.add(asker.address)
            raise _not_yet(self._clock() - making.began_at)
        making.in_thread = False
        making.fetched = True
        making.awaited_by.discard(asker.address)
        if making.error:
            if not making.awaited_by and key in self._makings:
                self._drop(key)
            raise copy(making.error)  # each has a traceback of its own
        making.listing = self._known.setdefault(making.listing.identity, making.listing)

    def _keep(self, key: tuple[str, int], making: _Making) -> None:
        """Keep one in the making. Raises ServerBusy: there is no room."""
        if key in self._makings:
            return
        try:
            self._make_room(making.listing.host)
        except ServerBusy:
            making.given_up = True
            raise
        self._makings[key] = making

    # ---------------------------------------------------------------------------------- bounds

    def _make_room(self, host: Hashable) -> None:
        """Make room for one more in the making. Raises ServerBusy: there is none."""
        mine = {} if host is None else self._makings
        of_host = [key for key, one in mine.items() if one.listing.host == host]
        if len(of_host) >= MAX_MAKINGS_A_HOST:
            self._displace(of_host)
        elif len(self._makings) >= MAX_IN_THE_MAKING:
            self._displace(list(self._makings))

    def _displace(self, keys: list[tuple[str, int]]) -> None:
        """Drop the one that nobody has asked for longest. Raises ServerBusy: all are asked for."""
        oldest = min(keys, key=lambda key: self._makings[key].asked_at)
        if self._makings[oldest].asked_at > self._clock() - ABANDONED_AFTER_S:
            raise _not_yet(LISTING_RETRY_AFTER_S)
        self._drop(oldest)

    def _check_bytes(self, host: Hashable, further: int) -> None:
        """Check whether there is room for further bytes of a host's. Raises ServerBusy."""
        held = list(self._held)
        of_host = sum(one.size for one in held if one.host == host and host is not None)
        if (
            sum(one.size for one in held) + further > MAX_LISTINGS_BYTES
            or of_host + further > MAX_LISTINGS_BYTES * _HOST_SHARE
        ):
            raise _full()

    def _check_files(self, tree: Tree) -> None:
        """Check whether there is room for the layout of another tree. Raises ServerBusy."""
        held = list(self._trees.values())
        of_host = [one for one in held if one.host == tree.host and tree.host is not None]
        for trees, most in ((held, MAX_TREE_FILES), (of_host, MAX_TREE_FILES * _HOST_SHARE)):
            if trees and sum(one.file_count for one in [*trees, tree]) > most:
                raise _full()


def _kept_until(making: _Making) -> float:
    """When a listing is dropped: so long after it was finished, or was asked for."""
    return max(making.asked_at, 0.0 if making.at_work else making.finished_at) + LISTING_KEPT_S


def _not_yet(taken_s: float) -> ServerBusy:
    """Error for who is to come back: it takes as long again, for all that is known."""
    busy = ServerBusy("the server is still making the listing", hint="--connect-timeout 60 waits")
    busy.retry_after_s = min(LISTING_RETRY_AFTER_S, max(MIN_RETRY_AFTER_S, taken_s))
    return busy


def _full() -> ServerBusy:
    return ServerBusy(
        "the server has too many large listings at once", hint="try again in a moment"
    )
