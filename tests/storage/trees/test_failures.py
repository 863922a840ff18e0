"""Files that could not be sent: what is remembered of them, and for how long."""

from __future__ import annotations

import errno
import os

from udpft.errors import LocalReadFailed
from udpft.protocol.wire.listing import Entry, Reason
from udpft.storage.trees.failures import MAX_REMEMBERED, REMEMBERED_S, Failures

FILE = Entry("t/file", False, 5, 0, 0o644, 7)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def read_error() -> LocalReadFailed:
    error = LocalReadFailed("cannot read the file")
    error.__cause__ = OSError(errno.EIO, os.strerror(errno.EIO))
    return error


def test_a_file_that_cannot_be_read_is_left_out_until_it_is_another() -> None:
    failures = Failures()
    assert failures.reason(FILE) is None
    failures.note(FILE, read_error())
    assert failures.reason(FILE) is Reason.READ_ERROR
    assert failures.reason(FILE._replace(version=8)) is None
    assert failures.reason(FILE._replace(path="t/other")) is None


def test_a_file_that_changed_once_is_tried_again_and_one_that_never_rests_is_left_out() -> None:
    failures = Failures()
    failures.note(FILE, None)
    assert failures.reason(FILE) is None
    failures.note(FILE._replace(version=8), None)
    assert failures.reason(FILE._replace(version=9)) is Reason.CHANGING


def test_what_failed_long_ago_is_tried_again() -> None:
    clock = Clock()
    failures = Failures(clock)
    failures.note(FILE, read_error())
    clock.now += REMEMBERED_S + 1
    assert failures.reason(FILE) is None
    failures.note(FILE, None)
    clock.now += REMEMBERED_S + 1
    failures.note(FILE, None)
    assert failures.reason(FILE) is None


def test_only_so_many_are_remembered() -> None:
    failures = Failures()
    for number in range(MAX_REMEMBERED + 1):
        failures.note(FILE._replace(path=str(number)), read_error())
    assert failures.reason(FILE._replace(path="0")) is None
    assert failures.reason(FILE._replace(path="1")) is Reason.READ_ERROR
