"""``udpft put``: its words, what it says, and its exit codes, over loopback."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import udpft
from tests.cli.processes import run_udpft
from tests.trees import make_tree, seen
from udpft.api import RunningServer
from udpft.keys import new_key_file
from udpft.outcome.result import Served

MB = random.Random(3).randbytes(1_000_000)
CONTENT = MB[:1000]


@pytest.fixture
def told() -> list[Served]:
    return []


@pytest.fixture
def server(stored: Path, told: list[Served]) -> Iterator[RunningServer]:
    with udpft.serve(stored, port=0, writable=True, on_served=told.append) as server:
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = make_tree(tmp_path / "here") / "tree"
    time_ns = tree.stat().st_mtime_ns
    (tree / ".hidden").unlink()
    os.utime(tree, ns=(time_ns, time_ns))
    return tree


def test_several_names_share_a_session_and_one_that_fails_stops_no_other(
    server: RunningServer, stored: Path, tmp_path: Path, told: list[Served]
) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    (stored / "b").write_text("theirs")
    done = run_udpft("put", *(str(tmp_path / n) for n in "abc"), "-s", server.address)
    assert done.returncode == 13
    assert "--force" in done.stderr
    assert [(stored / n).read_text() for n in "abc"] == ["a", "theirs", "c"]
    assert [served.name for served in told] == ["a", "c"]  # b was compared by its size, and refused
    assert len({served.peer for served in told}) == 1


def test_as_names_one_file_or_a_folder_for_several(
    server: RunningServer, stored: Path, tmp_path: Path
) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    both = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert run_udpft("put", *both, "--as", "x", "-s", server.address).returncode == 2
    assert run_udpft("put", both[0], both[0], "-s", server.address).returncode == 2
    assert run_udpft("put", *both, "-f", "--as", "x/", "-s", server.address).returncode == 0
    assert (stored / "x/b").read_text() == "b"


def test_options_come_from_the_environment_too(stored: Path, file: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    new_key_file(key)
    with udpft.serve(stored, port=0, writable=True, key_file=key) as server:
        done = run_udpft(
            "put",
            str(file),
            variables={"UDPFT_SERVER": server.address, "UDPFT_KEY_FILE": str(key)},
        )
        assert done.returncode == 0
        without = run_udpft("put", str(file), "--connect-timeout", "0.3", "-s", server.address)
    assert without.returncode == 28
    assert (stored / "file").read_bytes() == CONTENT


def test_standard_input_becomes_a_file(server: RunningServer, stored: Path) -> None:
    done = run_udpft("put", "-", "--as", "piped", "-s", server.address, stdin=MB)
    assert done.returncode == 0
    assert (stored / "piped").read_bytes() == MB
    assert run_udpft("put", "-", "-s", server.address, stdin=MB).returncode == 2


def test_json_lines_end_with_the_verdict(server: RunningServer, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    done = run_udpft("put", str(two), str(one), "--json", "-s", server.address)
    assert done.returncode == 26
    last = done.stdout.splitlines()[-1]
    assert '"event": "summary", "ok": false, "exit_code": 26' in last
    assert '"name": "one", "ok": true' in last


def test_the_command_tells_how_many_files(server: RunningServer, stored: Path, tree: Path) -> None:
    done = run_udpft("put", "-r", str(tree), str(tree / "run.sh"), "-s", server.address)
    assert done.returncode == 0
    assert f"tree on {server.address}: 307 files: " in done.stderr
    assert seen(stored / "tree") == seen(tree)
    assert (stored / "run.sh").exists()
    assert run_udpft("put", str(tree), "-s", server.address).returncode == 26
    done = run_udpft("put", "-r", str(tree), "--json", "-s", server.address)
    assert '"up_to_date": true, "files": 307' in done.stdout.splitlines()[-1]
