"""Search for the far end's address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from udpft.errors import TimedOut
from udpft.keys import Key
from udpft.net.address import Address
from udpft.remote.reach import addresses_to_try, reach
from udpft.server.server import Server

KEY = Key()


@pytest.fixture
def far(samples: Path) -> Iterator[Address]:
    """The address of a server that has the key."""
    with Server(samples, port=0, key_file=KEY) as server:
        thread = Thread(target=server.run)
        thread.start()
        try:
            yield Address("127.0.0.1", server.port)
        finally:
            server.stop()
            thread.join()


def silent() -> tuple[socket.socket, Address]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock, Address("127.0.0.1", sock.getsockname()[1])


def test_the_first_that_answers_is_it(far: Address) -> None:
    sock, nobody = silent()
    with sock:
        assert reach([nobody, far], KEY, 10.0) == far


def test_where_none_answers(far: Address) -> None:
    sock, nobody = silent()
    with sock, pytest.raises(TimedOut):
        reach([nobody, nobody], KEY, 0.3)
    with pytest.raises(TimedOut):
        reach([far], Key(), 0.3)  # another's


def test_addresses_are_tried_in_the_order_of_their_likelihood() -> None:
    told = ["198.51.100.1", "192.0.2.1"]
    assert addresses_to_try("192.0.2.1", told, 7) == [
        Address("192.0.2.1", 7),
        Address("198.51.100.1", 7),
        Address("127.0.0.1", 7),
    ]
    assert [one.host for one in addresses_to_try("", told, 7)] == [*told, "127.0.0.1"]


def test_a_name_that_only_ssh_knows_is_none_of_them() -> None:
    found = addresses_to_try("no-such-host.invalid", ["192.0.2.1"], 7)
    assert [one.host for one in found] == ["192.0.2.1", "127.0.0.1"]
