"""Stories of somebody off the path who says, in a host's name, that its port is closed.

RFC 5927: who guesses two addresses and ports can forge an ICMP message. Here it is forged over and
over while a transfer runs, by a raw socket on loopback.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Event, Thread

import pytest

import udpft
from tests.samples import LARGE, PATIENCE_S, sample, unless_lost
from udpft.api import RunningServer, connect
from udpft.errors import PortClosed
from udpft.keys import new_key_file
from udpft.outcome.served import Served

LOOPBACK = socket.inet_aton("127.0.0.1")
UNREACHABLE, PORT = 3, 3


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def port_unreachable(source: int, target: int, quoted: bytes) -> bytes:
    """The message that a datagram between two ports of loopback found the second one closed."""
    udp = struct.pack("!4H", source, target, 8 + len(quoted), 0)
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 28 + len(quoted), 1, 0, 64, 17, 0, LOOPBACK, LOOPBACK
    )
    body = header + udp + quoted
    without = struct.pack("!BBHI", UNREACHABLE, PORT, 0, 0) + body
    return (
        without[:2] + struct.pack("!H", checksum(without + b"\0" * (len(body) % 2))) + without[4:]
    )


def connected(port: int) -> Iterator[tuple[int, int]]:
    """Local and remote ports of connected sockets on loopback that have a port at one end."""
    for row in Path("/proc/net/udp").read_text().splitlines()[1:]:
        local, remote = (int(end.split(":")[1], 16) for end in row.split()[1:3])
        if remote and port in (local, remote):
            yield local, remote


class Forger:
    """Forges messages to all who talk with a server, from the first progress on.

    Attributes:
        sent: messages so far.
    """

    def __init__(self, server: RunningServer) -> None:
        try:
            self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        except PermissionError:
            pytest.skip("raw sockets are for root")
        self._port = server.port
        self._begun, self._ended = Event(), Event()
        self._thread = Thread(target=self._run)
        self.sent = 0

    def progress(self, done: int, _size: int) -> None:
        """Begin, once something has come or left."""
        if done:
            self._begun.set()

    def _run(self) -> None:
        self._begun.wait()
        while not self._ended.wait(0.001):
            for local, remote in connected(self._port):
                message = port_unreachable(local, remote, bytes(64))
                self._raw.sendto(message, ("127.0.0.1", 0))
                self.sent += 1

    def __enter__(self) -> Forger:
        self._thread.start()
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._begun.set()
        self._thread.join()
        self._raw.close()
        assert failure or self.sent > 20


@pytest.fixture(params=[False, True], ids=["open", "keyed"])
def key_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    if not request.param:
        return None
    path = tmp_path / "key"
    new_key_file(path)
    return path


def test_a_download_goes_on(samples: Path, tmp_path: Path, key_file: Path | None) -> None:
    with (
        udpft.serve(samples, port=0, key_file=key_file, max_rate=10_000_000) as server,
        connect(server.address, key_file=key_file) as client,
        Forger(server) as forger,
    ):
        client.fetch(str(LARGE), tmp_path / "out", progress=forger.progress)
    assert (tmp_path / "out").read_bytes() == sample(LARGE)


def test_an_upload_goes_on(samples: Path, tmp_path: Path, key_file: Path | None) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    with (
        udpft.serve(
            folder, port=0, key_file=key_file, max_rate=10_000_000, writable=True
        ) as server,
        connect(server.address, key_file=key_file) as client,
        Forger(server) as forger,
    ):
        client.store(samples / str(LARGE), "in", progress=forger.progress)
    assert (folder / "in").read_bytes() == sample(LARGE)


def test_a_plain_download_goes_on(samples: Path, tmp_path: Path) -> None:
    served: Queue[Served] = Queue()

    def fetch() -> bytes:
        with connect(server.address) as client, Forger(server) as forger:
            client.fetch_plain(str(LARGE), tmp_path / "out", force=True, progress=forger.progress)
        assert served.get(timeout=PATIENCE_S).error is None
        return (tmp_path / "out").read_bytes()

    with udpft.serve(samples, port=0, on_served=served.put) as server:
        assert unless_lost(fetch, LARGE) == sample(LARGE)


def test_where_nothing_listens_any_more_the_next_request_is_told_so_at_once(
    samples: Path, tmp_path: Path
) -> None:
    with udpft.serve(samples, port=0) as server, connect(server.address) as client:
        client.fetch("1", tmp_path / "out")
        server.stop()
        with pytest.raises(PortClosed, match="nothing listens"):
            client.fetch("2047", tmp_path / "out2")
