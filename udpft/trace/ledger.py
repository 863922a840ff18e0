"""Ledger of one transfer's DATA packets, kept at one end, which finds those that were lost.

At the end that sends, a packet is lost when it is not acknowledged and one sent three later is
(RFC 9002, 6.1.1); at the end that receives, when one three later has come. A packet that is late
and not lost counts as lost here: at such an end nobody can tell until it comes.
"""

from __future__ import annotations

from bisect import bisect_right

from udpft.protocol.params import PACKET_THRESHOLD
from udpft.protocol.ranges import RangeSet
from udpft.trace.packets import Run


class Ledger:
    """See the module's docstring.

    Attributes:
        sends: whether this end sends the DATA packets; None until the first one leaves or comes.
        packets: DATA packets that have left, or come, so far, repeats of one number included.
        lost: those found lost so far.
    """

    def __init__(self) -> None:
        self.sends: bool | None = None
        self.packets = 0
        self.lost = 0
        self._sent: list[Run] = []
        """Runs that have left, ascending."""
        self._firsts: list[int] = []
        """Packet number of each run's first packet."""
        self._arrived = RangeSet()
        """Packet numbers that have come: acknowledged, or received here."""
        self._n_arrived = 0
        """How many these are."""
        self._known: frozenset[tuple[int, int]] = frozenset()
        """Ranges that the last ACK named: most are repeated."""
        self._judged = 0
        """Packet number below which each has been judged."""

    @property
    def in_flight(self) -> int:
        """Packets that have left and are neither acknowledged nor lost."""
        return max(0, self.packets - self._n_arrived - self.lost)

    def note_sent(self, runs: list[Run]) -> None:
        """Note packets that leave."""
        self.sends = True
        self._sent += runs
        self._firsts += [run.packet for run in runs]
        self.packets += sum(run.length for run in runs)

    def note_received(self, runs: list[Run]) -> list[Run]:
        """Note packets that come; return those that are lost by now, as far as is known here."""
        self.sends = False
        for run in runs:
            self._n_arrived += self._arrived.add(run.packet, run.packet + run.length)
            self.packets += run.length
        return self._judge(self._arrived.stop - PACKET_THRESHOLD)

    def note_ack(self, ranges: tuple[tuple[int, int], ...]) -> list[Run]:
        """Note an ACK; return the packets that are lost by now."""
        for named in ranges:
            if named not in self._known:
                self._n_arrived += self._arrived.add(*named)
        self._known = frozenset(ranges)
        return self._judge(self._arrived.stop - PACKET_THRESHOLD)

    def close(self) -> list[Run]:
        """Note that the transfer is over; return what is lost below the last packet that came."""
        return self._judge(self._arrived.stop)

    def _judge(self, before: int) -> list[Run]:
        if before <= self._judged:
            return []
        holes = self._arrived.holes(self._judged, before)
        self._judged = before
        lost: list[Run] = []
        for start, stop in holes:
            lost += self._those_sent(start, stop) if self.sends else [Run(start, -1, stop - start)]
        self.lost += sum(run.length for run in lost)
        return lost

    def _those_sent(self, start: int, stop: int) -> list[Run]:
        """Packets of a range that have left: numbers may have been skipped."""
        found = []
        at = max(0, bisect_right(self._firsts, start) - 1)
        while at < len(self._sent) and self._sent[at].packet < stop:
            run = self._sent[at]
            first = max(start, run.packet)
            last = min(stop, run.packet + run.length)
            if first < last:
                found.append(Run(first, run.chunk + first - run.packet, last - first))
            at += 1
        return found
