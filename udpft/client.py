"""The client: one socket to one server, one file after another over it.

A file goes to a part file beside its destination and gets its name when it is complete and
verified; see `storage.partfile`.
"""

from __future__ import annotations

import os
import secrets
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    LocalReadFailed,
    PartialTransfer,
    PortClosed,
    TimedOut,
    UdpftError,
)
from udpft.net.address import Address, resolve
from udpft.net.driver import clock, drive, flush
from udpft.net.udp import UdpSocket, wait
from udpft.protocol.burst import chunk_hashes
from udpft.protocol.download import Download, Opened
from udpft.protocol.endpoint import Completed, Event, Failed, Transmit, Verified
from udpft.protocol.handshake import Initiator, Introduction, probe_sizes
from udpft.protocol.packets import NO_COOKIE, Hello
from udpft.protocol.params import (
    CHUNK_SIZE,
    CONNECT_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    MAX_BURST_BYTES,
)
from udpft.protocol.plain import PlainReceiver, encode_request
from udpft.storage.partfile import PartFile

Progress = Callable[[int, int], None]
"""Called now and then with the bytes done and the bytes in all; -1 where that is not known."""

PROGRESS_INTERVAL_S = 0.1


@dataclass(frozen=True)
class Result:
    """One file, fetched.

    ``bytes``: the file's size. ``seconds``: from the request to the file under its name.
    ``resent_packets``: packets that were needed beyond one for each chunk. ``resumed_bytes``:
    those that were here already. ``verified``: the sender's digest agrees; never so in plain.
    """

    name: str
    path: Path
    bytes: int
    seconds: float
    digest: str
    resent_packets: int
    mode: Literal["reliable", "plain"]
    verified: bool
    resumed_bytes: int = 0
    chunk_size: int = CHUNK_SIZE
    complete: bool = True

    @property
    def up_to_date(self) -> bool:
        """Whether the file was here before, byte for byte."""
        return self.verified and self.resumed_bytes == self.bytes > 0

    @property
    def rate_bytes_per_s(self) -> float:
        """Bytes that came over the network, per second."""
        return (self.bytes - self.resumed_bytes) / self.seconds if self.seconds > 0 else 0.0


class Client:
    """A socket to one server; see the module's docstring.

    Args:
        server: where it is.
        chunk_size: bytes of a chunk to ask for; the path may carry less.
        limit_rate: bytes per second that the server is asked not to exceed; 0 for no limit.
        connect_timeout: seconds to wait for the first answer.
        timeout: seconds without progress after which a transfer has failed.
        offload: use the kernel's segmentation offloads.

    Raises:
        HostNotFound: the server's name does not resolve.
        PortClosed: there is no way to its address.
    """

    def __init__(
        self,
        server: Address,
        *,
        chunk_size: int = CHUNK_SIZE,
        limit_rate: int = 0,
        connect_timeout: float = CONNECT_TIMEOUT_S,
        timeout: float = IDLE_TIMEOUT_S,
        offload: bool = True,
    ) -> None:
        self._server = server
        self._chunk_size = chunk_size
        self._limit_rate = limit_rate
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._offload = offload
        self._family, self._sockaddr = resolve(server)
        self._socket = self._connect(fragment=False)
        self._cookie = NO_COOKIE
        self._known_size = 0

    def _connect(self, *, fragment: bool) -> UdpSocket:
        sock = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            sock.connect(self._sockaddr)
        except OSError as error:
            sock.close()
            raise PortClosed(f"no way to {self._server}: {error.strerror}") from None
        return UdpSocket(sock, offload=self._offload and not fragment, fragment=fragment)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _nobody_there(self) -> PortClosed:
        return PortClosed(
            f"nothing listens on {self._server}",
            hint="is `udpft serve` running there, and on that port?",
        )

    # -------------------------------------------------------------------------------- reliable

    def ping(self) -> float:
        """Ask the server whether it is there; return the round trip in seconds.

        Raises:
            NetworkError: it is not, or does not answer.
            VersionMismatch: it speaks another version of the protocol.
        """
        initiator = Initiator(
            self._hello(""),
            now=clock(),
            sizes=probe_sizes(0),
            connect_timeout_s=self._connect_timeout,
            ping=True,
        )
        try:
            while not initiator.done:
                now = clock()
                initiator.handle_timeout(now)
                while datagram := initiator.poll(now):
                    self._socket.send(Transmit(memoryview(datagram), len(datagram)))
                wait([self._socket], [], initiator.next_timeout - clock())
                if received := self._socket.receive():
                    initiator.handle(memoryview(self._socket.buffer)[: received.length], clock())
        except ConnectionRefusedError:
            raise self._nobody_there() from None
        if initiator.error or initiator.rtt_s is None:
            raise initiator.error or TimedOut("no answer")
        return initiator.rtt_s

    def fetch(
        self,
        name: str,
        destination: Path,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Fetch one file reliably.

        Args:
            name: the file's name on the server.
            destination: the file's name here.
            force: replace a different file of that name.
            progress: told how far it is.

        Returns:
            The verified result. Where the same file is here already, nothing but its digest
            crosses the network.

        Raises:
            DestinationExists: a different file has that name, and ``force`` was not given.
            UdpftError: whatever else went wrong; the destination is as it was.
        """
        began = clock()
        with ExitStack() as stack:
            existing = None if force else _open_existing(destination)
            if existing is not None:
                stack.callback(os.close, existing)
            fetch = _Fetch(destination, existing, stack)
            try:
                completed, download = self._run(self._hello(name, fetch.have), fetch, progress)
            except DigestMismatch:
                if existing is None:
                    raise
                raise _exists(destination) from None
        assert download.introduction and download.receiver
        accept = download.introduction.accept
        return Result(
            name=name,
            path=destination,
            bytes=accept.size,
            seconds=clock() - began,
            digest=completed.digest.hex(),
            resent_packets=download.receiver.resent_packets,
            mode="reliable",
            verified=True,
            resumed_bytes=accept.size - download.receiver.bytes_received,
            chunk_size=accept.chunk_size,
        )

    def _hello(self, name: str, have: tuple[tuple[int, int], ...] = ()) -> Hello:
        return Hello(
            nonce=secrets.randbits(64),
            connection_id=secrets.randbits(32),
            name=name.encode(errors="surrogateescape"),
            chunk_size=self._chunk_size,
            receive_room=self._socket.receive_queue()[0],
            max_rate_bytes_per_s=self._limit_rate,
            cookie=self._cookie,
            have=have,
        )

    def _run(
        self, hello: Hello, fetch: _Fetch, progress: Progress | None
    ) -> tuple[Completed, Download]:
        download = Download(
            hello,
            open_sink=fetch.open_sink,
            receive_queue=self._socket.receive_queue,
            now=clock(),
            known_size=self._known_size,
            connect_timeout_s=self._connect_timeout,
            idle_timeout_s=self._timeout,
        )
        outcome: list[Completed] = []

        def on_event(event: Event) -> bool:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Verified):
                fetch.commit()
                assert download.receiver
                download.receiver.confirm()
                return False
            outcome.append(event)
            return True

        try:
            drive(download, self._socket, on_event, _ticker(download, progress))
        except ConnectionRefusedError:
            raise self._nobody_there() from None
        except BaseException as error:
            # Tell the server, so that it need not find out by waiting.
            reason = error if isinstance(error, UdpftError) else PartialTransfer("interrupted")
            download.abort(reason)
            self._flush_quietly(download)
            raise
        if download.introduction and download.introduction.hello_size:
            self._cookie = download.introduction.cookie
            self._known_size = download.introduction.hello_size
        return outcome[0], download

    def _flush_quietly(self, download: Download) -> None:
        try:
            flush(download, self._socket, clock())
        except OSError:
            return  # the server is gone; that is what was to be said

    # ----------------------------------------------------------------------------------- plain

    def fetch_plain(
        self,
        name: str,
        destination: Path,
        *,
        force: bool = False,
        allow_partial: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Fetch one file by the plain protocol: nothing verifies it, and nothing is sent again.

        Raises:
            DestinationExists: a file has that name, and ``force`` was not given.
            TimedOut: nothing at all came.
            PartialTransfer: something came, and not the end; kept with ``allow_partial``.
        """
        began = clock()
        if not force and os.path.lexists(destination):
            raise _exists(destination)
        sock = self._connect(fragment=True)
        with ExitStack() as stack:
            stack.callback(sock.close)
            part = stack.enter_context(PartFile.open(destination, None))
            receiver = PlainReceiver(part)
            try:
                self._receive_plain(sock, encode_request(name), receiver, progress)
            except PartialTransfer:
                if not allow_partial:
                    raise
            part.commit()
        return Result(
            name=name,
            path=destination,
            bytes=receiver.bytes_received,
            seconds=clock() - began,
            digest="",
            resent_packets=0,
            mode="plain",
            verified=False,
            complete=receiver.done,
        )

    def _receive_plain(
        self, sock: UdpSocket, request: bytes, receiver: PlainReceiver, progress: Progress | None
    ) -> None:
        view = memoryview(sock.buffer)
        report_at = 0.0
        try:
            sock.send(Transmit(memoryview(request), len(request)))
            heard_at = clock()
            while not receiver.done:
                received = sock.receive()
                now = clock()
                if received is not None:
                    receiver.handle(view[: received.length])
                    heard_at = now
                    if progress and now >= report_at:
                        report_at = now + PROGRESS_INTERVAL_S
                        progress(receiver.bytes_received, -1)
                    continue
                patience = self._timeout if receiver.datagrams_received else self._connect_timeout
                if now - heard_at >= patience:
                    raise self._silence(receiver, patience)
                wait([sock], [], heard_at + patience - now)
        except ConnectionRefusedError:
            if receiver.datagrams_received:
                raise self._silence(receiver, 0.0) from None
            raise self._nobody_there() from None

    def _silence(self, receiver: PlainReceiver, waited_s: float) -> UdpftError:
        if not receiver.datagrams_received:
            return TimedOut(
                f"no answer from {self._server} within {waited_s:g} s",
                hint="plain has no error messages: the file may not exist there, "
                "or the server may not serve plain; ask without --mode plain",
            )
        return PartialTransfer(
            f"{receiver.bytes_received} bytes came, and not the end of the file",
            hint="plain does not send again what is lost; "
            "fetch it without --mode plain, or keep what came with --allow-partial",
        )


class _Fetch:
    """Where one reliable fetch puts what comes, decided when the server has said what it is."""

    def __init__(self, destination: Path, existing: int | None, stack: ExitStack) -> None:
        self._destination = destination
        self._existing = existing
        self._stack = stack
        self._part: PartFile | None = None
        self._mtime_ns = 0
        size = os.fstat(existing).st_size if existing is not None else 0
        self.have: tuple[tuple[int, int], ...] = ((0, size),) if size else ()

    def open_sink(self, introduction: Introduction) -> Opened:
        """Open the part file; or compare, where a file of that name is here already."""
        accept = introduction.accept
        self._mtime_ns = accept.mtime_ns
        if self._existing is None:
            self._part = self._stack.enter_context(PartFile.open(self._destination, accept.size))
            return Opened(self._part)
        if os.fstat(self._existing).st_size != accept.size:
            raise _exists(self._destination)
        return Opened(_Nowhere(), _hash_file(self._existing, accept.size, accept.chunk_size))

    def commit(self) -> None:
        """The file is verified: give it its name."""
        if self._part:
            self._part.commit()


class _Nowhere:
    """A sink for a file that is here already; only its empty last chunk may come."""

    def writev(self, slots: object, offset: int, /) -> None:
        """Refuse: nothing was asked for."""
        raise PartialTransfer("the server sent what it was told not to send")


def _open_existing(path: Path) -> int | None:
    """Open the file that is at a destination, or None where there is none.

    Raises:
        DestinationExists: what is there is no regular file, or cannot be read to compare it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DestinationExists(f"{path} is there and cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise DestinationExists(f"{path} is there and is no regular file")
    return fd


def _exists(path: Path) -> DestinationExists:
    return DestinationExists(
        f"{path} exists and is a different file", hint="--force replaces it; --output names another"
    )


def _hash_file(fd: int, size: int, chunk_size: int) -> Iterator[tuple[int, bytes]]:
    """The chunk hashes of a local file, 64 KiB at a time, with the number of each first chunk."""
    count = MAX_BURST_BYTES // chunk_size
    buffer = memoryview(bytearray(count * chunk_size))
    for offset in range(0, size, count * chunk_size):
        length = min(len(buffer), size - offset)
        if os.preadv(fd, [buffer[:length]], offset) != length:
            raise LocalReadFailed("the file that is here became shorter while it was compared")
        slots = [buffer[at : min(at + chunk_size, length)] for at in range(0, length, chunk_size)]
        yield offset // chunk_size, chunk_hashes(slots)


def _ticker(download: Download, progress: Progress | None) -> Callable[[float], None]:
    """A driver's ``on_turn`` that reports progress ten times a second."""
    if progress is None:
        return lambda now: None
    report_at = 0.0

    def tick(now: float) -> None:
        nonlocal report_at
        if now >= report_at and download.receiver and download.introduction:
            report_at = now + PROGRESS_INTERVAL_S
            size = download.introduction.accept.size
            progress(download.receiver.bytes_received, size)

    return tick
