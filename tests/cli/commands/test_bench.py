"""``udpft bench``, in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import udpft
from tests.loopback import closed_port
from udpft.api import RunningServer
from udpft.cli.main import run
from udpft.errors import ExitCode

QUICK = ["--size", "100k", "--rounds", "1", "--time", "0.1"]


@pytest.fixture
def writable(here: Path) -> Iterator[RunningServer]:
    """A server with one file, that takes others."""
    (here / "served").mkdir()
    (here / "served/file").write_bytes(bytes(90_000))
    with udpft.serve(here / "served", port=0, writable=True) as running:
        yield running


def test_a_table_and_a_sentence(
    writable: RunningServer, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "-s", writable.address, *QUICK, "--put-as", "brought"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].split() == ["what", "direction", "mode", "rate", "resent", "round", "trip"]
    assert [tuple(line.split()[:3]) for line in lines[1:7]] == [
        ("memory", "down", "reliable"),
        ("memory", "down", "plain"),
        ("memory", "up", "reliable"),
        ("file", "down", "reliable"),
        ("file", "down", "plain"),
        ("file", "up", "reliable"),
    ]
    for line in (lines[1], lines[3], lines[4], lines[5], lines[6]):
        assert "B/s (" in line
        assert "bit/s)" in line
    assert lines[2].endswith("- plain knows nothing but files")
    assert lines[5].endswith("paced by --plain-rate")
    assert lines[7:9] == ["file down: file, 90 kB", "file up: brought, 100 kB"]
    assert lines[9].endswith(".")
    assert len(lines) == 10
    assert max(map(len, lines)) <= 80
    assert (here / "served/brought").stat().st_size == 100_000


def test_for_programs(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "-s", server.address, *QUICK, "--name", "2048", "--json"]) == 0
    *rows, conclusion, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert [one["event"] for one in rows] == [
        "done",
        "skipped",
        "skipped",
        "done",
        "done",
        "skipped",
    ]
    memory = rows[0]
    assert memory["rate_bits_per_s"] == pytest.approx(8 * memory["rate_bytes_per_s"], abs=8)
    assert (memory["chunk_size"], memory["resent_share"], memory["verified"]) == (2048, 0, True)
    assert [one["bytes"] for one in memory["rounds"]] == [100_000]
    assert memory["rtt_s"] > 0
    assert rows[2]["reason"] == "the server takes no uploads"
    assert (rows[3]["name"], rows[4]["resent_share"], rows[4]["verified"]) == ("2048", None, False)
    assert conclusion["message"].endswith(".")
    assert (summary["ok"], summary["exit_code"], len(summary["rows"])) == (True, 0, 6)
    assert {one["schema"] for one in (*rows, conclusion, summary)} == {1}


def test_quiet_says_nothing(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-q", "bench", "-s", server.address, *QUICK, "--name", "1"]) == 0
    assert capsys.readouterr() == ("", "")


def test_what_was_measured_is_told_though_it_ends_badly(
    server: RunningServer, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    assert run(["bench", "-s", server.address, *QUICK, "--dir", str(here / "none"), "--json"]) == 23
    error, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert error["hint"] == "--dir names a folder for it"
    assert (summary["ok"], summary["exit_code"], summary["rows"]) == (False, 23, [])


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "-s", closed_port(), *QUICK]) == ExitCode.PORT_CLOSED
    assert "nothing listens" in capsys.readouterr().err


def test_a_name_that_would_trick_a_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "served").mkdir()
    (here / "served/\x1b[2J").write_bytes(bytes(1000))
    with udpft.serve(here / "served", port=0) as server:
        assert run(["bench", "-s", server.address, *QUICK]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"file down: \x1b[2J, 1 kB" in out
