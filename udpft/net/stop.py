"""Cancellation token, set in one thread and noticed in another that waits for the network.

A thread cannot be interrupted from outside, but it can wait for two things at once: the client's
loop waits for its socket and for the `Stop` that it was given, which is a descriptor too
(eventfd). What takes long and waits for neither looks at it in between: `Stop.guarded`. And what
can do neither is left behind in a thread of its own: `Stop.outlast`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from udpft.errors import Stopped
from udpft.net.udp import wait

P = ParamSpec("P")
T = TypeVar("T")


class Stop:
    """Cancellation token: ends the transfers that it was given to; once set, it stays set.

    It can be set from any thread. The transfers end as an error would end them: the server is told,
    what has come stays to be gone on with, and the thread that waits for the transfer has
    `udpft.errors.Stopped`.
    """

    def __init__(self) -> None:
        self._is_set = False
        """Whether `set` was called; never goes back."""
        self._fd = -1
        """Event descriptor: readable once `set` was called. Made when somebody waits for it, closed
        with the object."""

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def set(self) -> None:
        """Cancel, from any thread or from a signal's handler."""
        self._is_set = True
        if self._fd >= 0:
            os.eventfd_write(self._fd, 1)

    def is_set(self) -> bool:
        """Whether the token was set."""
        return self._is_set

    def fileno(self) -> int:
        """Descriptor that is readable once the token is set, for `select`."""
        if self._fd < 0:
            self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            if self._is_set:  # before or while it was made
                os.eventfd_write(self._fd, 1)
        return self._fd

    def check(self) -> None:
        """Raise Stopped if the token is set."""
        if self._is_set:
            raise Stopped("stopped before its end")

    def sleep(self, seconds: float) -> None:
        """Sleep. Raises Stopped as soon as the token is set."""
        wait([self], [], seconds)
        self.check()

    def guarded(self, call: Callable[P, T]) -> Callable[P, T]:
        """Wrap a function: once the token is set, it raises Stopped instead of beginning."""

        def checking(*args: P.args, **kwargs: P.kwargs) -> T:
            self.check()
            return call(*args, **kwargs)

        return checking

    def outlast(self, call: Callable[[], T]) -> T:
        """Run an uninterruptible function, such as the resolver, in a thread; return its result.

        It raises what the function raises.

        Raises:
            Stopped: the token was set first; the function goes on in its thread, to no purpose.
        """
        from concurrent.futures import Future  # a command does without
        from threading import Thread

        future: Future[T] = Future()
        done = Stop()

        def work() -> None:
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
            done.set()

        Thread(target=work, name="udpft-outlasted", daemon=True).start()
        wait([self, done], [], None)
        self.check()
        return future.result()
