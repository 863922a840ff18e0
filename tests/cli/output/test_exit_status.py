"""Exit codes of all endings, and the verdict for programs."""

from __future__ import annotations

import errno
from contextlib import suppress

import click
import pytest

from udpft.cli.main import run
from udpft.cli.output.exit_status import Exit, HungUp, Terminated, exit_code_of, verdict
from udpft.errors import NoSuchFile, UdpftError


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
