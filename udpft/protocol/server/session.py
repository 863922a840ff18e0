"""What a server keeps of one transfer, and what it tells of it in the end."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from udpft.errors import UdpftError
from udpft.protocol.contract import Completed, Failed, OpenedSource
from udpft.protocol.handshake.initiator import held_ranges, whole_chunks
from udpft.protocol.params import INITIAL_RECEIVE_ROOM
from udpft.protocol.server.upload import Place, ServerUpload, Terms
from udpft.protocol.transfer.sender import Sender
from udpft.protocol.wire.accept import encode_accept
from udpft.protocol.wire.data import BurstWriter

if TYPE_CHECKING:
    from udpft.protocol.keyed.channel import ServerChannel

PeerAddress = Hashable
"""A peer's address as the driver names it: compared, and told apart by its ``repr``."""


class Outcome(NamedTuple):
    """A transfer that is over, for the log.

    ``error`` is None where it ended well. ``bytes_received``: those of an upload that were new.
    ``receiver_drops``: datagrams that the client's full buffer dropped. ``client_rate``: bytes per
    second that it asked not to exceed, 0 for no limit. ``usage``: see `Listener`.
    """

    name: str
    address: Any
    size: int
    seconds: float
    bytes_sent: int
    packets_resent: int
    error: UdpftError | None
    confirmed: bool
    bytes_received: int | None = None
    chunk_size: int = 0
    receiver_drops: int = 0
    client_rate: int = 0
    usage: Any = None


def accept_download(
    terms: Terms, source: Any, buffer: bytearray, random: Random, now: float
) -> Sender:
    """The end that sends a file to a client; ``buffer`` may be shared with other ends."""
    hello, accept = terms.hello, terms.accept
    limits = (hello.max_rate_bytes_per_s, terms.max_rate)
    return Sender(
        connection_id=hello.connection_id,
        own_connection_id=accept.connection_id,
        nonce=hello.nonce,
        source=source,
        size=source.size,
        writer=BurstWriter(accept.chunk_size, buffer, hello.nonce),
        now=now,
        random=random,
        prelude=encode_accept(accept, hello.connection_id, terms.accept_size),
        have=whole_chunks(held_ranges(hello, accept), accept.chunk_size, source.size),
        receive_room=hello.receive_room or INITIAL_RECEIVE_ROOM,
        max_rate_bytes_per_s=min(filter(None, limits), default=0),
        idle_timeout_s=terms.idle_timeout_s,
    )


@dataclass(slots=True, eq=False)
class Session:
    """A transfer at work.

    ``key`` tells it by its HELLO; ``timer_at`` is when it is to be woken; ``ready``, ``brief`` and
    ``turn_bytes`` are the `turns.Scheduler`'.
    """

    name: str
    address: PeerAddress
    key: tuple[PeerAddress, int]
    connection_id: int
    source: OpenedSource | Place
    end: Sender | ServerUpload
    began: float
    channel: ServerChannel | None = None
    ready: bool = False
    brief: bool = True
    turn_bytes: int = 0
    replaced: bool = False
    timer_at: float = inf
    chunk_size: int = 0
    client_rate: int = 0
    usage: Any = None

    def ended(self, event: Completed | Failed, now: float) -> Outcome:
        """What is to be told of it, now that it is over."""
        return Outcome(
            name=self.name,
            address=self.address,
            size=self.source.size,
            seconds=now - self.began,
            bytes_sent=self.channel.bytes_sealed if self.channel else self.end.bytes_sent,
            packets_resent=self.end.packets_resent,
            error=event.error if isinstance(event, Failed) else None,
            confirmed=isinstance(event, Completed) and event.confirmed,
            bytes_received=self.end.bytes_received if isinstance(self.end, ServerUpload) else None,
            receiver_drops=0 if isinstance(self.end, ServerUpload) else self.end.receiver_drops,
            chunk_size=self.chunk_size,
            client_rate=self.client_rate,
            usage=self.usage,
        )

    def close(self, event: Completed | Failed) -> None:
        """Give back the file that was sent, or the place that was filled."""
        if isinstance(self.end, ServerUpload):
            self.end.close(event)
        else:
            self.source.close()
