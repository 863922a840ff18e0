"""Uploads that meet a fault: a killed end, a full disk, a second one of the same name."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import udpft
from tests.cli.processes import PATIENCE_S, Server, environment, run_udpft
from tests.faults import file_size_limit
from udpft.api import RunningServer
from udpft.errors import PartialTransfer, UdpftError
from udpft.net.clock import clock
from udpft.outcome.served import Served
from udpft.storage.partfile import PartFile

CONTENT = random.Random(4).randbytes(6_000_000)
PART = ".file.udpft-part"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def told() -> list[Served]:
    return []


@pytest.fixture
def server(stored: Path, told: list[Served]) -> Iterator[RunningServer]:
    with udpft.serve(stored, port=0, writable=True, on_served=told.append) as server:
        yield server


def wait_for_a_third(path: Path) -> None:
    """Wait until a third of a part file is there: by looking, for nobody tells."""
    at, until = len(CONTENT) // 3, clock() + PATIENCE_S
    while not path.exists() or path.read_bytes()[at : at + 16] != CONTENT[at : at + 16]:
        assert clock() < until, "the part does not grow"
        threading.Event().wait(0.005)


def slowly(file: Path, address: str, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "udpft", "put", str(file), "-s", address, *options]
    return subprocess.Popen(
        [*command, "--limit-rate", "4M"],
        env=environment(),
        stderr=subprocess.PIPE,
        # A shell starts what runs in its background without Ctrl-C, and so would this be.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_a_client_that_is_killed_leaves_what_the_next_one_need_not_send(
    server: RunningServer, stored: Path, file: Path
) -> None:
    with slowly(file, server.address) as client:
        wait_for_a_third(stored / PART)
        client.kill()
    assert os.listdir(stored) == [PART]
    assert udpft.list_files(server=server.address) == []
    result = udpft.put(file, server=server.address)
    assert result.resumed_bytes > 500_000
    assert (stored / "file").read_bytes() == CONTENT
    assert os.listdir(stored) == ["file"]


def test_an_interrupt_says_how_to_go_on(server: RunningServer, stored: Path, file: Path) -> None:
    with slowly(file, server.address) as client:
        wait_for_a_third(stored / PART)
        client.send_signal(signal.SIGINT)
        _, said = client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 130
    assert b"run the same command again to resume" in said
    done = run_udpft("put", str(file), "-s", server.address, "--json")
    assert '"ok": true' in done.stdout.splitlines()[-1]
    assert '"resumed_bytes": 0,' not in done.stdout
    assert " of it new, in " in done.stderr
    assert (stored / "file").read_bytes() == CONTENT


def test_after_the_server_was_killed_the_next_put_goes_on(stored: Path, file: Path) -> None:
    with (
        Server("serve", str(stored), "--writable") as server,
        slowly(file, server.address, "--timeout", "2") as client,
    ):
        wait_for_a_third(stored / PART)
        server.process.kill()
        _, said = client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 28
    assert b"run the same command again to resume" in said
    assert not (stored / "file").exists()
    with udpft.serve(stored, port=0, writable=True) as again:
        result = udpft.put(file, server=again.address)
    assert result.resumed_bytes > 500_000
    assert (stored / "file").read_bytes() == CONTENT


def test_a_full_disk_there_is_told_and_leaves_the_old_file(
    server: RunningServer, stored: Path, file: Path
) -> None:
    (stored / "file").write_bytes(b"old")
    with file_size_limit(3_000_000), pytest.raises(PartialTransfer, match="the server"):
        udpft.put(file, server=server.address, force=True)
    assert (stored / "file").read_bytes() == b"old"
    udpft.put(file, server=server.address, force=True)
    assert (stored / "file").read_bytes() == CONTENT


def test_no_path_of_the_server_is_told(
    server: RunningServer, stored: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PartFile.commit

    def fail(self: PartFile, *args: object, **options: object) -> None:
        os.unlink(self.part_path)
        real(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(PartFile, "commit", fail)
    with pytest.raises(PartialTransfer) as caught:
        udpft.put(file, server=server.address)
    assert "/" not in str(caught.value)
    (stored / "folder").mkdir()
    with pytest.raises(PartialTransfer, match="it is a folder") as caught:
        udpft.put(file, server=server.address, as_name="folder", force=True)
    assert "/" not in str(caught.value)


def test_many_at_once_of_one_name_leave_one_of_them_whole(
    server: RunningServer, stored: Path, tmp_path: Path
) -> None:
    contents = [random.Random(n).randbytes(2_000_000) for n in range(6)]
    for n, content in enumerate(contents):
        (tmp_path / str(n)).write_bytes(content)

    def put(n: int) -> str:
        try:
            udpft.put(tmp_path / str(n), server=server.address, as_name="file", force=True)
        except UdpftError as error:
            return str(error)
        return "done"

    with ThreadPoolExecutor(6) as pool:
        ended = list(pool.map(put, range(6)))
    assert "done" in ended
    assert set(ended) <= {"done", "another upload of that name is at work"}
    assert (stored / "file").read_bytes() in contents
    assert os.listdir(stored) == ["file"]


def test_others_are_served_while_a_large_leftover_is_looked_at(
    server: RunningServer, stored: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stored / "other").write_bytes(b"other")
    looking, go_on = threading.Event(), threading.Event()
    real = PartFile.take_over.__func__  # type: ignore[attr-defined]

    def slow(cls: type[PartFile], destination: str, *args: int) -> PartFile | None:
        if Path(destination).name == "file" and threading.current_thread().name == "udpft-job":
            looking.set()
            assert go_on.wait(PATIENCE_S)
        part = real(cls, destination, *args)
        assert part is None or isinstance(part, PartFile)
        return part

    monkeypatch.setattr(PartFile, "take_over", classmethod(slow))
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(udpft.put, file, server=server.address)
        assert looking.wait(PATIENCE_S)
        assert udpft.ping(server.address) > 0
        result = udpft.get("other", server=server.address, output=stored.parent / "mine")
        assert result.bytes == 5
        go_on.set()
        putting.result(PATIENCE_S)
    assert (stored / "file").read_bytes() == CONTENT
