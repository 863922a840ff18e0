"""Usage of a transfer at one end: its seconds, of which kind, and the bytes it has moved."""

import time
from typing import Final, NamedTuple, Self

from udpft.net.clock import clock

TOLD_AFTER_S: Final = 0.5
"""Seconds that a transfer takes at least, for what is measured to tell anything."""


class Usage(NamedTuple):
    """Resources used up to a moment, or between two: seconds, and bytes moved.

    ``at``: the clock. ``cpu_s`` is of the whole process, ``busy_s`` of this thread alone.
    ``queued_s``: waited for a processor. ``waited_s``: waited for the network. ``moved``: bytes;
    ``drops``: datagrams that the receive buffer had no room for.
    """

    at: float
    cpu_s: float
    busy_s: float
    queued_s: float
    waited_s: float
    moved: int = 0
    drops: int = 0

    @classmethod
    def now(cls, waited_s: float, moved: int = 0, drops: int = 0) -> Self:
        """Usage up to now. Waits, bytes and drops are the caller's: its loop counts them."""
        return cls(
            clock(), time.process_time(), time.thread_time(), _queued_s(), waited_s, moved, drops
        )

    def since(self, before: Self) -> "Usage":
        """Difference to an earlier moment; ``at`` is then how long that is."""
        return Usage(
            self.at - before.at,
            self.cpu_s - before.cpu_s,
            self.busy_s - before.busy_s,
            self.queued_s - before.queued_s,
            self.waited_s - before.waited_s,
            self.moved - before.moved,
            self.drops - before.drops,
        )

    @property
    def held_s(self) -> float:
        """Seconds held up by the disk: those that remain."""
        return max(0.0, self.at - self.busy_s - self.queued_s - self.waited_s)


def _queued_s() -> float:
    """Seconds that this thread has waited for a processor; 0 where the kernel does not tell."""
    try:
        with open("/proc/thread-self/schedstat", "rb", buffering=0) as file:
            return int(file.read(100).split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def per_gigabyte(cpu_s: float, n_bytes: int) -> float | None:
    """CPU seconds for each GB; None where there are too few bytes to tell."""
    return cpu_s / n_bytes * 1e9 if n_bytes >= 1_000_000 else None
