"""Reliable upload of one file, from the disk or from a stream.

`send` runs any kind of upload from any kind of source; `store` is that for a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import ENOSPC
from random import Random
from stat import S_ISDIR, S_ISREG
from tempfile import TemporaryFile, gettempdir
from typing import IO, TYPE_CHECKING, cast

from udpft.client.connection import Connection
from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    LocalReadFailed,
    LocalWriteFailed,
    PartialTransfer,
    TimedOut,
    UdpftError,
    UsageError,
)
from udpft.net.clock import clock
from udpft.outcome.progress import Progress, ticker
from udpft.outcome.result import Result
from udpft.protocol.client.upload import Upload
from udpft.protocol.contract import NO_HOLES, Completed, Event, Failed, OpenedSource
from udpft.protocol.wire.hello import FORCE, Hello, Role
from udpft.storage.destination import TEMPORARY_HINT, say_how_to_resume
from udpft.storage.journal import JOURNAL_MIN_BYTES
from udpft.storage.source_file import SourceFile, open_source

if TYPE_CHECKING:
    from udpft.storage.trees.files import TreeSource

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@contextmanager
def open_local(path: str) -> Iterator[SourceFile]:
    """Open a file to be sent.

    Raises:
        LocalReadFailed: there is none, or it is no regular file.
    """
    try:
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise LocalReadFailed(f"cannot read {path}: {reason}") from error
    status = os.fstat(fd)
    if not S_ISREG(status.st_mode):
        os.close(fd)
        if S_ISDIR(status.st_mode):
            raise LocalReadFailed(
                f"cannot send {path}: it is a folder", hint="-r brings it with all that is in it"
            )
        raise LocalReadFailed(f"cannot send {path}: it is no regular file")
    with open_source(fd, status) as source:
        yield source


@contextmanager
def spooled(stream: IO[bytes]) -> Iterator[SourceFile]:
    """Copy a stream to a temporary file to be sent: its size must be known before.

    Raises:
        LocalReadFailed: it cannot be read.
        LocalWriteFailed: it cannot be kept: the temporary folder's disk is full, for instance.
        UsageError: it is no binary stream.
    """
    try:
        spool = TemporaryFile(prefix="udpft-", buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise LocalWriteFailed(
            f"no temporary folder to keep it in: {error.strerror}", hint=TEMPORARY_HINT
        ) from error
    with spool:
        while block := _read(stream):
            _keep(block, spool.fileno())
        fd = os.dup(spool.fileno())
        with SourceFile(fd, os.fstat(fd)) as source:
            yield source


def _read(stream: IO[bytes]) -> bytes:
    """The next block of a stream; empty at its end. Raises as `spooled`."""
    try:
        block = stream.read(1 << 20)
    except (OSError, ValueError) as error:  # ValueError: it is closed
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise LocalReadFailed(f"cannot read it all: {reason}") from error
    if not isinstance(block, (bytes, bytearray, memoryview, type(None))):
        raise UsageError("the stream gives text, and no bytes", hint="open it in binary mode")
    return bytes(block or b"")


def _keep(block: bytes, fd: int) -> None:
    """Append a block to the spool. Raises LocalWriteFailed."""
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError as error:
        reason = "disk full" if error.errno == ENOSPC else error.strerror
        raise LocalWriteFailed(
            f"cannot keep it all in the temporary folder {gettempdir()}: {reason}",
            hint=TEMPORARY_HINT,
        ) from error


def store(
    connection: Connection,
    source: SourceFile,
    name: str,
    path: str,
    *,
    force: bool,
    progress: Progress | None,
) -> Result:
    """Store an opened file on the server under a name: see `Client.store`."""
    began = clock()
    flags = FORCE if force else 0
    completed, upload = send(connection, source, name, Role.PUT, flags=flags, progress=progress)
    return result_of(completed, upload, name, path, source.size, clock() - began)


def result_of(
    completed: Completed, upload: Upload, name: str, path: str, size: int, seconds: float
) -> Result:
    """Result of an upload that has ended well."""
    assert upload.sender
    assert upload.handshake
    accept = upload.handshake.accept
    resumed_bytes = sum(stop - start for start, stop in upload.held_at_first)
    return Result(
        name=name,
        local_path=path,
        bytes=size,
        seconds=seconds,
        digest=completed.digest.hex(),
        resent_packets=upload.packets_resent,
        dropped_packets=upload.sender.receiver_drops,
        mode="reliable",
        verified=True,
        resumed_bytes=resumed_bytes,
        hole_bytes=min(size - resumed_bytes, upload.hole_bytes),
        chunk_size=accept.chunk_size,
        up_to_date=0 < resumed_bytes == size,
        sent_singly=upload.sender.sends_singly,
    )


def send(
    connection: Connection,
    source: OpenedSource,
    name: str,
    role: Role,
    *,
    flags: int = 0,
    have_of: int = 0,
    progress: Progress | None = None,
) -> tuple[Completed, Upload]:
    """Send something to the server; send it again while the server is busy.

    Args:
        connection: to the server.
        source: what is sent.
        name: of it, on the server.
        role: what kind of thing it is.
        flags: of that role, as HELLO has them.
        have_of: identity of an earlier listing of a tree, whose files the server may have.
        progress: called with the bytes done and the bytes in all.

    Raises:
        UdpftError: see `Client.store`.
    """

    def attempt() -> tuple[Completed, Upload]:
        hello = connection.hello(name, have_of=have_of)._replace(
            role=role,
            flags=flags,
            size=source.size,
            mtime_ns=source.mtime_ns,
            identity=source.identity,
            sparse_map=source.sparse_map if role == Role.PUT else NO_HOLES,
        )
        return _run(connection, source, hello, progress)

    outcome = connection.retried(attempt)
    if progress:
        progress(source.size, source.size)
    return outcome


def _run(
    connection: Connection, source: OpenedSource, hello: Hello, progress: Progress | None
) -> tuple[Completed, Upload]:
    """Run one upload from its HELLO to its FIN_ACK."""
    upload = Upload(
        hello,
        source=source,
        now=clock(),
        random=Random(),
        options=connection.handshake_options(),
        idle_timeout_s=connection.idle_timeout_s,
    )
    outcome: list[Completed] = []
    connection.file_counts = None
    connection.held_at_first = None

    def on_event(event: Event) -> bool:
        if isinstance(event, Failed):
            raise _failure(event.error, connection, upload, hello)
        assert isinstance(event, Completed)
        if not event.confirmed:
            raise PartialTransfer("the server did not say that it has the file")
        outcome.append(event)
        return True

    def measure() -> tuple[int, int] | None:
        if not upload.sender or not upload.handshake:
            return None
        accept, sender = upload.handshake.accept, upload.sender
        connection.resent_share = sender.packets_resent / max(1, sender.packets_sent)
        done_bytes = (sender.packets_sent - sender.packets_resent) * accept.chunk_size
        if hello.role == Role.PUT_TREE:
            layout = cast("TreeSource", source).layout
            sent = _with_held(done_bytes, accept.have)
            connection.file_counts = layout.count_files(sent), len(layout.files)
        done_bytes += upload.hole_bytes + sum(stop - start for start, stop in accept.have)
        return min(done_bytes, source.size), source.size

    try:
        with connection.transferring(upload):
            connection.drive_transfer(
                upload, on_event, ticker(progress, measure), upload.note_refused
            )
    except BaseException as error:
        resumable = hello.role != Role.MEASURE_PUT and source.size >= JOURNAL_MIN_BYTES
        if upload.sender and resumable:
            say_how_to_resume(error)
        raise
    finally:
        if upload.handshake:
            connection.held_at_first = upload.held_at_first
    return outcome[0], upload


def _with_held(new_bytes: int, held: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges that the server has, once so many bytes that it did not hold were sent."""
    ranges = []
    sent_to = new_bytes
    for start, stop in sorted(held):
        if start <= sent_to:
            sent_to += stop - start
        else:
            ranges.append((start, stop))
    return [(0, sent_to), *ranges]


def _failure(error: UdpftError, connection: Connection, upload: Upload, hello: Hello) -> UdpftError:
    """The error for the user, of an upload that has failed."""
    if isinstance(error, TimedOut) and not upload.handshake:
        return connection.no_answer(error.hint)
    compared = upload.handshake and upload.held_at_first == ((0, hello.size),)
    of_a_file = hello.role == Role.PUT
    if isinstance(error, DigestMismatch) and compared and of_a_file and not hello.flags & FORCE:
        # The server compared what it has with what we have.
        name = hello.name.decode(errors="surrogateescape")
        return DestinationExists(
            f"{name!r} is on the server, and is a different file",
            hint="--force replaces it; --as gives it another name",
        )
    return error
