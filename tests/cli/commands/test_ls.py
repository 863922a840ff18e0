"""``udpft ls``: listings for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import udpft
from tests.cli.processes import run_udpft
from tests.trees import make_tree
from udpft.api import RunningServer
from udpft.cli.commands import ls
from udpft.cli.main import run
from udpft.protocol.wire.listing import Entry


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with udpft.serve(make_tree(tmp_path / "served"), port=0) as server:
        yield server


def test_ls_prints_for_people_and_for_programs(server: RunningServer) -> None:
    done = run_udpft("ls", "-l", "t*", "-s", server.address)
    assert done.returncode == 0
    folder, file = done.stdout.splitlines()
    assert (folder[:4], folder[-6:]) == ("drwx", " tree/")
    assert file[11:].split()[:2] == ["2", "B"]
    assert file.endswith(" two.txt")
    assert r"tree/line\nbreak" in run_udpft("ls", "tree", "-s", server.address).stdout
    done = run_udpft("ls", "*.bin", "--json", "-s", server.address)
    assert '"name": "other.bin", "type": "file", "size": 3' in done.stdout
    assert '"event": "summary", "ok": true' in done.stdout.splitlines()[-1]


def test_the_fields_for_programs(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ls", "tree/run.sh", "--json", "-s", server.address]) == 0
    entry, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert (entry["event"], entry["name"], entry["type"]) == ("entry", "tree/run.sh", "file")
    assert (entry["size"], entry["mode"]) == (10, "0755")
    assert entry["mtime_ns"] > 0
    assert summary == {"schema": 1, "event": "summary", "ok": True, "exit_code": 0}


def test_recursive_names_all_below(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ls", "-r", "tree/empty", "-s", server.address]) == 0
    assert capsys.readouterr().out.splitlines() == ["tree/empty/", "tree/empty/inner/"]


def test_nothing_of_that_name_is_an_error(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ls", "absent", "-s", server.address]) == 78
    assert capsys.readouterr().err.startswith("udpft: ")


def test_a_time_that_no_calendar_has_is_a_question_mark() -> None:
    line = ls._long(Entry("x", True, 0, 2**62 * 10**9, 0o755))
    assert line.split() == ["drwxr-xr-x", "-", "?", "x/"]
