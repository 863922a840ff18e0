"""Path probes of a real server, and of none."""

from __future__ import annotations

import socket

import pytest

from tests.loopback import address_of, closed_port
from udpft.api import RunningServer
from udpft.client.client import Client
from udpft.errors import PortClosed, TimedOut


def test_a_server_is_there_and_near(server: RunningServer) -> None:
    with Client(server.address) as client:
        assert 0 < client.ping() < 1
        assert client.usage().drops == 0


def test_a_path_is_probed(server: RunningServer) -> None:
    with Client(server.address) as client:
        probe = client.probe_path()
    assert (probe.lost, len(probe.round_trips_s)) == (0, probe.sent)
    assert all(round_trip_s > 0 for round_trip_s in probe.round_trips_s)
    assert probe.largest_answered > 2048


def test_packets_to_loopback_come_from_loopback(server: RunningServer) -> None:
    with Client(server.address) as client:
        assert client.source_host() == "127.0.0.1"


def test_nobody_is_there_to_be_probed() -> None:
    with Client(closed_port()) as client, pytest.raises(PortClosed, match="nothing listens"):
        client.probe_path()


def test_who_does_not_answer_is_not_waited_for(stranger: socket.socket) -> None:
    with (
        Client(address_of(stranger), connect_timeout=0.2) as client,
        pytest.raises(TimedOut, match=r"within 0\.2 s"),
    ):
        client.probe_path()
