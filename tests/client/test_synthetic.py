"""Transfers from memory to memory, with a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

import udpft
from udpft.api import RunningServer
from udpft.client.client import Client
from udpft.errors import UploadRefused

SIZE = 100_000


def test_bytes_of_no_file_come_and_are_measured(server: RunningServer, here: Path) -> None:
    with Client(server.address) as client:
        result = client.fetch_synthetic(SIZE)
    assert (result.name, result.bytes, result.resumed_bytes) == ("", SIZE, 0)
    assert (result.verified, result.mode) == (True, "reliable")
    assert result.cpu_seconds > 0
    assert list(here.iterdir()) == []


def test_they_go_to_a_server_that_takes_uploads_and_stay_nowhere(stored: Path) -> None:
    with udpft.serve(stored, port=0, writable=True) as server, Client(server.address) as client:
        result = client.store_synthetic(SIZE)
    assert (result.bytes, result.verified, result.resumed_bytes) == (SIZE, True, 0)
    assert result.cpu_seconds > 0
    assert list(stored.iterdir()) == []


def test_limits_that_protect_the_disk_do_not_count_them(stored: Path) -> None:
    with (
        udpft.serve(stored, port=0, writable=True, max_upload=1, quota=1) as server,
        Client(server.address) as client,
    ):
        assert client.store_synthetic(SIZE).bytes == SIZE


def test_a_server_that_takes_no_uploads_refuses_them(server: RunningServer) -> None:
    with Client(server.address) as client, pytest.raises(UploadRefused):
        client.store_synthetic(SIZE)
