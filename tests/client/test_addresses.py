"""A server's name with several addresses, of which the first say that nothing listens."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.samples import sample
from udpft.api import RunningServer, connect
from udpft.errors import PortClosed
from udpft.net.address import Address
from udpft.small_modes.conversation import Conversation, Datagram, Signal

NAME = "files.example"


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses of the name, as the resolver gives them."""
    hosts = ["127.0.0.7", "127.0.0.8", "127.0.0.1"]
    resolver = socket.getaddrinfo

    def resolved(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in (NAME, NAME.encode()):
            return resolver(host, port, *args, **options)
        return [
            (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP, "", (one, port))
            for one in hosts
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return hosts


@pytest.mark.parametrize("mode", ["reliable", "plain"])
def test_the_next_one_is_asked(server: RunningServer, tmp_path: Path, mode: str) -> None:
    with connect(f"{NAME}:{server.port}") as client:
        if mode == "reliable":
            client.fetch("2049", tmp_path / "file")
        else:
            client.fetch_plain("2049", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == sample(2049)


def test_so_do_pings_and_probes(server: RunningServer) -> None:
    with connect(f"{NAME}:{server.port}") as client:
        assert client.ping() > 0
    with connect(f"{NAME}:{server.port}") as client:
        assert client.probe_path().largest_answered


def test_where_nobody_listens_anywhere_it_says_so(
    server: RunningServer, addresses: list[str], tmp_path: Path
) -> None:
    addresses.remove("127.0.0.1")
    with (
        connect(f"{NAME}:{server.port}") as client,
        pytest.raises(PortClosed, match=f"nothing listens on {NAME}"),
    ):
        client.fetch("2049", tmp_path / "file")


def test_a_small_mode_goes_on_to_the_next_one() -> None:
    with Conversation.listen(Address("127.0.0.1", 0)) as listening:
        address = Address(NAME, listening.address.port)
        with Conversation.connect(address) as client:
            for _ in range(2):
                client.send(b"question")
                assert client.wait(1e9) is Signal.PORT_CLOSED
                assert client.go_on()
            client.send(b"question")
            assert isinstance(listening.wait(1e9), Datagram)
            assert not client.go_on()
