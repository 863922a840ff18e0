"""The command as a whole: its version, its commands, its usage errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

import udpft
from tests.cli.processes import PATIENCE_S, run_udpft
from udpft.cli.app import COMMANDS
from udpft.cli.main import run
from udpft.errors import ExitCode


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


def test_a_command_as_a_process() -> None:
    done = run_udpft("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"udpft {udpft.__version__}\n", "")
