"""Session: one transfer at work on a server."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from udpft.protocol.contract import Completed, Failed, OpenedSource
from udpft.protocol.server.download import Terms
from udpft.protocol.server.outcome import Outcome, Traffic
from udpft.protocol.server.scheduler import Turn
from udpft.protocol.server.upload import Place, ServerUpload
from udpft.protocol.transfer.sender import Sender

if TYPE_CHECKING:
    from udpft.protocol.keyed.channel import ServerChannel

PeerAddress = Hashable
"""A peer's address as the driver names it: compared, and told apart by its ``repr``."""


@dataclass(slots=True, eq=False)
class Session:
    """Transfer at work.

    Attributes:
        name: of the file.
        address: the client's.
        terms: as agreed on in the handshake.
        source: the file that is sent, or the place that is filled.
        end: the server's end of the transfer.
        began: when the HELLO came, in seconds.
        channel: seals and opens the packets; None without a key.
        usage: what the driver answered when it began, see `Listener`.
        turn: the scheduler's.
        timer_at: when it is to be woken; inf for never, -inf once it is over.
        mark: when its progress was measured last, and the bytes that had arrived; see `eviction`.
        silent: whether nothing more is sent or told of it: its client has begun again, or its own
            code has failed, see `failure`.
    """

    name: str
    address: PeerAddress
    terms: Terms
    source: OpenedSource | Place
    end: Sender | ServerUpload
    began: float
    channel: ServerChannel | None = None
    usage: Any = None
    turn: Turn = field(default_factory=Turn, init=False)
    timer_at: float = field(default=inf, init=False)
    mark: tuple[float, int] = field(default=(0.0, 0), init=False)
    silent: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.mark = self.began, 0

    @property
    def connection_id(self) -> int:
        """The server's connection id, which the client's packets carry."""
        return self.terms.accept.connection_id

    @property
    def key(self) -> tuple[PeerAddress, int]:
        """Address and nonce, which tell it by its HELLO."""
        return self.address, self.terms.hello.nonce

    @property
    def progress_bytes(self) -> int:
        """Bytes of the file that have arrived, at whichever end."""
        if isinstance(self.end, ServerUpload):
            return self.end.bytes_received
        return self.end.delivered * self.terms.accept.chunk_size

    def outcome(self, event: Completed | Failed, now: float) -> Outcome:
        """The outcome, now that it is over."""
        end, channel, terms = self.end, self.channel, self.terms
        upload = end if isinstance(end, ServerUpload) else None
        return Outcome(
            name=self.name,
            address=self.address,
            size=self.source.size,
            seconds=now - self.began,
            error=event.error if isinstance(event, Failed) else None,
            confirmed=isinstance(event, Completed) and event.confirmed,
            traffic=Traffic(
                bytes_sent=channel.bytes_sealed if channel else end.bytes_sent,
                packets_resent=end.packets_resent,
                bytes_received=upload.bytes_received if upload else None,
                receiver_drops=end.receiver_drops if isinstance(end, Sender) else 0,
                chunk_size=terms.accept.chunk_size,
                client_rate=terms.hello.max_rate_bytes_per_s,
                sent_singly=isinstance(end, Sender) and end.sends_singly,
            ),
            usage=self.usage,
        )

    def close(self, event: Completed | Failed) -> None:
        """Give back the file that was sent, or the place that was filled."""
        if isinstance(self.end, ServerUpload):
            self.end.close(event)
        else:
            self.source.close()
