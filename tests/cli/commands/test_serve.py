"""``udpft serve``: its log, its events, its signals."""

from __future__ import annotations

import json
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.cli.processes import PATIENCE_S, Server, environment
from tests.loopback import HeldTransfer
from tests.plain_peers import ask
from tests.samples import LARGE, sample
from tests.storage.conftest import unprivileged
from udpft.api import RunningServer
from udpft.cli.commands import serve as serve_module
from udpft.cli.main import run
from udpft.errors import ExitCode, ServerBusy
from udpft.net.address import Address

Capture = pytest.CaptureFixture[str]


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """``udpft … serve --json`` as a process, and its address."""
    with subprocess.Popen(
        [sys.executable, "-m", "udpft", *arguments, "-p", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        try:
            start = event(process)
            yield process, f"{start['host']}:{start['port']}"
        finally:
            process.kill()


def event(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline())
    return line


# ------------------------------------------------------------------------------------------ the log


def test_the_log_tells_of_what_is_not_there(
    samples: Path, tmp_path: Path, stranger: socket.socket
) -> None:
    with Server("serve", str(samples)) as server:
        for mode in ("reliable", "plain"):
            if mode == "plain":
                stranger.sendto(b"missing", ("127.0.0.1", server.port))
            else:
                with pytest.raises(udpft.errors.NoSuchFile):
                    udpft.get("missing", server=server.address, output=tmp_path)
            line = server.log_line().partition(" ")[2]
            words = rf"127\.0\.0\.1:\d+ {mode} 'missing': refused: no such file on the server"
            assert re.fullmatch(words, line), line


def test_the_log_tells_a_clients_local_reason_as_what_it_was(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "4096").write_bytes(bytes(4096))
    with Server("serve", str(samples)) as server:
        with pytest.raises(udpft.errors.DestinationExists):
            udpft.get("4096", server=server.address, output=tmp_path)
        line = server.log_line()
        assert line.endswith("'4096': failed: the client has a different file of that name")
        with pytest.raises(udpft.errors.DigestMismatch):
            udpft.get("1", server=server.address, output=tmp_path, sha256="0" * 64)
        assert server.log_line().endswith("failed: the client expects a file of another SHA-256")


def test_the_log_of_two_protocols(samples: Path, tmp_path: Path, stranger: socket.socket) -> None:
    with Server("serve", str(samples)) as server:
        lines = []
        for _ in range(2):
            udpft.get("4096", server=server.address, output=tmp_path)
            lines.append(server.log_line())
        ask(stranger, ("127.0.0.1", server.port), "1")
        lines.append(server.log_line())
        assert server.stop() == ExitCode.DONE
        lines += server.rest_of_log().splitlines()
    whole, same, plain, stopped = (line.partition(" ")[2] for line in lines)
    peer, speed = r"127\.0\.0\.1:\d+", r"[\d.]+ [µm]?s, [\d.]+ [kM]?B/s \([\d.]+ [kMG]bit/s\)"
    assert re.fullmatch(rf"{peer} reliable '4096': 4.1 kB in {speed}, 0 packets resent", whole), (
        whole
    )
    assert re.fullmatch(
        rf"{peer} reliable '4096': 4.1 kB, \S+ k?B of it sent, in {speed}, 0 packets resent", same
    ), same
    assert re.fullmatch(rf"{peer} plain '1': 1 B in {speed}, unverified", plain), plain
    assert stopped == "stopped"


def test_names_are_escaped_in_the_log(tmp_path: Path) -> None:
    name = "a\x1b[31m\n.txt"
    (tmp_path / name).write_bytes(b"hello")
    with Server("serve", str(tmp_path)) as server:
        udpft.get(name, server=server.address, output=tmp_path / "out")
        line = server.log_line()
        server.stop()
    assert line.isprintable()
    assert r"'a\x1b[31m\n.txt'" in line


def test_a_log_for_programs(samples: Path, tmp_path: Path) -> None:
    process = Server("--log-format", "json", "serve", str(samples))
    with process:
        udpft.get("1", server=process.address, output=tmp_path)
        line = json.loads(process.log_line())
    assert (line["name"], line["bytes"], line["verified"]) == ("1", 1, True)


# ---------------------------------------------------------------------------------------- events


def test_the_events_of_a_server(samples: Path, tmp_path: Path, stranger: socket.socket) -> None:
    with serving("-q", "serve", str(samples)) as (process, address):
        udpft.get("2049", server=address, output=tmp_path)
        done = event(process)
        host, port = address.split(":")
        ask(stranger, (host, int(port)), "1")
        plain = event(process)
        process.terminate()
        summary = event(process)
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE_S) == 0
    assert (done["event"], done["name"], done["mode"], done["bytes"], done["verified"]) == (
        "done",
        "2049",
        "reliable",
        2049,
        True,
    )
    assert (plain["mode"], plain["bytes_sent"], plain["verified"]) == ("plain", 1, False)
    assert summary == {"schema": 1, "event": "summary", "ok": True, "exit_code": 0}


def test_a_server_whose_output_nobody_takes_goes_on(samples: Path, tmp_path: Path) -> None:
    with serving("serve", str(samples)) as (process, address):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        for size in (1, 2048):
            udpft.get(str(size), server=address, output=tmp_path)
        assert (tmp_path / "2048").read_bytes() == sample(2048)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


# --------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_an_idle_server_at_once(samples: Path, signum: int) -> None:
    with Server("serve", str(samples)) as server:
        assert server.stop(signum) == ExitCode.DONE
        assert server.rest_of_log().endswith(" stopped\n")


def test_a_second_signal_does_not_wait_for_transfers(samples: Path, tmp_path: Path) -> None:
    with Server("serve", str(samples)) as server:

        def ask_on() -> None:
            while True:
                udpft.get("1", server=server.address, output=tmp_path, connect_timeout=0.2)

        HeldTransfer(Address("127.0.0.1", server.port), str(LARGE))
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(ServerBusy, match="is stopping"):
            ask_on()
        assert server.stop() == ExitCode.TERMINATED
        assert server.rest_of_log().endswith("udpft: terminated\n")


# -------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing"], 26, "there is no folder missing"),
        (["file"], 26, "file is not a folder"),
        (["closed"], 26, "cannot serve closed: Permission denied"),
        ([".", "--host", "192.0.2.1"], 2, "cannot bind 192.0.2.1:"),
        ([".", "--host", "no.invalid"], 6, "'no.invalid'"),
        ([".", "--plain-rate", "0"], 2, "above 0"),
    ],
)
def test_it_does_not_begin(
    here: Path, capsys: Capture, arguments: list[str], code: int, words: str
) -> None:
    (here / "file").touch()
    (here / "closed").mkdir()
    (here / "closed").chmod(0)
    with unprivileged():
        assert run(["serve", *arguments, "-p", "0"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert len(err.splitlines()) <= 3
    assert "Traceback" not in err


def test_a_port_in_use(server: RunningServer, samples: Path, capsys: Capture) -> None:
    assert run(["serve", str(samples), "-p", str(server.port)]) == ExitCode.USAGE
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"udpft: cannot bind {server.address}: Address already in use"
    assert "--port" in hint


def test_as_many_files_may_be_open_as_there_may_be_clients() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        serve_module._allow_open_files(100)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (100 + 128 + 64, hard)
        serve_module._allow_open_files(10)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 292
        serve_module._allow_open_files(10**9)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_address_comes_from_the_environment(
    samples: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UDPFT_HOST", "192.0.2.7")
    monkeypatch.setenv("UDPFT_PORT", "12345")
    assert run(["serve", str(samples)]) == ExitCode.USAGE
    assert "cannot bind 192.0.2.7:12345" in capsys.readouterr().err
