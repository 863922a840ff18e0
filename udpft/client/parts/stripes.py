"""Stripes of a file that several servers send at once: which of them sends which next.

A server works at one stripe at a time. One that has none takes a share of what nobody works at.
Where there is no such thing any more, it takes the end of the stripe that would be done last, as
much as makes both end together; so a slow server holds up nobody, and a dead one for a moment.
"""

from __future__ import annotations

from typing import Final

from udpft.protocol.ranges import RangeSet

MIN_STRIPE_CHUNKS: Final = 128
"""Chunks of a stripe, at least: fewer are not worth a handshake."""

STALLED_S: Final = 0.5
"""Seconds without a new chunk after which a stripe counts as standing still."""


class Stripe:
    """Run of chunks that one server sends.

    Attributes:
        start: number of its first chunk; never changes.
        stop: number behind its last one; falls where another server takes its end.
        began_at: when it was taken, in seconds; never changes.
        moved_at: when a chunk of it came last.
        came: chunks of it that have come.
    """

    __slots__ = ("began_at", "came", "moved_at", "start", "stop")

    def __init__(self, start: int, stop: int, now: float) -> None:
        self.start = start
        self.stop = stop
        self.began_at = now
        self.moved_at = now
        self.came = 0

    def chunks_per_s(self, now: float) -> float:
        """Chunks that come in a second; 0 where it stands still."""
        if now > self.moved_at + STALLED_S or not self.came:
            return 0.0
        return self.came / max(1e-3, now - self.began_at)


class StripePlan:
    """Plan of one file: the stripes at work, and the chunks that nobody works at.

    Args:
        chunk_count: chunks of the file that hold something.
        held: chunks that are there already; taken over.
        servers: how many there may be.
    """

    def __init__(self, chunk_count: int, held: RangeSet, servers: int) -> None:
        self._chunk_count = chunk_count
        self._held = held
        """Chunks that are there by now."""
        self._todo = RangeSet(held.holes(0, chunk_count))
        """Chunks that are missing, and that no stripe has."""
        self._share = max(MIN_STRIPE_CHUNKS, -(-self._todo.total // servers))
        """Chunks that a server is given at first."""
        self._stripes: list[Stripe] = []
        """Stripes at work."""

    @property
    def is_done(self) -> bool:
        """Whether every chunk is there."""
        return self._held.first_missing() >= self._chunk_count

    @property
    def held(self) -> RangeSet:
        """Chunks that are there by now."""
        return self._held

    def take(self, now: float, chunks_per_s: float = 0.0) -> Stripe | None:
        """Take a stripe for a server that has none; None where it is to wait.

        ``chunks_per_s``: what it has brought so far; 0 where that is not known.
        """
        if self._todo:
            stripe = Stripe(*self._todo.take(self._share), now)
        else:
            end = self._end_of_the_last(now, chunks_per_s)
            if end is None:
                return None
            stripe = Stripe(*end, now)
        self._stripes.append(stripe)
        return stripe

    def _end_of_the_last(self, now: float, chunks_per_s: float) -> tuple[int, int] | None:
        """Cut off the end of the stripe that would be done last."""
        last, longest_s = None, 0.0
        for stripe in self._stripes:
            rest, rate = self._rest_of(stripe), stripe.chunks_per_s(now)
            if now < stripe.began_at + STALLED_S and not rate:
                continue  # it has hardly begun
            rest_s = rest / rate if rate else rest * 1e9
            if rest_s > longest_s:
                last, longest_s = stripe, rest_s
        if last is None:
            return None
        rest, rate = self._rest_of(last), last.chunks_per_s(now)
        taken = rest if not rate else int(rest / (1 + rate / (chunks_per_s or rate)))
        if rate and taken < MIN_STRIPE_CHUNKS:
            return None
        stop, last.stop = last.stop, last.stop - taken
        return last.stop, stop

    def _rest_of(self, stripe: Stripe) -> int:
        return max(0, stripe.stop - self._held.first_missing(stripe.start))

    def note(self, stripe: Stripe, first: int, stop: int, now: float) -> None:
        """Note chunks ``[first, stop)`` that have come of a stripe."""
        self._held.add(first, min(stop, self._chunk_count))
        stripe.came += stop - first
        stripe.moved_at = now

    def is_over(self, stripe: Stripe) -> bool:
        """Whether all of a stripe is there, as far as it still goes."""
        return self._rest_of(stripe) == 0

    def end(self, stripe: Stripe) -> None:
        """End a stripe: what is missing of it is for whoever comes next."""
        self._stripes.remove(stripe)
        for start, stop in self._held.holes(stripe.start, stripe.stop):
            self._todo.add(start, stop)
