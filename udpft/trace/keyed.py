"""Keyed channels of a server, whose packets are told to an observer in the clear."""

from __future__ import annotations

from typing import cast

from udpft.net.traced import Observer
from udpft.protocol.contract import Batch, TransferIds, Transmit
from udpft.protocol.keyed.channel import KeyedAcceptor, ServerChannel


class TracedAcceptor(KeyedAcceptor):
    """Acceptor of keyed HELLOs that tells an observer of them, and so do its channels.

    Args:
        acceptor: does the work.
        observer: is told.
    """

    def __init__(self, acceptor: KeyedAcceptor, observer: Observer) -> None:
        self.__dict__.update(acceptor.__dict__)  # what its channels draw from is shared
        self._observer = observer

    def read_hello_untrusted(self, datagram: memoryview) -> ServerChannel | None:
        """Make the channel that a HELLO asks for: see `KeyedAcceptor`."""
        channel = super().read_hello_untrusted(datagram)
        if channel is None:
            return None
        hello = memoryview(channel.hello)
        self._observer.note_packets(sent=False, data=hello, size=len(hello))
        return cast(ServerChannel, _TracedChannel(channel, self._observer))


class _TracedChannel:
    """Server's channel that tells an observer of packets before they are sealed and once opened."""

    def __init__(self, channel: ServerChannel, observer: Observer) -> None:
        self._channel = channel
        self._observer = observer
        self.hello = channel.hello

    def _tell(self, data: memoryview, size: int, *, sent: bool) -> None:
        self._observer.note_packets(sent=sent, data=data, size=size)

    def seal_retry(self, retry: bytes) -> bytes:
        self._tell(memoryview(retry), len(retry), sent=True)
        return self._channel.seal_retry(retry)

    def seal_answer(self, answer: bytes) -> bytes:
        self._tell(memoryview(answer), len(answer), sent=True)
        return self._channel.seal_answer(answer)

    def begin(self, accept: bytes, ids: TransferIds) -> None:
        self._channel.begin(accept, ids)

    def seal(self, transmit: Transmit) -> Transmit:
        self._tell(transmit.data, transmit.segment_size, sent=True)
        return self._channel.seal(transmit)

    def open_untrusted(self, batch: Batch) -> Batch | None:
        opened = self._channel.open_untrusted(batch)
        if opened:
            self._tell(memoryview(opened.buffer)[: opened.length], opened.segment_size, sent=False)
        return opened

    @property
    def bytes_sealed(self) -> int:
        return self._channel.bytes_sealed
