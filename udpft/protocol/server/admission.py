"""Admission limits of a server: transfers in all, from one host, and in a second.

A host with a valid cookie may still ask for more than its share. What is too much is told to come
back, and when. Sessions begun in a second are a token bucket, filled at a rate, up to a burst.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from udpft.errors import ServerBusy
from udpft.protocol.params import MAX_SESSIONS

MAX_SESSIONS_A_HOST: Final = 16
"""Transfers at once to one host that is neither this one nor in a private network."""

NEAR_SHARE: Final = 1 / 2
"""Part of all transfers that this host may have at once, or one in a private network: the rest is
for the others, however many it asks for."""

NEW_SESSIONS_PER_S: Final = 1_000
"""Transfers begun per second, in the long run: about what one core begins and ends."""

NEW_SESSIONS_BURST: Final = 1_024
"""Transfers begun at once, after a quiet second: as many as there may be."""

BUSY_RETRY_S: Final = 1.0
"""Seconds after which a client that found the server full should try again."""


class Admission:
    """Admission control: counts transfers, and decides whether another one may begin.

    Args:
        host_of: the host that an address belongs to; None where it is a near one.
        near_host_of: the near host; None where it may have as many transfers as it likes.
        max_sessions: transfers at once.
        max_sessions_a_host: transfers at once from one host. A near one may have as many, and more
            where that is `NEAR_SHARE` of all.
    """

    def __init__(
        self,
        host_of: Callable[[Hashable], Hashable | None] = lambda _: None,
        near_host_of: Callable[[Hashable], Hashable | None] = lambda _: None,
        *,
        max_sessions: int = MAX_SESSIONS,
        max_sessions_a_host: int = MAX_SESSIONS_A_HOST,
    ) -> None:
        self._host_of = host_of
        self._near_host_of = near_host_of
        self._max_sessions = max_sessions
        self._max_sessions_a_host = max_sessions_a_host
        self._max_sessions_near = max(max_sessions_a_host, int(max_sessions * NEAR_SHARE))
        self._sessions = 0
        """Transfers at work."""
        self._of_host: dict[Hashable, int] = {}
        """Transfers at work of each host that has any, and a limit."""
        self._tokens = float(NEW_SESSIONS_BURST)
        """Transfers that may begin at once: each takes one, and `check` adds those earned."""
        self._counted_at = 0.0
        """Seconds on the clock: up to when tokens were earned. `check` moves it on."""

    @property
    def is_full(self) -> bool:
        """Whether there are as many transfers as there may be."""
        return self._count() >= self._max_sessions

    def charged_host(self, address: Hashable) -> Hashable | None:
        """Name the host that work for an address is charged to; None where there is no limit."""
        host = self._host_of(address)
        return self._near_host_of(address) if host is None else host

    def has_its_share(self, address: Hashable) -> bool:
        """Whether the host of an address has as many transfers as it may have."""
        near = self._host_of(address) is None
        most = self._max_sessions_near if near else self._max_sessions_a_host
        return self._count_of(self.charged_host(address)) >= most

    def check(self, address: Hashable, now: float) -> None:
        """Check whether a transfer may begin.

        Raises:
            ServerBusy: not now; with the time after which to ask again.
        """
        self.check_room(address)
        earned = max(0.0, now - self._counted_at) * NEW_SESSIONS_PER_S
        self._tokens = min(NEW_SESSIONS_BURST, self._tokens + earned)
        self._counted_at = now
        if self._tokens < 1:
            raise _busy("the server was asked for too much at once", BUSY_RETRY_S)

    def check_room(self, address: Hashable) -> None:
        """Check whether there is room for one more transfer. Raises ServerBusy."""
        if self.is_full:
            raise _busy("the server has no room for another transfer", BUSY_RETRY_S)
        if self.has_its_share(address):
            raise _busy("the server has no room for another transfer to this host", BUSY_RETRY_S)

    def note_no_room(self, host: Hashable | None) -> None:
        """Note that somebody finds no room, and that no transfer here makes way.

        ``host``: whose share is used up; None where the server is full.
        """

    def begin(self, address: Hashable) -> None:
        """Count a transfer that begins.

        Raises:
            ServerBusy: the last room was taken since `check`; only where others count here, too.
        """
        self._tokens -= 1
        self._sessions += 1
        host = self.charged_host(address)
        if host is not None:
            self._of_host[host] = self._of_host.get(host, 0) + 1

    def _count(self) -> int:
        """Count the transfers at work."""
        return self._sessions

    def _count_of(self, host: Hashable) -> int:
        """Count the transfers at work of a host."""
        return self._of_host.get(host, 0)

    def end(self, address: Hashable) -> None:
        """Count a transfer that is over."""
        self._sessions -= 1
        host = self.charged_host(address)
        if host is not None:
            left = self._of_host.pop(host) - 1
            if left:
                self._of_host[host] = left


def _busy(why: str, retry_after_s: float) -> ServerBusy:
    error = ServerBusy(why, hint="try again in a moment")
    error.retry_after_s = retry_after_s
    return error
