"""Remote shell's process: its answer amid noise, its end, and its words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.processes import PATIENCE_S
from udpft.errors import ExitCode, ShellFailed, UdpftError, VersionMismatch
from udpft.net.udp import wait
from udpft.remote.messages import Answer, encode_answer
from udpft.remote.shell import Shell

ANSWER = Answer(4711, ("192.0.2.1",), ())


def shell(script: str) -> Shell:
    return Shell(["sh", "-c", script], "lab", lambda _: None)


def answering(more: str = "cat >/dev/null") -> str:
    """A script that answers, and goes on."""
    return f"read request; echo '{encode_answer(ANSWER).decode().strip()}'; {more}"


def error_of(script: str) -> UdpftError:
    with shell(script) as opened, pytest.raises(UdpftError) as caught:
        opened.ask(b"request\n")
    return caught.value


def test_the_answer_is_found_behind_what_a_shell_prints() -> None:
    noise = "echo Welcome; printf 'no end of line'; echo; echo '{\"json\": 1}';"
    with shell(noise + answering()) as opened:
        assert opened.ask(b"request\n") == ANSWER


def test_a_shell_ends_when_it_is_closed(tmp_path: Path) -> None:
    with shell(answering(f"cat >/dev/null; echo over > {tmp_path}/over")) as opened:
        opened.ask(b"request\n")
    assert (tmp_path / "over").read_text() == "over\n"
    assert not opened.has_ended


def test_a_shell_that_ends_by_itself_stops_what_is_at_work() -> None:
    with shell(answering("echo Connection reset >&2; exit 255")) as opened:
        opened.ask(b"request\n")
        wait([opened.stop], [], PATIENCE_S)
        assert opened.has_ended
        error = opened.failure(midway=True)
    assert isinstance(error, ShellFailed)
    assert str(error) == "sh to lab ended in mid-transfer: Connection reset"
    assert error.hint == "run the same command again to resume"


def test_its_words_are_collected_and_told() -> None:
    told: list[str] = []
    script = "echo first >&2; printf 'last \\377' >&2; exit 255"
    with (
        Shell(["sh", "-c", script], "lab", told.append) as opened,
        pytest.raises(ShellFailed, match=r"failed: last \\xff") as caught,
    ):
        opened.ask(b"request\n")
    assert caught.value.hint == "does `sh lab true` work?"
    assert told == ["first", "last \\xff"]


@pytest.mark.parametrize(
    "script",
    [
        "no-such-command-here",
        "echo bash: line 1: udpft: command not found >&2; exit 127",
        f"{sys.executable} -m udpft.nothing",
        'echo exec failed: exec: \\"udpft\\": executable file not found in '
        "'$PATH'; unknown >&2; exit 126",
        "echo sudo: udpft: command not found >&2; exit 1",
    ],
)
def test_where_udpft_is_missing_the_line_that_installs_it_is_told(script: str) -> None:
    error = error_of(script)
    assert error.exit_code == ExitCode.SHELL_FAILED
    assert str(error).startswith("there is no udpft on lab: ")
    assert "pip install '.[keys]'" in error.hint
    assert "--remote-udpft" in error.hint


@pytest.mark.parametrize(
    "script",
    [
        "echo udpft: No such option: --for-shell >&2; exit 2",
        "echo \"udpft: No such option '--for-shell'.\" >&2; exit 2",
        "echo '{\"udpft\": 2}'",
    ],
)
def test_another_version_is_told_as_such(script: str) -> None:
    assert isinstance(error_of(script), VersionMismatch)


def test_a_shell_without_words_has_an_exit_code() -> None:
    assert str(error_of("exit 3")) == "sh to lab failed, exit code 3"


def test_a_shell_that_is_not_there() -> None:
    with pytest.raises(ShellFailed, match="cannot run no-such-shell"):
        Shell(["no-such-shell"], "lab", lambda _: None)


def test_a_shell_that_takes_no_input() -> None:
    assert error_of("exec <&-; exit 3").exit_code == ExitCode.SHELL_FAILED
    long = b"x" * 1_000_000
    with shell("exit 3") as opened, pytest.raises(ShellFailed):
        opened.ask(long)
