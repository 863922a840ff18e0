"""One command line as a process: its signals, its streams, and what is said of its end."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import click
import pytest

from tests.cli.processes import PATIENCE_S, environment
from udpft.cli import app
from udpft.cli.main import run
from udpft.errors import ExitCode, UdpftError


def test_whoever_reads_no_more_is_not_told_how_to_go_on(
    capsys: pytest.CaptureFixture[str], failing: list[BaseException]
) -> None:
    failing.append(BrokenPipeError())
    failing[0].add_note("run the same command again to resume")
    assert run(["fail"]) == ExitCode.NO_READER
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("flag", ["-v", "-vv", "--verbose"])
def test_only_a_bug_leaves_with_its_traceback_and_only_on_wish(
    failing: list[BaseException], flag: str
) -> None:
    failing.append(ZeroDivisionError("by zero"))
    with pytest.raises(ZeroDivisionError):
        run([flag, "fail"])
    failing[0] = UdpftError("no bug")
    assert run([flag, "fail"]) == ExitCode.BUG


@pytest.mark.parametrize(
    ("signum", "code", "word"),
    [
        (signal.SIGTERM, ExitCode.TERMINATED, "terminated"),
        (signal.SIGHUP, ExitCode.HUNG_UP, "hung up"),
    ],
)
def test_a_signal_ends_a_command_once_and_its_handler_with_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    signum: signal.Signals,
    code: int,
    word: str,
) -> None:
    cleaned_up = []

    def killed(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signum)
        finally:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)  # must not disturb the cleaning up
            cleaned_up.append(True)

    monkeypatch.setattr(app.cli, "main", killed)
    before = signal.getsignal(signum)
    assert run([]) == code
    assert cleaned_up == [True]
    assert signal.getsignal(signum) == before
    assert capsys.readouterr().err == f"udpft: {word}\n"


def test_what_is_to_outlive_its_terminal_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def hung_up(*_: object, **__: object) -> int:
        signal.raise_signal(signal.SIGHUP)
        return 0

    monkeypatch.setattr(app.cli, "main", hung_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert run([]) == ExitCode.DONE
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_an_encoding_lacks_is_written_as_an_escape(
    failing: list[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii"))
    failing.append(click.exceptions.Exit(0))
    run(["fail"])
    print("870 µs")
    sys.stdout.flush()
    assert buffer.getvalue() == b"870 \\xb5s\n"


def test_a_reader_that_leaves_ends_it_without_a_word() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "udpft", "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_S,
        env=environment(),
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (ExitCode.NO_READER, b"")


def test_standard_streams_may_be_closed() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m udpft ping -s 127.0.0.1:9 >&- 2>&-', sys.executable],
        timeout=PATIENCE_S,
        env=environment(),
    )
    assert done.returncode == ExitCode.PORT_CLOSED


@pytest.mark.parametrize("words", ["--help", "--version", "get --help", "key new --help", "-h"])
@pytest.mark.parametrize("output", [">/dev/full", ">&-"])
def test_help_that_standard_output_does_not_take_is_told(words: str, output: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m udpft {words} {output}', sys.executable],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
    )
    assert done.returncode == ExitCode.WRITE_FAILED
    assert done.stderr.startswith("udpft: cannot write to standard output: ")
    assert "Traceback" not in done.stderr


def test_ctrl_c_before_the_command_line_is_there_is_told_in_a_line() -> None:
    # Ctrl-C comes while the command line's modules are imported: here, always.
    early = (
        "import sys, builtins\n"
        "real = builtins.__import__\n"
        "def interrupted(name, *rest):\n"
        "    if name == 'udpft.cli.main': raise KeyboardInterrupt\n"
        "    return real(name, *rest)\n"
        "from udpft.__main__ import main\n"
        "builtins.__import__ = interrupted\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", early], capture_output=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr == b"udpft: interrupted\n"
