"""Answers leave from the address that was asked, where a socket is bound to all of them."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

import udpft
from tests.ipv6 import needs_ipv6
from tests.samples import LARGE, PATIENCE_S, sample
from udpft.api import connect
from udpft.net.address import Address
from udpft.net.pktinfo import Peer, is_wildcard
from udpft.net.udp import UdpSocket, wait
from udpft.protocol.contract import Batch, Transmit
from udpft.small_modes.conversation import Conversation, Datagram

SECOND = "127.0.0.2"
"""An address of this machine, from which nothing is answered unless somebody sees to it."""

WILDCARDS = ["0.0.0.0", pytest.param("::", marks=needs_ipv6)]


def bound_to(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((host, 0))
    return sock


def client_of(udp: UdpSocket, host: str = SECOND) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((host, udp.address[1]))
    sock.settimeout(PATIENCE_S)
    return sock


def received(udp: UdpSocket) -> Batch:
    assert wait([udp], [], PATIENCE_S)
    batch = udp.receive()
    assert batch
    return batch


@pytest.mark.parametrize("host", WILDCARDS)
@pytest.mark.parametrize("count", [1, 5])
def test_a_burst_leaves_from_the_address_that_was_asked(host: str, count: int) -> None:
    with closing(UdpSocket(bound_to(host))) as udp, client_of(udp) as client:
        client.send(b"?")
        batch = received(udp)
        assert isinstance(batch.address, Peer)
        assert batch.address.local_host.removeprefix("::ffff:") == SECOND
        assert udp.send(Transmit(memoryview(bytes(100 * count)), 100), batch.address) is None
        assert [len(client.recv(200)) for _ in range(count)] == [100] * count


def test_one_client_at_two_addresses_is_two_peers() -> None:
    with closing(UdpSocket(bound_to("0.0.0.0"))) as udp, bound_to("127.0.0.1") as client:
        for host in ("127.0.0.1", SECOND, SECOND):
            client.sendto(host.encode(), (host, udp.address[1]))
        first, second = received(udp), None
        first = first.kept()
        second = received(udp)
        assert first.address != second.address
        assert first.address[:2] == second.address[:2]
        assert bytes(second.buffer[: second.length]) in (SECOND.encode(), 2 * SECOND.encode())


def test_a_socket_of_one_address_asks_for_nothing() -> None:
    with closing(UdpSocket(bound_to("127.0.0.1"))) as udp, client_of(udp, "127.0.0.1") as client:
        client.send(b"?")
        assert received(udp).address == client.getsockname()
        assert not is_wildcard(client)


@pytest.mark.parametrize("host", WILDCARDS)
@pytest.mark.parametrize("mode", ["reliable", "plain"])
def test_a_server_on_all_addresses_answers_at_each(
    samples: Path, tmp_path: Path, host: str, mode: str
) -> None:
    with udpft.serve(samples, host=host, port=0) as server:
        for asked in ("127.0.0.1", SECOND):
            address = str(Address(asked, server.port))
            target = tmp_path / f"{asked}-{mode}"
            size = LARGE if mode == "reliable" else 2049
            with connect(address, connect_timeout=2) as client:
                if mode == "reliable":
                    client.fetch(str(size), target)
                else:
                    client.fetch_plain(str(size), target)
            assert target.read_bytes() == sample(size)


def test_a_small_mode_on_all_addresses_answers_at_each() -> None:
    with Conversation.listen(Address("0.0.0.0", 0)) as server:
        for asked in ("127.0.0.1", SECOND):
            with Conversation.connect(Address(asked, server.address.port)) as client:
                client.send(b"question")
                happened = server.wait(1e9)
                assert isinstance(happened, Datagram)
                server.send(b"answer", happened.source)
                answer = client.wait(1e9)
                assert isinstance(answer, Datagram)
                assert answer.data == b"answer"
