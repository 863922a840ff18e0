"""Blocking calls, each run in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class Job(Generic[T]):
    """Blocking call in a thread, which begins at once.

    Args:
        work: the call; made once.

    Attributes:
        ended_at: when it ended, by the monotonic clock; None while it is at work. The thread writes
            it last, so that the result is there when it is not None.
        _value: the result; unset until the call has returned.
        _error: the exception that the call raised; None where it raised none.
        _thread: the thread, which ends with the call.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._value: T
        self._error: BaseException | None = None
        self.ended_at: float | None = None
        self._thread = threading.Thread(
            target=self._run, args=(work,), name="udpft-job", daemon=True
        )
        self._thread.start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._value = work()
        except BaseException as error:
            self._error = error
        del work  # what it holds may be large, and goes before anybody knows of the end
        self.ended_at = monotonic()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end, up to a number of seconds; return whether it has come."""
        if self.ended_at is None:
            self._thread.join(timeout_s)
        return self.ended_at is not None

    def result(self) -> T:
        """Wait for the end and return the call's result.

        Raises:
            BaseException: the one that the call raised.
        """
        self._thread.join()
        if self._error:
            raise self._error
        return self._value
