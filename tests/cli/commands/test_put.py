"""``udpft put``: its words, what it says, and its exit codes, over loopback."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import udpft
from tests.cli.processes import PATIENCE_S, environment, run_udpft
from tests.faults import file_size_limit
from tests.trees import make_tree, seen
from udpft.api import RunningServer, connect
from udpft.cli.main import run
from udpft.errors import ExitCode, LocalReadFailed, NoSuchFile, PartialTransfer
from udpft.keys import new_key_file
from udpft.outcome.served import Refused, Served
from udpft.storage.trees.files import StagedTree

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
    server.stop()  # by then all is told
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


# ------------------------------------- standard input and working directories that are not there


def by_shell(script: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which ``"$@"`` is the udpft command of these arguments."""
    command = [sys.executable, "-m", "udpft", *arguments]
    path = str(Path(udpft.__file__).parents[1])
    return subprocess.run(
        ["sh", "-c", script, "sh", *command],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=cwd,
        env=environment(PYTHONPATH=path),
    )


def test_a_closed_standard_input_is_told(server: RunningServer, tmp_path: Path) -> None:
    done = by_shell('exec "$@" <&-', "put", "-", "--as", "x", "-s", server.address, cwd=tmp_path)
    assert done.returncode == ExitCode.READ_FAILED
    assert done.stderr.startswith("udpft: standard input is closed\nhint: ")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["put", "file"], ExitCode.READ_FAILED),
        (["put", "-r", "."], ExitCode.READ_FAILED),
        (["put", "-r", "../file/.."], ExitCode.READ_FAILED),
        (["put", "{}/file"], ExitCode.DONE),
        (["get", "there"], ExitCode.WRITE_FAILED),
        (["get", "there", "-o", "x"], ExitCode.WRITE_FAILED),
        (["ls"], ExitCode.DONE),
    ],
    ids=str,
)
def test_a_working_directory_that_is_gone(
    server: RunningServer, stored: Path, tmp_path: Path, arguments: list[str], code: int
) -> None:
    (stored / "there").write_bytes(b"there")
    (tmp_path / "file").write_bytes(b"a file")
    gone = tmp_path / "gone"
    gone.mkdir()
    words = [word.format(tmp_path) for word in arguments]
    done = by_shell('rmdir ../gone; exec "$@"', *words, "-s", server.address, cwd=gone)
    assert done.returncode == code, done.stderr
    assert "a bug" not in done.stderr


def test_a_temporary_disk_that_is_full_is_blamed(
    server: RunningServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "small").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "small"))
    with (
        (tmp_path / "big").open("wb+") as stream,
        udpft.Client(server.address) as client,
    ):
        stream.write(bytes(100_000))
        stream.seek(0)
        with file_size_limit(10_000), pytest.raises(udpft.errors.LocalWriteFailed) as failed:
            client.store(stream, "x")
    assert str(tmp_path / "small") in str(failed.value)
    assert "TMPDIR" in failed.value.hint


def test_without_a_temporary_folder(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/missing")
    with (
        Path(__file__).open("rb") as stream,
        udpft.Client(server.address) as client,
        pytest.raises(udpft.errors.LocalWriteFailed) as failed,
    ):
        client.store(stream, "x")
    assert "TMPDIR" in failed.value.hint


def test_a_stream_that_gives_no_bytes(server: RunningServer) -> None:
    with udpft.Client(server.address) as client:
        with Path(__file__).open() as text, pytest.raises(udpft.errors.UsageError, match="text"):
            client.store(text, "x")  # type: ignore[arg-type]
        with pytest.raises(udpft.errors.LocalReadFailed, match="closed file"):
            client.store(text.buffer, "x")


def test_a_different_file_there_is_no_damage_in_the_log(stored: Path, tmp_path: Path) -> None:
    served: list[udpft.Served] = []
    for folder, content in ((stored, b"one"), (tmp_path, b"two")):
        (folder / "file").write_bytes(content)
    with udpft.serve(stored, port=0, writable=True, on_served=served.append) as server:
        done = run_udpft("put", str(tmp_path / "file"), "-s", server.address)
    assert done.returncode == ExitCode.EXISTS
    assert [str(one.error) for one in served] == ["what is here already is a different file"]


def test_json_says_what_came_of_a_tree_that_did_not_come_whole(
    server: RunningServer, stored: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / ".e").touch()
    assert run(["put", "-r", str(tree), "--hidden", "--json", "-s", server.address]) == 18
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [failed] = [one for one in events if one["event"] == "failed"]
    assert failed["name"] == f"{tree.name}/.e"
    assert failed["reason"] == "the server takes no names that begin with a dot"
    found = [one for one in tree.rglob("*") if one.is_file() and not one.is_symlink()]
    came = [one for one in found if one.name != ".e"]
    [error] = [one for one in events if one["event"] == "error"]
    for told in (error, events[-1]["files"][0]):
        assert (told["ok"], told["files"], told["up_to_date"]) == (False, len(came), False)
        assert told["bytes"] == sum(one.stat().st_size for one in came)
    assert not (stored / tree.name / ".e").exists()
    words = ["put", "-r", str(tree), "--hidden", "--dry-run", "--json", "-s", server.address]
    assert run(words) == 18
    assert "would_come" not in capsys.readouterr().out


def test_a_tree_may_become_the_served_folder_and_leads_out_of_it_nowhere(
    server: RunningServer, stored: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["put", "-r", str(tree), "-s", server.address, "--as"]
    assert run([*words, "."]) == 0
    assert seen(stored) == seen(tree)
    assert run([*words, "./"]) == 0
    assert tree.name in os.listdir(stored)
    for name in ("../x", "a/../../x", "/x"):
        assert run([*words, name]) == 2
    assert "leads out of the folder that the server serves" in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_is_not_told_of_as_if_it_were_served(
    server: RunningServer, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from udpft.storage import served_folder

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with connect(server.address) as client:
        monkeypatch.setattr(served_folder, "_probe", refuse)
        with pytest.raises(LocalReadFailed, match=f"^cannot read {tree}: Permission") as caught:
            client.store_tree(tree)
    assert "serv" not in caught.value.hint


def test_questions_about_a_tree_are_no_refusals(
    stored: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[Refused] = []
    with (
        udpft.serve(stored, port=0, writable=True, on_refused=refused.append) as server,
        connect(server.address) as client,
    ):
        assert client.store_tree(tree, dry_run=True).files
        with monkeypatch.context() as patched:

            def full(*_: object) -> None:
                raise OSError(28, "No space left on device")

            patched.setattr(StagedTree, "writev", full)
            with pytest.raises(PartialTransfer):
                client.store_tree(tree)
        assert refused == []
        with pytest.raises(NoSuchFile):
            client.fetch_tree("gone", stored)
    assert [one.name for one in refused] == ["gone"]
