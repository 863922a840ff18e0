"""Construction of the sender for a download, and the terms that a transfer has agreed on."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from udpft.protocol.contract import OpenedSource, TransferIds
from udpft.protocol.handshake.agreement import held_ranges, hole_chunks, whole_chunks
from udpft.protocol.params import (
    INITIAL_RECEIVE_ROOM,
    KEYED_ANSWER_OVERHEAD,
    MIN_DATAGRAM_SIZE,
)
from udpft.protocol.transfer.chunk_queue import ChunkQueue
from udpft.protocol.transfer.flow import SendLimits
from udpft.protocol.transfer.sender import Sender
from udpft.protocol.transfer.work_budget import WorkShare
from udpft.protocol.wire.accept import Accept, encode_accept, room_for_map
from udpft.protocol.wire.data import BurstWriter
from udpft.protocol.wire.hello import SPARSE, Hello, Role, fitted_map


class Terms(NamedTuple):
    """Terms that a handshake has agreed on.

    ``accept_size``: bytes that ACCEPT is padded to. ``max_rate``: the server's own limit in bytes
    per second, 0 for none. ``idle_timeout_s``: seconds without progress after which a transfer has
    failed.
    """

    hello: Hello
    accept: Accept
    accept_size: int
    max_rate: int
    idle_timeout_s: float

    @property
    def largest_accept(self) -> int:
        """Bytes that ACCEPT may have: what any HELLO had that showed what the path carries."""
        return max(self.accept_size, MIN_DATAGRAM_SIZE - KEYED_ANSWER_OVERHEAD)

    @property
    def ids(self) -> TransferIds:
        """Numbers of the transfer's packets, as the server has them."""
        return TransferIds(self.hello.connection_id, self.accept.connection_id, self.hello.nonce)


class Shared(NamedTuple):
    """Things that all transfers of a server share, by taking turns.

    ``buffer``: what is sent is written there. ``work``: this one's share in hashing what clients
    hold.
    """

    buffer: bytearray
    work: WorkShare


def begin_download(
    terms: Terms, source: OpenedSource, shared: Shared, random: Random, now: float
) -> Sender:
    """Begin to send a file to a client."""
    hello, accept = terms.hello, terms.accept
    if hello.role == Role.GET and hello.flags & SPARSE:
        told = fitted_map(source.sparse_map, room_for_map(terms.largest_accept, 0))
        accept = accept._replace(sparse_map=told)
    rates = (hello.max_rate_bytes_per_s, terms.max_rate)
    held = whole_chunks(held_ranges(hello, accept), accept.chunk_size, source.size)
    holes = hole_chunks(accept.sparse_map, accept.chunk_size, source.size)
    writer = BurstWriter(accept.chunk_size, shared.buffer, hello.nonce)
    sender = Sender(
        terms.ids,
        ChunkQueue(source, source.size, writer, held, holes),
        now=now,
        random=random,
        prelude=encode_accept(accept, hello.connection_id, terms.accept_size),
        limits=SendLimits(
            hello.receive_room or INITIAL_RECEIVE_ROOM,
            min(filter(None, rates), default=0),
            terms.idle_timeout_s,
            shared.work,
        ),
    )
    sender.rtt.begin_with(hello.rtt_us * 1e-6)
    return sender
