"""Place of one upload on a server: its destination, written, committed and given back.

What takes its time is done in threads, for the server has other transfers to look after: giving a
file its name in the end, and what `write_behind` says.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from udpft.errors import (
    DestinationExists,
    LocalError,
    LocalWriteFailed,
    ServerBusy,
    UdpftError,
)
from udpft.protocol.contract import NO_HOLES, OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.accept import Accept
from udpft.protocol.wire.hello import Hello, Role
from udpft.server.job import Job
from udpft.server.slow_disk import DiskThreads
from udpft.server.write_behind import BytesBehind, WriteBehind
from udpft.storage.destination import Target

_A_MOMENT_S = 0.005
"""Seconds for which the loop waits for a commit: nearly all of them end sooner."""


class Disk(NamedTuple):
    """Things that the places of a server share.

    ``threads``: that wait for disks. ``behind``: what waits to be written.
    """

    threads: DiskThreads
    behind: BytesBehind


class _Target(Target, Protocol):
    def close(self, error: BaseException | None = None) -> None: ...


class UploadPlace:
    """Place of one upload; an `udpft.protocol.server.upload.Place`.

    Args:
        hello: the request.
        name: of the file or tree, as the client says it.
        target: the destination of its bytes.
        folder_fd: a descriptor to be closed with it; -1 for none.
        disk: what the places of a server share; None where it takes no disk.
        remote: whether each call of the target may hang, so that threads make all of them.

    Attributes:
        size: bytes of the file, tree or listing; never changes.
        mtime_ns: time of its last change on the client, in nanoseconds since the epoch.
        identity: of the source on the client; never changes.
        on_closed: called by `close` with the bytes that were received. Set by `Uploads`.
        on_left_nothing: called when it was given back and nothing had come. Set by `Uploads`.
        overhead_bytes: bytes that it takes of the disk beyond those of its files. Set by `Uploads`.
        _sparse_map: holes of the client's file; never changes.
        _of_a_file: whether it is a file, and no tree or listing; for messages.
        _target: the destination; closed by the commit or by `close`.
        _folder_fd: as ``folder_fd``; -1 once it is closed.
        _writer: writes what comes; None until `open_sink`, and where it takes no disk.
        _prepared: the sink that was opened beforehand, and its chunk size; None without one.
        _commits: the commit, at work or ended; None until `commit` is called.
    """

    def __init__(
        self,
        hello: Hello,
        name: str,
        target: _Target,
        folder_fd: int = -1,
        disk: Disk | None = None,
        *,
        remote: bool = False,
    ) -> None:
        self.size = hello.size
        self.mtime_ns = hello.mtime_ns
        self.identity = hello.identity
        self._sparse_map = hello.sparse_map if hello.role == Role.PUT else NO_HOLES
        self.on_closed: Callable[[int], None] = lambda _: None
        self.on_left_nothing: Callable[[], None] = lambda: None
        self.overhead_bytes = 0
        self._name = name
        self._of_a_file = hello.role == Role.PUT
        self._target = target
        self._folder_fd = folder_fd
        self._disk = disk
        self._remote = remote
        self._writer: WriteBehind | None = None
        self._prepared: tuple[OpenedSink, int] | None = None
        self._commits: Job[None] | None = None

    @property
    def have(self) -> tuple[tuple[int, int], ...]:
        """Byte ranges of the file that are held already."""
        target = self._target
        return target.have if target.have_of in (0, self.identity) else ()

    @property
    def wanted_bytes(self) -> int:
        """Number of bytes that are to come, at most."""
        wanted = RangeSet([(0, self.size)])
        for start, stop in (*self.have, *self._sparse_map.holes):
            wanted.remove(start, stop)
        return wanted.total

    def prepare(self, chunk_size: int) -> None:
        """Open the sink beforehand, for chunks of a size, where that may hang. In a thread."""
        if self._remote:
            accept = Accept(0, 0, chunk_size, self.size, self.mtime_ns, self.identity)
            accept = accept._replace(have=self.have, sparse_map=self._sparse_map)
            handshake = HandshakeResult(accept, 0, b"", 0.0, accept.have)
            self._prepared = self._target.open_sink(handshake), chunk_size

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        """Open the part file; see `Destination.open_sink`."""
        prepared, self._prepared = self._prepared, None
        if prepared and prepared[1] == handshake.accept.chunk_size:
            opened = prepared[0]
        else:
            opened = self._target.open_sink(handshake)
        if self._disk is None:
            return opened
        threads, behind = self._disk
        self._writer = WriteBehind(opened, threads, behind, remote=self._remote)
        return self._writer.opened()

    def commit(self) -> bool:
        """Give the file its name; return whether that is done. See `Destination.commit`."""
        if self._commits is None:
            self._commits = Job(self._put_in_place)
            self._commits.wait(_A_MOMENT_S)
        if not self._commits.wait(0):
            return False
        self._commits.result()
        return True

    def _put_in_place(self) -> None:
        try:
            if self._writer:
                self._writer.finish()
            self._target.commit()
            self._target.close()  # at once: its client may be longer about knowing
        except OSError as error:
            raise LocalWriteFailed("the server cannot write it") from error

    def close(self, error: BaseException | None = None, received_bytes: int = 0) -> None:
        """Keep what can be resumed, or remove it; in a thread where that may take its time.

        What is being committed is waited for there, too.
        """
        committing = self._commits is not None and not self._commits.wait(_A_MOMENT_S)
        self.on_closed(received_bytes)
        waits = self._remote or committing or (self._writer is not None and self._writer.is_behind)
        # Each commit has a thread already, however many wait for disks.
        threads = self._disk.threads if self._disk and not committing else DiskThreads()
        close = partial(self._close_target, error, received_bytes)
        if not waits or threads.begin(close) is None:
            close()

    def _close_target(self, error: BaseException | None, received_bytes: int) -> None:
        try:
            while self._commits and not self._commits.wait(60):
                pass
            if self._writer:
                self._writer.abandon()
            self._target.close(error)
        finally:
            if self._folder_fd >= 0:
                folder_fd, self._folder_fd = self._folder_fd, -1
                os.close(folder_fd)
            if not self._commits and not received_bytes:
                self.on_left_nothing()

    def told(self, error: UdpftError) -> UdpftError:
        """Reword an error for a stranger: without the server's paths."""
        return told(error, self._name, of_a_file=self._of_a_file)


def told(error: BaseException, name: str, *, of_a_file: bool) -> UdpftError:
    """Reword an error for a stranger: without the server's paths."""
    if isinstance(error, DestinationExists):
        if not of_a_file:
            return DestinationExists(f"on the server, {error}", hint="--force replaces them")
        return DestinationExists(
            f"{name!r} is on the server, and is a different file",
            hint="--force replaces it; --as gives it another name",
        )
    if isinstance(error, UdpftError) and not isinstance(error, LocalError):
        return error
    cause = error if isinstance(error, OSError) else error.__cause__
    code = cause.errno if isinstance(cause, OSError) else None
    if isinstance(cause, BlockingIOError):
        return ServerBusy("another upload of that name is at work")
    if code in (errno.ENOSPC, errno.EDQUOT) or "disk full" in str(error):
        return LocalWriteFailed("the server's disk is full")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return LocalWriteFailed("the server may not write there")
    if str(error).startswith("cannot write "):
        return LocalWriteFailed(f"the server cannot write it: {str(error).rpartition(': ')[2]}")
    return LocalWriteFailed("the server cannot write it")
