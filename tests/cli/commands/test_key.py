"""``udpft key``, and ``--key-file`` of the other commands."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

import udpft
from tests.cli.processes import Server
from tests.samples import sample
from udpft.api import RunningServer
from udpft.cli.app import COMMANDS, cli
from udpft.cli.main import run
from udpft.errors import ExitCode

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def key(here: Path, capsys: Capture) -> str:
    """A key file in an empty folder."""
    assert run(["-q", "key", "new", "key"]) == 0
    assert capsys.readouterr() == ("", "")
    return str(here / "key")


def test_a_new_key_and_a_line_about_it(here: Path, capsys: Capture) -> None:
    assert run(["key", "new", "new.key"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("new.key: a new key.")
    text = (here / "new.key").read_text()
    assert text.strip() not in err
    assert run(["key", "new", "new.key"]) == ExitCode.USAGE
    assert "new.key exists" in capsys.readouterr().err
    assert (here / "new.key").read_text() == text


def test_server_and_client_with_one_key(samples: Path, here: Path, key: str) -> None:
    with Server("serve", str(samples), "--key-file", key) as server:
        assert run(["ping", "-s", server.address, "--key-file", key]) == 0
        assert run(["get", "2049", "-s", server.address, "--key-file", key]) == 0
        assert server.stop() == 0
        assert Path(key).read_text().strip() not in server.rest_of_log()
    assert (here / "2049").read_bytes() == sample(2049)


def test_the_key_file_comes_from_the_environment(
    samples: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with udpft.serve(samples, port=0, key_file=key) as server:
        monkeypatch.setenv("UDPFT_KEY_FILE", key)
        assert run(["ping", "-s", server.address]) == 0
        monkeypatch.setenv("UDPFT_KEY_FILE", "")
        assert run(["ping", "-s", server.address, "--connect-timeout", "0.3"]) == 28


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_takes_a_key_itself(name: str) -> None:
    # All users of a machine can read a command line.
    command = cli.get_command(click.Context(cli), name)
    assert command
    named = {option for param in command.params for option in param.opts if "key" in option}
    assert named <= {"--key-file"}


@pytest.mark.parametrize("wrong", [True, False], ids=["wrong key", "no key"])
def test_without_the_right_key_the_hint_names_it(
    samples: Path, here: Path, key: str, wrong: bool, capsys: Capture
) -> None:
    assert run(["-q", "key", "new", "other"]) == 0
    options = ["--key-file", "other"] if wrong else []
    with udpft.serve(samples, port=0, key_file=key) as server:
        code = run(["get", "1", "-s", server.address, "--connect-timeout", "0.3", *options])
    assert code == ExitCode.TIMED_OUT
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(f"udpft: no answer from {server.address}")
    assert "key" in hint
    assert not (here / "1").exists()


def test_a_server_without_a_key(server: RunningServer, key: str, capsys: Capture) -> None:
    assert run(["get", "1", "-s", server.address, "--key-file", key, "--json"]) == 67
    out, err = capsys.readouterr()
    assert err.splitlines()[0] == "udpft: the server has no key, and this end has one"
    summary = json.loads(out.splitlines()[-1])
    assert (summary["ok"], summary["exit_code"]) == (False, 67)


def test_others_that_can_read_the_key_are_told_of_at_verbose(
    samples: Path, key: str, capsys: Capture
) -> None:
    Path(key).chmod(0o644)
    with udpft.serve(samples, port=0, key_file=key) as server:
        assert run(["ping", "-s", server.address, "--key-file", key]) == 0
        assert capsys.readouterr().err == ""
        assert run(["-v", "ping", "-s", server.address, "--key-file", key]) == 0
        assert f"others can read {key}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "code"), [(None, ExitCode.READ_FAILED), ("a passphrase\n", ExitCode.USAGE)]
)
def test_a_file_without_a_key(
    samples: Path, here: Path, text: str | None, code: ExitCode, capsys: Capture
) -> None:
    if text:
        (here / "key").write_text(text)
    for command in (["serve", str(samples), "-p", "0"], ["ping"], ["get", "1"]):
        assert run([*command, "--key-file", "key"]) == code
        error, hint = capsys.readouterr().err.splitlines()
        assert error.startswith("udpft: ")
        assert "passphrase" not in error
        assert "udpft key new" in hint
