"""``udpft get HOST:PATH`` and ``put FILE HOST:PATH``: names, options, words, exit codes."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.remote.shells import UDPFT, as_ssh, far_ends, script
from tests.samples import sample
from udpft.cli.main import run
from udpft.errors import ExitCode

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Home of the account over there."""
    folder = (tmp_path / "home").resolve()
    folder.mkdir()
    return folder


@pytest.fixture
def rsh(tmp_path: Path, home: Path) -> Path:
    return as_ssh(tmp_path / "rsh", home)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory here."""
    folder = tmp_path / "local"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def udpft(rsh: Path, local: Path) -> Callable[..., int]:
    """A command with names of other machines; its exit code."""
    assert Path.cwd() == local

    def call(command: str, *arguments: str) -> int:
        return run([command, "-e", str(rsh), "--remote-udpft", UDPFT, "--", *arguments])

    return call


def summary(out: str) -> dict[str, Any]:
    last: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert last["event"] == "summary"
    return last


def test_a_file_comes_and_goes_back(
    udpft: Callable[..., int], home: Path, local: Path, capsys: Capture
) -> None:
    (home / "-a b").write_bytes(sample(4096))
    assert udpft("get", "lab:-a b") == 0
    assert capsys.readouterr().err.startswith("-a b: 4.1 kB in ")
    assert (local / "-a b").read_bytes() == sample(4096)
    assert udpft("get", "lab:-a b") == 0
    assert capsys.readouterr().err == "-a b: up to date, verified\n"
    assert udpft("put", "-a b", "ada@lab:new/") == 0
    assert capsys.readouterr().err.startswith("ada@lab:new/-a b: 4.1 kB in ")
    assert (home / "new" / "-a b").read_bytes() == sample(4096)
    assert far_ends(home) == []


def test_the_shell_may_stand_in_the_environment(
    rsh: Path, home: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "a").write_bytes(sample(1))
    monkeypatch.setenv("UDPFT_RSH", str(rsh))
    monkeypatch.setenv("UDPFT_REMOTE", UDPFT)
    monkeypatch.setenv("UDPFT_KEY_FILE", "of/a/server")  # not of this session
    assert run(["get", "lab:a", "-o", "b"]) == 0
    assert (local / "b").read_bytes() == sample(1)


AS_KUBECTL = """#!/bin/sh
echo "$@" >> {log}
[ "$1 $2" = "exec -i" ] || exit 64
shift 2
[ "$1" = -n ] && shift 2
[ "$2" = -- ] || {{ echo "error: you must specify the command behind --" >&2; exit 1; }}
shift 2
HOME={home}; export HOME
exec "$@"
"""


def test_pods_are_reached_through_kubectl(
    tmp_path: Path, home: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "kubectl", AS_KUBECTL.format(log=log, home=home))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    (home / "a b").write_bytes(sample(4096))
    words = ["--remote-udpft", UDPFT]
    assert run(["get", f"kubectl://web-0/{home}/a b", *words]) == 0
    assert run(["put", "a b", "kubectl://prod/web-0/~/there", *words]) == 0
    assert run(["get", "web-0:there", "-e", "kubectl exec -i", *words]) == 0
    for path in (local / "a b", home / "there", local / "there"):
        assert path.read_bytes() == sample(4096)
    end = f"-- {UDPFT} serve --for-shell"
    assert log.read_text().splitlines() == [
        f"exec -i web-0 {end}",
        f"exec -i -n prod web-0 {end}",
        f"exec -i web-0 {end}",
    ]


def test_names_of_several_hosts_each_have_their_session(
    udpft: Callable[..., int], home: Path, local: Path
) -> None:
    for name in "abc":
        (home / name).write_bytes(sample(2047))
    assert udpft("get", "lab:a", "hall:b", "lab:c") == 0
    assert sorted(os.listdir(local)) == ["a", "b", "c"]


def test_a_tree_comes_and_goes(udpft: Callable[..., int], home: Path, local: Path) -> None:
    (home / "t").mkdir()
    (home / "t" / ".x").write_bytes(sample(1))
    command = ["get", "-r"]
    assert udpft(*command[:1], "lab:t") == ExitCode.NO_SUCH_FILE
    assert run([*command, "-e", str(home.parent / "rsh"), "--remote-udpft", UDPFT, "lab:t"]) == 0
    assert (local / "t" / ".x").read_bytes() == sample(1)
    words = ["-r", "-e", str(home.parent / "rsh"), "--remote-udpft", UDPFT, "t", "lab:new"]
    assert run(["put", *words]) == 0
    assert (home / "new" / "t" / ".x").read_bytes() == sample(1)


def test_programs_are_told_by_the_names_that_were_typed(
    rsh: Path, home: Path, local: Path, capsys: Capture
) -> None:
    (home / "a").write_bytes(sample(2048))
    words = ["-e", str(rsh), "--remote-udpft", UDPFT, "--json"]
    assert run(["get", "lab:a", "lab:b", *words]) == ExitCode.NO_SUCH_FILE
    files = summary(capsys.readouterr().out)["files"]
    assert [(one["name"], one["ok"]) for one in files] == [("lab:a", True), ("lab:b", False)]
    assert files[0]["path"] == "a"
    assert run(["put", "a", "lab:c", *words]) == 0
    [file] = summary(capsys.readouterr().out)["files"]
    assert (file["name"], file["path"]) == ("lab:c", "a")
    assert (local / "a").exists()


def test_standard_streams(
    udpft: Callable[..., int], rsh: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = io.TextIOWrapper(io.BytesIO(sample(4096)))
    monkeypatch.setattr(sys, "stdin", given)
    assert udpft("put", "-", "lab:from-pipe") == 0
    assert (home / "from-pipe").read_bytes() == sample(4096)
    taken = io.TextIOWrapper(io.BytesIO())
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", taken)
        words = ["-e", str(rsh), "--remote-udpft", UDPFT, "-o", "-"]
        assert run(["get", "lab:from-pipe", *words]) == 0
    assert isinstance(taken.buffer, io.BytesIO)
    assert taken.buffer.getvalue() == sample(4096)


def test_a_name_on_a_server_may_have_a_colon(
    home: Path, local: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("UDPFT_RSH", "/no/such/shell")
    for arguments in (["a:b", "-s", "127.0.0.1:1"], ["./a:b"], [":b"]):
        assert run(["get", *arguments, "--connect-timeout", "0.1"]) in (
            ExitCode.PORT_CLOSED,
            ExitCode.TIMED_OUT,
        )
    monkeypatch.setenv("UDPFT_SERVER", "127.0.0.1:1")
    assert run(["get", "a:b", "--connect-timeout", "0.1"]) == ExitCode.PORT_CLOSED
    assert "no such file" not in capsys.readouterr().err.lower()
    assert home.exists()
    assert local.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["get", "lab:a", "b"],
        ["get", "-oProxyCommand=touch x:a"],
        ["get", "--", "-oProxyCommand=touch x:a"],
        ["get", "lab:a", "-e", "ssh 'x"],
        ["get", "lab:a", "--ports", "x"],
        ["get", "lab:a", "--mode", "plain"],
        ["get", "a", "-e", "ssh"],
        ["get", "lab:a", "-s", "lab", "--ports", "1-2"],
        ["get", "lab:a", "hall:a"],
        ["put", "lab:a"],
        ["put", "lab:a", "b"],
        ["put", "lab:a", "lab:b"],
        ["put", "a", "lab:b", "--as", "c"],
        ["put", "x/a", "a", "lab:b"],
    ],
)
def test_words_that_make_no_sense(words: list[str], local: Path, capsys: Capture) -> None:
    (local / "a").touch()
    assert run(words) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("udpft: ")
    assert os.listdir(local) == ["a"]


def test_a_shell_that_fails_has_its_own_exit_code(
    tmp_path: Path, local: Path, capsys: Capture
) -> None:
    bad = script(tmp_path / "bad", "#!/bin/sh\necho Permission denied. >&2; exit 255\n")
    assert run(["get", "lab:a", "-e", str(bad)]) == ExitCode.SHELL_FAILED
    assert capsys.readouterr().err.splitlines() == [
        "udpft: bad to lab failed: Permission denied.",
        "hint: does `bad lab true` work?",
    ]
    missing = script(tmp_path / "missing", "#!/bin/sh\nexec /no/such/udpft\n")
    assert run(["get", "lab:a", "-e", str(missing)]) == ExitCode.SHELL_FAILED
    assert "pip install '.[keys]'" in capsys.readouterr().err
    assert os.listdir(local) == []


def test_v_tells_what_the_shell_says(
    tmp_path: Path, home: Path, local: Path, capsys: Capture
) -> None:
    (home / "a").touch()
    good = as_ssh(tmp_path / "good", home)
    wordy = script(tmp_path / "wordy", f'#!/bin/sh\necho "a \033 banner" >&2\nexec {good} "$@"\n')
    words = ["get", "lab:a", "-f", "-e", str(wordy), "--remote-udpft", UDPFT]
    assert run(words) == 0
    assert "banner" not in capsys.readouterr().err
    assert run(["-v", *words]) == 0
    assert "a \\x1b banner" in capsys.readouterr().err
    assert (local / "a").exists()


def test_the_far_end_is_no_command_for_people(capsys: Capture) -> None:
    assert run(["serve", "--help"]) == 0
    assert "for-shell" not in capsys.readouterr().out
