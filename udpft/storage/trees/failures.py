"""Files of a tree that could not be sent, so that its next listing leaves them out and says why."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from udpft.errors import UdpftError
from udpft.protocol.wire.listing import Entry, Reason
from udpft.storage.trees.walk import reason_of

MAX_REMEMBERED = 10_000
"""Files that are remembered; the one that failed longest ago is forgotten for another."""

REMEMBERED_S = 60.0
"""Seconds for which a file is remembered: it may be read again later."""

MAX_CHANGES = 2
"""Times that a file may be found changed before it is left out."""


class _Failure(NamedTuple):
    """Failure of a file: the reason, the version that failed, how often it had changed, and when.

    ``reason`` is None while it may have changed by chance.
    """

    reason: Reason | None
    version: int
    changes: int
    at: float


class Failures:
    """Files that could not be sent, by their paths.

    Args:
        clock: seconds.

    Attributes:
        _failures: at most `MAX_REMEMBERED`, in the order of their failures.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, _Failure] = OrderedDict()

    def note(self, entry: Entry, error: UdpftError | None) -> None:
        """Note that a file cannot be read, or that it has changed where there is no error."""
        known = self._failures.pop(entry.path, None)
        now = self._clock()
        reason, changes = None, 0
        if error:
            reason = reason_of(error)
        else:
            recent = known is not None and known.at > now - REMEMBERED_S
            changes = (known.changes if known and recent else 0) + 1
            reason = Reason.CHANGING if changes >= MAX_CHANGES else None
        self._failures[entry.path] = _Failure(reason, entry.version, changes, now)
        if len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)

    def reason(self, entry: Entry) -> Reason | None:
        """The reason not to send a file; None where there is none."""
        if not self._failures:
            return None
        known = self._failures.get(entry.path)
        if known is None or known.at < self._clock() - REMEMBERED_S:
            return None
        if known.reason is Reason.CHANGING or known.version == entry.version:
            return known.reason
        return None
