"""Observer for tests, which keeps what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from udpft.net.traced import Ends
from udpft.protocol.transfer.sender import Sender


class Listening:
    """Observer that keeps what it is told of, each kind in a list of its own.

    Attributes:
        datagrams: whether they are sent, their bytes, the size that they are cut by, their ends.
        plain: whether it is sent, its bytes, its ends.
        packets: whether they are sent, their bytes, the size that they are cut by.
        times: seconds on the clock of datagrams and plain ones, in the order of being told.
        sealing: times that it was told of sealing.
        watched: functions that return the sending ends.
    """

    def __init__(self) -> None:
        self.datagrams: list[tuple[bool, bytes, int, Ends]] = []
        self.plain: list[tuple[bool, bytes, Ends]] = []
        self.packets: list[tuple[bool, bytes, int]] = []
        self.times: list[float] = []
        self.sealing = 0
        self.watched: list[Callable[[], Iterable[Sender]]] = []

    def note_datagrams(
        self, at: float, *, sent: bool, data: memoryview, size: int, ends: Ends
    ) -> None:
        self.times.append(at)
        self.datagrams.append((sent, bytes(data), size, ends))

    def note_plain(self, at: float, *, sent: bool, data: memoryview, ends: Ends) -> None:
        self.times.append(at)
        self.plain.append((sent, bytes(data), ends))

    def note_packets(self, *, sent: bool, data: memoryview, size: int) -> None:
        self.packets.append((sent, bytes(data), size))

    def note_sealing(self) -> None:
        self.sealing += 1

    def watch(self, senders: Callable[[], Iterable[Sender]]) -> None:
        self.watched.append(senders)
