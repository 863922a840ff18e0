"""Bottleneck of a transfer, found from what its time went into at this end.

Theory of operation
-------------------
A thread that moves a file does one of four things: it computes, waits for the network, waits for
a processor, or is held up by the disk. The first is the thread's CPU time. The second the loops
count, around the one call that waits. The third the kernel counts (``/proc/thread-self/schedstat``:
time on a run queue). The disk is the rest: reads, writes and syncs from which the kernel does not
return. The four are read when a transfer begins and when it ends; nothing is counted per burst.

An end knows its own half only. Where it has mostly waited, and nothing was lost and no limit was
set, the path may be as fast as that, or the other end may be slow: it says so, and the other end,
asking itself the same, names the rest of the truth.

A transfer was **slow** if it took `SLOW_AFTER_S` or longer, at less than `SLOW_BYTES_PER_S`: less
than a line of 1 Gbit/s carries. Of such a one the limit is told unasked; of the others with -v, as
far as they took long enough for anything to be told.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from udpft.outcome.usage import TOLD_AFTER_S, Usage
from udpft.units import format_rate

SLOW_AFTER_S: Final = 2.0
"""Seconds that a transfer takes at least, to be called slow: nobody waits for less."""

SLOW_BYTES_PER_S: Final = 100e6
"""Bytes per second that a slow transfer does not reach."""

_AT_THE_LIMIT = 0.85
"""Share of a limit from which on it was the limit: starting and ending take their time."""

_BUSY = 0.8
"""Share of the time that a thread computes, which has the processor as its limit."""

_QUEUED = 0.3
_HELD = 0.4
"""Share of the time in a queue for a processor, or held up by the disk, which is the limit."""

_DROPS = 0.002
_LOSS = 0.01
"""Share of packets dropped by a receive buffer, or sent again, which slows a transfer down."""


class Limit(StrEnum):
    """Bottlenecks of transfers."""

    RATE = "rate limit"
    PROCESSOR = "processor"
    BUSY_MACHINE = "busy machine"
    DISK = "disk"
    RECEIVE_BUFFER = "receive buffer"
    LOSS = "loss"
    ELSEWHERE = "path or other end"


class Evidence(NamedTuple):
    """Evidence that one end has of a finished transfer.

    ``used``: by this end meanwhile. ``rate_limit``: bytes per second, 0 for none, and whose it is.
    ``drops``: datagrams that the receiver's full buffer has dropped, and at which end that is.
    """

    used: Usage
    bytes: int
    packets: int
    resent: int
    rate_limit: float = 0
    limiter: str = "--limit-rate"
    drops: int = 0
    receives: bool = True


class Verdict(NamedTuple):
    """Bottleneck of a transfer, as a code and in words. ``slow``: it is worth telling unasked."""

    limit: Limit
    words: str
    slow: bool


def judge(evidence: Evidence) -> Verdict | None:
    """Find what limited a transfer; None where it was over too soon to tell."""
    used = evidence.used
    if used.at < TOLD_AFTER_S:
        return None
    rate = evidence.bytes / used.at
    limit, words = _limit(evidence, rate)
    return Verdict(limit, words, slow=used.at >= SLOW_AFTER_S and rate < SLOW_BYTES_PER_S)


def _limit(evidence: Evidence, rate: float) -> tuple[Limit, str]:
    used, packets = evidence.used, max(1, evidence.packets + evidence.resent)
    if evidence.rate_limit and rate >= _AT_THE_LIMIT * evidence.rate_limit:
        return Limit.RATE, f"{evidence.limiter}, {format_rate(evidence.rate_limit)}"
    if used.busy_s >= _BUSY * used.at:
        share = _percent(used.busy_s / used.at)
        return Limit.PROCESSOR, f"the processor at this end, busy {share} of the time"
    if used.queued_s >= _QUEUED * used.at:
        share = _percent(used.queued_s / used.at)
        return (
            Limit.BUSY_MACHINE,
            f"other programs: this end waited for a processor {share} of the time",
        )
    if used.held_s >= _HELD * used.at:
        share = _percent(used.held_s / used.at)
        return Limit.DISK, f"the disk at this end, {share} of the time"
    if evidence.drops >= max(1, _DROPS * packets):
        where = "this" if evidence.receives else "the other"
        words = f"the receive buffer at {where} end, which dropped {evidence.drops:,} datagrams"
        return Limit.RECEIVE_BUFFER, f"{words}: `udpft doctor` there says more"
    if evidence.resent >= _LOSS * packets:
        share = _percent(evidence.resent / packets)
        return Limit.LOSS, f"the path's loss: {share} of the packets were sent again"
    return Limit.ELSEWHERE, "the path, or the other end"


def _percent(share: float) -> str:
    return f"{min(100, 100 * share):.{0 if share >= 0.1 else 1}f} %"
