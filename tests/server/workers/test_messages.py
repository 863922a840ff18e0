"""Messages between processes: what arrives is what was told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from udpft.errors import ExitCode, NoSuchFile, PartialTransfer
from udpft.outcome.served import Refused, Served
from udpft.server.workers.messages import (
    Channel,
    cut,
    error_of,
    fields_of,
    fields_of_error,
    refused_of,
    served_of,
)

Ends = tuple[Channel, Channel]
NAME = "caf\udce9 \u2603 " + 1_000 * "\udcff"
SERVED = Served(NAME, "p", "reliable", 5, 7, 0.25, 1, True, None, limited_by="path", slow=True)


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = Channel.pair()
    with closing(ours), closing(theirs):
        yield ours, theirs


def test_a_record_arrives_as_it_was(ends: Ends) -> None:
    ends[0].tell("served", **fields_of(SERVED))
    message = ends[1].receive()
    assert message
    assert message["kind"] == "served"
    assert served_of(message) == SERVED


def test_an_error_arrives_with_its_words_and_its_code(ends: Ends) -> None:
    ends[0].tell("served", **fields_of(SERVED._replace(error=PartialTransfer("gone"))))
    ends[0].tell("refused", **fields_of(Refused("a", "p", "plain", True, NoSuchFile("no"))))
    ends[0].tell("failed", **fields_of_error(NoSuchFile("no", hint="yes")))
    served, refused, failed = (ends[1].receive() or {} for _ in range(3))
    error = served_of(served).error
    assert error
    assert (str(error), error.exit_code) == ("gone", ExitCode.PARTIAL)
    told = refused_of(refused)
    assert told[:4] == ("a", "p", "plain", True)
    assert told.error.exit_code is ExitCode.NO_SUCH_FILE
    assert error_of(failed).hint == "yes"


def test_an_end_that_has_no_more_to_say_goes_on_listening(ends: Ends) -> None:
    ends[0].end()
    assert ends[1].receive() is None
    ends[1].tell("notice", text="still here")
    assert ends[0].receive() == {"kind": "notice", "text": "still here"}


def test_nobody_waits_for_an_end_that_is_gone(ends: Ends) -> None:
    ends[0].close()
    ends[1].tell("notice", text="lost")
    assert ends[1].receive() is None
    assert ends[0].receive() is None


def test_where_the_other_end_is_behind_a_message_may_be_lost() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(Channel(ours)) as one, closing(theirs):
        for _ in range(100_000):
            one.tell("want_upload", wait=False, name="x" * 1_000)


def test_endless_texts_are_cut() -> None:
    assert len(cut("x" * 100_000)) < 10_000
