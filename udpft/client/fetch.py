"""Reliable download of one file: to a part file first, to its name when it is verified.

`request` runs any kind of download into any kind of target; `fetch` is that for a file on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict, Unpack, cast

from udpft.client.connection import Connection
from udpft.errors import DigestMismatch, NoSuchFile, TimedOut, UdpftError
from udpft.net.clock import clock
from udpft.outcome.progress import Progress, ticker
from udpft.outcome.result import Result
from udpft.protocol.client.download import Download
from udpft.protocol.contract import Completed, Event, Failed, OpenedSink, Verified
from udpft.protocol.handshake.agreement import HandshakeResult, byte_ranges
from udpft.protocol.wire.hello import SPARSE, Hello, Role
from udpft.storage.destination import Destination, Target

if TYPE_CHECKING:
    from udpft.outcome.origin import Origin
    from udpft.protocol.wire.accept import Accept

    class Asked(TypedDict, total=False):
        """Fields of HELLO that say what is asked for; see `Hello`."""

        role: Role
        flags: int
        size: int
        wanted: tuple[int, int]

    from udpft.storage.trees.destination import TreeDestination

_SIZED = (Role.GET, Role.TREE, Role.RANGE)
"""Roles that bring files, which a user may not want larger than so many bytes."""


def fetch(
    connection: Connection,
    name: str,
    destination: Callable[[], Destination],
    *,
    progress: Progress | None,
    wanted: tuple[int, int] | None = None,
) -> Result:
    """Fetch one file, or a range of it, to its destination, which is opened here.

    See `Client.fetch`. ``wanted``: the range, as HELLO has it; None for all of the file.
    """
    began = clock()
    asked: Asked = {"flags": SPARSE}
    if wanted is not None:
        asked = {"role": Role.RANGE, "wanted": wanted}
    with destination() as target:
        target.makes_room = True
        completed, download = request(connection, name, target, progress=progress, **asked)
        up_to_date = target.compares or target.appeared
    result = result_of(completed, download, name, target.path, clock() - began)
    if progress:
        progress(result.bytes, result.bytes)
    return result._replace(up_to_date=up_to_date)


def result_of(
    completed: Completed, download: Download, name: str, path: str, seconds: float
) -> Result:
    """Result of a download that has ended well."""
    assert download.handshake
    accept = download.handshake.accept
    return Result(
        name=name,
        local_path=path,
        bytes=accept.size,
        seconds=seconds,
        digest=completed.digest.hex(),
        resent_packets=download.resent_packets,
        mode="reliable",
        verified=True,
        resumed_bytes=accept.size - download.bytes_received - download.hole_bytes,
        hole_bytes=download.hole_bytes,
        chunk_size=accept.chunk_size,
        sent_singly=download.bundles_vanish,
        origin=_origin_of(accept),
    )


def _origin_of(accept: Accept) -> Origin | None:
    """Origin of what a server has sent; None of a whole file."""
    if not accept.part.file_identity:
        return None
    from udpft.outcome.origin import Origin  # most want all of a file

    return Origin(part=accept.part)


def request(
    connection: Connection,
    name: str,
    target: Target,
    *,
    progress: Progress | None = None,
    on_turn: Callable[[float], None] | None = None,
    **asked: Unpack[Asked],
) -> tuple[Completed, Download]:
    """Ask for something and take it in; ask again while the server is busy.

    Args:
        connection: to the server.
        name: of what is asked for, on the server.
        target: where it goes.
        progress: called with the bytes done and the bytes in all.
        on_turn: called in every turn of the loop in place of that; may raise to break it off.
        asked: what kind of thing it is, and what of it; a file unless given.

    Raises:
        UdpftError: see `Client.fetch`.
    """

    def attempt() -> tuple[Completed, Download]:
        hello = connection.hello(name, target.have, target.have_of)
        return _run(connection, hello._replace(**asked), name, target, progress, on_turn)

    return connection.retried(attempt)


def _run(
    connection: Connection,
    hello: Hello,
    name: str,
    target: Target,
    progress: Progress | None,
    on_turn: Callable[[float], None] | None,
) -> tuple[Completed, Download]:
    """Run one download from its HELLO to its FIN_ACK."""

    def open_sink(handshake: HandshakeResult) -> OpenedSink:
        if hello.role in _SIZED:
            connection.check_size(name, handshake.accept.size)
        if hello.role == Role.RANGE:
            from udpft.protocol.transfer.file_range import check_granted  # most want all of it

            check_granted(handshake.accept, hello.wanted)
        return target.open_sink(handshake)

    download = Download(
        hello,
        open_sink=open_sink,
        receive_queue=connection.receive_queue,
        now=clock(),
        options=connection.handshake_options(),
        idle_timeout_s=connection.idle_timeout_s,
    )
    outcome: list[Completed] = []
    connection.file_counts = None

    def on_event(event: Event) -> bool:
        if isinstance(event, Failed):
            raise _failure(event.error, connection, name, download, target)
        if isinstance(event, Verified):
            target.commit()
            assert download.receiver
            download.receiver.confirm()
            return False
        outcome.append(event)
        return True

    def measure() -> tuple[int, int] | None:
        if download.handshake:
            accept = download.handshake.accept
            connection.resent_share = download.resent_share
            if hello.role == Role.TREE and download.receiver:
                tree = cast("TreeDestination", target)
                held = byte_ranges(download.receiver.chunks, accept.chunk_size, accept.size)
                connection.file_counts = tree.count_files(held), tree.file_count
            return download.bytes_held, accept.size
        return None

    tick = on_turn or ticker(progress, measure)
    with connection.transferring(download):
        # A server that vanished in mid-transfer may be back before the time-out.
        connection.drive_transfer(download, on_event, tick, download.note_refused)
    return outcome[0], download


def _failure(
    error: UdpftError, connection: Connection, name: str, download: Download, target: Target
) -> UdpftError:
    """The error for the user, of a download that has failed."""
    if isinstance(error, NoSuchFile):
        return NoSuchFile(f"{error}: {name!r}", hint=error.hint)
    if isinstance(error, TimedOut) and not download.handshake:
        return connection.no_answer(error.hint)
    if isinstance(error, DigestMismatch) and target.compares:
        return target.is_different()
    return error
