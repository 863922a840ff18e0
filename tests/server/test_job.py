"""Jobs: blocking calls in threads, waited for or polled."""

from __future__ import annotations

import threading

import pytest

from udpft.server.job import Job

PATIENCE_S = 20.0


def test_what_it_returns_is_there_when_it_is_done() -> None:
    go = threading.Event()

    def work() -> int:
        assert go.wait(PATIENCE_S)
        return 42

    job = Job(work)
    assert not job.wait(0)
    assert job.ended_at is None
    go.set()
    assert job.wait(PATIENCE_S)
    assert job.ended_at is not None
    assert job.result() == job.result() == 42


def test_what_it_raises_is_raised_where_the_result_is_asked_for() -> None:
    def work() -> None:
        raise LookupError("lost")

    job = Job(work)
    assert job.wait(PATIENCE_S)
    for _ in range(2):
        with pytest.raises(LookupError, match="lost"):
            job.result()
