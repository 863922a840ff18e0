"""The loop between an endpoint and its socket: the order of its calls, and what ends it."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.samples import PATIENCE_S, sample
from udpft.errors import LocalWriteFailed
from udpft.net.clock import clock
from udpft.net.loop import drive, flush
from udpft.net.udp import UdpSocket
from udpft.protocol.contract import Batch, Completed, Event, Failed, Transmit, Verified
from udpft.protocol.wire.error import ErrorCode

DONE = Completed(b"digest")


class Scripted:
    """An endpoint that says what it is told to, and notes what it hears."""

    def __init__(self) -> None:
        self.outgoing: deque[bytes] = deque()
        self.events: deque[Event] = deque()
        self.heard: list[bytes] = []
        self.timeouts: list[float] = []
        self.due: float | None = None
        self.calls: list[str] = []
        self.rest_until = 0.0

    def handle_datagrams(self, batch: Batch, now: float) -> None:
        self.calls.append("datagrams")
        assert now <= clock()
        self.heard += map(bytes, batch.datagrams())
        self.on_heard()

    def on_heard(self) -> None:
        self.events.append(DONE)

    def handle_timeout(self, now: float) -> None:
        self.calls.append("timeout")
        if self.due is not None and now >= self.due:
            self.due = None
            self.timeouts.append(now)
            self.events.append(DONE)

    def poll_transmit(self, _now: float) -> Transmit | None:
        self.calls.append("transmit")
        if not self.outgoing:
            return None
        data = self.outgoing.popleft()
        return Transmit(memoryview(data), 1000)

    def poll_event(self) -> Event | None:
        self.calls.append("event")
        return self.events.popleft() if self.events else None

    def next_timeout(self) -> float | None:
        return self.due

    def abort(self, error: Any, _code: ErrorCode = ErrorCode.CANCELLED) -> None:
        self.events.append(Failed(error))


@pytest.fixture
def pair() -> Iterator[tuple[UdpSocket, socket.socket]]:
    """A socket of ours, connected to one of somebody else's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(PATIENCE_S)
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        own.connect(other.getsockname())
        other.connect(own.getsockname())
        udp = UdpSocket(own)
        yield udp, other
        udp.close()


def ended(event: Event) -> bool:
    return event is DONE


def test_what_there_is_to_send_leaves_before_anything_is_awaited(
    pair: tuple[UdpSocket, socket.socket],
) -> None:
    udp, other = pair
    endpoint = Scripted()
    endpoint.outgoing += [b"one", b"two"]
    endpoint.events.append(DONE)
    drive(endpoint, udp, ended)
    assert [other.recv(100), other.recv(100)] == [b"one", b"two"]
    assert endpoint.calls[:4] == ["transmit", "transmit", "transmit", "event"]
    assert "datagrams" not in endpoint.calls


def test_what_arrives_is_handed_over_a_batch_at_a_time(
    pair: tuple[UdpSocket, socket.socket],
) -> None:
    udp, other = pair
    for data in (b"aaaa", b"bbbb", b"cc"):
        other.send(data)
    endpoint = Scripted()
    drive(endpoint, udp, ended)
    assert endpoint.heard == [b"aaaa", b"bbbb", b"cc"]
    assert endpoint.calls.count("datagrams") == 1


def test_a_deadline_wakes_it(pair: tuple[UdpSocket, socket.socket]) -> None:
    udp, _ = pair
    endpoint = Scripted()
    endpoint.due = due = clock() + 0.02
    drive(endpoint, udp, ended)
    assert endpoint.timeouts[0] >= due


def test_waits_are_told_though_it_ends_in_an_error(pair: tuple[UdpSocket, socket.socket]) -> None:
    class Refused(Scripted):
        def handle_timeout(self, _now: float) -> None:
            raise ConnectionRefusedError

    udp, _ = pair
    endpoint, waits = Refused(), list[float]()
    endpoint.due = clock() + 0.02
    with pytest.raises(ConnectionRefusedError):
        drive(endpoint, udp, ended, on_wait=waits.append)
    assert sum(waits) >= 0.015


def test_what_an_event_left_to_say_is_sent_before_it_returns(
    pair: tuple[UdpSocket, socket.socket],
) -> None:
    udp, other = pair
    endpoint = Scripted()
    endpoint.events += [Verified(b"digest"), DONE]
    seen: list[Event] = []

    def on_event(event: Event) -> bool:
        seen.append(event)
        endpoint.outgoing.append(b"confirmed" if isinstance(event, Verified) else b"bye")
        return ended(event)

    drive(endpoint, udp, on_event)
    assert seen == [Verified(b"digest"), DONE]
    assert [other.recv(100), other.recv(100)] == [b"confirmed", b"bye"]


def test_each_turn_is_told_with_the_time(pair: tuple[UdpSocket, socket.socket]) -> None:
    udp, other = pair

    class Twice(Scripted):
        def on_heard(self) -> None:
            if len(self.heard) == 2:
                self.events.append(DONE)
            else:
                other.send(b"two")

    other.send(b"one")
    turns: list[float] = []
    before = clock()
    drive(Twice(), udp, ended, turns.append)
    assert len(turns) >= 2
    assert turns == sorted(turns)
    assert before <= turns[0] <= turns[-1] <= clock()


def test_errors_leave_it(pair: tuple[UdpSocket, socket.socket]) -> None:
    udp, other = pair

    class Full(Scripted):
        def on_heard(self) -> None:
            raise LocalWriteFailed("disk full")

    other.send(b"one")
    with pytest.raises(LocalWriteFailed):
        drive(Full(), udp, ended)


def test_a_closed_port_leaves_it_and_it_can_go_on(pair: tuple[UdpSocket, socket.socket]) -> None:
    udp, other = pair
    address = other.getsockname()
    other.close()
    endpoint = Scripted()
    endpoint.outgoing.append(b"anybody?")
    with pytest.raises(ConnectionRefusedError):
        drive(endpoint, udp, ended)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(address)
        back.sendto(b"here again", udp.address)
        drive(endpoint, udp, ended)
    assert endpoint.heard == [b"here again"]


def test_a_full_send_buffer_is_waited_for() -> None:
    class Filling(socket.socket):
        sends = 0

        def sendmsg(self, *arguments: Any) -> int:
            self.sends += 1
            if self.sends % 2:
                raise BlockingIOError
            return super().sendmsg(*arguments)

    own = Filling(socket.AF_INET, socket.SOCK_DGRAM)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reader:
        reader.bind(("127.0.0.1", 0))
        reader.settimeout(PATIENCE_S)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        own.connect(reader.getsockname())
        endpoint = Scripted()
        content = sample(100_000)
        endpoint.outgoing.append(content)
        with closing(UdpSocket(own)) as udp:
            flush(endpoint, udp, clock())
        assert b"".join(reader.recv(65_536) for _ in range(100)) == content
    assert own.sends == 4  # two sends, each tried twice


def test_an_endpoint_that_rests_takes_in_together_what_comes_meanwhile(
    pair: tuple[UdpSocket, socket.socket],
) -> None:
    udp, other = pair

    class Resting(Scripted):
        def on_heard(self) -> None:
            if len(self.heard) == 1:
                self.rest_until = clock() + 0.02
                for data in (b"two", b"wee"):
                    other.send(data)
            else:
                self.events.append(DONE)

    other.send(b"one")
    endpoint = Resting()
    drive(endpoint, udp, ended)
    assert clock() >= endpoint.rest_until
    assert endpoint.heard == [b"one", b"two", b"wee"]
    assert endpoint.calls.count("datagrams") == 2


def test_a_deadline_ends_a_rest(pair: tuple[UdpSocket, socket.socket]) -> None:
    udp, _ = pair
    endpoint = Scripted()
    endpoint.rest_until = clock() + PATIENCE_S
    endpoint.due = due = clock() + 0.02
    drive(endpoint, udp, ended)
    assert due <= endpoint.timeouts[0] < endpoint.rest_until
