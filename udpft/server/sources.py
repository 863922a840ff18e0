"""Sources of a server's downloads: files of its folder, listings of them, and trees."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import NamedTuple

from xxhash import xxh3_64

from udpft.errors import LocalReadFailed, NoSuchFile, ServerBusy, UdpftError
from udpft.protocol.contract import NotReady, OpenedSource
from udpft.protocol.server.admitting import NOBODY, Asker
from udpft.protocol.wire.hello import RECURSIVE, REPORT, Hello, Role
from udpft.protocol.wire.listing import (
    Entry,
    NotSent,
    decode_report_untrusted,
    encode_any,
    encode_path,
)
from udpft.server.job import Job
from udpft.server.slow_disk import DiskThreads, ServedSource, is_remote
from udpft.storage.served_folder import ServedRoot
from udpft.storage.source_file import SourceFile
from udpft.storage.system_calls.openat2 import NO_CROSSING
from udpft.storage.trees.failures import Failures
from udpft.storage.trees.files import TreeSource
from udpft.storage.trees.walk import entries_of, report_of

HINT_SHARE = 0.05
"""Part of the server's time that may go into hints: to find the nearest name takes 10 ms in a
folder of 1,000, and whoever has a cookie can ask for missing names."""

SLICE_S = 0.010
"""Seconds for which a listing is made in one go: some thousand entries. A longer one is gone on
with between turns, and its client told to come back."""

LISTING_RETRY_AFTER_S = 0.2
"""Seconds after which that client is to come back."""

MAX_IN_THE_MAKING = 8
"""Listings that are made at the same time, or wait for their clients."""

MAX_MAKINGS_A_HOST = 4
"""Of those, for one host: the others find room whatever it asks for."""

READ_AT_ONCE_BYTES = 256 << 10
"""Bytes of a listing that is read in one go, in some ten milliseconds."""

OPENING_WAIT_S = 0.005
"""Seconds for which the loop waits for a thread that opens a file: nearly all end sooner."""

OPENING_RETRY_AFTER_S = 0.2
"""Seconds after which a client is to come back whose file is not open yet."""

MAX_OPENING_FILES = 16
"""Files that threads open, or that wait for their client, at once."""

MAX_OPENING_FILES_A_HOST = 8
"""Of those, for one host."""

LISTING_KEPT_S = 30.0
"""Seconds for which a listing that took its time waits to be fetched, and an open file."""


class _NoSuchFileThere(NoSuchFile):
    """Error: there is no such file on a disk that may be slow, so no hint is looked for."""


class Listed(NamedTuple):
    """Finished listing.

    ``fd``: descriptor of the anonymous file that holds it. ``identity``: of the listing.
    """

    fd: int
    identity: int

    def open(self) -> SourceFile:
        """Open the listing as a file to send."""
        source = SourceFile(os.dup(self.fd), os.fstat(self.fd))
        source.identity = self.identity
        return source

    def entries(self) -> list[Entry]:
        """Read the listing."""
        return decode_report_untrusted(os.pread(self.fd, os.fstat(self.fd).st_size, 0)).entries


class _Making:
    """Listing in the making, in an anonymous file that is gone with its last descriptor.

    Args:
        entries: of the listing, found while they are iterated over.
        clock: seconds.
        host: that it is charged to; None for nobody.

    Attributes:
        host: as ``host``.
        fd: descriptor of the file; whoever drops this object closes it.
        done: the listing; None until it is finished or has failed.
        finished_at: when it was finished or failed, by the clock; inf until then.
        fetched: whether a client has fetched it. Set by the owner.
        reading: reads the listing, for its tree; None until a tree is asked for. Set by the owner.
        error: the exception that ended it; None otherwise.
        _hash: of the blocks written so far; the listing's identity in the end.
        _block: encoded entries that are not written yet; empty between slices.
    """

    def __init__(
        self, entries: Iterator[Entry | NotSent], clock: Callable[[], float], host: Hashable
    ) -> None:
        self._entries = entries
        self.host = host
        self._clock = clock
        self._hash = xxh3_64()
        self._block = bytearray()
        self.fd = os.memfd_create("udpft-listing")
        self.done: Listed | None = None
        self.finished_at = inf
        self.fetched = False
        self.reading: Job[list[Entry]] | None = None
        self.error: Exception | None = None

    def work(self) -> None:
        """Go on for a slice of time, `SLICE_S`. An error is kept in ``error``."""
        until = self._clock() + SLICE_S
        try:
            for count, entry in enumerate(self._entries):
                self._block += encode_any(entry)
                if count % 64 == 63 and self._clock() > until:
                    break
            else:
                self.finished_at = self._clock()
            self._hash.update(self._block)
            os.write(self.fd, self._block)
            self._block.clear()
        except Exception as error:
            self.error = error
            self.finished_at = self._clock()
        if self.finished_at < inf:
            self.done = Listed(self.fd, self._hash.intdigest() or 1)


class Sources:
    """Sources of one server, opened by the names that clients ask for.

    Args:
        root: the served folder.
        clock: seconds.

    Attributes:
        _makings: listings that are being made, or that took more than a slice and wait to be
            fetched, by pattern and flags. At most `MAX_IN_THE_MAKING`.
        _failures: files that could not be sent, which reports leave out.
        _threads: that wait for disks.
        _remote: whether the served folder lies on a file system of the network or of user space.
        _opening: files that threads open, or that wait for their client, by host and name. At most
            `MAX_OPENING_FILES`; an open one is dropped when it has waited for `LISTING_KEPT_S`.
        _next_hint_at: when a hint may be looked for again, by the clock; set after each one.
    """

    def __init__(self, root: ServedRoot, clock: Callable[[], float]) -> None:
        self._root = root
        self._clock = clock
        self._makings: dict[tuple[str, int], _Making] = {}
        self._failures = Failures(clock)
        self._threads = DiskThreads()
        self._remote = is_remote(root.fileno())
        self._opening: dict[tuple[Hashable, str], Job[ServedSource]] = {}
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
            flags = hello.flags & (RECURSIVE | REPORT)
            making = self._list(name, flags, asker.host, afresh=hello.role == Role.LIST)
            try:
                assert making.done
                if hello.role == Role.LIST:
                    return making.done.open()
                entries = self._read(making)
                identity = making.done.identity
                note = self._failures.note
                tree = TreeSource(entries, identity, self._open_entry, note, self._open_entry_here)
                return ServedSource(tree, self._threads, remote=self._remote)
            finally:
                if (name, flags) not in self._makings:
                    os.close(making.fd)
        except NoSuchFile as error:
            if not isinstance(error, _NoSuchFileThere):
                error.hint = error.hint or self.hint(name)
            raise
        except OSError as error:
            raise LocalReadFailed(f"the server cannot list it: {error.strerror}") from error

    def open_file(self, name: str, host: Hashable = None) -> ServedSource:
        """Open a file. Raises as `open` does, without hints.

        ``host``: that it is charged to; None for nobody.
        """
        try:
            if not self._remote:
                with suppress(NotReady):
                    return ServedSource(self._root.open_file_here(name), self._threads)
            return self._open_in_thread(name, host)
        except OSError as error:
            raise LocalReadFailed(f"the server cannot read the file: {error.strerror}") from error

    def _open_in_thread(self, name: str, host: Hashable) -> ServedSource:
        """Open a file that may be long about it; its client is told to come back meanwhile."""
        self._drop_opened()
        key = (host, name)
        job = self._opening.pop(key, None)
        if job is None:
            of_host = sum(one[0] == host for one in self._opening) if host is not None else 0
            if len(self._opening) >= MAX_OPENING_FILES or of_host >= MAX_OPENING_FILES_A_HOST:
                raise ServerBusy("the server opens too many files at once")
            job = self._threads.begin_or_busy(lambda: self._open_there(name))
        if not job.wait(OPENING_WAIT_S):
            self._opening[key] = job
            busy = ServerBusy("the server still opens the file", hint="--connect-timeout 60 waits")
            busy.retry_after_s = OPENING_RETRY_AFTER_S
            raise busy
        try:
            return job.result()
        except NoSuchFile as error:
            raise _NoSuchFileThere(str(error)) from None

    def _open_there(self, name: str) -> ServedSource:
        """Open a file in whatever mount. Runs in a thread."""
        source = self._root.open_file(name)
        return ServedSource(source, self._threads, remote=is_remote(source.fileno()))

    def _drop_opened(self, kept_s: float = LISTING_KEPT_S) -> None:
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

    # ------------------------------------------------------------------------------- listings

    @property
    def at_work(self) -> bool:
        """Whether a listing is in the making, so that `work` has something to do."""
        return any(making.finished_at == inf for making in self._makings.values())

    def work(self) -> None:
        """Go on with a listing for a slice of time, and drop those that nobody fetched."""
        for key, making in list(self._makings.items()):
            if making.finished_at == inf:
                making.work()
                return
            if self._clock() > making.finished_at + LISTING_KEPT_S:
                os.close(self._makings.pop(key).fd)

    def _list(self, pattern: str, flags: int, host: Hashable, *, afresh: bool) -> _Making:
        """Make or find a listing; the caller closes one that is not kept. Raises as `open` does.

        Args:
            pattern: of the names listed.
            flags: RECURSIVE, for all that is below matching folders too, and REPORT.
            host: that it is charged to; None for nobody.
            afresh: make a new one where it was fetched already, for files may have changed.
        """
        key = (pattern, flags)
        making = self._makings.get(key)
        if making and making.fetched and afresh:
            os.close(self._makings.pop(key).fd)
            making = None
        if making is None:
            makings = self._makings.values()
            of_host = sum(one.host == host for one in makings) if host is not None else 0
            if len(makings) >= MAX_IN_THE_MAKING or of_host >= MAX_MAKINGS_A_HOST:
                self.work()
                raise _not_yet()
            making = _Making(self._entries(pattern, flags), self._clock, host)
            making.work()
        if making.done is None:
            self._makings[key] = making
            raise _not_yet()
        if making.error:
            self._makings.pop(key, None)
            os.close(making.fd)
            raise making.error
        making.fetched = True
        return making

    def _entries(self, pattern: str, flags: int) -> Iterator[Entry | NotSent]:
        recursive = bool(flags & RECURSIVE)
        if flags & REPORT:
            refuse = self._failures.reason
            return report_of(self._root, pattern, recursive=recursive, refuse=refuse)
        return entries_of(self._root, pattern, recursive=recursive)

    def _read(self, making: _Making) -> list[Entry]:
        """Read a listing for its tree; a long one in a thread. Raises ServerBusy: not yet."""
        assert making.done
        if os.fstat(making.fd).st_size <= READ_AT_ONCE_BYTES:
            return making.done.entries()
        if making.reading is None:
            listed = Listed(os.dup(making.fd), making.done.identity)
            making.reading = Job(partial(_read_and_close, listed))
        if not making.reading.wait(0):
            raise _not_yet()
        entries, making.reading = making.reading.result(), None
        return entries

    def close(self) -> None:
        """Drop all listings and files."""
        self._drop_opened(0.0)
        while self._makings:
            os.close(self._makings.popitem()[1].fd)

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


def _read_and_close(listed: Listed) -> list[Entry]:
    try:
        return listed.entries()
    finally:
        os.close(listed.fd)


def _not_yet() -> ServerBusy:
    busy = ServerBusy("the server is still making the listing", hint="--connect-timeout 60 waits")
    busy.retry_after_s = LISTING_RETRY_AFTER_S
    return busy
