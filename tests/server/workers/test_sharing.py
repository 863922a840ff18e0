"""Parts of two workers' servers, whose limits are those of one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.loopback import address_of
from udpft.errors import ServerBusy
from udpft.net.udp import UdpSocket
from udpft.protocol.server.admission import MAX_SESSIONS_A_HOST
from udpft.server.access import Access
from udpft.server.plain import MAX_PLAIN_TRANSFERS
from udpft.server.workers.ledger import Ledger
from udpft.server.workers.sharing import Sharing

ACCESS = Access(public=True, plain="auto")
FAR = ("192.0.2.1", 5_000)
OTHER_FAR = ("192.0.2.2", 5_000)


class Two:
    """Two workers: their parts, their sockets, and what they have told the supervisor."""

    def __init__(self, sockets: list[socket.socket], ledger: Ledger) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.sockets = sockets
        self.parts = [
            Sharing(
                (ledger, number),
                sockets,
                b"s" * 32,
                lambda kind, **fields: self.told.append((kind, fields)),
            )
            for number in range(2)
        ]


@pytest.fixture
def two() -> Iterator[Two]:
    with ExitStack() as stack, closing(Ledger(2)) as ledger:
        sockets = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        yield Two(sockets, ledger)


def test_clients_are_counted_together(two: Two) -> None:
    first, second = (parts.admission(ACCESS, 2) for parts in two.parts)
    first.begin(FAR)
    second.begin(OTHER_FAR)
    for one in (first, second):
        assert one.is_full
        with pytest.raises(ServerBusy, match=r"no room for another transfer$"):
            one.check(FAR, 1.0)
    second.end(OTHER_FAR)
    assert not first.is_full
    first.check(FAR, 1.0)


def test_of_two_that_have_looked_the_second_is_too_late(two: Two) -> None:
    first, second = (parts.admission(ACCESS, 1) for parts in two.parts)
    first.check(FAR, 1.0)
    second.check(FAR, 1.0)
    first.begin(FAR)
    with pytest.raises(ServerBusy):
        second.begin(FAR)
    first.end(FAR)
    second.begin(FAR)


def test_a_hosts_share_is_of_all_workers(two: Two) -> None:
    first, second = (parts.admission(ACCESS, 100) for parts in two.parts)
    for number in range(MAX_SESSIONS_A_HOST):
        (first, second)[number % 2].begin(FAR)
    assert first.has_its_share(FAR)
    assert second.has_its_share(FAR)
    assert not second.has_its_share(OTHER_FAR)


def test_the_quota_is_of_all_workers(two: Two) -> None:
    first, second = (parts.quota(100) for parts in two.parts)
    assert first.promise(60)
    assert not second.promise(50)
    assert not second.is_used_up
    assert second.promise(40)
    assert first.is_used_up
    first.give_back(50)
    assert second.promise(50)
    assert not two.parts[0].quota(0).is_used_up
    assert two.parts[0].quota(0).promise(1 << 40)


def test_plain_transfers_are_counted_together(two: Two) -> None:
    first, second = (
        parts.port(UdpSocket(sock)) for parts, sock in zip(two.parts, two.sockets, strict=True)
    )
    first.count(MAX_PLAIN_TRANSFERS - 1)
    assert not second.is_full
    second.count(1)
    assert first.is_full
    first.count(-1)
    assert not second.is_full


def test_the_port_is_open_to_siblings_for_a_moment_only(two: Two) -> None:
    def sharing() -> list[int]:
        return [one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) for one in two.sockets]

    port = two.parts[0].port(UdpSocket(two.sockets[0]))
    with port.shared():
        assert sharing() == [1, 1]
    assert sharing() == [0, 0]
    assert not port.keeps_strays


def test_others_are_asked_for_room_once_in_a_while(two: Two) -> None:
    admission = two.parts[0].admission(ACCESS, 1)
    admission.note_no_room("192.0.2.1")
    admission.note_no_room("192.0.2.1")
    two.parts[0].want_upload("name")
    assert two.told == [("want_room", {"host": "192.0.2.1"}), ("want_upload", {"name": "name"})]


def test_each_has_its_own_socket_and_one_secret(two: Two) -> None:
    assert [address_of(parts.socket) for parts in two.parts] == list(map(address_of, two.sockets))
    assert two.parts[0].secret == two.parts[1].secret
