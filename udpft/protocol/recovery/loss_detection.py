"""Loss detection: records of packets sent, and the verdict that one is lost (RFC 9002, 6.1).

Everything is kept per burst: the packets of a burst left at one moment, so they share one record,
in which two bit masks tell which of them are outstanding and which were declared lost. An
acknowledgement of a whole burst is one mask operation.

*Lost* is the sender's verdict, and may be wrong: the network may have held the packet back. So
a record is kept for a while after the verdict, for the packet may be acknowledged after all.

A packet that more than `PACKET_THRESHOLD` others have overtaken tells that the path reorders. How
many overtake another there depends on the rate, and so only time counts from then on (RFC 8985,
6.2), as much of it as such packets have lately taken: `rtt.RttEstimator` knows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from udpft.protocol.params import PACKET_THRESHOLD
from udpft.protocol.recovery.burst_fates import BurstFates
from udpft.protocol.recovery.delivery_rate import FlightState

BREAKER_S: Final = 15.0
"""Seconds of loss beyond `BREAKER_LOSS` after which a sender gives up (RFC 8084): longer than the
ten seconds of a dead path that a transfer survives."""

BREAKER_LOSS: Final = 0.9
"""The share of packets lost that no path is used at for long. At 50 % files still arrive."""

BREAKER_MIN_PACKETS: Final = 50
"""Packets of which something must be known before a sender gives up for their loss."""

_PRUNE_AT = 512
"""Records behind the oldest live one before the lists are shortened, which costs their length."""

_SKIPPED_KEPT = 64
"""Skipped numbers that are remembered: far more packets than are ever in flight lie between."""


@dataclass(slots=True, eq=False)
class SentBurst:
    """Record of packets that left together.

    ``flight`` is for the delivery rate
    (draft-ietf-ccwg-bbr, 4.1). Only the masks change; bit 0 is packet ``first``.
    """

    first: int
    """Number of the first packet."""

    stop: int
    """Number after the last one's."""

    chunks: Sequence[int]
    """Chunks that they carry, in the packets' order."""

    sent_at: float
    """Seconds on the clock: when they left."""

    flight: FlightState
    """State of the delivery then, for the delivery rate."""

    epoch: int
    """The congestion controller's epoch at that time."""

    outstanding: int
    """Mask of the packets neither acknowledged nor declared lost."""

    lost: int = 0
    """Mask of the packets declared lost, and not acknowledged since."""

    given_up: int = 0
    """Mask of the packets given up for a probe: nothing was said of them."""


@dataclass(slots=True)
class Verdicts:
    """Fate of packets, as one acknowledgement or the passing of time has decided it."""

    acked: int = 0
    """Packets newly acknowledged, those not counted that had been declared lost."""

    lost: int = 0
    """Packets declared lost."""

    newest: SentBurst | None = None
    """The last-sent burst with a packet newly acknowledged; None if there is none."""

    largest_is_new: bool = False
    """Whether the largest packet named is newly acknowledged: then it is a round-trip sample."""

    lost_chunks: list[tuple[int, int]] = field(default_factory=list)
    """Half-open runs of the chunks in packets declared lost."""

    late_chunks: list[tuple[int, int]] = field(default_factory=list)
    """The same of packets declared lost before, and acknowledged now."""

    late: int = 0
    """Packets declared lost before, and acknowledged now."""

    sent_sum_s: float = 0.0
    """Sum of the times at which the packets newly acknowledged had left, those declared lost before
    among them; in seconds on the clock."""

    overtaken_since: float = inf
    """Seconds on the clock: when the first of them left that `PACKET_THRESHOLD` others have
    overtaken, or that any have and that had been declared lost; inf where there are none."""

    tally: dict[int, list[int]] = field(default_factory=dict)
    """For each epoch of the congestion controller, packets acknowledged and lost."""

    def count(self, epoch: int, acked: int, lost: int) -> None:
        """Add packets to an epoch's tally."""
        entry = self.tally.get(epoch)
        if entry is None:
            self.tally[epoch] = [acked, lost]
        else:
            entry[0] += acked
            entry[1] += lost


class SentHistory:
    """Records of the bursts in flight, oldest first, and of those recently judged lost."""

    def __init__(self) -> None:
        self._bursts: list[SentBurst] = []
        """Records in the order of their packets; shortened when enough are of no more use."""

        self._firsts: list[int] = []
        """Number of each record's first packet, to search in."""

        self._head = 0
        """Index of the first record that is of use; `forget` moves it on."""

        self._oldest = 0
        """Index before which no record has packets outstanding; moves on as they are settled."""

        self._skipped: list[int] = []
        """Numbers that no packet had, the newest `_SKIPPED_KEPT`, ascending."""

        self._known: set[tuple[int, int]] = set()
        """Ranges that the last ACK named."""

        self.packets_in_flight = 0
        """Packets neither acknowledged nor declared lost (RFC 9002's bytes_in_flight)."""

        self.largest_acked = -1
        """Largest packet number acknowledged; -1 until there is one (largest_acked_packet)."""

        self.counts_overtakers = True
        """Whether `PACKET_THRESHOLD` packets that overtake one make it lost (kPacketThreshold).
        Not where the path reorders; the sender sets it."""

        self.fates = BurstFates()
        """Fates of the bursts, each taken in once all of its packets are known of."""

    def add(self, burst: SentBurst) -> None:
        """Record a burst as it leaves. Packet numbers only ever grow."""
        self._bursts.append(burst)
        self._firsts.append(burst.first)
        self.packets_in_flight += burst.stop - burst.first

    def skip(self, number: int) -> None:
        """Note a number that no packet has, and none will have."""
        self._skipped.append(number)
        del self._skipped[:-_SKIPPED_KEPT]

    def names_skipped(self, ranges: Sequence[tuple[int, int]]) -> bool:
        """Whether an ACK's ranges name a number that no packet had."""
        skipped = self._skipped
        return any(
            bisect_left(skipped, start) < bisect_left(skipped, stop) for start, stop in ranges
        )

    def acknowledge(self, ranges: Sequence[tuple[int, int]]) -> Verdicts:
        """Take in an ACK's ranges: half-open, newest first, all of packets that were sent."""
        verdicts = Verdicts()
        bursts, firsts = self._bursts, self._firsts
        largest = ranges[0][1] - 1
        newest = self.largest_acked
        in_step = newest - PACKET_THRESHOLD + 1
        known, self._known = self._known, set(ranges)
        for named_range in reversed(ranges):
            if named_range in known:
                continue  # most ranges are repeated, in case that an ACK is lost
            start, stop = named_range
            at = bisect_right(firsts, start, self._head) - 1
            for index in range(at if at > self._head else self._head, len(bursts)):
                burst = bursts[index]
                first = burst.first
                if first >= stop:
                    break
                if not burst.outstanding and not burst.lost:
                    continue
                # The bits of this burst's packets that the range names.
                named = (1 << stop - first) - 1 if stop < burst.stop else -1
                if start > first:
                    named &= -1 << start - first
                hit = burst.outstanding & named
                late = burst.lost & named
                if first < newest and (hit or late):
                    overtaken = _below(hit, in_step - first) | _below(late, newest - first)
                    if overtaken and burst.sent_at < verdicts.overtaken_since:
                        verdicts.overtaken_since = burst.sent_at
                if hit:
                    burst.outstanding ^= hit
                    n = hit.bit_count()
                    verdicts.sent_sum_s += n * burst.sent_at
                    verdicts.acked += n
                    verdicts.count(burst.epoch, n, 0)
                    verdicts.newest = burst
                    verdicts.largest_is_new = bool(hit >> (largest - first) & 1)
                    if not burst.outstanding:
                        self.fates.note(first, burst.stop - first, burst.lost)
                if late:
                    burst.lost ^= late
                    n = late.bit_count()
                    verdicts.sent_sum_s += n * burst.sent_at
                    verdicts.late += n
                    n = (late & ~burst.given_up).bit_count()
                    if n:
                        verdicts.count(burst.epoch, n, -n)
                    verdicts.late_chunks += _chunk_runs(burst, late)
        if largest > self.largest_acked:
            self.largest_acked = largest
        self.packets_in_flight -= verdicts.acked
        return verdicts

    def judge(self, now: float, loss_delay_s: float, verdicts: Verdicts) -> float | None:
        """Declare lost what is overdue, into ``verdicts``; return when to look again, or None.

        Only packets sent before one that was acknowledged are ever lost by this rule.
        """
        bursts = self._bursts
        self._skip_settled()
        if self._oldest == len(bursts) or bursts[self._oldest].first > self.largest_acked:
            return None
        # Packets before this one are.
        overdue = self.largest_acked - PACKET_THRESHOLD + 1 if self.counts_overtakers else -1
        skipped = self._skipped
        if skipped and skipped[-1] >= overdue:  # what was skipped has overtaken nothing
            overdue -= bisect_right(skipped, self.largest_acked) - bisect_left(skipped, overdue)
        look_again: float | None = None
        for at in range(self._oldest, len(bursts)):
            burst = bursts[at]
            if burst.first > self.largest_acked:
                break
            if not burst.outstanding:
                continue
            due = burst.sent_at + loss_delay_s
            before = self.largest_acked + 1 if due <= now else overdue
            if before > burst.first:
                gone = burst.outstanding & (1 << before - burst.first) - 1
                if gone:
                    self._lose(burst, gone, verdicts)
            if due > now and burst.outstanding:
                look_again = due
                break
        return look_again

    def _lose(self, burst: SentBurst, gone: int, verdicts: Verdicts) -> None:
        burst.outstanding ^= gone
        burst.lost |= gone
        if not burst.outstanding:
            self.fates.note(burst.first, burst.stop - burst.first, burst.lost)
        n = gone.bit_count()
        self.packets_in_flight -= n
        verdicts.lost += n
        verdicts.count(burst.epoch, 0, n)
        verdicts.lost_chunks += _chunk_runs(burst, gone)

    def give_up_oldest(self, limit: int) -> list[tuple[int, int]]:
        """Take up to ``limit`` oldest outstanding packets for lost, to probe with their chunks."""
        self._skip_settled()
        given_up = Verdicts()
        for burst in self._bursts[self._oldest :]:
            gone = 0
            while burst.outstanding & ~gone and given_up.lost + gone.bit_count() < limit:
                rest = burst.outstanding & ~gone
                gone |= rest & -rest
            if gone:
                burst.given_up |= gone
                self._lose(burst, gone, given_up)
            if given_up.lost >= limit:
                break
        return given_up.lost_chunks

    def forget(self, before: float) -> None:
        """Drop the records of settled bursts, and of lost ones sent before a time."""
        bursts, head = self._bursts, self._head
        while head < len(bursts):
            burst = bursts[head]
            if burst.outstanding or (burst.lost and burst.sent_at > before):
                break
            head += 1
        self._head = head
        if head > _PRUNE_AT and head > len(bursts) - head:  # most of the list
            del self._bursts[:head], self._firsts[:head]
            self._oldest = max(0, self._oldest - head)
            self._head = 0

    def _skip_settled(self) -> None:
        at = self._oldest if self._oldest > self._head else self._head
        while at < len(self._bursts) and not self._bursts[at].outstanding:
            at += 1
        self._oldest = at


class CircuitBreaker:
    """Circuit breaker: trips where a path loses nearly everything for long (RFC 8084).

    A sender at its slowest makes some progress on any path, so that no idle timeout would ever
    end it, and such a path is of no use to it and burdened for others (RFC 8085, 3.1.10).
    """

    __slots__ = ("_acked", "_began_at", "_lost")

    def __init__(self, now: float) -> None:
        self._began_at = now
        """Seconds on the clock: when counting began; set anew every `BREAKER_S`."""

        self._acked = 0
        """Packets acknowledged since then."""

        self._lost = 0
        """Packets declared lost since then."""

    def trips(self, acked: int, lost: int, now: float) -> bool:
        """Count packets acked and lost; tell whether to stop."""
        self._acked += acked
        self._lost += lost
        if now < self._began_at + BREAKER_S:
            return False
        total = self._acked + self._lost
        tripped = total >= BREAKER_MIN_PACKETS and self._lost > BREAKER_LOSS * total
        self._began_at = now
        self._acked = 0
        self._lost = 0
        return tripped


def _below(mask: int, count: int) -> int:
    """The lowest ``count`` bits of a mask; none where there are fewer than one."""
    return mask & (1 << count) - 1 if count > 0 else 0


def _chunk_runs(burst: SentBurst, mask: int) -> Iterator[tuple[int, int]]:
    """The chunks of a burst's packets that a mask names, as half-open runs."""
    chunks = burst.chunks
    in_step = isinstance(chunks, range)
    while mask:
        low = (mask & -mask).bit_length() - 1
        if in_step:
            run = ((mask >> low) + 1 & ~(mask >> low)).bit_length() - 1
        else:
            run = 1
        yield chunks[low], chunks[low] + run
        mask &= ~((1 << run) - 1 << low)
