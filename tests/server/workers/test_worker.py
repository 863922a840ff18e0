"""Two workers in threads, each on a port of its own, so that a test chooses whom a client asks."""

from __future__ import annotations

import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.loopback import HeldTransfer, assert_busy
from tests.samples import LARGE, PATIENCE_S, sample
from udpft.errors import Denied
from udpft.net.address import Address
from udpft.net.clock import clock
from udpft.protocol.handshake.initiator import Initiator
from udpft.protocol.wire.hello import Hello, Role
from udpft.server.failures import LOGGER
from udpft.server.workers.ledger import Count, Ledger
from udpft.server.workers.messages import Channel
from udpft.server.workers.worker import Common, serve
from udpft.storage.served_folder import ServedRoot

OPTIONS: dict[str, Any] = {"writable": True, "quota": "8M", "max_clients": 4}


class Pair:
    """Two workers, and a supervisor that passes on what they want of each other."""

    def __init__(self, common: Common) -> None:
        self.addresses = [Address(*one.getsockname()) for one in common.sockets]
        self.ledger = common.ledger
        self.told: list[dict[str, Any]] = []
        self._ends: list[Channel] = []
        self._threads: list[threading.Thread] = []
        for number in range(2):
            ours, theirs = Channel.pair()
            self._ends.append(ours)
            self._start(lambda number=number, theirs=theirs: self._work(number, common, theirs))
        for number in range(2):
            ready = self._ends[number].receive()
            assert ready
            assert ready["kind"] == "ready"
            self._start(lambda number=number: self._listen(number))

    def _start(self, work: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=work))
        self._threads[-1].start()

    def _work(self, number: int, common: Common, channel: Channel) -> None:
        with closing(channel):
            serve(number, common, channel)

    def _listen(self, number: int) -> None:
        while message := self._ends[number].receive():
            self.told.append(message)
            if message["kind"].startswith("want_"):
                self._ends[1 - number].tell(**message)

    def close(self) -> None:
        """End both, as their supervisor does."""
        for end in self._ends:
            end.end()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        for end in self._ends:
            end.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    served = tmp_path / "served"
    served.mkdir()
    for size in (1, LARGE):
        (served / str(size)).write_bytes(sample(size))
    handlers, propagates = LOGGER.handlers, LOGGER.propagate
    with ExitStack() as stack:
        sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ledger = stack.enter_context(closing(Ledger(2)))
        roots = ServedRoot(served)  # the first that ends closes it
        pair = Pair(Common(roots, sockets, ledger, secrets.token_bytes(32), OPTIONS))
        stack.callback(pair.close)
        yield pair
    LOGGER.handlers, LOGGER.propagate = handlers, propagates


def hold_upload(server: Address, name: str, size: int) -> None:
    """Begin an upload by hand, and say no more."""
    hello = Hello(secrets.randbits(64), secrets.randbits(32), name.encode(), 2048, 4096)
    hello = hello._replace(role=Role.PUT, size=size, identity=7)
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect(server)
        sock.settimeout(PATIENCE_S)
        initiator = Initiator(hello, now=clock())
        while not initiator.result:
            while datagram := initiator.poll(clock()):
                sock.send(datagram)
            initiator.handle(memoryview(sock.recv(65_536)), clock())


def test_each_serves_and_tells(pair: Pair, tmp_path: Path) -> None:
    for address in pair.addresses:
        udpft.get(str(LARGE), server=str(address), output=tmp_path / str(address.port))
        assert (tmp_path / str(address.port)).read_bytes() == sample(LARGE)
    pair.close()
    assert [one["name"] for one in pair.told if one["kind"] == "served"] == 2 * [str(LARGE)]
    assert pair.ledger.transfers == 0


def test_a_cookie_of_one_is_good_for_the_other(pair: Pair) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE_S)
        hello = Hello(secrets.randbits(64), secrets.randbits(32), b"1", 2048, 4096)
        initiator = Initiator(hello, now=clock())
        answers = []
        for address in pair.addresses:
            while datagram := initiator.poll(clock()):
                sock.sendto(datagram, address)
            while not answers or answers[-1][1] != tuple(address):
                answers.append(sock.recvfrom(65_536))
                initiator.handle(memoryview(answers[-1][0]), clock())
        while not initiator.result:
            initiator.handle(memoryview(sock.recv(65_536)), clock())


def test_an_upload_goes_on_at_another_worker_when_its_client_has_left_the_first(
    pair: Pair, tmp_path: Path
) -> None:
    (tmp_path / "new").write_bytes(sample(LARGE))
    hold_upload(pair.addresses[0], "new", LARGE)
    assert pair.ledger.sum(Count.RELIABLE) == 1
    udpft.put(tmp_path / "new", server=str(pair.addresses[1]), connect_timeout=PATIENCE_S)
    assert (tmp_path / "served/new").read_bytes() == sample(LARGE)
    assert {"kind": "want_upload", "name": "new"} in pair.told


def test_the_quota_holds_at_both(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(sample(LARGE))
    udpft.put(tmp_path / "new", server=str(pair.addresses[0]), as_name="a")
    with pytest.raises(Denied, match="quota for uploads is used up"):
        udpft.put(tmp_path / "new", server=str(pair.addresses[1]), as_name="b")


def test_one_makes_room_for_a_client_of_the_other(pair: Pair, tmp_path: Path) -> None:
    for _ in range(OPTIONS["max_clients"]):
        HeldTransfer(pair.addresses[0], str(LARGE))
    assert_busy(str(pair.addresses[1]), tmp_path)
    result = udpft.get(
        "1", server=str(pair.addresses[1]), output=tmp_path, connect_timeout=PATIENCE_S
    )
    assert result.verified
    assert any(one["kind"] == "want_room" for one in pair.told)


def test_what_nobody_expected_is_told(pair: Pair) -> None:
    try:
        raise ValueError("odd")
    except ValueError as error:
        LOGGER.error("it is %s", error, exc_info=error)
    assert logging.getLogger("udpft.server") is LOGGER
    pair.close()
    failures = [one for one in pair.told if one["kind"] == "failure"]
    assert failures[0]["text"] == "it is odd"
    assert failures[0]["trace"].endswith("ValueError: odd")
