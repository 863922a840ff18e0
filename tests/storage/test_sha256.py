"""``--sha256``: a file gets its name only where it is the one that the user expects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Literal

import pytest

import udpft
from tests.cli.processes import run_udpft
from tests.faults import failing_below
from udpft.api import RunningServer
from udpft.errors import DigestMismatch, LocalReadFailed, UsageError
from udpft.storage.sha256 import check_sha256

CONTENT = os.urandom(2_500_000)
RIGHT = sha256(CONTENT).hexdigest()
WRONG = "0" * 64
MODES: list[Literal["reliable", "plain"]] = ["reliable", "plain"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served/file").write_bytes(CONTENT)
    with udpft.serve(tmp_path / "served", port=0) as server:
        yield server


@pytest.mark.parametrize("mode", MODES)
def test_the_expected_file_gets_its_name_and_another_one_none(
    server: RunningServer, tmp_path: Path, mode: Literal["reliable", "plain"]
) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def get(expected: str) -> udpft.Result:
        return udpft.get("file", server=server.address, output=out, mode=mode, sha256=expected)

    with pytest.raises(DigestMismatch, match=RIGHT):
        get(WRONG)
    assert os.listdir(out) == []
    assert get(RIGHT.upper()).verified
    assert (out / "file").read_bytes() == CONTENT


def test_a_file_that_is_here_is_looked_at_too(server: RunningServer, tmp_path: Path) -> None:
    mine = tmp_path / "file"
    mine.write_bytes(CONTENT)
    with pytest.raises(DigestMismatch):
        udpft.get("file", server=server.address, output=mine, sha256=WRONG)
    assert mine.read_bytes() == CONTENT
    assert udpft.get("file", server=server.address, output=mine, sha256=RIGHT).up_to_date


def test_it_is_64_digits_and_of_one_file() -> None:
    for expected in ("", "abc", WRONG[1:] + "g", WRONG + "0"):
        if expected:
            with pytest.raises(UsageError):
                udpft.get("file", server="127.0.0.1:1", sha256=expected)
    with pytest.raises(UsageError):
        udpft.get("folder", server="127.0.0.1:1", sha256=WRONG, recursive=True)
    for names in (["a", "b"], ["*"], ["-r", "a"]):
        done = run_udpft("get", *names, "--sha256", WRONG, "-s", "127.0.0.1:1")
        assert done.returncode == 2


def test_the_command_exits_with_32(server: RunningServer, tmp_path: Path) -> None:
    common = ["get", "file", "-s", server.address, "-o", str(tmp_path / "mine")]
    done = run_udpft(*common, "--sha256", WRONG)
    assert done.returncode == 32
    assert RIGHT in done.stderr
    assert not (tmp_path / "mine").exists()
    assert run_udpft(*common, "--sha256", RIGHT).returncode == 0


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, 2_400_000])
def test_only_the_bytes_of_the_file_count(tmp_path: Path, size: int) -> None:
    path = tmp_path / "part"
    path.write_bytes(CONTENT)  # with a journal behind it, a part file is longer than its data
    with path.open("rb") as file:
        check_sha256(file.fileno(), size, sha256(CONTENT[:size]).hexdigest().upper())
        with pytest.raises(DigestMismatch, match=sha256(CONTENT[:size]).hexdigest()):
            check_sha256(file.fileno(), size, WRONG)


def test_a_disk_that_fails_is_no_wrong_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "part").write_bytes(CONTENT)
    monkeypatch.setattr(os, "pread", failing_below("pread", tmp_path))
    with (
        (tmp_path / "part").open("rb") as file,
        pytest.raises(LocalReadFailed, match="Input/output error"),
    ):
        check_sha256(file.fileno(), 10, RIGHT)
