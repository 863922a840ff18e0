"""The client: one socket to one server, one file after another over it.

A file goes to a part file beside its destination and gets its name when it is complete and
verified; see `storage.partfile`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    LocalError,
    NoSuchFile,
    PartialTransfer,
    PortClosed,
    ServerBusy,
    TimedOut,
    UdpftError,
    UsageError,
)
from udpft.keys import client_channel
from udpft.net import loop as driver
from udpft.net.address import Address, resolve
from udpft.net.clock import clock
from udpft.net.loop import flush
from udpft.net.sealed import SealedSocket
from udpft.net.udp import UdpSocket
from udpft.outcome.progress import Progress, ticker
from udpft.outcome.result import Result
from udpft.protocol.client.download import Download
from udpft.protocol.contract import Completed, Event, Failed, Verified
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.handshake.initiator import HandshakeOptions, Initiator, probe_sizes
from udpft.protocol.params import CHUNK_SIZE, CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S
from udpft.protocol.wire.error import ErrorCode
from udpft.protocol.wire.hello import NO_COOKIE, Hello, Role, encode_name
from udpft.storage.destination import Destination, Target
from udpft.storage.partfile import PartFile

if TYPE_CHECKING:
    from udpft.net.stop import Stop  # whoever wants to stop has imported it
    from udpft.protocol.client.upload import Upload  # a get starts without
    from udpft.protocol.contract import Endpoint

T = TypeVar("T")

_ANOTHER_NAME = "--force replaces it; --output names another"


class Client:
    """A socket to one server; see the module's docstring.

    Args:
        server: where it is.
        chunk_size: bytes of a chunk to ask for; the path may carry less.
        limit_rate: bytes per second that the server is asked not to exceed; 0 for no limit.
        connect_timeout: seconds to wait for the first answer, and for a busy server.
        timeout: seconds without progress after which a transfer has failed.
        offload: use the kernel's segmentation offloads.
        key_file: holds the key that the server has too; see `keys` for what it may raise.
        stop: breaks off whatever this client does, from any thread.

    Raises:
        HostNotFound: the server's name does not resolve.
        PortClosed: there is no way to its address.
        Stopped: by ``stop``; from every method too.
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
        key_file: str | os.PathLike[str] | None = None,
        stop: Stop | None = None,
    ) -> None:
        channel = None if key_file is None else client_channel(key_file)
        self.keyed = channel is not None
        self.server = server
        self._chunk_size = chunk_size
        self.limit_rate = limit_rate
        self.connect_timeout = connect_timeout
        self.timeout = timeout
        self.stop = stop
        self._offload = offload
        self._family, self._sockaddr = resolve(server, stop)
        sock = self._connect(fragment=False)
        self._socket = SealedSocket(sock, channel) if channel else sock
        self._cookie = NO_COOKIE
        self.known_size = 0
        self.receive_queue = self._socket.receive_queue
        self.waited_s = self.resent_share = 0.0  # in all; of the transfer at work, so far

    def _connect(self, *, fragment: bool) -> UdpSocket:
        with self.explained():
            sock = socket.socket(self._family, socket.SOCK_DGRAM)
            try:
                sock.connect(self._sockaddr)
                return UdpSocket(sock, offload=self._offload and not fragment, fragment=fragment)
            except OSError:
                sock.close()
                raise

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

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the socket's errors into words."""
        try:
            yield
        except ConnectionRefusedError:
            raise PortClosed(
                f"nothing listens on {self.server}",
                hint="is `udpft serve` running there, and on that port?",
            ) from None
        except OSError as error:
            raise PortClosed(f"no way to {self.server}: {error.strerror or error}") from error

    def no_answer(self, hint: str) -> TimedOut:
        """The error that the server did not answer in time."""
        return TimedOut(
            f"no answer from {self.server} within {self.connect_timeout:g} s", hint=hint
        )

    # -------------------------------------------------------------------------------- reliable

    def ping(self) -> float:
        """Ask the server whether it is there; return the round trip in seconds.

        Raises:
            NetworkError: it is not, or does not answer.
            VersionMismatch: it speaks another version of the protocol.
        """
        initiator = Initiator(
            self.hello(""),
            now=clock(),
            options=HandshakeOptions(
                keyed=self.keyed, connect_timeout_s=self.connect_timeout, sizes=probe_sizes(0)
            ),
            ping=True,
        )
        with self.explained():
            driver.run_handshake(initiator, self._socket, self.stop)
        if isinstance(initiator.error, TimedOut):
            raise self.no_answer(initiator.error.hint)
        if initiator.error:
            raise initiator.error
        assert initiator.rtt_s is not None
        return initiator.rtt_s

    def fetch(
        self,
        name: str,
        destination: Path,
        *,
        force: bool = False,
        resume: bool = True,
        sha256: str = "",
        progress: Progress | None = None,
        on_resume: Progress | None = None,
    ) -> Result:
        """Fetch one file reliably. A busy server is asked again, up to the connect time-out.

        Args:
            name: the file's name on the server.
            destination: the file's name here. The file's time will be that of its arrival.
            force: replace a different file of that name.
            resume: go on with what an earlier fetch of that destination left, and leave what there
                is of the file if this one fails; False begins again, and leaves nothing.
            sha256: what the file's SHA-256 must be, in hex.
            progress: told how far it is.
            on_resume: told the bytes that are here already and the bytes in all, where this goes
                on with an earlier fetch.

        Returns:
            The verified result. Where the same file is here already, nothing but its digest
            crosses the network.

        Raises:
            DestinationExists: a different file has that name, and ``force`` was not given.
            DigestMismatch: its SHA-256 is another one.
            UdpftError: whatever else went wrong; the destination is as it was.
        """
        began = clock()
        with Destination(
            destination,
            force=force,
            resume=resume,
            sha256=sha256,
            on_resume=on_resume,
            stop=self.stop,
        ) as target:
            completed, download = self.request(name, target, progress=progress)
            up_to_date = target.compares
        assert download.handshake
        accept = download.handshake.accept
        if progress:
            progress(accept.size, accept.size)
        return Result(
            name=name,
            path=destination,
            bytes=accept.size,
            seconds=clock() - began,
            digest=completed.digest.hex(),
            resent_packets=download.resent_packets,
            mode="reliable",
            verified=True,
            resumed_bytes=accept.size - download.bytes_received,
            chunk_size=accept.chunk_size,
            up_to_date=up_to_date,
        )

    def request(
        self,
        name: str,
        target: Target,
        *,
        role: Role = Role.GET,
        flags: int = 0,
        size: int = 0,
        progress: Progress | None = None,
    ) -> tuple[Completed, Download]:
        """Ask for something and take it in, again where the server is busy: see `fetch`."""

        def attempt() -> tuple[Completed, Download]:
            hello = self.hello(name, target.have, target.have_of)
            hello = hello._replace(role=role, flags=flags, size=size)
            return self._run(hello, name, target, progress)

        return self.retried(attempt)

    def retried(self, attempt: Callable[[], T]) -> T:
        """What an attempt returns; made again where the server is busy: see `fetch`."""
        asked, pause = clock(), self.stop.sleep if self.stop else sleep
        while True:
            try:
                return attempt()
            except ServerBusy as busy:
                from random import uniform

                pause_s = uniform(0.5, 1.0) * busy.retry_after_s  # not all of us at once
                if clock() + pause_s > asked + self.connect_timeout:
                    raise
            pause(pause_s)
            self._note_wait(pause_s)

    def hello(self, name: str, have: tuple[tuple[int, int], ...] = (), have_of: int = 0) -> Hello:
        """A request of this client's, for a file. Raises UsageError: see `encode_name`."""
        return Hello(
            nonce=int.from_bytes(os.urandom(8), "little"),
            connection_id=int.from_bytes(os.urandom(4), "little"),
            name=encode_name(name),
            chunk_size=self._chunk_size,
            receive_room=self._socket.receive_queue()[0],
            max_rate_bytes_per_s=self.limit_rate,
            cookie=self._cookie,
            have=have,
            have_of=have_of,
        )

    def _run(
        self, hello: Hello, name: str, target: Target, progress: Progress | None
    ) -> tuple[Completed, Download]:
        """One transfer from its HELLO to its FIN_ACK."""
        download = Download(
            hello,
            open_sink=target.open_sink,
            receive_queue=self._socket.receive_queue,
            now=clock(),
            options=HandshakeOptions(
                self.known_size,
                self.keyed,
                self._socket.largest_datagram(),
                self.connect_timeout,
            ),
            idle_timeout_s=self.timeout,
        )
        outcome: list[Completed] = []

        def on_event(event: Event) -> bool:
            if isinstance(event, Failed):
                raise self._failure(event.error, name, download, target)
            if isinstance(event, Verified):
                target.commit()
                assert download.receiver
                download.receiver.confirm()
                return False
            outcome.append(event)
            return True

        def measure() -> tuple[int, int] | None:
            if download.handshake:
                self.resent_share = download.resent_share
                return download.bytes_held, download.handshake.accept.size
            return None

        tick = ticker(progress, measure)
        try:
            with self.explained():
                while not outcome:
                    try:
                        self.drive(download, on_event, tick)
                    except ConnectionRefusedError:
                        if not download.handshake:
                            raise
                        # It vanished in mid-transfer, and may be back before the time-out.
                        download.note_refused(clock())
        except BaseException as error:
            self.leave(download, error)
            raise
        self.note_handshake(download.handshake)
        return outcome[0], download

    def _failure(
        self, error: UdpftError, name: str, download: Download, target: Target
    ) -> UdpftError:
        """What the end of a transfer means to the one who asked for it."""
        if isinstance(error, NoSuchFile):
            return NoSuchFile(f"{error}: {name!r}", hint=error.hint)
        if isinstance(error, TimedOut) and not download.handshake:
            return self.no_answer(error.hint)
        if isinstance(error, DigestMismatch) and target.compares:
            return target.is_different()
        return error

    # ------------------------------------------------------------------ for any kind of endpoint

    def drive(
        self,
        endpoint: Endpoint,
        on_event: Callable[[Event], bool],
        on_turn: Callable[[float], None] | None,
    ) -> None:
        """Run an endpoint over this client's socket: see `net.driver.drive`."""
        driver.drive(endpoint, self._socket, on_event, on_turn, self.stop, self._note_wait)

    def _note_wait(self, seconds: float) -> None:
        self.waited_s += seconds

    def note_handshake(self, handshake: HandshakeResult | None) -> None:
        """Keep what a handshake has found out, for the next one."""
        if handshake and handshake.hello_size:
            self._cookie = handshake.cookie
            self.known_size = handshake.hello_size

    def leave(self, endpoint: Download | Upload, error: BaseException) -> None:
        """Tell the server, so that it need not find out by waiting. It hears no local names."""
        if isinstance(error, LocalError):
            endpoint.abort(PartialTransfer("the client's disk failed"), ErrorCode.WRITE_FAILED)
        else:
            endpoint.abort(PartialTransfer("the client gave up"))
        with suppress(OSError):
            flush(endpoint, self._socket, clock())

    # ----------------------------------------------------------------------------------- plain

    def fetch_plain(
        self,
        name: str,
        destination: Path,
        *,
        force: bool = False,
        allow_partial: bool = False,
        sha256: str = "",
        progress: Progress | None = None,
    ) -> Result:
        """Fetch one file by the plain protocol: nothing verifies it, and nothing is sent again.

        Args:
            name: the file's name on the server; ``destination``: its name here.
            force: replace a file of that name.
            allow_partial: keep what came, where the end did not.
            sha256: what the file's SHA-256 must be, in hex.
            progress: told how far it is.

        Raises:
            DestinationExists: a file has that name, and ``force`` was not given.
            TimedOut: nothing at all came.
            PartialTransfer: something came, and not the end; kept with ``allow_partial``.
            DigestMismatch: its SHA-256 is another one.
            UsageError: plain knows no rates, no other chunk size, or no such name.
            UdpftError: whatever else went wrong; the destination is as it was.
        """
        if self.limit_rate or self._chunk_size != CHUNK_SIZE or self.keyed:
            raise UsageError(
                "plain has neither a client's rate, nor another chunk size, nor a key",
                hint="a server's --plain-rate limits it; or ask without --mode plain",
            )
        from udpft.client import fetch_plain as plain_client  # most gets start without
        from udpft.protocol.transfer.plain import PlainReceiver

        request, began = plain_client.plain_request(name), clock()
        with closing(self._connect(fragment=True)) as udp, PartFile.open(destination, None) as part:
            if not force and os.path.lexists(destination):
                raise DestinationExists(f"{destination} exists", hint=_ANOTHER_NAME)
            receiver = PlainReceiver(part)
            try:
                with self.explained():
                    plain_client.receive_plain(
                        udp,
                        request,
                        receiver,
                        connect_timeout_s=self.connect_timeout,
                        timeout_s=self.timeout,
                        on_turn=ticker(progress, lambda: (receiver.bytes_received, -1)),
                        stop=self.stop,
                    )
            except TimedOut as error:
                raise self.no_answer(error.hint) from None
            except PartialTransfer:
                if not allow_partial:
                    raise
            part.commit(sha256=sha256)
        if progress:
            progress(receiver.bytes_received, receiver.bytes_received if receiver.done else -1)
        return Result(
            name=name,
            path=destination,
            bytes=receiver.bytes_received,
            seconds=clock() - began,
            digest="",
            resent_packets=0,
            mode="plain",
            verified=bool(sha256),
            complete=receiver.done,
        )
