"""Many clients at once on one real server, and floods of garbage during a transfer.

``LOAD_CLIENTS=1000`` and ``LOAD_DATAGRAMS=1000000`` are the sizes that are promised;
by default they are smaller.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from random import Random

import pytest

import udpft
from tests.cli.processes import Server
from tests.loopback import meanwhile
from tests.samples import LARGE, PATIENCE_S, sample
from udpft.protocol.wire.hello import Hello, encode_hello

CLIENTS = int(os.environ.get("LOAD_CLIENTS", "50"))
DATAGRAMS = int(os.environ.get("LOAD_DATAGRAMS", "20000"))
FILE_BYTES = 1 << 20
THREADS = 25
"""Clients in one process: more of them would starve each other."""

MAX_RSS_BYTES = 256 << 20
MAX_GROWTH_BYTES = 15 << 20
MAX_LOG_BYTES = 1 << 20


def rss_bytes(pid: int, which: str = "VmRSS") -> int:
    """Memory of a process, now; with VmHWM, at most so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{which}:\s+(\d+) kB", status, re.MULTILINE)
    assert found
    return 1024 * int(found[1])


def descriptors(pid: int) -> int:
    """Files and sockets that a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture
def one_file(tmp_path: Path) -> Path:
    """A folder to be served, with a file of a mebibyte and a larger one."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file").write_bytes(sample(FILE_BYTES))
    (folder / "large").write_bytes(sample(LARGE))
    return folder


@contextmanager
def logged(folder: Path) -> Iterator[tuple[Server, Future[str]]]:
    """A server as a process, and its log once it has ended, read all the time."""
    with Server("serve", str(folder)) as server, ThreadPoolExecutor(1) as reading:
        try:
            yield server, reading.submit(server.rest_of_log)
        finally:
            server.process.kill()


def settled(pid: int, at_most: int) -> int:
    """The descriptors of a process, once there are no more than so many, or patience ends."""
    until = time.monotonic() + PATIENCE_S
    while (now := descriptors(pid)) > at_most and time.monotonic() < until:
        time.sleep(0.05)
    return now


def fetch_many(server: str, folder: Path, numbers: range) -> list[float]:
    """Fetch the file as so many clients at once; the seconds that each took, if all are exact."""

    def fetch(n: int) -> float:
        began = time.monotonic()
        path = folder / str(n)
        udpft.get("file", server=server, output=path, connect_timeout=300, timeout=300)
        took_s = time.monotonic() - began
        assert path.read_bytes() == sample(FILE_BYTES), f"client {n} has another file"
        path.unlink()
        return took_s

    with ThreadPoolExecutor(len(numbers)) as pool:
        return list(pool.map(fetch, numbers))


@pytest.mark.timeout(600)
def test_many_clients_at_once_all_get_the_file(
    one_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = [range(at, min(at + THREADS, CLIENTS)) for at in range(0, CLIENTS, THREADS)]
    with logged(one_file) as (server, _):
        pid = server.process.pid
        files_before = descriptors(pid)
        with ProcessPoolExecutor(len(numbers), mp_context=get_context("spawn")) as pool:
            fetched = [pool.submit(fetch_many, server.address, tmp_path, part) for part in numbers]
            took = sorted(took_s for part in fetched for took_s in part.result())
        peak = rss_bytes(pid, "VmHWM")
        assert len(took) == CLIENTS
        assert settled(pid, files_before) == files_before
    slowest = took[-1]
    ratio = slowest / statistics.median(took)
    with capsys.disabled():
        print(f"\n{CLIENTS} clients: slowest {slowest:.1f} s, {ratio:.1f} times the median", end="")
        print(f"; server {peak / 2**20:.0f} MiB")
    assert peak <= MAX_RSS_BYTES


def garbage(random: Random, hello: bytes) -> bytes:
    """A datagram that means nothing, of any length and any kind."""
    kind = random.randrange(4)
    if kind == 0:
        return random.randbytes(random.randrange(64))
    if kind == 1:
        return bytes([random.randrange(0x80, 0x90)]) + random.randbytes(random.randrange(1_300))
    if kind == 2:  # a HELLO with a wrong check
        damaged = bytearray(hello)
        damaged[random.randrange(8, len(hello))] ^= random.randrange(1, 256)
        return bytes(damaged)
    return b"no such file " + random.randbytes(8).hex().encode()


@pytest.mark.timeout(600)
def test_floods_of_garbage_during_a_transfer_do_no_harm(one_file: Path, tmp_path: Path) -> None:
    random = Random(1)
    hello = encode_hello(Hello(1, 2, b"file", 2048, 0), 1200)
    wanted = [garbage(random, hello) for _ in range(2_000)]
    with logged(one_file) as (server, log):
        pid = server.process.pid
        udpft.get("large", server=server.address, output=tmp_path / "first")
        before = rss_bytes(pid)
        sent = 0

        def flood() -> None:
            nonlocal sent
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect(("127.0.0.1", server.port))
                while sent < DATAGRAMS:
                    sock.send(wanted[sent % len(wanted)])
                    sent += 1

        with meanwhile(flood):
            while True:
                path = tmp_path / f"during {sent}"
                udpft.get("large", server=server.address, output=path, connect_timeout=60)
                assert path.read_bytes() == sample(LARGE)
                path.unlink()
                if sent >= DATAGRAMS:
                    break
        assert udpft.ping(server.address) > 0
        assert server.process.poll() is None
        assert rss_bytes(pid) - before <= MAX_GROWTH_BYTES
        assert server.stop() == 0
        assert len(log.result(PATIENCE_S)) <= MAX_LOG_BYTES
