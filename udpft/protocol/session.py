"""What a server keeps of one transfer, and what it tells of it in the end."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from udpft.errors import UdpftError
from udpft.protocol.endpoint import ChunkSource, Completed, Failed
from udpft.protocol.sender import Sender

if TYPE_CHECKING:
    from udpft.protocol.channel import ServerChannel

Address = Hashable
"""A peer's address as the driver names it: compared, and told apart by its ``repr``."""


class OpenedSource(ChunkSource, Protocol):
    """A file to be sent, opened."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def mtime_ns(self) -> int:
        """Time of the last change, nanoseconds since the epoch."""
        ...

    @property
    def identity(self) -> int:
        """64 bits that change when the file is replaced or written to."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


class Ended(NamedTuple):
    """A transfer that is over, for the log. ``error`` is None where it ended well."""

    name: str
    address: Any
    size: int
    seconds: float
    bytes_sent: int
    packets_resent: int
    error: UdpftError | None
    confirmed: bool


@dataclass(slots=True, eq=False)
class Session:
    """A transfer at work. ``key`` tells it by its HELLO; ``timer_at`` is when it is to be woken."""

    name: str
    address: Address
    key: tuple[Address, int]
    connection_id: int
    source: OpenedSource
    sender: Sender
    began: float
    channel: ServerChannel | None = None
    ready: bool = False
    replaced: bool = False
    timer_at: float = inf

    def ended(self, event: Completed | Failed, now: float) -> Ended:
        """What is to be told of it, now that it is over."""
        return Ended(
            name=self.name,
            address=self.address,
            size=self.source.size,
            seconds=now - self.began,
            bytes_sent=self.channel.bytes_sealed if self.channel else self.sender.bytes_sent,
            packets_resent=self.sender.packets_resent,
            error=event.error if isinstance(event, Failed) else None,
            confirmed=isinstance(event, Completed) and event.confirmed,
        )
