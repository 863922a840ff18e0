"""Ledger: counts that all workers of a port share, so that limits hold for them together."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

_HOSTS: Final = 1 << 16
"""Cells in which transfers are counted by a hash of their host, which nobody outside can choose.
Two hosts of one cell are counted as one; never less than there are."""


class Count(IntEnum):
    """Things that each worker counts."""

    RELIABLE = 0
    PLAIN = 1
    PROMISED_BYTES = 2
    PROCESS_ID = 3


class Ledger:
    """Counts of all workers, in memory that processes share which are forked afterwards.

    Args:
        workers: number of rows; worker N writes to row N alone.

    Attributes:
        _counts: of each row, one integer for each `Count`.
        _hosts: of each row, the transfers of the hosts of each cell.
        _lock: descriptor of a file whose lock is held while something is looked at and changed. A
            process that dies gives it back.
    """

    def __init__(self, workers: int) -> None:
        self._workers = range(workers)
        self._counts = memoryview(mmap.mmap(-1, workers * len(Count) * 8)).cast("q")
        self._hosts = memoryview(mmap.mmap(-1, workers * _HOSTS * 4)).cast("I")
        self._lock = os.memfd_create("udpft-ledger")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the other workers from changing anything meanwhile."""
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def sum(self, count: Count) -> int:
        """Sum of all rows."""
        return sum(self._counts[row * len(Count) + count] for row in self._workers)

    def add(self, row: int, count: Count, change: int) -> None:
        """Add to a count of a row."""
        self._counts[row * len(Count) + count] += change

    def sum_of_host(self, host: Hashable) -> int:
        """Transfers of a host at work, in all rows."""
        cell = hash(host) % _HOSTS
        return sum(self._hosts[row * _HOSTS + cell] for row in self._workers)

    def add_of_host(self, row: int, host: Hashable, change: int) -> None:
        """Add to a row's transfers of a host."""
        self._hosts[row * _HOSTS + hash(host) % _HOSTS] += change

    @property
    def transfers(self) -> int:
        """Transfers at work, reliable and plain."""
        return self.sum(Count.RELIABLE) + self.sum(Count.PLAIN)

    def process_ids(self) -> list[int]:
        """Processes of the workers that are there."""
        ids = [self._counts[row * len(Count) + Count.PROCESS_ID] for row in self._workers]
        return [one for one in ids if one]

    def clear(self, row: int) -> None:
        """Clear the row of a worker that is gone.

        What it has promised of the quota stays promised: nobody knows how much of it has come, and
        that must not be more than the quota.
        """
        with self.locked():
            for count in (Count.RELIABLE, Count.PLAIN, Count.PROCESS_ID):
                self._counts[row * len(Count) + count] = 0
            self._hosts[row * _HOSTS : (row + 1) * _HOSTS] = memoryview(bytes(_HOSTS * 4)).cast("I")

    def note_process(self, row: int, process_id: int) -> None:
        """Note which process a row's worker is."""
        self._counts[row * len(Count) + Count.PROCESS_ID] = process_id

    def close(self) -> None:
        """Close the lock's file."""
        os.close(self._lock)
