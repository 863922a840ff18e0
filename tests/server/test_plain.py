"""Plain transfers of a server, to a foreign client of twenty lines; requests that get silence."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

import udpft
from tests.faults import failing_below
from tests.plain_peers import ask
from tests.samples import LARGE, PATIENCE_S, SIZES, sample, unless_lost
from udpft.api import RunningServer
from udpft.errors import PartialTransfer
from udpft.net.clock import clock
from udpft.net.udp import UdpSocket
from udpft.outcome.served import Served
from udpft.server import access
from udpft.server.plain import (
    MAX_FILES_A_PORT,
    MAX_PLAIN_TRANSFERS,
    PORT_FORGOTTEN_S,
    PlainTransfers,
    Port,
)
from udpft.server.server import Server
from udpft.storage.served_folder import ServedRoot


def where(server: RunningServer | Server) -> tuple[str, int]:
    return server.host, server.port


@contextmanager
def running(server: Server) -> Iterator[None]:
    """Let a server that is bound already begin its work."""
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join()


def open_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE_S)
    return sock


@pytest.mark.parametrize("size", SIZES)
def test_every_size_in_datagrams_of_2048_but_the_last(
    server: RunningServer, stranger: socket.socket, size: int
) -> None:
    lengths: list[int] = []

    def fetch() -> bytes:
        datagrams = ask(stranger, where(server), str(size))
        lengths[:] = map(len, datagrams)
        return b"".join(datagrams)

    assert unless_lost(fetch, size) == sample(size)
    assert lengths == [2048] * (size // 2048) + [size % 2048]


@pytest.mark.parametrize("request_", [b"2049", b"2049\n", b"2049\r\n"])
def test_a_newline_is_forgiven(
    server: RunningServer, stranger: socket.socket, request_: bytes
) -> None:
    assert b"".join(ask(stranger, where(server), request_.decode())) == sample(2049)


def test_names_in_any_script(tmp_path: Path, stranger: socket.socket) -> None:
    (tmp_path / "bücher").mkdir()
    (tmp_path / "bücher" / "第一.txt").write_bytes(b"hello")
    with udpft.serve(tmp_path, port=0) as server:
        assert ask(stranger, where(server), "bücher/第一.txt") == [b"hello"]


SILENCED = [
    b"",
    b"missing",
    b"../samples0/1",
    b"/etc/passwd",
    b"./1",
    b"1\n\n",
    b"\n",
    b"1\0",
    b"\0" + b"\1" * 20,
    b"\xff\xfe",
    b"\xc3(",
    b"1" * 5000,
    b"\x80",
    b"\xbf",
    b"\x81" + bytes(1300),
    b"\x84" + bytes(2071),
    bytes(range(128, 256)) * 11,
]


def test_garbage_and_names_that_are_not_there_get_silence(
    server: RunningServer, stranger: socket.socket
) -> None:
    # What is asked for last is the first thing that comes: nothing was answered before.
    for datagram in SILENCED:
        stranger.sendto(datagram, where(server))
    assert ask(stranger, where(server), "1") == [sample(1)]


def test_a_client_that_has_gone_stops_it_after_one_datagram(samples: Path) -> None:
    served: Queue[Served] = Queue()
    with Server(samples, port=0, on_served=served.put) as server:
        with open_socket() as client:
            client.sendto(str(LARGE).encode(), where(server))
        with running(server):
            one = served.get(timeout=PATIENCE_S)
    assert str(one.error) == "the client closed its port"
    assert one.bytes_sent <= 2 * 2048  # the second one brought the news of the first
    assert (one.mode, one.bytes, one.verified) == ("plain", LARGE, False)


def test_another_request_of_one_that_is_being_served_is_ignored(samples: Path) -> None:
    with Server(samples, port=0, plain_rate=200_000) as server, open_socket() as client:
        client.sendto(b"4096", where(server))
        client.sendto(b"4096", where(server))
        with running(server):
            first = client.recv(65_536)
            client.sendto(b"2047", where(server))
            assert [first, client.recv(65_536), client.recv(65_536)] == [
                sample(4096)[:2048],
                sample(4096)[2048:],
                b"",
            ]
            assert ask(client, where(server), "1") == [sample(1)]  # nothing else was on its way


def test_a_socket_may_ask_for_one_file_after_another(
    server: RunningServer, stranger: socket.socket
) -> None:
    # Each request leaves the moment that the last datagram of the file before is here.
    for _ in range(50):
        assert ask(stranger, where(server), "1") == [sample(1)]


def test_a_slow_plain_transfer_holds_nobody_up(samples: Path, tmp_path: Path) -> None:
    served: Queue[Served] = Queue()
    with udpft.serve(samples, port=0, plain_rate=40_000, on_served=served.put) as server:
        with open_socket() as slow:
            slow.sendto(str(LARGE).encode(), where(server))
            assert slow.recv(65_536) == sample(LARGE)[:2048]
            udpft.get(str(LARGE), server=server.address, output=tmp_path / "out")
            assert served.get(timeout=PATIENCE_S).mode == "reliable"
            with open_socket() as other:
                assert ask(other, where(server), "1") == [sample(1)]
            assert served.get(timeout=PATIENCE_S).name == "1"
            assert slow.recv(65_536) == sample(LARGE)[2048:4096]
        assert served.get(timeout=PATIENCE_S).error is not None
    assert (tmp_path / "out").read_bytes() == sample(LARGE)


def test_two_clients_at_once_each_get_their_own(server: RunningServer) -> None:
    def fetch(size: int) -> bytes:
        def once() -> bytes:
            with open_socket() as client:
                return b"".join(ask(client, where(server), str(size)))

        return unless_lost(once, size)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(fetch, (LARGE, 4096))
    assert one == sample(LARGE)
    assert other == sample(4096)


@pytest.mark.parametrize(
    ("policy", "answered"),
    [("auto", ["insider"]), ("always", ["outsider", "insider"]), ("never", [])],
)
def test_who_is_served(
    samples: Path, monkeypatch: pytest.MonkeyPatch, policy: Any, answered: list[str]
) -> None:
    # Public addresses are not to be had on loopback: one of it plays an outsider.
    monkeypatch.setattr(access, "is_private", lambda host: host != "127.0.0.2")
    served: list[Served] = []
    with (
        udpft.serve(samples, port=0, plain=policy, on_served=served.append) as server,
        open_socket() as outsider,
        open_socket() as insider,
    ):
        outsider.bind(("127.0.0.2", 0))
        outsider.sendto(b"1", where(server))
        insider.sendto(b"1", where(server))
        udpft.ping(server.address)  # both have been read by now
        if "outsider" in answered:
            assert outsider.recv(65_536) == sample(1)
        if "insider" in answered:
            assert insider.recv(65_536) == sample(1)
    assert len(served) == len(answered)


def test_a_disk_that_fails_ends_one_transfer(
    tmp_path: Path, stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: Queue[Served] = Queue()
    (tmp_path / "broken").write_bytes(bytes(9000))
    monkeypatch.setattr(os, "preadv", failing_below("preadv", tmp_path))
    with udpft.serve(tmp_path, port=0, on_served=served.put) as server:
        stranger.sendto(b"broken", where(server))
        assert "Input/output error" in str(served.get(timeout=PATIENCE_S).error)
        assert udpft.ping(server.address) > 0


def test_a_file_that_becomes_shorter_has_no_end(tmp_path: Path, stranger: socket.socket) -> None:
    served: Queue[Served] = Queue()
    path = tmp_path / "shrinking"
    path.write_bytes(bytes(2048 * 100))
    with udpft.serve(tmp_path, port=0, plain_rate=200_000, on_served=served.put) as server:
        stranger.sendto(b"shrinking", where(server))
        assert len(stranger.recv(65_536)) == 2048
        os.truncate(path, 100)
        assert "became shorter" in str(served.get(timeout=PATIENCE_S).error)


# --------------------------------------------------------------------- servers that answer servers


def main_port(transfers: PlainTransfers) -> int:
    port: int = transfers._main.address[1]
    return port


def served_names(folder: Path, name: str, content: str) -> Path:
    """A folder whose one file is, to another server, a request."""
    folder.mkdir()
    (folder / name).write_text(content)
    return folder


def test_two_servers_that_a_forged_request_sets_on_each_other_fall_silent(tmp_path: Path) -> None:
    served: Queue[Served] = Queue()
    ping = Server(served_names(tmp_path / "a", "ping", "pong"), port=0, on_served=served.put)
    pong = Server(served_names(tmp_path / "b", "pong", "ping"), port=0, on_served=served.put)
    with ping, pong:
        # What the first one answers is a request to the second one, and so on.
        ping._plains.begin(b"ping", where(pong), clock())
        with running(ping), running(pong):
            said = [served.get(timeout=PATIENCE_S) for _ in range(2 * MAX_FILES_A_PORT)]
            with open_socket() as other:
                assert ask(other, where(pong), "pong") == [b"ping"]
                assert ask(other, where(ping), "ping") == [b"pong"]
    assert {one.error for one in said} == {None}
    assert served.qsize() == 2  # those of the client; the servers are silent


@pytest.mark.parametrize("port", [7, 19, 53, 123, 1023])
def test_a_service_of_the_system_is_no_client(
    by_hand: tuple[PlainTransfers, list[Served]], port: int
) -> None:
    # echo, chargen, DNS, NTP: they would answer what they never asked for
    transfers, _ = by_hand
    transfers.begin(b"1", ("127.0.0.1", port), 1.0)
    assert len(transfers) == 0


def test_a_server_on_the_same_port_or_this_one_is_no_client(
    by_hand: tuple[PlainTransfers, list[Served]],
) -> None:
    transfers, _ = by_hand
    for host in ("127.0.0.1", "127.0.0.2"):
        transfers.begin(b"1", (host, main_port(transfers)), 1.0)
    assert len(transfers) == 0


def test_a_port_that_asks_on_and_on_gets_silence_until_it_has_been_silent(
    by_hand: tuple[PlainTransfers, list[Served]], stranger: socket.socket
) -> None:
    transfers, ended = by_hand

    def served(now: float) -> bool:
        before = len(ended)
        transfers.begin(b"1", stranger.getsockname(), now)
        transfers.transmit(now)
        return len(ended) > before

    now = 1.0
    for _ in range(MAX_FILES_A_PORT):
        now += PORT_FORGOTTEN_S - 1
        assert served(now)
    for _ in range(3):
        now += PORT_FORGOTTEN_S - 1
        assert not served(now)  # and asking keeps it so
    assert served(now + PORT_FORGOTTEN_S)


def test_ports_that_asked_are_forgotten_when_there_are_too_many(
    by_hand: tuple[PlainTransfers, list[Served]], monkeypatch: pytest.MonkeyPatch
) -> None:
    transfers, _ = by_hand
    monkeypatch.setattr("udpft.server.plain.MAX_PORTS_REMEMBERED", 10)
    for port in range(2_000, 2_020):
        transfers.begin(b"1", ("127.0.0.1", port), 1.0)
        transfers.transmit(1.0)
    assert len(transfers._files_served) == 10


# ---------------------------------------------------------------------- without a loop, by hand


@pytest.fixture
def by_hand(samples: Path) -> Iterator[tuple[PlainTransfers, list[Served]]]:
    """Plain transfers at 2,048,000 bytes a second, so a chunk each millisecond of our own time."""
    ended: list[Served] = []
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    with closing(UdpSocket(sock)) as main, ServedRoot(samples) as root:
        transfers = PlainTransfers(
            Port(main),
            open_source=root.open_file,
            rate_bytes_per_s=2_048_000,
            on_stray=lambda *_: None,
            on_served=ended.append,
        )
        yield transfers, ended
        transfers.end_all(PartialTransfer("over"), 9.0)
    assert len(transfers) == 0


def test_the_pace_is_that_of_its_rate(
    by_hand: tuple[PlainTransfers, list[Served]], stranger: socket.socket
) -> None:
    transfers, ended = by_hand
    transfers.begin(b"4096", stranger.getsockname(), 1.0)
    stranger.setblocking(False)
    arrived = []
    for now in (1.0, 1.0, 1.0005, 1.0011, 1.0012, 1.0021, 1.0031):
        transfers.transmit(now)
        arrived.append(0)
        while True:
            try:
                stranger.recv(65_536)
            except BlockingIOError:
                break
            arrived[-1] += 1
    assert arrived == [1, 0, 0, 1, 0, 1, 0]
    assert [one.error for one in ended] == [None]
    assert ended[0].seconds == pytest.approx(0.0021)
    assert ended[0].bytes_sent == 4096


def test_time_not_used_is_no_reason_to_flood(
    by_hand: tuple[PlainTransfers, list[Served]], stranger: socket.socket
) -> None:
    transfers, _ = by_hand
    transfers.begin(str(LARGE).encode(), stranger.getsockname(), 1.0)
    transfers.transmit(1.0)
    transfers.transmit(8.0)
    stranger.setblocking(False)
    for _ in range(3):
        stranger.recv(65_536)
    with pytest.raises(BlockingIOError):
        stranger.recv(65_536)
    assert 8.0 < transfers.next_timeout() <= 8.001


def test_no_more_than_so_many_at_once(by_hand: tuple[PlainTransfers, list[Served]]) -> None:
    transfers, ended = by_hand
    sockets = [open_socket() for _ in range(MAX_PLAIN_TRANSFERS + 1)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
        transfers.begin(b"4096", sock.getsockname(), 1.0)
    assert len(transfers) == MAX_PLAIN_TRANSFERS
    for sock in sockets:
        sock.close()
    transfers.transmit(1.0)
    transfers.transmit(2.0)
    assert {str(one.error) for one in ended} == {"the client closed its port"}
    assert len(transfers) == 0


def test_nobody_else_can_bind_the_port_meanwhile(
    by_hand: tuple[PlainTransfers, list[Served]], stranger: socket.socket
) -> None:
    transfers, _ = by_hand
    transfers.begin(b"4096", stranger.getsockname(), 1.0)
    with open_socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        transfers.transmit(1.0)
        _, port = stranger.recvfrom(65_536)[1]
        with pytest.raises(OSError, match="Address already in use"):
            thief.bind(("127.0.0.1", port))


def test_what_came_to_a_sibling_too_early_is_handed_on(
    samples: Path, stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between its bind and its connect, a sibling may be given the datagrams of others.
    handed_on: list[tuple[bytes, Any]] = []
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    with closing(UdpSocket(sock)) as main, ServedRoot(samples) as root, open_socket() as other:

        class Disturbed(socket.socket):
            def connect(self, address: Any) -> None:
                other.sendto(b"early", self.getsockname())
                super().connect(address)

        transfers = PlainTransfers(
            Port(main),
            open_source=root.open_file,
            rate_bytes_per_s=1e9,
            on_stray=lambda stray: handed_on.append(
                (bytes(stray.buffer[: stray.length]), stray.address)
            ),
            on_served=lambda _: None,
        )
        monkeypatch.setattr(socket, "socket", Disturbed)
        transfers.begin(b"1", stranger.getsockname(), 1.0)
        transfers.transmit(1.0)
        assert handed_on == [(b"early", ("127.0.0.1", other.getsockname()[1]))]
    assert stranger.recv(65_536) == sample(1)


def test_no_way_to_a_client_any_more_ends_its_transfer(
    by_hand: tuple[PlainTransfers, list[Served]],
    stranger: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(*_: object) -> None:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    transfers, ended = by_hand
    transfers.begin(b"4096", stranger.getsockname(), 1.0)
    monkeypatch.setattr(UdpSocket, "send", unreachable)
    transfers.transmit(1.0)
    assert [str(one.error) for one in ended] == ["no way to the client: Network is unreachable"]


def test_no_descriptor_for_a_sibling_is_silence(
    by_hand: tuple[PlainTransfers, list[Served]],
    stranger: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exhausted(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    transfers, ended = by_hand
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", exhausted)
        transfers.begin(b"4096", stranger.getsockname(), 1.0)
    assert len(transfers) == len(ended) == 0
    transfers.begin(b"4096", stranger.getsockname(), 1.0)
    assert len(transfers) == 1
