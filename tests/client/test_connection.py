"""Connection of a client: servers that are absent, silent, busy, or that go away."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.cli.processes import Server as ServerProcess
from tests.loopback import HeldTransfer, address_of, closed_port, meanwhile
from tests.samples import LARGE, PATIENCE_S, sample
from tests.storage.conftest import names
from udpft.api import RunningServer, connect
from udpft.client import connection
from udpft.client.client import Client
from udpft.errors import (
    ExitCode,
    HostNotFound,
    NoSuchFile,
    PartialTransfer,
    PortClosed,
    ServerBusy,
    TimedOut,
    UsageError,
    VersionMismatch,
)
from udpft.net.clock import clock
from udpft.net.udp import UdpSocket
from udpft.protocol.contract import Transmit
from udpft.protocol.wire.hello import decode_hello_untrusted
from udpft.protocol.wire.packet import decode_untrusted
from udpft.protocol.wire.retry import Retry, encode_retry

# ----------------------------------------------------------------------------------- the other side


def test_nobody_there(tmp_path: Path) -> None:
    address = closed_port()
    with connect(address) as client:
        for ask in (
            client.ping,
            lambda: client.fetch("1", tmp_path / "out"),
            lambda: client.fetch_plain("1", tmp_path / "out"),
        ):
            with pytest.raises(PortClosed, match=f"nothing listens on {address}") as caught:
                ask()
            assert caught.value.exit_code == ExitCode.PORT_CLOSED
            assert "udpft serve" in caught.value.hint
    assert names(tmp_path) == []


def test_somebody_who_does_not_answer(stranger: socket.socket, tmp_path: Path) -> None:
    silent = address_of(stranger)
    with connect(silent, connect_timeout=0.2) as client:
        for ask in (
            client.ping,
            lambda: client.fetch("1", tmp_path / "out"),
            lambda: client.fetch_plain("1", tmp_path / "out"),
        ):
            with pytest.raises(TimedOut, match=f"no answer from {silent} within 0.2 s") as caught:
                ask()
            assert caught.value.exit_code == ExitCode.TIMED_OUT
            assert caught.value.hint
    assert names(tmp_path) == []


def test_an_unknown_host_and_no_way_to_one() -> None:
    with pytest.raises(HostNotFound, match=r"no host is known as 'no\.invalid'") as caught:
        connect("no.invalid")
    assert caught.value.exit_code == ExitCode.HOST_NOT_FOUND
    with pytest.raises(PortClosed, match=r"no way to 255\.255\.255\.255:9000: Permission"):
        connect("255.255.255.255")


def test_a_missing_file_and_its_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "hello.txt").touch()
    with udpft.serve(tmp_path, port=0) as server, pytest.raises(NoSuchFile) as caught:
        udpft.get("helo.txt", server=server.address)
    assert str(caught.value) == "no such file on the server: 'helo.txt'"
    assert caught.value.hint == "did you mean 'hello.txt'?"
    assert caught.value.exit_code == ExitCode.NO_SUCH_FILE


@pytest.mark.parametrize(
    "name", ["", "../x", "/etc/passwd", "no/such", "nul\0", "\udcff", "x" * 255]
)
def test_names_that_no_server_has(client: Client, tmp_path: Path, name: str) -> None:
    with pytest.raises(NoSuchFile):
        client.fetch(name, tmp_path / "out")


@pytest.mark.parametrize("name", ["x" * 5000, "\ud800"], ids=ascii)
def test_names_that_cannot_be_asked_for(client: Client, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        client.fetch(name, tmp_path / "out")
    assert caught.value.exit_code == ExitCode.USAGE


def test_another_version_of_the_protocol(stranger: socket.socket) -> None:
    def answer() -> None:
        request, client = stranger.recvfrom(65_536)
        hello = decode_hello_untrusted(decode_untrusted(memoryview(request)))
        retry = Retry(hello.nonce, bytes(16), len(request), 2, hello.attempt)
        stranger.sendto(encode_retry(retry, hello.connection_id), client)

    with meanwhile(answer), pytest.raises(VersionMismatch, match="speaks version 2") as caught:
        udpft.ping(address_of(stranger))
    assert caught.value.exit_code == ExitCode.VERSION


def test_garbage_is_no_answer(stranger: socket.socket) -> None:
    def answer() -> None:
        _, client = stranger.recvfrom(65_536)
        for garbage in (b"", b"\x82", b"\x82" + bytes(63), b"hello", os.urandom(1200)):
            stranger.sendto(garbage, client)

    with meanwhile(answer), pytest.raises(TimedOut):
        udpft.ping(address_of(stranger), connect_timeout=0.2)


# ------------------------------------------------------------------------ a busy server, a dead one


def test_a_busy_server_says_so(samples: Path, tmp_path: Path) -> None:
    with udpft.serve(samples, port=0, max_clients=1) as server:
        held = HeldTransfer(server, str(LARGE))
        with pytest.raises(ServerBusy) as caught:
            udpft.get("1", server=server.address, output=tmp_path, connect_timeout=0.3)
        assert caught.value.exit_code == ExitCode.BUSY
        assert caught.value.hint
        held.end()
    assert names(tmp_path) == []


def test_a_busy_server_is_asked_again(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with udpft.serve(samples, port=0, max_clients=1) as server:
        held = [HeldTransfer(server, str(LARGE))]
        pauses: list[float] = []

        def instead_of_sleeping(seconds: float) -> None:
            pauses.append(seconds)
            if held:
                held.pop().end()

        monkeypatch.setattr(connection, "sleep", instead_of_sleeping)
        udpft.get("2049", server=server.address, output=tmp_path, connect_timeout=PATIENCE_S)
    assert all(0.5 <= pause <= 1 for pause in pauses)
    assert pauses
    assert (tmp_path / "2049").read_bytes() == sample(2049)


@pytest.mark.parametrize(
    ("retry_after_s", "waited_s"), [(0.2, 30), (1.0, 5)], ids=["at work for us", "full"]
)
def test_a_server_at_work_for_us_is_waited_for_as_long_as_a_transfer_that_stands_still(
    monkeypatch: pytest.MonkeyPatch, retry_after_s: float, waited_s: float
) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def attempt() -> None:
        busy = ServerBusy("not yet")
        busy.retry_after_s = retry_after_s
        raise busy

    monkeypatch.setattr(connection, "clock", lambda: now)
    monkeypatch.setattr(connection, "sleep", sleep)
    with connect("127.0.0.1") as client:
        with pytest.raises(ServerBusy):
            client._connection.retried(attempt)
        assert waited_s - 1 < now <= waited_s


def test_a_server_that_vanishes_is_waited_for(samples: Path, tmp_path: Path) -> None:
    # Its port is closed, and says so; another server may take its place.
    process = ServerProcess("serve", str(samples), "--max-rate", "1M")
    with process, connect(process.address, timeout=0.5) as client:
        killed_at: list[float] = []

        def kill(_done: int, _total: int) -> None:
            if not killed_at:
                process.process.kill()
                process.process.wait()
                killed_at.append(clock())

        with pytest.raises(TimedOut, match=r"nothing came from the server for 0\.5 s") as caught:
            client.fetch(str(LARGE), tmp_path / "out", progress=kill)
        assert clock() - killed_at[0] >= 0.3
    assert caught.value.hint.endswith("; run the same command again to resume")
    assert names(tmp_path) == [".out.udpft-part"]


def test_a_server_that_stops_says_so(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("udpft.server.server.DRAIN_S", 0)
    with udpft.serve(samples, port=0, max_rate=1_000_000) as server:
        with pytest.raises(PartialTransfer, match="the server is stopping") as caught:
            udpft.get(
                str(LARGE),
                server=server.address,
                output=tmp_path / "out",
                progress=lambda *_: server.stop(),
            )
        assert caught.value.exit_code == ExitCode.PARTIAL
        assert "run the same command again to resume" in caught.value.hint
    assert names(tmp_path) == [".out.udpft-part"]


def test_where_the_way_back_is_narrow_a_listing_falls_back_and_it_is_remembered(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From the server to the client only: as through a tunnel, or a container's published port.
    send = UdpSocket.send
    vanished: list[int] = []

    def through_the_tunnel(
        self: UdpSocket, transmit: Transmit, address: Any = None
    ) -> Transmit | None:
        if address is not None and transmit.segment_size > 1_400:
            vanished.append(transmit.segment_size)
            return None
        return send(self, transmit, address)

    monkeypatch.setattr(UdpSocket, "send", through_the_tunnel)
    with Client(server.address) as client:
        entries = client.list_files()
        assert entries
        assert vanished
        vanished.clear()
        assert client.list_files() == entries
        assert not vanished, "it tried again what it knows to vanish"
