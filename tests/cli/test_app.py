"""The command as a whole: its help, its usage errors, exceptions as exit codes."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from contextlib import suppress

import click
import pytest

import udpft
from tests.cli.processes import PATIENCE_S, environment, run_udpft
from tests.documents.cli_page import every_command
from udpft.cli import app
from udpft.cli.app import COMMANDS
from udpft.cli.main import run
from udpft.cli.output.exit_status import Exit, HungUp, Terminated, exit_code_of, verdict
from udpft.errors import ExitCode, NoSuchFile, UdpftError

SCREEN = 24
"""Lines that a terminal has, if nobody made it larger."""


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command ``fail`` that ends with the exception that the test put there."""
    ending: list[BaseException] = []

    def fail() -> None:
        raise ending[0]

    command = click.Command("fail", callback=fail)
    monkeypatch.setitem(COMMANDS, "fail", "udpft.cli.fail")
    monkeypatch.setitem(sys.modules, "udpft.cli.fail", type(sys)("udpft.cli.fail"))
    monkeypatch.setattr(sys.modules["udpft.cli.fail"], "command", command, raising=False)
    return ending


# -------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize(
    "command", [context.command_path.split()[1:] for _, context in every_command()], ids=" ".join
)
def test_help_fits_a_screen_and_begins_with_an_example(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert len(out.splitlines()) <= SCREEN
    assert max(map(len, out.splitlines())) <= 80
    example = out.splitlines()[0]
    assert example.startswith("Example: ")
    assert f"udpft {' '.join(command)}" in example
    assert run([*command, "-h"]) == 0
    assert capsys.readouterr().out == out


def test_help_names_the_variables_of_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    for command, variables in (
        ([], ["LOG_FORMAT"]),
        (["get"], ["SERVER", "MODE", "PROGRESS"]),
        (["serve"], ["HOST", "PORT"]),
        (["ping"], ["SERVER"]),
    ):
        run([*command, "--help"])
        out = capsys.readouterr().out
        assert all(f"UDPFT_{name}" in out for name in variables)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"udpft {udpft.__version__}\n"


def test_every_command_is_there_and_says_in_a_line_what_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(["--help"])
    out = capsys.readouterr().out
    for name in COMMANDS:
        (line,) = [line for line in out.splitlines() if line.startswith(f"  {name} ")]
        assert len(line.split()) > 2


# ---------------------------------------------------------------------------------- usage errors


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["gett"], "No such command 'gett'. Did you mean 'get'?"),
        (["xyz"], "No such command 'xyz'."),
        (["--no-such-option"], "No such option"),
        (["message", "sned"], "No such command 'sned'. Did you mean 'send'?"),
        (["get", "x", "--outptu", "y"], "No such option '--outptu'. Did you mean '--output'?"),
        (["get", "x", "-v"], "hint: it comes before the command: `udpft -v …`"),
        (["get", "-x.txt"], "hint: a name that begins with a dash: `udpft get -- -x.txt`"),
        (["serve", ".", "--quota", "1M"], "hint: --writable takes them"),
        (["serve", ".", "--max-upload", "1M"], "hint: --writable takes them"),
        (["ping", "there", "-s", "here"], "'there' and --server both name a server."),
        (["get"], "Missing argument 'NAME...'"),
        (["get", "x", "--mode", "quick"], "'quick' is not one of 'reliable', 'plain'"),
        (["get", "x", "--limit-rate", "fast"], "'--limit-rate': 'fast' is not a size"),
        (["get", "x", "--chunk-size", "big"], "'big' is neither a number of bytes nor auto"),
        (["get", "x", "--timeout", "0"], "'0' is not a number of seconds above 0"),
        (["get", "x", "--connect-timeout", "nan"], "'nan' is not a number of seconds above 0"),
        (["get", "x", "--timeout", "inf"], "'inf' is not a number of seconds above 0"),
        (["serve"], "Missing argument 'DIR'"),
        (["serve", ".", "-p", "65536"], "65536 is not in the range"),
        (["serve", ".", "--max-clients", "0"], "0 is not in the range"),
        (["ping", "-n", "0"], "0 is not in the range"),
    ],
)
def test_bad_arguments_are_told(
    capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    assert run(arguments) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert why in err
    assert "Traceback" not in err


def test_no_command_at_all_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert "Commands:" in out + err


# -------------------------------------------------------------------------------------- endings


@pytest.mark.parametrize(
    ("ending", "code", "lines"),
    [
        (NoSuchFile("no such file"), 78, ["udpft: no such file"]),
        (NoSuchFile("none", hint="another"), 78, ["udpft: none", "hint: another"]),
        (
            click.UsageError("nonsense"),
            2,
            ["udpft: nonsense", "hint: `udpft fail --help` says more"],
        ),
        (click.exceptions.Exit(7), 7, []),
        (Exit(7), 7, []),
        (KeyboardInterrupt(), 130, ["udpft: interrupted"]),
        (click.exceptions.Abort(), 130, ["udpft: interrupted"]),
        (Terminated(), 143, ["udpft: terminated"]),
        (HungUp(), 129, ["udpft: hung up"]),
        (BrokenPipeError(), 141, []),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, []),
        (
            ZeroDivisionError("by\x1bzero"),
            1,
            [
                r"udpft: a bug in udpft: ZeroDivisionError: by\x1bzero",
                "hint: run it again as `udpft -v …` for the traceback, and report it",
            ],
        ),
    ],
)
def test_every_exception_becomes_an_exit_code(
    capsys: pytest.CaptureFixture[str],
    failing: list[BaseException],
    ending: BaseException,
    code: int,
    lines: list[str],
) -> None:
    failing.append(ending)
    assert run(["fail"]) == code
    if not type(ending).__module__.startswith("click"):
        assert exit_code_of(ending) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-len(lines) or len(err) :] == lines


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


# -------------------------------------------------------------------------------- real processes


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


def test_a_command_starts_without_what_it_does_not_need() -> None:
    script = (
        "import sys; from udpft.cli.main import run; run(['ping', '--help']); "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert "udpft.client.client" in done.stderr.split()
    assert not {"tqdm", "udpft.server.server", "asyncio"} & set(done.stderr.split())


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


def test_a_command_as_a_process() -> None:
    done = run_udpft("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"udpft {udpft.__version__}\n", "")


# ------------------------------------------------------------------------------------- the verdict


@pytest.mark.parametrize("ending", [None, NoSuchFile("none"), KeyboardInterrupt(), Terminated()])
def test_the_last_line_for_programs_is_the_verdict(
    capsys: pytest.CaptureFixture[str], ending: BaseException | None
) -> None:
    files: list[str] = []
    with suppress(BaseException), verdict(as_json=True, files=files):
        files.append("a")
        if ending:
            raise ending
    *before, last = capsys.readouterr().out.splitlines()
    code = exit_code_of(ending) if ending else 0
    ok = "true" if ending is None else "false"
    assert last == (
        f'{{"schema": 1, "event": "summary", "ok": {ok}, "exit_code": {int(code)}, "files": ["a"]}}'
    )
    assert len(before) == isinstance(ending, UdpftError)


def test_there_is_no_verdict_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    with verdict(as_json=False):
        pass
    assert capsys.readouterr() == ("", "")
