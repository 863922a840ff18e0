"""``udpft get``: its output, the files' destinations, one exit code for each way to fail."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.cli.processes import PATIENCE_S, environment, run_udpft
from tests.faults import file_size_limit
from tests.loopback import HeldTransfer, address_of, closed_port, meanwhile
from tests.samples import LARGE, sample
from tests.storage.conftest import names, unprivileged
from udpft.api import RunningServer
from udpft.cli.main import run
from udpft.errors import ExitCode

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def get(server: RunningServer, here: Path) -> Callable[..., int]:
    """``udpft get`` from the server of the samples, in an empty folder; its exit code."""
    assert Path.cwd() == here
    return lambda *arguments: run(["get", *arguments, "-s", server.address])


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


# ------------------------------------------------------------------------------------- what it says


def test_a_file_and_a_line_about_it(get: Callable[..., int], here: Path, capsys: Capture) -> None:
    assert get("4096") == 0
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("4096: 4.1 kB in ")
    assert line.endswith("bit/s), verified")
    assert (here / "4096").read_bytes() == sample(4096)
    assert get("4096") == 0
    assert capsys.readouterr().err == "4096: up to date, verified\n"


def test_several_files_into_a_folder(get: Callable[..., int], here: Path, capsys: Capture) -> None:
    (here / "to").mkdir()
    assert get("0", "1", "2049", "-o", "to") == 0
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "to/0",
        "to/1",
        "to/2049",
    ]
    assert (here / "to" / "2049").read_bytes() == sample(2049)


def test_quiet_is_silent_and_verbose_says_more(
    server: RunningServer, here: Path, capsys: Capture
) -> None:
    assert run(["-q", "get", "4096", "-s", server.address]) == 0
    assert capsys.readouterr() == ("", "")
    assert run(["-v", "get", "4096", "-f", "-s", server.address, "--chunk-size", "auto"]) == 0
    _, second, third = capsys.readouterr().err.splitlines()
    assert second.startswith("  chunks of 16344 bytes, 0 packets resent, digest ")
    assert third.startswith("  processor at this end: ")
    assert names(here) == ["4096"]


def test_plain_is_called_unverified(get: Callable[..., int], here: Path, capsys: Capture) -> None:
    assert get("2048", "--mode", "plain") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("unverified: plain checks nothing")
    assert (here / "2048").read_bytes() == sample(2048)


def test_names_that_a_terminal_would_obey_are_escaped(tmp_path: Path, capsys: Capture) -> None:
    name = "a\x1b[31m\u202e\n.txt"
    served = tmp_path / "served"
    served.mkdir()
    (served / name).write_bytes(b"hello")
    with udpft.serve(served, port=0) as server:
        assert run(["get", name, "-s", server.address, "-o", str(tmp_path)]) == 0
        assert run(["get", name[:-1], "-s", server.address, "-o", str(tmp_path)]) == 78
    err = capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == b"hello"
    assert err.isprintable() or err.replace("\n", "").isprintable()
    assert len(err.splitlines()) == 3
    assert r"a\x1b[31m\u202e\n.txt: 5 B" in err


# --------------------------------------------------------------------------------- standard output


@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
def test_to_standard_output(
    server: RunningServer, capsysbinary: pytest.CaptureFixture[bytes], output: str
) -> None:
    assert run(["get", "2049", "1", "-s", server.address, "-o", output]) == 0
    out, err = capsysbinary.readouterr()
    assert out == sample(2049) + sample(1)
    assert err.startswith(b"standard output: 2.05 kB in ")


def test_nothing_unverified_goes_to_standard_output(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = tmp_path / "changing"
    path.write_bytes(sample(LARGE))
    with (
        udpft.serve(tmp_path, port=0, max_rate=2_000_000) as server,
        meanwhile(lambda: os.truncate(path, 4096)),
    ):
        assert run(["get", "changing", "-s", server.address, "-o", "-"]) in (0, ExitCode.PARTIAL)
    assert capsysbinary.readouterr().out in (b"", sample(LARGE)[:4096])


def test_standard_output_may_be_full_or_left(server: RunningServer) -> None:
    get = [sys.executable, "-m", "udpft", "get", str(LARGE), "-s", server.address, "-o", "-"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            get, stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE_S, env=environment()
        )
    assert done.returncode == ExitCode.WRITE_FAILED
    assert done.stderr == b"udpft: cannot write to standard output: No space left on device\n"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        get, stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE_S, env=environment()
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (ExitCode.NO_READER, b"")


def test_without_a_temporary_folder(
    get: Callable[..., int], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/missing")
    assert get("1", "-o", "-") == ExitCode.WRITE_FAILED
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("udpft: no temporary folder")
    assert "TMPDIR" in hint


def test_a_temporary_disk_that_is_full_is_blamed(get: Callable[..., int], capsys: Capture) -> None:
    with file_size_limit(1 << 19):
        code = get(str(LARGE), "-o", "-")
    assert code == ExitCode.WRITE_FAILED
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("udpft: in the temporary folder: ")
    assert "TMPDIR" in hint


# ----------------------------------------------------------------------------------- for programs


def test_the_events_of_a_get(get: Callable[..., int], here: Path, capsys: Capture) -> None:
    (here / "1").write_bytes(sample(1))
    assert get("1", "missing", "2048", "--json") == ExitCode.NO_SUCH_FILE
    lines = events(capsys.readouterr().out)
    assert [(line["event"], line.get("name")) for line in lines] == [
        ("start", "1"),
        ("done", "1"),
        ("start", "missing"),
        ("error", "missing"),
        ("start", "2048"),
        ("done", "2048"),
        ("summary", None),
    ]
    assert all(line["schema"] == 1 for line in lines)
    summary = lines[-1]
    assert (summary["ok"], summary["exit_code"]) == (False, 78)
    for at, file in zip((1, 3, 5), summary["files"], strict=True):
        assert {"schema": 1, "event": lines[at]["event"], **file} == lines[at]
    same, missing, fresh = summary["files"]
    assert (same["ok"], same["up_to_date"], same["resumed_bytes"]) == (True, True, 1)
    assert (missing["ok"], missing["exit_code"]) == (False, 78)
    assert (fresh["ok"], fresh["verified"], fresh["bytes"], fresh["path"]) == (
        True,
        True,
        2048,
        "2048",
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["x", "-o", "-"], ExitCode.USAGE),
        (["a/x", "b/x"], ExitCode.USAGE),
        (["x", "y", "-o", "one"], ExitCode.USAGE),
        (["x", "-s", "no.invalid"], ExitCode.HOST_NOT_FOUND),
        (["x", "-s", ":::"], ExitCode.USAGE),
    ],
)
def test_the_last_line_is_the_verdict_however_it_ends(
    here: Path, capsys: Capture, arguments: list[str], code: int
) -> None:
    assert run(["get", *arguments, "--json"]) == code
    out, err = capsys.readouterr()
    *_, error, summary = events(out)
    assert (error["event"], error["exit_code"]) == ("error", code)
    assert summary == {
        "schema": 1,
        "event": "summary",
        "ok": False,
        "exit_code": code,
        "files": [],
    }
    assert err.startswith(f"udpft: {error['message']}\n")
    assert names(here) == []


# ----------------------------------------------------------------------------------------- failures


def said(capsys: Capture, code: int, expected: int, *words: str) -> None:
    """See that a failure has its exit code and says so in three lines at most."""
    out, err = capsys.readouterr()
    assert code == expected, err
    assert out == ""
    assert 1 <= len(err.splitlines()) <= 3
    assert err.startswith("udpft: ")
    assert "Traceback" not in err
    for word in words:
        assert word in err


@pytest.mark.usefixtures("here")
def test_no_server(capsys: Capture) -> None:
    said(capsys, run(["get", "x", "-s", closed_port()]), 7, "nothing listens on", "hint: ")


@pytest.mark.usefixtures("here")
def test_a_silent_server(stranger: socket.socket, capsys: Capture) -> None:
    arguments = ["get", "x", "-s", address_of(stranger), "--connect-timeout", "0.1"]
    said(capsys, run(arguments), 28, f"no answer from {address_of(stranger)}", "hint: ")
    said(capsys, run([*arguments, "--mode", "plain"]), 28, "no error messages")


@pytest.mark.usefixtures("here")
def test_an_unknown_host(capsys: Capture) -> None:
    said(capsys, run(["get", "x", "-s", "no.invalid"]), 6, "'no.invalid'", "hint: ")


def test_a_missing_file(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "report.pdf").touch()
    with udpft.serve(tmp_path, port=0) as server:
        code = run(["get", "reprot.pdf", "-s", server.address])
    said(capsys, code, 78, "'reprot.pdf'", "hint: did you mean 'report.pdf'?")


def test_a_different_file(get: Callable[..., int], here: Path, capsys: Capture) -> None:
    (here / "2048").write_bytes(b"another")
    said(capsys, get("2048"), 13, "2048 exists and is a different file", "--force")
    said(capsys, get("2048", "--mode", "plain"), 13, "2048 exists", "--force")
    assert (here / "2048").read_bytes() == b"another"
    assert get("2048", "--force") == 0


def test_no_permission(get: Callable[..., int], here: Path, capsys: Capture) -> None:
    here.chmod(0o555)
    with unprivileged():
        code = get("1")
    said(capsys, code, 23, "Permission denied", "--output")


def test_a_folder_in_the_way_and_one_that_is_missing(
    get: Callable[..., int], here: Path, capsys: Capture
) -> None:
    (here / "1").mkdir()
    said(capsys, get("1"), 23, "it is a folder")
    said(capsys, get("1", "-o", "missing/"), 23, "there is no folder missing", "mkdir")
    said(capsys, get("1", "-o", "/dev/null"), 23, "no regular file", "--output -")


def test_a_full_disk(get: Callable[..., int], here: Path, capsys: Capture) -> None:
    with file_size_limit(100_000):
        code = get(str(LARGE))
    said(capsys, code, 23, "File too large")
    assert names(here) == []


@pytest.mark.usefixtures("here")
def test_a_busy_server(samples: Path, capsys: Capture) -> None:
    with udpft.serve(samples, port=0, max_clients=1) as server:
        held = HeldTransfer(server, str(LARGE))
        code = run(["get", "1", "-s", server.address, "--connect-timeout", "0.2"])
        held.end()
    said(capsys, code, 75, "no room", "hint: ")


def test_bad_arguments_beyond_what_click_sees(get: Callable[..., int], capsys: Capture) -> None:
    said(capsys, get("1", "--chunk-size", "12"), 2, "a chunk of 12 bytes", "hint: ")
    said(capsys, get("dir/"), 2, "'dir/' names no file")
    said(capsys, get("1", "1"), 2, "would both become 1")
    said(capsys, get("1", "2048", "-o", "one"), 2, "cannot all become 'one'", "folder")
    said(capsys, get("1", "--mode", "plain", "--limit-rate", "1M"), 2, "plain has neither")
    said(capsys, get("x" * 3000), 2, "the name has 3000 bytes")


def test_one_file_that_fails_does_not_stop_the_others(
    get: Callable[..., int], here: Path, capsys: Capture
) -> None:
    (here / "1").write_bytes(b"another")
    assert get("missing", "1", "2048") == ExitCode.NO_SUCH_FILE  # the first failure's
    err = capsys.readouterr().err
    assert "no such file on the server: 'missing'" in err
    assert "1 exists and is a different file" in err
    assert (here / "2048").read_bytes() == sample(2048)


@pytest.mark.usefixtures("here")
def test_a_server_that_is_not_there_stops_all(capsys: Capture) -> None:
    said(capsys, run(["get", "x", "y", "z", "-s", closed_port()]), 7)


@pytest.mark.parametrize("keep", [True, False])
def test_plain_without_its_end(
    stranger: socket.socket, here: Path, capsys: Capture, keep: bool
) -> None:
    def begin() -> None:
        _, client = stranger.recvfrom(65_536)
        stranger.sendto(sample(2048), client)

    arguments = ["get", "x", "-s", address_of(stranger), "--mode", "plain", "--timeout", "0.1"]
    with meanwhile(begin):
        code = run([*arguments, *(["--allow-partial"] if keep else [])])
    err = capsys.readouterr().err
    assert code == ExitCode.PARTIAL
    assert len(err.splitlines()) <= 3
    assert names(here) == (["x"] if keep else [])
    assert ("unverified" in err) == keep


# --------------------------------------------------------------------------------- real processes


@pytest.mark.parametrize(
    ("signum", "code", "word"),
    [
        (signal.SIGINT, ExitCode.INTERRUPTED, "interrupted"),
        (signal.SIGTERM, ExitCode.TERMINATED, "terminated"),
        (signal.SIGHUP, ExitCode.HUNG_UP, "hung up"),
    ],
)
def test_a_signal_leaves_a_part_and_says_how_to_go_on(
    samples: Path, tmp_path: Path, signum: int, code: int, word: str
) -> None:
    with udpft.serve(samples, port=0, max_rate=400_000) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "udpft", "get", str(LARGE), "-s", server.address, "--json"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(PYTHONPATH=str(Path(udpft.__file__).parents[1])),
            # A shell's background job, as the tests may be, ignores it and hands that down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["event"] != "progress":
            continue
        assert names(tmp_path) == [f".{LARGE}.udpft-part"]
        process.send_signal(signum)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    assert err.decode().strip().splitlines() == [
        f"udpft: {word}",
        "hint: run the same command again to resume",
    ]
    assert events(out.decode())[-1] == {
        "schema": 1,
        "event": "summary",
        "ok": False,
        "exit_code": code,
        "files": [
            {
                "name": str(LARGE),
                "ok": False,
                "message": word,
                "hint": "run the same command again to resume",
                "exit_code": code,
            }
        ],
    }
    assert names(tmp_path) == [f".{LARGE}.udpft-part"]


def test_as_processes_with_the_server_from_the_environment(
    server: RunningServer, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    variables = {"UDPFT_SERVER": server.address, "UDPFT_MODE": "plain"}
    done = run_udpft("get", "2049", "-o", out, variables=variables)
    assert (done.returncode, done.stdout) == (0, "")
    assert "unverified" in done.stderr
    assert Path(out).read_bytes() == sample(2049)


def test_a_file_system_without_locks_is_warned_of_once(
    server: RunningServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    output = f"{tmp_path}{os.sep}"
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert run(["get", "4096", "1", "-s", server.address, "-o", output]) == 0
    said = capsys.readouterr().err.splitlines()
    warned = "udpft: warning: this file system has no locks: let no two transfers write the same"
    assert [line for line in said if "warning" in line] == [f"{warned} file"]
    assert (tmp_path / "4096").read_bytes() == sample(4096)


# --------------------------------------------------------------------------------------- ranges


def test_a_range_of_a_file(get: Callable[..., int], here: Path, capsys: Capture) -> None:
    assert get("4096", "--range", "1000-1999") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("4096: 1 kB of 4.1 kB in ")
    assert line.endswith("verified")
    assert (here / "4096").read_bytes() == sample(4096)[1000:2000]
    assert get("4096", "--range", "1000-1999") == 0
    assert capsys.readouterr().err == "4096: up to date, verified\n"
    assert get("4096", "--range", "1001-2000") == ExitCode.EXISTS
    assert get("4096", "--range", "4000-5000", "-o", "end", "--no-resume") == 0
    assert (here / "end").read_bytes() == sample(4096)[4000:]


@pytest.mark.parametrize(("words", "expected"), [("0-4", slice(5)), ("-3", slice(-3, None))])
def test_a_range_on_standard_output(
    get: Callable[..., int], capfdbinary: pytest.CaptureFixture[bytes], words: str, expected: slice
) -> None:
    assert get("4096", "1", "--range", words, "-o", "-") == 0
    assert capfdbinary.readouterr().out == sample(4096)[expected] + sample(1)[expected]


def test_a_range_behind_the_end_has_curls_exit_code(
    get: Callable[..., int], here: Path, capsys: Capture
) -> None:
    assert get("4096", "--range", "4096-") == 36
    assert capsys.readouterr().err.splitlines() == [
        "udpft: the file has 4.1 kB, and nothing of that range: '4096'",
        "hint: its bytes are 0 to 4095",
    ]
    assert get("1", "4096", "--range", "1-", "-o", ".") == 36  # and the other one comes
    assert names(here) == ["4096"]


def test_json_of_a_range_tells_of_its_file(get: Callable[..., int], capsys: Capture) -> None:
    assert get("4096", "--range", "-96", "--json") == 0
    *_, done, summary = events(capsys.readouterr().out)
    part = done["part"]
    assert done["bytes"] == 96
    assert (part["first"], part["last"], part["file_bytes"]) == (4000, 4095, 4096)
    assert len(part["identity"]) == 16
    assert summary["files"][0]["part"] == part
    assert get("2049", "--json") == 0
    assert "part" not in events(capsys.readouterr().out)[-2]


@pytest.mark.parametrize(
    "words",
    [
        ["--range", "5-1"],
        ["--range", "5"],
        ["--range", "0-1", "-r"],
        ["--range", "0-1", "--mode", "plain"],
        ["--range", "0-1", "4*"],
    ],
)
def test_a_range_that_makes_no_sense(get: Callable[..., int], here: Path, words: list[str]) -> None:
    assert get("1", *words) == ExitCode.USAGE
    assert names(here) == []
