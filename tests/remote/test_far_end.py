"""Far end as a process: its answer, and the many ways in which it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import PATIENCE_S, environment
from tests.samples import sample
from udpft.client.client import Client
from udpft.errors import ExitCode, ShellFailed
from udpft.keys import Key
from udpft.remote import far_end
from udpft.remote.asked import label_of
from udpft.remote.far_end import addresses, watch
from udpft.remote.messages import (
    Answer,
    PathsAsked,
    Request,
    decode_answer_untrusted,
    encode_request,
)

COMMAND = [sys.executable, "-m", "udpft", "serve", "--for-shell"]


@contextmanager
def started(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A far end that waits for its request."""
    with subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(HOME=str(home)),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[bytes], request: Request) -> Answer:
    assert process.stdin
    assert process.stdout
    process.stdin.write(encode_request(request))
    process.stdin.flush()
    answer = decode_answer_untrusted(process.stdout.readline())
    assert answer
    return answer


def request(*paths: str, key: Key | None = None, ports: tuple[int, int] | None = None) -> Request:
    return Request(key or Key(), PathsAsked(paths, False), ports, 30.0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(sample(2049))
    return tmp_path.resolve()


def test_it_serves_what_was_asked_for_and_ends_with_its_input(home: Path) -> None:
    key = Key()
    with started(home) as process:
        answer = ask(process, request("a.bin", "missing", key=key))
        assert [one.kind for one in answer.found] == ["file", "none"]
        with Client(f"127.0.0.1:{answer.port}", key_file=key) as client:
            assert client.read_bytes(f"{label_of(str(home))}/a.bin") == sample(2049)
        assert process.stdin
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr
        assert process.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_it_ends_by_a_signal(home: Path, number: signal.Signals) -> None:
    with started(home) as process:
        ask(process, request("a.bin"))
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0


def test_it_stays_within_the_ports_that_it_may_use(home: Path) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:
        taken.bind(("::", 0))
        port = taken.getsockname()[1]
        with started(home) as process:
            first = min(port, 65_534)
            assert ask(process, request("a.bin", ports=(first, first + 1))).port != port
        with started(home) as process, pytest.raises(ShellFailed, match="no UDP port is free"):
            ask(process, request("a.bin", ports=(port, port)))


@pytest.mark.parametrize("line", [b"", b"\n", b"GET / HTTP/1.0\n", b"{}\n"])
def test_what_is_no_request_is_refused_in_words(home: Path, line: bytes) -> None:
    with started(home) as process:
        out, _ = process.communicate(line, PATIENCE_S)
    assert process.returncode == ExitCode.USAGE
    with pytest.raises(ShellFailed, match="no request"):
        decode_answer_untrusted(out)


def test_a_reader_that_has_gone_ends_it(home: Path) -> None:
    with started(home) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.close()
        process.stdin.write(encode_request(request("a.bin")))
        process.stdin.flush()
        assert process.wait(PATIENCE_S) == 0


class Silent:
    """Server whose transfers are so many, each time that they are counted."""

    def __init__(self, *transfers: int) -> None:
        self._transfers = list(transfers)
        self.drain: float | None = None

    @property
    def transfers(self) -> int:
        return self._transfers.pop(0)

    def stop(self, drain: float) -> None:
        self.drain = drain


def test_it_ends_when_nothing_comes_through_the_shell_and_no_transfer_is_at_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(far_end, "SILENCE_S", 0.02)
    monkeypatch.setattr(far_end, "_LOOK_EVERY_S", 0.01)
    reading, writing = os.pipe()
    server: Any = Silent(1, 1, 0)
    watch(server, reading)
    assert (server.drain, server._transfers) == (0.0, [])
    os.close(writing)
    os.close(reading)


def test_lines_that_come_through_the_shell_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far_end, "_LOOK_EVERY_S", 0.01)
    reading, writing = os.pipe()
    os.write(writing, b"\n\n")
    os.close(writing)
    server: Any = Silent()  # nobody counts its transfers
    watch(server, reading)
    assert server.drain == 0.0
    os.close(reading)


def test_the_address_that_ssh_was_reached_at_comes_first() -> None:
    found = addresses({"SSH_CONNECTION": "192.0.2.7 50000 198.51.100.1 22"})
    assert found[0] == "198.51.100.1"
    assert not [one for one in found if one.startswith("127.") or one == "::1"]
    assert addresses({}) == [one for one in found if one != "198.51.100.1"]
    assert addresses({"SSH_CONNECTION": "of another kind"}) == addresses({})
