"""Creation of sessions from validated HELLOs: versions and limits checked, the file opened."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from udpft.errors import (
    Denied,
    ServerBusy,
    UploadRefused,
    VersionMismatch,
)
from udpft.protocol.contract import OpenedSource
from udpft.protocol.handshake.agreement import agreed_chunk_size
from udpft.protocol.params import (
    DATA_HEADER_SIZE,
    IDLE_TIMEOUT_S,
    KEYED_ANSWER_OVERHEAD,
    MAX_BURST_BYTES,
    MAX_CHUNKS,
    SEAL_OVERHEAD,
    VERSION,
)
from udpft.protocol.server.admission import Admission
from udpft.protocol.server.download import Shared, Terms, begin_download
from udpft.protocol.server.session import PeerAddress, Session
from udpft.protocol.server.upload import Place, ServerUpload, begin_upload
from udpft.protocol.transfer.ack_schedule import ReceiveQueue
from udpft.protocol.transfer.sender import Sender
from udpft.protocol.transfer.synthetic import SYNTHETIC_NAME, open_synthetic
from udpft.protocol.transfer.work_budget import WorkBudget
from udpft.protocol.wire.accept import Accept, Part
from udpft.protocol.wire.hello import Hello, Role

if TYPE_CHECKING:
    from udpft.protocol.keyed.channel import ServerChannel

UPLOADS = (Role.PUT, Role.PUT_LIST, Role.PUT_TREE, Role.MEASURE_PUT)
"""Roles of a client that brings something."""

_ROLES = (Role.GET, Role.LIST, Role.TREE, Role.MEASURE, Role.RANGE, *UPLOADS)


class Asker(NamedTuple):
    """Client that asks for something.

    ``host``: that the work for it is charged to; None where that has no limit. ``chunk_size``: that
    its transfer will have.
    """

    address: PeerAddress
    host: Hashable
    chunk_size: int = 0


NOBODY = Asker(None, None)
"""Nobody: the work is charged to no host."""

OpenSource = Callable[[Hello, str, Asker], OpenedSource]
"""Opens the file that a HELLO asks for under a name, both a client's words and so untrusted; raises
an `UdpftError` that the client is told. Of a range, an `OpenedRange`."""


class OpenedRange(OpenedSource, Protocol):
    """Open range of a file."""

    @property
    def part(self) -> Part:
        """Where in the file it lies."""
        ...


OpenPlace = Callable[[Hello, str, Asker], Place]
"""Opens the place that an upload goes to, likewise."""


class Entropy(NamedTuple):
    """Random numbers of a server.

    ``secret``: 32 bytes, for the cookies. ``draw_id``: draws a connection id, 32 bits that nobody
    can guess. ``random``: spreads the controllers' probes.
    """

    secret: bytes
    draw_id: Callable[[], int]
    random: Random


class Limits(NamedTuple):
    """Limits of a server.

    ``admission``: how many transfers there may be; more are told to come back. Its own default
    where it is None. ``max_rate_bytes_per_s``: of each transfer; 0 for no limit.
    ``idle_timeout_s``: seconds without progress after which a transfer is dropped.
    """

    admission: Admission | None = None
    max_rate_bytes_per_s: int = 0
    idle_timeout_s: float = IDLE_TIMEOUT_S


DEFAULT_LIMITS = Limits()


class Request(NamedTuple):
    """HELLO of a client whose address is validated.

    ``hello_size``: bytes of its datagram. ``channel``: where there is a key, the one it came by.
    """

    hello: Hello
    hello_size: int
    address: PeerAddress
    channel: ServerChannel | None = None


class SessionCreation:
    """Beginning of sessions.

    Args:
        open_source: see `OpenSource`.
        open_place: see `OpenPlace`; None where there are no uploads.
        entropy: for connection ids, and the controllers.
        limits: of the server.
        work: what its transfers may hash in a turn.
        receive_queue: asks the socket, for uploads: see `Receiver`.
        is_taken: tells whether a connection id is in use.
        end_abandoned: ends an upload of a name whose client has gone, at a time.

    Attributes:
        admission: counts the transfers.
        draining: whether no more are admitted, for the server stops.
    """

    def __init__(
        self,
        open_source: OpenSource,
        open_place: OpenPlace | None,
        entropy: Entropy,
        limits: Limits,
        work: WorkBudget,
        *,
        receive_queue: ReceiveQueue,
        is_taken: Callable[[int], bool],
        end_abandoned: Callable[[str, float], None],
    ) -> None:
        self._open_source = open_source
        self._open_place = open_place
        self._entropy = entropy
        self._limits = limits
        self._receive_queue = receive_queue
        self._is_taken = is_taken
        self._end_abandoned = end_abandoned
        self._buffer = bytearray(MAX_BURST_BYTES)
        self._work = work
        self.admission = limits.admission or Admission()
        self.draining = False

    def begin(self, request: Request, now: float) -> Session:
        """Begin a session.

        Raises:
            UdpftError: it is refused; the client is to be told why.
        """
        host = self.admission.charged_host(request.address)
        asker = Asker(request.address, host, _chunk_size_of(request))
        opened, name = self._open(request, asker, now)
        work = self._work.share_of(asker.host)
        end: Sender | ServerUpload
        with ExitStack() as counted, ExitStack() as undo:
            undo.callback(opened.close)
            terms = self._terms(request, opened)
            if opened.size // terms.accept.chunk_size >= MAX_CHUNKS:
                raise Denied("the file is too large for chunks this small")
            self.admission.begin(request.address)
            counted.callback(self.admission.end, request.address)
            if request.hello.role in UPLOADS:
                undo.pop_all()  # it closes the place itself, with what went wrong
                end = begin_upload(terms, cast(Place, opened), self._receive_queue, now, work)
            else:
                source = cast(OpenedSource, opened)
                end = begin_download(
                    terms, source, Shared(self._buffer, work), self._entropy.random, now
                )
            undo.pop_all()
            channel = request.channel
            if channel:
                channel.begin(end.prelude, terms.ids)
            counted.pop_all()
        return Session(name, request.address, terms, opened, end, now, channel)

    def _open(self, request: Request, asker: Asker, now: float) -> tuple[OpenedSource | Place, str]:
        hello = request.hello
        if hello.version != VERSION or hello.role not in _ROLES:
            raise VersionMismatch(f"the server speaks version {VERSION} of the protocol")
        if self.draining:
            raise ServerBusy("the server is stopping", hint="try again in a moment")
        self.admission.check(request.address, now)
        upload = hello.role in UPLOADS
        open_file: OpenSource | OpenPlace | None
        open_file = self._open_place if upload else self._open_source
        if not open_file:
            raise UploadRefused(
                "the server takes no uploads", hint="`udpft serve --writable` would"
            )
        if hello.role in (Role.MEASURE, Role.MEASURE_PUT):
            return open_synthetic(hello), SYNTHETIC_NAME
        name = hello.name.decode(errors="surrogateescape")  # the bytes that it is, UTF-8 or not
        if upload:
            self._end_abandoned(name, now)
        return open_file(hello, name, asker), name

    def _terms(self, request: Request, opened: OpenedSource | Place) -> Terms:
        """Agree on the terms: chunks as large as the path carries, and a fresh connection id."""
        hello, keyed = request.hello, request.channel is not None
        connection_id = self._entropy.draw_id()
        while not connection_id or self._is_taken(connection_id):
            connection_id = self._entropy.draw_id()
        chunk_size = _chunk_size_of(request)
        accept = Accept(
            hello.nonce, connection_id, chunk_size, opened.size, opened.mtime_ns, opened.identity
        )
        if hello.role == Role.RANGE:
            accept = accept._replace(part=cast(OpenedRange, opened).part)
        packet_size = chunk_size + DATA_HEADER_SIZE
        accept_size = packet_size
        max_rate = self._limits.max_rate_bytes_per_s
        if keyed:
            accept_size -= KEYED_ANSWER_OVERHEAD - SEAL_OVERHEAD
            max_rate = max_rate * packet_size // (packet_size + SEAL_OVERHEAD)
        return Terms(hello, accept, accept_size, max_rate, self._limits.idle_timeout_s)


def _chunk_size_of(request: Request) -> int:
    keyed = request.channel is not None
    return agreed_chunk_size(request.hello.chunk_size, request.hello_size, keyed=keyed)
