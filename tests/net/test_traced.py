"""Sockets that tell an observer of what they send and receive, and do all else as ever."""

from __future__ import annotations

import socket

import pytest

from tests.net.observers import Listening
from udpft.net.traced import Ends, TracedSockets
from udpft.net.udp import UdpSocket, wait
from udpft.protocol.contract import Batch, Transmit


@pytest.fixture
def observer() -> Listening:
    return Listening()


def bound(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock


def receive(sock: UdpSocket) -> Batch:
    wait([sock], [], 5)
    batch = sock.receive()
    assert batch
    return batch


def connected(to: tuple[str, int]) -> socket.socket:
    sock = bound()
    sock.connect(to)
    return sock


def test_a_burst_is_told_of_as_it_left_and_as_it_came(observer: Listening) -> None:
    sockets = TracedSockets(True, observer)
    server = sockets.open(bound("0.0.0.0"))
    there = ("127.0.0.1", server.address[1])
    client = sockets.open(connected(there))
    here = client.address
    burst = b"a" * 100 + b"b" * 100 + b"c" * 7
    assert client.send(Transmit(memoryview(burst), 100)) is None
    batch = receive(server)
    server.send(Transmit(memoryview(b"answer"), 6), batch.address)
    receive(client)
    assert observer.datagrams == [
        (True, burst, 100, Ends(here, there)),
        (False, burst, 100, Ends(there, here)),
        (True, b"answer", 6, Ends(there, here)),
        (False, b"answer", 6, Ends(here, there)),
    ]
    client.close()
    server.close()


def test_a_new_port_is_told_of(observer: Listening) -> None:
    server = bound()
    client = TracedSockets(True, observer).open(connected(server.getsockname()))
    for new in (False, True):
        client.send(Transmit(memoryview(b"x"), 1, from_new_port=new))
    ports = [ends.local[1] for *_, ends in observer.datagrams]
    assert ports == [server.recvfrom(9)[1][1] for _ in ports]
    assert len(set(ports)) == 2
    client.close()
    server.close()


def test_what_found_no_room_is_not_told_of(observer: Listening) -> None:
    server = bound()
    client = TracedSockets(False, observer).open(connected(server.getsockname()))
    client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    burst = memoryview(bytes(60 * 1000))
    left = client.send(Transmit(burst, 1000))
    told = sum(len(data) for _, data, *_ in observer.datagrams)
    assert told == len(burst) - (len(left.data) if left else 0)
    client.close()
    server.close()


def test_datagrams_of_plain_are_told_of_one_by_one_the_empty_one_too(observer: Listening) -> None:
    server = bound()
    client = TracedSockets(True, observer).open(connected(server.getsockname()), fragment=True)
    client.send(Transmit(memoryview(b"name"), 4))
    for chunk in (b"x" * 2048, b"y" * 2048, b""):
        server.sendto(chunk, client.address)
    while len(observer.plain) < 4:
        receive(client)
    assert [one[:2] for one in observer.plain] == [
        (True, b"name"),
        (False, b"x" * 2048),
        (False, b"y" * 2048),
        (False, b""),
    ]
    client.close()
    server.close()
