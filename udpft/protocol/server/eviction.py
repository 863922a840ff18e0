"""Eviction: when a server has no room, a transfer that brings nothing makes way for another.

A HELLO takes a place, and one ACK in each idle timeout would hold it for good. So when somebody
finds no room, transfers are looked at. Those whose clients have never been heard of go first, the
oldest before the others. Then those that have brought hardly anything lately, or far less than the
others, the slowest first. Of both, those of the host that has most go before the others'. Where all
are alike, as on a server that many share fairly, none goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from udpft.protocol.server.session import Session

UNHEARD_AFTER_S: Final = 0.5
"""Seconds that a client has to say its first word while others wait for its place."""

JUDGED_AFTER_S: Final = 10.0
"""Seconds over which progress is measured: a new transfer has so long to begin."""

SLOW_BYTES_PER_S: Final = 500
"""Rate below which a transfer goes, whatever the others do: half of what 9600 bit/s carry."""

FAR_BELOW: Final = 1 / 20
"""Part of the others' mean rate below which a transfer goes."""

REVIEW_INTERVAL_S: Final = 0.25
"""Seconds between looks at all transfers: a thousand of them take a millisecond."""


class _Candidate(NamedTuple):
    """Transfer that may go; the last in order goes first.

    ``of_host``: transfers of its host. ``unheard``: whether its client was never heard of.
    ``slowness``: seconds that it has been unheard, or the negative of its rate.
    """

    of_host: int
    unheard: bool
    slowness: float
    host: Hashable
    connection_id: int


class Eviction:
    """Choice of the transfer that goes next.

    Args:
        host_of: names the host of an address.

    Attributes:
        _reviewed_at: when all transfers were looked at last.
        _candidates: those that might go then, in order; taken off one by one from the end. By
            their ids, so that those that end meanwhile are not kept.
    """

    def __init__(self, host_of: Callable[[Hashable], Hashable]) -> None:
        self._host_of = host_of
        self._reviewed_at = -inf
        self._candidates: list[_Candidate] = []

    def next_victim(
        self, sessions: Mapping[int, Session], now: float, host: Hashable = None
    ) -> Session | None:
        """Choose the transfer that goes; None where none does.

        Args:
            sessions: transfers at work, by their connection ids.
            now: seconds.
            host: whose transfers alone may go, for it has its share; None for all.
        """
        if now >= self._reviewed_at + REVIEW_INTERVAL_S:
            self._reviewed_at = now
            self._candidates = self._review(list(sessions.values()), now)
        for at in range(len(self._candidates) - 1, -1, -1):
            candidate = self._candidates[at]
            if host is not None and candidate.host != host:
                continue
            del self._candidates[at]
            session = sessions.get(candidate.connection_id)
            if session and not (candidate.unheard and session.end.heard):
                return session
        return None

    def _review(self, sessions: list[Session], now: float) -> list[_Candidate]:
        """Look at all transfers; return those that may go, in order."""
        hosts = [self._host_of(session.address) for session in sessions]
        counts = Counter(hosts)
        found = []
        rated: list[tuple[float, Hashable, Session]] = []
        for session, host in zip(sessions, hosts, strict=True):
            marked_at, marked_bytes = session.mark
            if not session.end.heard:
                if now >= session.began + UNHEARD_AFTER_S:
                    unheard_s = now - session.began
                    found.append(
                        _Candidate(counts[host], True, unheard_s, host, session.connection_id)
                    )
            elif now >= marked_at + JUDGED_AFTER_S:
                progress = session.progress_bytes
                session.mark = now, progress
                if not session.end.is_busy_itself:
                    rate = (progress - marked_bytes) / (now - marked_at)
                    rated.append((rate, host, session))
        if rated:
            limit = FAR_BELOW * sum(rate for rate, _, _ in rated) / len(rated)
            limit = max(SLOW_BYTES_PER_S, limit)
            found += [
                _Candidate(counts[host], False, -rate, host, session.connection_id)
                for rate, host, session in rated
                if rate < limit
            ]
        found.sort(key=lambda one: one[:3])
        return found
