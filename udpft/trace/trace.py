"""Trace of one end of transfers: what it is told of, written to one file or several.

    with Trace(["t.sqlog", "t.pcapng", "t.html"], "client") as trace:
        with Client("files.lan", trace=trace) as client:
            client.fetch("hello.txt")

The end of a file's name says what becomes of it. A page is made of the events at the end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final, Literal, Self

from udpft.errors import UsageError
from udpft.net.clock import clock
from udpft.net.traced import Ends, TracedSockets
from udpft.protocol.params import CHUNK_SIZE
from udpft.protocol.wire.packet import PacketType
from udpft.trace.files import TraceFile, cannot_write
from udpft.trace.pcapng import UdpAddress, head_of, ip_packet, packet_block
from udpft.trace.qlog import event_of, header_of
from udpft.trace.recorder import Recorder

if TYPE_CHECKING:
    from udpft.protocol.keyed.channel import KeyedAcceptor
    from udpft.protocol.transfer.sender import Sender

DEFAULT_LIMIT: Final = 64 << 20
"""Bytes that each file of a trace may have."""

_LAST = (PacketType.FIN_ACK, PacketType.ERROR)
"""Packets that end a transfer."""

EVENTS, CAPTURE, PAGE = ".sqlog", ".pcapng", ".html"

_FLUSH_EVERY_S = 1.0
"""Seconds after which what was noted is in the files, for whoever looks at them, or kills us."""


class Trace:
    """See the module's docstring. One thread at a time tells it of anything.

    Args:
        paths: of the files, which are begun anew; each ends in .sqlog, .pcapng or .html.
        side: the end that it is of.
        limit: bytes that each of them may have; a page, its events.
        on_full: told in words where a file is full, which may be long before the end.

    Raises:
        UsageError: a file's name has another end, or the same name is there twice.
        LocalWriteFailed: a file cannot be written; from every method too.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        side: Literal["client", "server"],
        limit: int = DEFAULT_LIMIT,
        on_full: Callable[[str], None] = lambda _: None,
    ) -> None:
        named = [os.fspath(path) for path in paths]
        _check(named)
        self._began, self._began_at = clock(), time.time()
        self._side = side
        self._keyed = False
        """Whether packets are sealed, and told of by `note_packets`."""
        self._flush_at = 0.0
        self._events: list[TraceFile] = []
        self._captures: list[TraceFile] = []
        self._pages: list[tuple[str, IO[bytes]]] = []
        """Pages to be made, and their events until then, in a file without a name."""
        header = header_of(side, self._began_at, f"udpft {side}")
        for path in named:
            if path.endswith(CAPTURE):
                file = TraceFile(path, limit, on_full)
                file.write(head_of(f"udpft {side}, pid {os.getpid()}", f"udpft {side}"))
                self._captures.append(file)
                continue
            stream = self._stream_for(path) if path.endswith(PAGE) else None
            file = TraceFile(path, limit, on_full, stream)
            file.write(header)
            self._events.append(file)
        self._recorder = Recorder(self._write_event, is_client=side == "client")

    def _stream_for(self, page: str) -> IO[bytes]:
        """Open a file for a page's events, after seeing that the page can be written."""
        import tempfile  # where somebody wants one

        try:
            with open(page, "ab"):
                stream = tempfile.TemporaryFile()  # noqa: SIM115
        except OSError as error:
            raise cannot_write(page, error) from error
        self._pages.append((page, stream))
        return stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ----------------------------------------------------------------------- for the two ends

    def sockets(self, offload: bool) -> TracedSockets:
        """Make the sockets of the end that this is a trace of."""
        return TracedSockets(offload, self)

    def acceptor(self, acceptor: KeyedAcceptor) -> KeyedAcceptor:
        """Look into a server's sealed packets."""
        from udpft.trace.keyed import TracedAcceptor  # most have no key

        self.note_sealing()
        return TracedAcceptor(acceptor, self)

    # ---------------------------------------------------------------------------- as observer

    def note_sealing(self) -> None:
        """Note that packets are sealed, and told of in the clear too."""
        self._keyed = True

    def watch(self, senders: Callable[[], Iterable[Sender]]) -> None:
        """Look at the sending ends that a function returns."""
        self._recorder.watch(senders)

    def note_datagrams(
        self, at: float, *, sent: bool, data: memoryview, size: int, ends: Ends
    ) -> None:
        """Note datagrams on the wire."""
        if self._captures:
            self._capture(at, sent, data, size, ends)
        if self._events and not self._keyed:
            at_s = at - self._began
            if self._side == "server" and not sent and not all(map(_is_ours, data[::size])):
                self._note_requests(at_s, data, size, ends)
            else:
                self._recorder.note(at_s, data, size, sent=sent)
        self._flush(at, at_end=not self._keyed and len(data) > 0 and data[0] in _LAST)

    def _note_requests(self, at_s: float, data: memoryview, size: int, ends: Ends) -> None:
        """Note what a server gets that is not all reliable."""
        for begin in range(0, len(data), size):
            datagram = data[begin : begin + size]
            if _is_ours(datagram[0]):
                self._recorder.note(at_s, datagram, len(datagram), sent=False)
            else:
                self._recorder.note_plain(at_s, datagram, ends.peer, sent=False)

    def note_plain(self, at: float, *, sent: bool, data: memoryview, ends: Ends) -> None:
        """Note a datagram of a plain transfer."""
        if self._captures:
            self._capture(at, sent, data, max(1, len(data)), ends)
        if self._events:
            self._recorder.note_plain(at - self._began, data, ends.peer, sent=sent)
        self._flush(at, at_end=len(data) < CHUNK_SIZE)

    def note_packets(self, *, sent: bool, data: memoryview, size: int) -> None:
        """Note packets in the clear, of an end with a key."""
        if self._events:
            now = clock()
            self._recorder.note(now - self._began, data, size, sent=sent)
            self._flush(now, at_end=data[0] in _LAST)

    # ------------------------------------------------------------------------------- writing

    def _write_event(self, record: bytes, at_s: float) -> None:
        for file in self._events:
            if not file.full and not file.write(record, at_s):
                file.write_last(event_of(at_s, "udpft:trace_stopped", "", '{"trigger":"limit"}'))

    def _capture(self, now: float, sent: bool, data: memoryview, size: int, ends: Ends) -> None:
        if all(file.full for file in self._captures):
            return
        at_us = int((self._began_at + now - self._began) * 1e6)
        here, there = _address_of(ends.local), _address_of(ends.peer)
        source, destination = (here, there) if sent else (there, here)
        for at in range(0, max(1, len(data)), size):
            block = packet_block(at_us, ip_packet(source, destination, data[at : at + size]))
            for file in self._captures:
                file.write(block, now - self._began)

    def _flush(self, now: float, *, at_end: bool) -> None:
        """Write what is in the buffers, once a second, and where a transfer ends."""
        if now < self._flush_at and not at_end:
            return
        self._flush_at = now + _FLUSH_EVERY_S
        self._recorder.settle()
        for file in (*self._events, *self._captures):
            file.flush()

    def close(self) -> None:
        """Close the files, and make the pages."""
        self._recorder.settle()
        pages, self._pages = self._pages, []
        for file in (*self._events, *self._captures):
            if file.path not in [path for path, _ in pages]:
                file.close()
        for path, stream in pages:
            from udpft.trace.page import page_of  # where somebody wants one

            stream.seek(0)
            try:
                with open(path, "w", encoding="utf-8") as out:
                    out.write(page_of([stream]))
            except OSError as error:
                raise cannot_write(path, error) from error
            finally:
                stream.close()


def _check(paths: list[str]) -> None:
    for path in paths:
        if not path.endswith((EVENTS, CAPTURE, PAGE)):
            raise UsageError(
                f"{path!r}: a trace ends in {EVENTS}, {CAPTURE} or {PAGE}",
                hint="qlog's events, a capture for Wireshark, or a page for a browser",
            )
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise UsageError("two traces would be written to one file")


def _is_ours(first: int) -> bool:
    """Whether a datagram is of reliable, by its first byte."""
    return 0x80 <= first <= 0xBF


@lru_cache(1_024)
def _address_of(end: tuple[str, int]) -> UdpAddress:
    return UdpAddress.of(*end)
