"""Cancellation token: each way to wait that it ends."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.loopback import meanwhile
from tests.samples import PATIENCE_S
from udpft.errors import ExitCode, HostNotFound, Stopped
from udpft.net.address import Address, resolve
from udpft.net.loop import drive
from udpft.net.stop import Stop
from udpft.net.udp import UdpSocket, wait
from udpft.protocol.contract import Event, Transmit


class Idle:
    """An endpoint that waits for ever, and says when it begins to."""

    rest_until = 0.0

    def __init__(self) -> None:
        self.waits = threading.Event()

    def handle_datagrams(self, *_: object) -> None:
        """Nothing comes."""

    def handle_timeout(self, _: float) -> None:
        """Nothing is due."""

    def poll_transmit(self, _: float) -> Transmit | None:
        return None

    def poll_event(self) -> Event | None:
        return None

    def next_timeout(self) -> float | None:
        self.waits.set()
        return None


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def udp(stranger: socket.socket) -> Iterator[UdpSocket]:
    """A socket, connected to one that says nothing."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(stranger.getsockname())
    udp = UdpSocket(sock)
    yield udp
    udp.close()


def refused_as_stopped(work: Callable[[], object]) -> Callable[[], None]:
    """The work, which must end by being stopped."""

    def attempt() -> None:
        with pytest.raises(Stopped) as caught:
            work()
        assert caught.value.exit_code == ExitCode.INTERRUPTED

    return attempt


def test_a_loop_that_waits_for_ever_is_stopped_from_another_thread(
    udp: UdpSocket, stop: Stop
) -> None:
    idle = Idle()
    with meanwhile(refused_as_stopped(lambda: drive(idle, udp, lambda _: False, stop=stop))):
        assert idle.waits.wait(PATIENCE_S)
        stop.set()


def test_a_loop_that_was_stopped_before_does_not_wait(udp: UdpSocket, stop: Stop) -> None:
    idle = Idle()
    stop.set()
    refused_as_stopped(lambda: drive(idle, udp, lambda _: False, stop=stop))()
    assert not idle.waits.is_set()


def test_once_said_it_stays_said(stop: Stop) -> None:
    assert not stop.is_set()
    stop.check()
    assert wait([stop], [], 0) == []
    for _ in range(3):
        stop.set()
        assert stop.is_set()
        assert wait([stop], [], 0) == [stop]
        with pytest.raises(Stopped):
            stop.check()


def test_a_sleeper_is_woken(stop: Stop) -> None:
    stop.sleep(0)
    with meanwhile(refused_as_stopped(lambda: stop.sleep(1_000))):
        stop.set()


def test_a_guarded_function_does_its_work_until_it_is_stopped(stop: Stop) -> None:
    add = stop.guarded(lambda left, right: left + right)
    assert add(2, 3) == 5
    stop.set()
    with pytest.raises(Stopped):
        add(2, 3)


def test_what_cannot_be_interrupted_is_left_behind(stop: Stop) -> None:
    begun, released, ended = (threading.Event() for _ in range(3))

    def work() -> None:
        begun.set()
        released.wait(PATIENCE_S)
        ended.set()

    with meanwhile(refused_as_stopped(lambda: stop.outlast(work))):
        assert begun.wait(PATIENCE_S)
        stop.set()
    assert not ended.is_set()
    released.set()
    assert ended.wait(PATIENCE_S)


def test_what_is_outlasted_returns_and_raises_as_it_would(stop: Stop) -> None:
    assert stop.outlast(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        stop.outlast(lambda: 1 / 0)


def test_the_resolver_can_be_stopped(stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(Address("127.0.0.1", 9), stop) == resolve(Address("127.0.0.1", 9))
    with pytest.raises(HostNotFound):
        resolve(Address("no.invalid", 9), stop)
    asked, released = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> None:
        asked.set()
        released.wait(PATIENCE_S)

    monkeypatch.setattr("socket.getaddrinfo", slow)
    with meanwhile(refused_as_stopped(lambda: resolve(Address("slow.example", 9), stop))):
        assert asked.wait(PATIENCE_S)
        stop.set()
    released.set()


def test_it_leaves_no_descriptor_behind() -> None:
    fds = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        Stop().set()
    assert len(os.listdir("/proc/self/fd")) == fds


def test_a_stop_that_nobody_waits_for_takes_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    stop = Stop()
    stop.set()
    assert len(os.listdir("/proc/self/fd")) == before
    wait([stop], [], PATIENCE_S)  # made now, and readable at once
    assert len(os.listdir("/proc/self/fd")) == before + 1
