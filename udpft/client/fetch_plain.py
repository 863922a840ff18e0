"""Plain download of one file: a request goes out, and what comes is written down."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from udpft.client.connection import Connection
from udpft.errors import DestinationExists, PartialTransfer, TimedOut, UsageError
from udpft.net.clock import clock
from udpft.net.udp import UdpSocket, wait
from udpft.outcome.progress import Progress, ticker
from udpft.outcome.result import Result
from udpft.protocol.contract import Transmit
from udpft.protocol.params import CHUNK_SIZE
from udpft.protocol.transfer.plain import (
    NotARequest,
    PlainReceiver,
    decode_request_untrusted,
    encode_request,
)
from udpft.protocol.wire.hello import without_dot
from udpft.storage.destination import make_room_beside
from udpft.storage.partfile import PartFile

if TYPE_CHECKING:
    from udpft.net.stop import Stop

_ANOTHER_NAME = "--force replaces it; --output names another"


def fetch_plain(
    connection: Connection,
    name: str,
    destination: str,
    *,
    force: bool,
    allow_partial: bool,
    sha256: str,
    progress: Progress | None,
) -> Result:
    """Fetch one file by the plain protocol: see `Client.fetch_plain`."""
    if connection.limit_rate or connection.chunk_size != CHUNK_SIZE or connection.keyed:
        raise UsageError(
            "plain has neither a client's rate, nor another chunk size, nor a key",
            hint="a server's --plain-rate limits it; or ask without --mode plain",
        )
    request = plain_request(name)

    def attempt() -> Result:
        return _attempt(
            connection,
            (name, request),
            destination,
            force=force,
            allow_partial=allow_partial,
            sha256=sha256,
            progress=progress,
        )

    return connection.reaching(attempt)


def _attempt(
    connection: Connection,
    asked: tuple[str, bytes],
    destination: str,
    *,
    force: bool,
    allow_partial: bool,
    sha256: str,
    progress: Progress | None,
) -> Result:
    (name, request), began = asked, clock()
    make_room_beside(destination)
    with (
        closing(connection.open_socket(fragment=True)) as udp,
        PartFile.open(destination, None) as part,
    ):
        if not force and os.path.lexists(destination):
            raise DestinationExists(f"{destination} exists", hint=_ANOTHER_NAME)
        receiver = PlainReceiver(part)
        tick = ticker(progress, lambda: (receiver.bytes_received, -1))

        def on_turn(now: float) -> None:
            connection.check_size(name, receiver.bytes_received)
            tick(now)

        try:
            with connection.explained():
                receive_plain(
                    udp,
                    request,
                    receiver,
                    connect_timeout_s=connection.connect_timeout_s,
                    timeout_s=connection.idle_timeout_s,
                    on_turn=on_turn,
                    stop=connection.stop,
                )
        except TimedOut as error:
            raise connection.no_answer(error.hint) from None
        except PartialTransfer:
            if not allow_partial:
                raise
        part.commit(sha256=sha256, new=not force)
    if progress:
        progress(receiver.bytes_received, receiver.bytes_received if receiver.done else -1)
    return Result(
        name=name,
        local_path=destination,
        bytes=receiver.bytes_received,
        seconds=clock() - began,
        digest="",
        resent_packets=0,
        mode="plain",
        verified=bool(sha256),
        complete=receiver.done,
    )


def plain_request(name: str) -> bytes:
    """Encode the datagram that asks for a name.

    Raises:
        UsageError: plain cannot carry it: no text, a newline at its end, too long, or a first byte
            that the reliable protocol has.
    """
    bare = without_dot(name)
    try:
        request = encode_request(bare)
        if decode_request_untrusted(request) == bare:
            return request
    except (NotARequest, UnicodeEncodeError):
        pass  # said below
    raise UsageError(f"{name!r} is no name that plain can ask for")


def receive_plain(
    sock: UdpSocket,
    request: bytes,
    receiver: PlainReceiver,
    *,
    connect_timeout_s: float,
    timeout_s: float,
    on_turn: Callable[[float], None],
    stop: Stop | None = None,
) -> None:
    """Ask for a file and take in what comes, up to its end.

    Args:
        sock: connected to the server, and letting the network fragment datagrams.
        request: see `plain_request`.
        receiver: the file.
        connect_timeout_s: seconds to wait for the first datagram.
        timeout_s: seconds to wait for each one after it.
        on_turn: called with the time after each batch, for progress.
        stop: ends it from another thread.

    Raises:
        TimedOut: nothing at all came.
        PartialTransfer: something came, and not the end.
        ConnectionRefusedError: nothing listens at the other end.
        Stopped: ``stop`` was set.
    """
    view = memoryview(sock.buffer)
    sock.send(Transmit(memoryview(request), len(request)))
    heard_at = clock()
    awaited = [sock] if stop is None else [sock, stop]
    while not receiver.done:
        if stop:
            stop.check()
        received = sock.receive()
        now = clock()
        if received is None:
            patience_s = timeout_s if receiver.datagrams_received else connect_timeout_s
            if sock.refusals:  # or somebody says so in the server's name: silence decides, sooner
                patience_s = min(patience_s, connect_timeout_s)
            if now - heard_at >= patience_s:
                raise _silence(receiver, patience_s)
            wait(awaited, [], heard_at + patience_s - now)
            continue
        heard_at = now
        sock.refusal_is_final = False
        _, length, segment_size, _ = received
        for at in range(0, max(1, length), segment_size):  # once for an empty datagram
            receiver.handle(view[at : min(at + segment_size, length)])
        on_turn(now)


def _silence(receiver: PlainReceiver, patience_s: float) -> TimedOut | PartialTransfer:
    if receiver.datagrams_received:
        return _not_the_end(receiver)
    return TimedOut(
        f"no answer within {patience_s:g} s",
        hint="plain has no error messages: the file may not exist there, "
        "or the server may not serve plain; ask without --mode plain",
    )


def _not_the_end(receiver: PlainReceiver) -> PartialTransfer:
    return PartialTransfer(
        f"{receiver.bytes_received} bytes came, and not the end of the file",
        hint="plain does not send again what is lost; "
        "fetch it without --mode plain, or keep what came with --allow-partial",
    )
