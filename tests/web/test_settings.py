"""Settings of the page, and the client that they make."""

from __future__ import annotations

from pathlib import Path

from udpft.api import RunningServer
from udpft.web.settings import Settings


def test_its_client_is_one_of_the_file_server(server: RunningServer) -> None:
    with Settings(server.address, "", "", Path()).client(timeout=3) as client:
        assert str(client.server) == server.address
        assert client.timeout == 3
        assert client.ping() > 0
