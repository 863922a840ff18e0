"""Syncing to the disk: of a file while it is still written, and of a whole file system.

A file system that has no sync says so, and what is written there is as safe as it can be: that is
no error, as it is none to cp and rsync.

The writer does not wait for a sync in the background. A power cut then costs a second's worth, or
`MIN_SYNC_BYTES`, and not the half minute for which Linux may keep written pages to itself
(vm.dirty_expire_centisecs); and the sync at the end has less to do.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import threading

SYNC_INTERVAL_S: Final = 1.0
"""Seconds between syncs. A sync for each MiB would halve the rate of a fast transfer; one that has
not ended when the next is due delays it, so a slow disk is not kept busy by syncing alone."""

MIN_SYNC_BYTES: Final = 4 << 20
"""Bytes written since the last sync, below which the next waits: each begins a thread, which costs
a slow transfer as much processor as a MiB does."""

LONGEST_SYNC_INTERVAL_S: Final = 5.0
"""Seconds between syncs, however little was written."""

_NO_SYNC: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of a file system that has no sync, for files, for folders or at all."""


def sync_file(fd: int) -> None:
    """Sync a file, or a folder's names, where their file system can.

    Raises:
        OSError: something could not be written back.
    """
    _sync(os.fsync, fd)


def sync_data(fd: int) -> None:
    """Sync a file as `sync_file` does, but for what reading it does without, such as its time.

    Raises:
        OSError: something could not be written back.
    """
    _sync(os.fdatasync, fd)


def _sync(call: Callable[[int], None], fd: int) -> None:
    try:
        call(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def sync_file_system(fd: int) -> None:
    """Sync the file system that a file or folder is in: once for thousands of files.

    Raises:
        OSError: something could not be written back.
    """
    import ctypes  # a single file does without

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd):
        code = ctypes.get_errno()
        if code not in _NO_SYNC:
            raise OSError(code, os.strerror(code))


def reread_from_disk(fd: int) -> None:
    """Sync a file and drop its cached pages, so that reading it shows what the disk has.

    Linux marks pages that could not be written back as clean and keeps them: they read as they
    should be, and are not on the disk. The error is reported once, perhaps to a process that is
    gone. File systems in memory drop nothing.

    Raises:
        OSError: something of the file could not be written back.
    """
    sync_data(fd)
    with suppress(OSError):  # advice: some file systems take none
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


class BackgroundSync:
    """Periodic sync of one file, in a thread that lives only as long as one sync takes.

    The system reports an error of writing back once, to the next sync; so one that the thread meets
    is kept for `poll` and `finish`.

    Args:
        fd: the file, which is not closed.
        clock: seconds.

    Attributes:
        _due_at: when the next sync is due, by the clock; moves on when one begins.
        _written: bytes that were written when the last one began.
        _thread: of the last sync, at work or ended; None before the first and after `finish`.
        _error: the first error of a sync, kept for good; None until then.
    """

    __slots__ = ("_clock", "_due_at", "_error", "_fd", "_thread", "_written")

    def __init__(self, fd: int, clock: Callable[[], float] = monotonic) -> None:
        self._fd = fd
        self._clock = clock
        self._due_at = clock() + SYNC_INTERVAL_S
        self._written = 0.0
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def poll(self, written: float = inf) -> None:
        """Begin a sync if one is due and none is at work. Cheap: for each burst.

        Args:
            written: bytes that were written so far; enough for a sync unless given.

        Raises:
            OSError: an earlier one failed.
        """
        late_s = self._clock() - self._due_at
        if late_s < 0:
            return
        if self._thread and self._thread.is_alive():
            return
        self._raise_error()
        few = written - self._written < MIN_SYNC_BYTES
        if few and late_s < LONGEST_SYNC_INTERVAL_S - SYNC_INTERVAL_S:
            return
        self._due_at = self._clock() + SYNC_INTERVAL_S
        self._written = written if written < inf else 0.0
        import threading  # most fetches end before one is due, and start without

        # By a descriptor of its own, so that nobody has to wait before the file is closed.
        fd = os.dup(self._fd)
        thread = threading.Thread(target=self._sync, args=(fd,), name="udpft-sync", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no task is left: the sync at the end has more to do
            os.close(fd)
            return
        self._thread = thread

    def _sync(self, fd: int) -> None:
        try:
            sync_data(fd)
        except OSError as error:
            self._error = error
        finally:
            os.close(fd)

    def finish(self) -> None:
        """Wait for the sync at work, if any.

        Raises:
            OSError: it failed, or an earlier one.
        """
        if self._thread:
            self._thread.join()
            self._thread = None
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error:
            raise self._error
