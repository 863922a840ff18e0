"""Eviction: who makes way when a server has no room."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

from tests.protocol.server.test_listener import HELLO, Served
from udpft.errors import ServerBusy, TimedOut
from udpft.protocol.server.admission import Admission
from udpft.protocol.server.eviction import (
    JUDGED_AFTER_S,
    REVIEW_INTERVAL_S,
    SLOW_BYTES_PER_S,
    UNHEARD_AFTER_S,
    Eviction,
)
from udpft.protocol.server.session import Session
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.error import ErrorCode, decode_error_untrusted
from udpft.protocol.wire.packet import PacketType

LATER = JUDGED_AFTER_S
IDS = count(1)
FAST = int(100_000 * JUDGED_AFTER_S)
STANDING = int(SLOW_BYTES_PER_S * JUDGED_AFTER_S / 2)


def transfer(
    progress: int = 0,
    host: str = "",
    *,
    heard: bool = True,
    busy: bool = False,
    began: float = 0.0,
) -> Session:
    fields: dict[str, Any] = {"mark": (began, 0), "progress_bytes": progress}
    fields["connection_id"] = next(IDS)
    end = SimpleNamespace(heard=heard, is_busy_itself=busy)
    return cast(Session, SimpleNamespace(**fields, address=host, began=began, end=end))


def at_work(*sessions: Session) -> dict[int, Session]:
    return {session.connection_id: session for session in sessions}


def eviction() -> Eviction:
    return Eviction(lambda host: host)


def victims(sessions: list[Session], now: float = LATER, host: Hashable = None) -> list[Session]:
    """Those that go, in order, until none does."""
    chooser, found = eviction(), []
    while victim := chooser.next_victim(at_work(*sessions), now, host):
        found.append(victim)
    return found


def test_the_slowest_goes_first_and_those_that_bring_enough_stay() -> None:
    slow, slower = transfer(STANDING), transfer(STANDING // 2)
    assert victims([transfer(FAST), slow, slower, transfer(FAST)]) == [slower, slow]


def test_who_is_far_below_the_others_goes_and_where_all_are_alike_nobody_does() -> None:
    crawling = transfer(FAST // 100)
    assert victims([transfer(FAST), crawling]) == [crawling]
    assert victims([transfer(FAST // 100) for _ in range(5)]) == []
    assert victims([]) == []


def test_those_of_the_host_that_has_most_go_first() -> None:
    one, *many = transfer(0, "one"), transfer(9, "many"), transfer(8, "many"), transfer(7, "many")
    assert victims([one, *many]) == [*reversed(many), one]
    assert victims([transfer(0, "one"), many[0]], 2 * LATER, "many") == [many[0]]


def test_who_was_never_heard_of_goes_before_the_others_the_oldest_first() -> None:
    standing = transfer(0)
    unheard = [transfer(heard=False, began=n) for n in (3.0, 2.0, LATER - UNHEARD_AFTER_S / 2)]
    assert victims([standing, *unheard]) == [unheard[1], unheard[0], standing]


def test_the_new_and_those_whose_server_is_at_work_are_not_judged() -> None:
    assert victims([transfer(0, began=1.0)]) == []
    assert victims([transfer(0, busy=True)]) == []


def test_who_has_ended_or_was_heard_meanwhile_is_no_victim() -> None:
    standing, late = transfer(STANDING), transfer(heard=False)
    sessions, chooser = [standing, transfer(0), transfer(0), late], eviction()
    assert chooser.next_victim(at_work(*sessions), LATER) is late
    assert chooser.next_victim(at_work(*sessions), LATER) in sessions[1:3]
    assert chooser.next_victim(at_work(standing), LATER) is standing
    chooser = eviction()
    sessions = [transfer(heard=False), late]
    assert chooser.next_victim(at_work(*sessions), LATER) in sessions
    for session in sessions:
        cast(Any, session.end).heard = True
    assert chooser.next_victim(at_work(*sessions), LATER) is None


def test_progress_is_that_of_late_and_not_of_long_ago() -> None:
    one, chooser = transfer(FAST), eviction()
    assert chooser.next_victim(at_work(one), LATER) is None
    assert chooser.next_victim(at_work(one), LATER + REVIEW_INTERVAL_S) is None
    assert chooser.next_victim(at_work(one), 2 * LATER) is one


def test_all_are_looked_at_now_and_then_only() -> None:
    chooser = eviction()
    assert chooser.next_victim({}, LATER) is None
    assert chooser.next_victim(at_work(transfer(0)), LATER + REVIEW_INTERVAL_S / 2) is None
    assert chooser.next_victim(at_work(transfer(0)), LATER + REVIEW_INTERVAL_S)


def test_one_ack_in_a_while_does_not_hold_a_place_for_good() -> None:
    net = Served(max_sessions=1)
    accept = net.accept()
    for second in range(1, 12):
        ack = Ack(0.0, 200_000, 0, 0, [(0, 1)])
        net.receive(encode_ack(ack, accept.connection_id, accept.nonce), now=float(second))
        net.answers(float(second))
    other = ("10.0.0.2", 5000)
    packets = net.greet(HELLO._replace(nonce=100), other, 12.0)
    [error] = [decode_error_untrusted(p) for p in packets if p.type is PacketType.ERROR]
    assert (error.code, error.nonce) == (ErrorCode.TIMED_OUT, HELLO.nonce)
    assert error.is_giving_up  # it may go on when there is room
    assert PacketType.ACCEPT in {packet.type for packet in packets}
    outcome = net.listener.poll_outcome()
    assert outcome
    assert isinstance(outcome.error, TimedOut)


def test_who_asks_and_is_silent_holds_a_place_for_a_moment_only() -> None:
    net = Served(max_sessions=1)
    net.accept()
    other, hello = ("10.0.0.2", 5000), HELLO._replace(nonce=100)
    [refused] = net.greet(hello, other, 0.4)
    assert decode_error_untrusted(refused).code == ErrorCode.BUSY
    packets = net.greet(hello._replace(nonce=102), other, 0.7)
    assert {packet.type for packet in packets} == {PacketType.ACCEPT, PacketType.ERROR}
    outcome = net.listener.poll_outcome()
    assert outcome
    assert isinstance(outcome.error, ServerBusy)


def test_a_host_that_has_its_share_makes_room_among_its_own() -> None:
    net = Served(max_sessions=10)
    admission = Admission(lambda a: cast(Any, a)[0], max_sessions=10, max_sessions_a_host=1)
    net.listener._creation.admission = admission
    net.listener._eviction = Eviction(admission.charged_host)
    net.accept()
    net.accept(HELLO._replace(nonce=100), ("10.0.0.2", 5000))
    packets = net.greet(HELLO._replace(nonce=200), now=1.0)
    assert {packet.type for packet in packets} == {PacketType.ACCEPT, PacketType.ERROR}
    outcome = net.listener.poll_outcome()
    assert outcome
    assert outcome.address == ("10.0.0.1", 5000)


def test_a_server_that_stops_lets_nobody_go_for_others() -> None:
    net = Served(max_sessions=1)
    net.accept()
    net.listener.draining = True
    net.greet(HELLO._replace(nonce=100), ("10.0.0.2", 5000), 1.0)
    assert len(net.listener) == 1
