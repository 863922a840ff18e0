"""Failure of one session: an exception that nobody expected, in words for its client.

A server has one loop for all. So each entry into a session has a boundary, and what passes it ends
that session alone: its client is told, the driver is told all of it, and the loop goes on.
"""

from __future__ import annotations

import errno
from typing import Final

from udpft.errors import LocalReadFailed, ServerBusy, UdpftError

EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS)
"""Errors of the system that pass: descriptors, memory or tasks that others give back."""

_NO_THREAD: Final = "can't start new thread"


def is_exhaustion(error: BaseException) -> bool:
    """Tell whether an exception means that the system has no more of something at present."""
    if isinstance(error, OSError):
        return error.errno in EXHAUSTED
    no_thread = isinstance(error, RuntimeError) and _NO_THREAD in str(error)
    return no_thread or isinstance(error, MemoryError)


def failure_of(error: Exception) -> UdpftError:
    """Word an exception for a client: *busy* where it passes; without the server's own words."""
    if isinstance(error, UdpftError):
        return error
    if is_exhaustion(error):
        return ServerBusy("the server has no room for it now", hint="try again in a moment")
    if isinstance(error, OSError) and error.strerror:
        return LocalReadFailed(f"the server's disk failed: {error.strerror}")
    return UdpftError("the server failed at this transfer; its log says why")
