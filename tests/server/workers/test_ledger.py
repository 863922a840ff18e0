"""Counts that workers share, in one process and in two."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing

import pytest

from udpft.server.workers.ledger import Count, Ledger


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with closing(Ledger(3)) as ledger:
        yield ledger


def test_sums_are_of_all_rows(ledger: Ledger) -> None:
    ledger.add(0, Count.RELIABLE, 2)
    ledger.add(2, Count.RELIABLE, 3)
    ledger.add(2, Count.RELIABLE, -1)
    ledger.add(1, Count.PLAIN, 1)
    assert ledger.sum(Count.RELIABLE) == 4
    assert ledger.transfers == 5


def test_hosts_are_counted_in_all_rows(ledger: Ledger) -> None:
    ledger.add_of_host(0, "192.0.2.1", 1)
    ledger.add_of_host(1, "192.0.2.1", 2)
    assert ledger.sum_of_host("192.0.2.1") == 3
    assert ledger.sum_of_host("192.0.2.2") == 0


def test_a_worker_that_is_gone_leaves_what_it_promised_and_nothing_else(ledger: Ledger) -> None:
    for row in (0, 1):
        ledger.note_process(row, 100 + row)
        for count in (Count.RELIABLE, Count.PLAIN, Count.PROMISED_BYTES):
            ledger.add(row, count, 5)
        ledger.add_of_host(row, "host", 5)
    ledger.clear(1)
    assert [ledger.sum(count) for count in list(Count)[:3]] == [5, 5, 10]
    assert ledger.sum_of_host("host") == 5
    assert ledger.process_ids() == [100]


def test_another_process_counts_in_the_same_memory_and_dies_with_the_lock(ledger: Ledger) -> None:
    reader, writer = os.pipe()
    process_id = os.fork()
    if not process_id:
        with ledger.locked():
            ledger.add(1, Count.RELIABLE, 7)
            ledger.add_of_host(1, "host", 7)
            os.write(writer, b"held")
            signal.pause()
    assert os.read(reader, 4) == b"held"
    os.kill(process_id, signal.SIGKILL)
    os.waitpid(process_id, 0)
    with ledger.locked():
        assert (ledger.sum(Count.RELIABLE), ledger.sum_of_host("host")) == (7, 7)
    os.close(reader)
    os.close(writer)
