"""Creation of sessions: those that begin, and the refusals of all others."""

from __future__ import annotations

from random import Random

import pytest

from udpft.errors import (
    Denied,
    ServerBusy,
    UdpftError,
    UploadRefused,
    VersionMismatch,
)
from udpft.protocol.params import DATA_HEADER_SIZE, MAX_CHUNKS, MIN_CHUNK_SIZE
from udpft.protocol.server.admission import Admission
from udpft.protocol.server.session_creation import Entropy, Limits, Request, SessionCreation
from udpft.protocol.transfer.sender import Sender
from udpft.protocol.transfer.synthetic import SYNTHETIC_NAME
from udpft.protocol.transfer.work_budget import WorkBudget
from udpft.protocol.wire.hello import Hello, Role
from udpft.testing.network import MemorySource

HOME = ("10.0.0.1", 5000)
HELLO = Hello(nonce=7, connection_id=1_234, name=b"file", chunk_size=2048, receive_room=200_000)


class Door:
    """SessionCreation to a server of one file, with ids from a list."""

    def __init__(self, *, ids: tuple[int, ...] = (5, 6, 7), most: int = 2) -> None:
        self.source = MemorySource(bytes(10_000))
        self.opened: list[str] = []
        self.taken: set[int] = set()
        draw = iter(ids)
        self.creation = SessionCreation(
            lambda _, name, __: self._open(name),
            None,
            Entropy(bytes(32), lambda: next(draw), Random(1)),
            Limits(Admission(max_sessions=most)),
            WorkBudget(),
            receive_queue=lambda: (100_000, 0),
            is_taken=self.taken.__contains__,
            end_abandoned=lambda *_: None,
        )

    def _open(self, name: str) -> MemorySource:
        self.opened.append(name)
        return self.source

    def refusal(self, hello: Hello) -> UdpftError:
        with pytest.raises(UdpftError) as caught:
            self.creation.begin(Request(hello, 9_000, HOME), 0.0)
        return caught.value


def test_a_session_has_the_file_and_what_was_agreed() -> None:
    door = Door()
    session = door.creation.begin(Request(HELLO, 9_000, HOME), 3.0)
    assert (session.name, session.address) == ("file", HOME)
    assert door.opened == ["file"]
    assert isinstance(session.end, Sender)


def test_chunks_are_as_large_as_the_hello_that_came_through() -> None:
    session = Door().creation.begin(Request(HELLO, 1_472, HOME), 0.0)
    assert isinstance(session.end, Sender)
    transmit = session.end.poll_transmit(0.0)
    assert transmit
    assert len(transmit.data) == 1_448 + DATA_HEADER_SIZE  # ACCEPT, padded


def test_a_connection_id_is_neither_0_nor_in_use() -> None:
    door = Door(ids=(0, 5, 6))
    door.taken.add(5)
    session = door.creation.begin(Request(HELLO, 9_000, HOME), 0.0)
    assert session.terms.ids.own_connection_id == 6


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"version": 99}, VersionMismatch),
        ({"role": 77}, VersionMismatch),
        ({"role": Role.PUT}, UploadRefused),
    ],
    ids=str,
)
def test_what_makes_no_sense_here_opens_nothing(
    change: dict[str, object], error: type[UdpftError]
) -> None:
    door = Door()
    assert type(door.refusal(HELLO._replace(**change))) is error  # type: ignore[arg-type]
    assert door.opened == []


def test_there_is_room_for_so_many() -> None:
    door = Door(most=2)
    for nonce in (1, 2):
        door.creation.begin(Request(HELLO._replace(nonce=nonce), 9_000, HOME), 0.0)
    assert isinstance(door.refusal(HELLO), ServerBusy)


def test_a_server_that_stops_admits_nobody() -> None:
    door = Door()
    door.creation.draining = True
    assert isinstance(door.refusal(HELLO), ServerBusy)
    assert door.opened == []


def test_a_file_of_too_many_chunks_is_given_back() -> None:
    door = Door()
    door.source.size = MAX_CHUNKS * MIN_CHUNK_SIZE
    assert isinstance(door.refusal(HELLO._replace(chunk_size=MIN_CHUNK_SIZE)), Denied)
    assert door.source.closed


def test_what_measures_touches_no_name() -> None:
    door = Door()
    hello = HELLO._replace(role=Role.MEASURE, size=1_000_000, name=b"../anything")
    session = door.creation.begin(Request(hello, 9_000, HOME), 0.0)
    assert session.name == SYNTHETIC_NAME
    assert door.opened == []
