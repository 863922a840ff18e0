"""What takes its time, done in a thread, so that a loop with other things to do goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class Job(Generic[T]):
    """A call in a thread of its own.

    Args:
        work: what is called, once, at once.

    Attributes:
        ended_at: when it was over, by the monotonic clock; None while it is at work.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._value: T
        self._error: BaseException | None = None
        self.ended_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="udpft-job", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error
        self.ended_at = monotonic()

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end, up to a number of seconds; whether it has come."""
        if self.ended_at is None:
            self._thread.join(timeout_s)
        return self.ended_at is not None

    def result(self) -> T:
        """What the call returned; waits for it.

        Raises:
            BaseException: what the call raised.
        """
        self._thread.join()
        if self._error:
            raise self._error
        return self._value
