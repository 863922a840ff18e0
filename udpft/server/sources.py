"""Sources of a server's downloads: files of its folder, listings of them, and trees."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from math import inf
from time import monotonic

from udpft.errors import LocalReadFailed, NoSuchFile, ServerBusy, UdpftError
from udpft.protocol.contract import NO_HOLES, NotReady, OpenedSource
from udpft.protocol.server.failure import failure_of, is_exhaustion
from udpft.protocol.server.session_creation import NOBODY, Asker
from udpft.protocol.transfer.file_range import FileRange
from udpft.protocol.wire.hello import RECURSIVE, REPORT, Hello, Role
from udpft.protocol.wire.listing import (
    Entry,
    encode_path,
)
from udpft.server.job import Job
from udpft.server.listings import Listings
from udpft.server.memory import Trimmer
from udpft.server.slow_disk import DiskThreads, ServedSource, is_remote
from udpft.storage.served_folder import ServedRoot
from udpft.storage.source_file import SourceFile
from udpft.storage.system_calls.openat2 import NO_CROSSING
from udpft.storage.trees.failures import Failures
from udpft.storage.trees.files import TreeSource

HINT_SHARE = 0.05
"""Part of the server's time that may go into hints: to find the nearest name takes 10 ms in a
folder of 1,000, and whoever has a cookie can ask for missing names."""

OPENING_WAIT_S = 0.005
"""Seconds for which the loop waits for a thread that opens a file: nearly all end sooner."""

OPENING_RETRY_AFTER_S = 0.2
"""Seconds after which a client is to come back whose file is not open yet."""

MAX_OPENING_FILES = 16
"""Files that threads open, or that wait for their client, at once."""

MAX_OPENING_FILES_A_HOST = 8
"""Of those, for one host."""

OPENED_KEPT_S = 30.0
"""Seconds for which an open file waits for its client."""

Wanted = tuple[int, int] | None
"""Range of a file, as HELLO has it; None for all of the file."""


class _NoSuchFileThere(NoSuchFile):
    """Error: there is no such file on a disk that may be slow, so no hint is looked for."""


class Sources:
    """Sources of one server, opened by the names that clients ask for.

    Args:
        root: the served folder.
        clock: seconds.

    Attributes:
        listings: of the folder.
        _failures: files that could not be sent, which reports leave out.
        _threads: that wait for disks.
        _remote: whether the served folder lies on a file system of the network or of user space.
        _opening: files that threads open, or that wait for their client, by host, name and range;
            at most `MAX_OPENING_FILES`; an open one is dropped after `OPENED_KEPT_S`.
        _trimmer: gives memory back after a rush.
        _next_hint_at: when a hint may be looked for again, by the clock; set after each one.
    """

    def __init__(self, root: ServedRoot, clock: Callable[[], float]) -> None:
        self._root = root
        self._clock = clock
        self._failures = Failures(clock)
        self._threads = DiskThreads()
        self.listings = Listings(root, self._failures, self._threads, clock)
        self._remote = is_remote(root.fileno())
        self._opening: dict[tuple[Hashable, str, Wanted], Job[ServedSource]] = {}
        self._trimmer = Trimmer()
        self._next_hint_at = -inf

    def open(self, hello: Hello, name: str, asker: Asker = NOBODY) -> OpenedSource:
        """Open the file, listing or tree that a HELLO asks for; its name is untrusted.

        Raises:
            NoSuchFile: nothing has that name; perhaps with a hint.
            ServerBusy: no descriptor is left, or a listing is not made yet.
            LocalReadFailed: it cannot be read.
        """
        try:
            if hello.role == Role.GET:
                return self.open_file(name, asker.host)
            if hello.role == Role.RANGE:
                return self.open_file(name, asker.host, hello.wanted)
            flags = hello.flags & (RECURSIVE | REPORT)
            if hello.role == Role.LIST:
                return self.listings.open(name, flags, asker).open()
            tree = self.listings.open_tree(name, flags, asker)
            source = TreeSource(
                tree, tree.identity, self._open_entry, self._failures.note, self._open_entry_here
            )
            return ServedSource(source, self._threads, remote=self._remote)
        except NoSuchFile as error:
            if not isinstance(error, _NoSuchFileThere):
                error.hint = error.hint or self.hint(name)
            raise
        except OSError as error:
            if is_exhaustion(error):
                raise failure_of(error) from error
            raise LocalReadFailed(f"the server cannot list it: {error.strerror}") from error

    def open_file(self, name: str, host: Hashable = None, wanted: Wanted = None) -> ServedSource:
        """Open a file. Raises as `open` does, without hints.

        Args:
            name: its name.
            host: that it is charged to; None for nobody.
            wanted: the range of it that is to be sent; None for all of it.
        """
        try:
            if not self._remote:
                with suppress(NotReady):
                    return self._served(self._root.open_file_here(name), wanted, remote=False)
            return self._open_in_thread(name, host, wanted)
        except OSError as error:
            raise LocalReadFailed(f"the server cannot read the file: {error.strerror}") from error

    def _served(self, file: SourceFile, wanted: Wanted, *, remote: bool) -> ServedSource:
        """Make a source of an open file, or of a range of it."""
        if wanted is None:
            # In a thread, where it may hang
            holes = file.sparse_map if remote else NO_HOLES
            return ServedSource(file, self._threads, remote=remote, sparse_map=holes)
        one = FileRange(file, wanted)
        return ServedSource(one, self._threads, remote=remote, part=one.part)

    def _open_in_thread(self, name: str, host: Hashable, wanted: Wanted) -> ServedSource:
        """Open a file that may be long about it; its client is told to come back meanwhile."""
        self._drop_opened()
        key = (host, name, wanted)
        job = self._opening.pop(key, None)
        if job is None:
            of_host = sum(one[0] == host for one in self._opening) if host is not None else 0
            if len(self._opening) >= MAX_OPENING_FILES or of_host >= MAX_OPENING_FILES_A_HOST:
                raise ServerBusy("the server opens too many files at once")
            job = self._threads.begin_or_busy(lambda: self._open_there(name, wanted))
        if not job.wait(OPENING_WAIT_S):
            self._opening[key] = job
            busy = ServerBusy("the server still opens the file", hint="--connect-timeout 60 waits")
            busy.retry_after_s = OPENING_RETRY_AFTER_S
            raise busy
        try:
            return job.result()
        except NoSuchFile as error:
            raise _NoSuchFileThere(str(error)) from error.__cause__

    def _open_there(self, name: str, wanted: Wanted) -> ServedSource:
        """Open a file in whatever mount. Runs in a thread."""
        file = self._root.open_file(name)
        return self._served(file, wanted, remote=is_remote(file.fileno()))

    def _drop_opened(self, kept_s: float = OPENED_KEPT_S) -> None:
        """Close files that no client came back for."""
        before = monotonic() - kept_s
        for key, job in list(self._opening.items()):
            if job.ended_at is not None and job.ended_at <= before:
                del self._opening[key]
                with suppress(UdpftError, OSError):
                    job.result().close()

    def _open_entry(self, entry: Entry) -> SourceFile:
        return self._root.open_at(encode_path(entry.path).split(b"/"))

    def _open_entry_here(self, entry: Entry) -> SourceFile:
        return self._root.open_at(encode_path(entry.path).split(b"/"), NO_CROSSING)

    # -------------------------------------------------------------------------------- the loop

    def work(self, transfers: int = 0) -> None:
        """Begin a turn of the loop: go on with a listing, and drop what nobody came back for.

        ``transfers``: that are at work on the server; memory is given back after a rush of them.
        """
        self._trimmer.note(transfers, self._clock())
        self.listings.work()
        if self._opening:
            self._drop_opened()

    def next_timeout(self) -> float:
        """When `work` has something to do; -inf for at once, inf for never."""
        ended = (job.ended_at for job in self._opening.values())
        dropped = (at + OPENED_KEPT_S for at in ended if at is not None)
        return min(self.listings.next_timeout(), self._trimmer.next_timeout(), *dropped)

    def close(self) -> None:
        """Drop all listings and files."""
        self._drop_opened(0.0)
        self.listings.close()

    # ---------------------------------------------------------------------------------- hints

    def hint(self, name: str) -> str:
        """Write a hint for a client that asked for a missing name; empty for none.

        Looks for one as often as its cost allows: see `HINT_SHARE`.
        """
        began = self._clock()
        if began < self._next_hint_at:
            return ""
        if self._root.is_folder(name):
            return f"{name!r} is a folder: get -r fetches it whole, ls lists it"
        near = self._root.nearest(name)
        ended = self._clock()
        self._next_hint_at = ended + (ended - began) * (1 / HINT_SHARE - 1)
        return f"did you mean {near!r}?" if near else ""
