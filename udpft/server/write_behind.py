"""Writing of uploads: here while the disk is quick, in a thread while it is not.

Theory of operation
-------------------
A write goes to the cache, and takes as long as a copy. Where one takes longer, for the disk is
slower than the network, those that follow are copied and a thread writes them, until they are quick
again for a while. What the thread has not written yet is bounded, and taken off the room that the
client is told of; what comes beyond it is as if the socket had no room for it.

On file systems of the network and of user space each call may hang, so a thread makes all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from threading import Lock
from time import monotonic
from typing import Final

from udpft.errors import PartialTransfer
from udpft.protocol.contract import ChunkSink, NotReady, OpenedSink
from udpft.server.job import Job
from udpft.server.slow_disk import DiskThreads

SLOW_WRITE_S: Final = 0.010
"""Seconds that a write may take; after one that takes longer a thread writes."""

SLOW_FOR_S: Final = 1.0
"""Seconds after the last such write after which writes are made here again."""

MAX_BEHIND_BYTES: Final = 4 << 20
"""Bytes of one upload that wait to be written."""

MAX_BEHIND_BYTES_IN_ALL: Final = 64 << 20
"""Bytes of all uploads that wait to be written."""


class BytesBehind:
    """Bytes that wait to be written, of all uploads of a server.

    Attributes:
        count: how many; changed by the loop and by threads, under ``lock``.
        lock: held while a count is changed, here or in a `WriteBehind`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.lock = Lock()


class WriteBehind:
    """Sink of one upload; a `udpft.protocol.contract.ChunkSink`.

    Args:
        opened: the sink that is written to, and what it is told of.
        threads: that wait for disks.
        in_all: of the server.
        remote: whether each call may hang, so that a thread makes all of them.
        clock: seconds.

    Attributes:
        _behind_until: until when a thread writes, by the clock; inf where it always does.
        _queue: calls that wait to be made, each with the bytes that it writes.
        _bytes: bytes in the queue, and of the call that is made.
        _job: the thread that makes them; None while there are none.
        _error: the exception of a call; None otherwise. What comes after it is not written.
    """

    def __init__(
        self,
        opened: OpenedSink,
        threads: DiskThreads,
        in_all: BytesBehind,
        *,
        remote: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._sink: ChunkSink = opened.sink
        self._note = opened.note_hashes
        self._threads = threads
        self._in_all = in_all
        self._remote = remote
        self._clock = clock
        self._behind_until = 0.0
        self._queue: deque[tuple[Callable[[], None], int]] = deque()
        self._bytes = 0
        self._job: Job[None] | None = None
        self._error: Exception | None = None
        self._present: Iterable[tuple[int, bytes]] = opened.present
        if remote:
            self._present = RunsInThread(iter(opened.present), threads)

    def opened(self) -> OpenedSink:
        """Return the sink that is written to instead. Not kept, for it leads back here."""
        note = self.note_hashes if self._note else None
        return OpenedSink(self, self._present, note, self.room)

    @property
    def is_behind(self) -> bool:
        """Whether a thread is to make the next call."""
        return self._remote or self._job is not None or self._clock() < self._behind_until

    def room(self) -> int:
        """Bytes that may come: there is no room for more that would wait to be written."""
        in_all = MAX_BEHIND_BYTES_IN_ALL - self._in_all.count
        return max(0, min(MAX_BEHIND_BYTES - self._bytes, in_all))

    def writev(self, slots: Sequence[memoryview], offset: int) -> None:
        """Write the slots one after another from ``offset`` bytes on.

        Raises:
            UdpftError: they, or earlier ones, cannot be written.
        """
        if self.is_behind:
            data = b"".join(slots)
            self._put(partial(self._sink.writev, [memoryview(data)], offset), len(data))
            return
        self._timed(partial(self._sink.writev, slots, offset))

    def note_hashes(self, first_chunk: int, hashes: bytes) -> None:
        """Note the hashes of chunks, once these are written. Raises as `writev` does."""
        assert self._note
        call = partial(self._note, first_chunk, hashes)
        if self.is_behind:
            self._put(call, 0)
        else:
            self._timed(call)

    def _timed(self, call: Callable[[], None]) -> None:
        began = self._clock()
        call()
        ended = self._clock()
        if ended - began > SLOW_WRITE_S:
            self._behind_until = ended + SLOW_FOR_S

    def _put(self, call: Callable[[], None], n_bytes: int) -> None:
        """Queue a call, and see that a thread makes it."""
        if self._error:
            raise self._error
        with self._in_all.lock:
            self._queue.append((call, n_bytes))
            self._bytes += n_bytes
            self._in_all.count += n_bytes
            if self._job is None:
                self._job = self._threads.begin(self._work)

    def _work(self) -> None:
        """Make the calls that are queued. Runs in a thread."""
        while True:
            with self._in_all.lock:
                if not self._queue:
                    self._job = None
                    return
                call, n_bytes = self._queue.popleft()
            try:
                if self._error is None:
                    self._timed(call)
            except Exception as error:
                self._error = error
            finally:
                with self._in_all.lock:
                    self._bytes -= n_bytes
                    self._in_all.count -= n_bytes
            del call

    def finish(self) -> None:
        """Wait until all is written. In a thread. Raises UdpftError: it cannot be."""
        while job := self._job:
            job.result()
        self._work()  # what no thread was there for
        if self._error:
            raise self._error

    def abandon(self) -> None:
        """Write nothing more, and wait for the call at work. In a thread."""
        self._error = self._error or PartialTransfer("the upload was given up")
        while job := self._job:
            job.result()
        self._work()


class RunsInThread:
    """Iterator over what a disk holds, which asks it in threads.

    Args:
        runs: the iterator that waits for the disk.
        threads: that wait for disks.

    Attributes:
        _job: the next run, which is looked for; None before that.
    """

    def __init__(self, runs: Iterator[tuple[int, bytes]], threads: DiskThreads) -> None:
        self._runs = runs
        self._threads = threads
        self._job: Job[tuple[int, bytes] | None] | None = None

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return self

    def __next__(self) -> tuple[int, bytes]:
        """Return the next run. Raises NotReady: it has to be waited for; and as the disk does."""
        if self._job is None:
            self._job = self._threads.begin(lambda: next(self._runs, None))
        if self._job is None or self._job.ended_at is None:
            raise NotReady
        job, self._job = self._job, None
        run = job.result()
        if run is None:
            raise StopIteration
        return run
