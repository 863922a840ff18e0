"""Opening of upload destinations in threads, with limits: size, quota, openings per host.

Two things that take their time are done in threads, for the server has other transfers to look
after: finding out what is held of a file already, and giving it its name in the end. A client that
comes before its place is open is told to come back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from functools import partial
from math import inf
from time import monotonic

from udpft.errors import (
    Denied,
    NoSuchFile,
    ServerBusy,
    UdpftError,
)
from udpft.net.stop import Stop
from udpft.protocol.params import MIN_CHUNK_SIZE
from udpft.protocol.server.session_creation import NOBODY, Asker
from udpft.protocol.wire.hello import FORCE, Hello, Role
from udpft.server.job import Job
from udpft.server.slow_disk import DiskThreads, is_remote, is_remote_below
from udpft.server.tree_uploads import TreeUploads
from udpft.server.upload_place import Disk, UploadPlace, told
from udpft.server.write_behind import BytesBehind
from udpft.storage.destination import Destination
from udpft.storage.journal import Label
from udpft.storage.leftovers import Leftovers, missing_bytes
from udpft.storage.part_name import part_name
from udpft.storage.served_folder import ServedRoot
from udpft.storage.source_file import SourceFile
from udpft.units import format_bytes

BLOCK_BYTES = 4096
"""Bytes that a quota counts for each file and folder, and that files are rounded up to: what a file
system takes for an inode and a name, and its blocks."""

PLACE_KEPT_S = 30.0
"""Seconds for which an open place waits for its client."""

MAX_OPENING = 16
"""Places that are being opened at once, or wait for their clients."""

MAX_OPENING_A_HOST = 8
"""Of those, for one host: the others find room whatever it asks for."""

ABANDONED_AFTER_S = 3.0
"""Seconds after which a place makes way for another, where there is no room: its client would have
asked for it again long ago."""

PLACE_RETRY_AFTER_S = 0.2
"""Seconds after which a client is to come back at the latest whose place is not open yet."""

MIN_RETRY_AFTER_S = 0.02
"""Seconds after which it is to come back at the earliest: as long as the opening has taken."""

_FORGET_INTERVAL_S = 5.0
"""Seconds between looks at what nobody came back for, while there is anything."""

_A_MOMENT_S = 0.005
"""Seconds for which the loop waits for a thread: nearly all of them end sooner."""


class _Opening:
    """Opening of a place, in a thread.

    Args:
        work: opens it; given the token that breaks it off.
        host: that it is charged to.

    Attributes:
        began_at: when it began, by the monotonic clock.
        asked_at: when its client asked for it last, likewise.
        host: as ``host``.
        job: the call.
        stop: breaks it off.
    """

    def __init__(self, work: Callable[[Stop], UploadPlace], host: Hashable) -> None:
        self.began_at = self.asked_at = monotonic()
        self.host = host
        self.stop = Stop()
        self.job = Job(partial(work, self.stop))

    def is_over(self, before: float) -> bool:
        """Whether the place is open, and nobody has asked for it since a time."""
        ended_at = self.job.ended_at
        return ended_at is not None and max(ended_at, self.asked_at) < before


class Quota:
    """Quota of all uploads of a server: bytes that they may take of its disk.

    Args:
        most_bytes: that they may take in all; 0 for no quota.

    Attributes:
        _promised_bytes: bytes that closed places have taken of the disk, and those that open ones
            may still take.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._promised_bytes = 0

    @property
    def is_used_up(self) -> bool:
        """Whether there is a quota, and nothing left of it."""
        return 0 < self._most_bytes <= self._promised_bytes

    def promise(self, count: int) -> bool:
        """Promise so many bytes to a place; return whether so many were left."""
        if self._most_bytes and self._promised_bytes + count > self._most_bytes:
            return False
        self._promised_bytes += count
        return True

    def give_back(self, count: int) -> None:
        """Take back so many bytes that a place was promised and has not taken."""
        self._promised_bytes -= count


class Uploads:
    """Places for uploads of one server, opened by the names that clients ask for.

    Args:
        root: the served folder.
        on_notice: called, from any thread, with lines for the server's log.
        max_bytes: of one upload; 0 for as many as the disk holds.
        quota: of all uploads; none unless given.

    Attributes:
        _quota: as ``quota``; grows with each place that is opened.
        _disk: what all places share.
        _trees: listings and destinations of trees.
        _opening: places that are being opened, or wait for their client, by the host and what the
            HELLO asks. With those below at most `MAX_OPENING`; an open one is dropped when it has
            waited for `PLACE_KEPT_S`.
        _leaving: those that made way for others, until their threads have ended.
        _forgotten_at: when `forget` was called last, by the monotonic clock.
    """

    def __init__(
        self,
        root: ServedRoot,
        on_notice: Callable[[str], None] = lambda _: None,
        *,
        max_bytes: int = 0,
        quota: Quota | None = None,
    ) -> None:
        self._root = root
        self._on_notice = on_notice
        self._max_bytes = max_bytes
        self._quota = quota or Quota(0)
        self._trees = TreeUploads(root, on_notice)
        self._disk = Disk(DiskThreads(), BytesBehind())
        self._opening: dict[tuple[Hashable, ...], _Opening] = {}
        self._leaving: list[_Opening] = []
        self._forgotten_at = -inf

    def open(self, hello: Hello, name: str, asker: Asker = NOBODY) -> UploadPlace:
        """Open the place that a HELLO asks for; its name is untrusted.

        Raises:
            Denied: it is over the quota, or no name for an upload.
            DestinationExists: a different file has that name, and no force.
            LocalWriteFailed: the disk refuses.
            ServerBusy: it is not open yet, or somebody else's.
            SourceChanged: of a tree whose listing is not held.
        """
        self.forget()
        if hello.role == Role.PUT_LIST:
            place = UploadPlace(hello, name, self._trees.open_listing(hello, asker.host))
            place.on_closed = partial(self._trees.note_listing_closed, asker.host, hello.size)
            return place
        if self._max_bytes and hello.size > self._max_bytes:
            raise Denied(f"the server takes uploads of up to {format_bytes(self._max_bytes)}")
        if self._quota.is_used_up:
            raise _used_up()  # and nothing is made for it
        key = (asker.host, hello.role, name, hello.flags, hello.size, hello.identity)
        opening = self._opening.pop(key, None)
        if opening is None:
            self._make_room(asker.host)
            opening = _Opening(partial(self._open, hello, name, asker.chunk_size), asker.host)
        if not opening.job.wait(_A_MOMENT_S):
            opening.asked_at = monotonic()
            self._opening[key] = opening
            busy = ServerBusy(
                "the server still looks at what it has of it", hint="--connect-timeout 60 waits"
            )
            taken_s = opening.asked_at - opening.began_at
            busy.retry_after_s = min(PLACE_RETRY_AFTER_S, max(MIN_RETRY_AFTER_S, taken_s))
            raise busy
        place = opening.job.result()
        wanted, overhead = place.wanted_bytes, place.overhead_bytes
        if not self._quota.promise(wanted + overhead):
            place.close()
            raise _used_up()
        place.on_closed = partial(self._note_closed, wanted, overhead)
        return place

    def _make_room(self, host: Hashable) -> None:
        """Make room for one more place. Raises ServerBusy: there is none."""
        mine = () if host is None else self._opening.items()
        of_host = [key for key, one in mine if one.host == host]
        if len(of_host) >= MAX_OPENING_A_HOST:
            self._displace(of_host)
        elif len(self._opening) >= MAX_OPENING:
            self._displace(list(self._opening))
        if len(self._opening) + len(self._leaving) >= MAX_OPENING:
            raise _too_many()

    def _displace(self, keys: list[tuple[Hashable, ...]]) -> None:
        """Give up the place whose client has been away longest. Raises ServerBusy: all are here."""
        oldest = min(keys, key=lambda key: self._opening[key].asked_at)
        if self._opening[oldest].asked_at > monotonic() - ABANDONED_AFTER_S:
            raise _too_many()
        self._give_up(oldest)

    def _give_up(self, key: tuple[Hashable, ...]) -> None:
        """Break off the opening of a place, and close the place."""
        opening = self._opening.pop(key)
        opening.stop.set()
        self._leaving.append(opening)
        self._close_leaving()

    def _close_leaving(self) -> None:
        """Close the places of the threads that have ended."""
        ended = [one for one in self._leaving if one.job.ended_at is not None]
        self._leaving = [one for one in self._leaving if one.job.ended_at is None]
        for one in ended:
            _close(one.job)

    def _note_closed(self, wanted: int, overhead: int, received: int) -> None:
        """Count what came of a place that is closed. Where nothing did, it has left nothing."""
        nothing = wanted and not received
        self._quota.give_back(wanted - received + (overhead if nothing else 0))

    def _open(self, hello: Hello, name: str, chunk_size: int, stop: Stop) -> UploadPlace:
        """Open a file's or a tree's place. Runs in a thread."""
        of_a_file = hello.role == Role.PUT
        try:
            if of_a_file:
                place = self._open_file(hello, name, stop)
            else:
                root_fd = self._root.fileno()
                remote = is_remote(root_fd) or is_remote_below(root_fd)
                tree = self._trees.open_tree(hello, name, stop)
                place = UploadPlace(hello, name, tree, disk=self._disk, remote=remote)
                place.overhead_bytes = sum(map(_overhead_of, tree.new_sizes()))
            try:
                place.prepare(chunk_size)
            except BaseException as error:
                place.close(error)
                raise
            return place
        except NoSuchFile:
            raise _no_name() from None
        except (UdpftError, OSError, ValueError) as error:
            raise told(error, name, of_a_file=of_a_file) from error

    def _open_file(self, hello: Hello, name: str, stop: Stop) -> UploadPlace:
        made: list[str] = []
        remove_made = partial(self._root.remove_empty, made)
        try:
            beside = Leftovers((part_name(name.rpartition("/")[2]),), self._on_notice)
            folder_fd, last = beside.with_room(
                self._root_folder, lambda: self._root.make_parent(name, made)
            )
        except BaseException:
            remove_made()
            raise
        try:
            # By the descriptor, so that whatever is moved or linked meanwhile, it is this folder.
            force = bool(hello.flags & FORCE)
            target = Destination(last, force=force, follow=False, stop=stop, folder_fd=folder_fd)
            needed = Label(hello.size, 0, 0, MIN_CHUNK_SIZE).needed_bytes(hello.sparse_map)
            self._clear(
                beside, folder_fd, name, needed if hello.size and not target.compares else 0
            )
        except BaseException:
            os.close(folder_fd)
            remove_made()
            raise
        remote = is_remote(folder_fd)
        place = UploadPlace(hello, name, target, folder_fd, self._disk, remote=remote)
        place.on_left_nothing = partial(self._root.remove_empty, made, waits=remote)
        if not target.compares:
            place.overhead_bytes = _overhead_of(hello.size) + BLOCK_BYTES * len(made)
        return place

    def _root_folder(self) -> list[tuple[int, str]]:
        return [(self._root.fileno(), "")]

    def _clear(self, beside: Leftovers, folder_fd: int, name: str, size: int) -> None:
        """Remove leftovers in a file's folder and the served one, where they may be removed.

        ``size``: bytes that the part file may need; 0 for none that are to come.
        """
        above, _, last = name.rpartition("/")
        folders = [(folder_fd, above)]
        here, top = os.fstat(folder_fd), os.fstat(self._root.fileno())
        if not os.path.samestat(here, top):
            folders += self._root_folder()
        beside.remove_abandoned(lambda: folders)
        if not size:
            return
        own = part_name(last)
        of_one_disk = folders if here.st_dev == top.st_dev else folders[:1]
        beside.make_room(lambda: of_one_disk, lambda: missing_bytes(folder_fd, own, size))

    def open_report(self, identity: int) -> SourceFile:
        """Open the report of what was refused of a tree. Raises NoSuchFile: there is none."""
        return self._trees.open_report(identity)

    # ---------------------------------------------------------------------------------- ends

    def next_timeout(self) -> float:
        """When `forget` has something to do, by the monotonic clock; inf for never."""
        holds = self._opening or self._leaving or self._trees.holds_any
        return self._forgotten_at + _FORGET_INTERVAL_S if holds else inf

    def forget(self) -> None:
        """Drop places, listings and reports that no client came back for."""
        self._forgotten_at = monotonic()
        self._trees.forget()
        self._close_leaving()
        before = monotonic() - PLACE_KEPT_S
        for key, opening in list(self._opening.items()):
            if opening.is_over(before):
                self._give_up(key)

    def close(self) -> None:
        """Close all places that no client has come for."""
        for key in list(self._opening):
            self._give_up(key)
        while self._leaving:
            _close(self._leaving.pop().job)


def _close(job: Job[UploadPlace]) -> None:
    try:
        job.result().close()
    except UdpftError:
        return


def _overhead_of(size: int) -> int:
    """Bytes that a file takes of a disk beyond its own."""
    return BLOCK_BYTES + -size % BLOCK_BYTES


def _used_up() -> Denied:
    return Denied("the server's quota for uploads is used up")


def _too_many() -> ServerBusy:
    busy = ServerBusy("the server looks at too many uploads at once", hint="try again in a moment")
    busy.retry_after_s = PLACE_RETRY_AFTER_S
    return busy


def _no_name() -> Denied:
    return Denied("no name for an upload, or a way to it that is none")
