"""``udpft completion``: the scripts, run by the shells that are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.processes import PATIENCE_S, environment, run_udpft
from udpft.errors import ExitCode


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str) -> None:
    finished = run_udpft("completion", shell)
    assert finished.returncode == ExitCode.DONE
    assert "_UDPFT_COMPLETE" in finished.stdout


def test_other_shells_are_told_which_there_are() -> None:
    finished = run_udpft("completion", "tcsh")
    assert finished.returncode == ExitCode.USAGE
    assert "bash" in finished.stderr


CASES = [("pi", "ping"), ("ser", "serve"), ("get --fo", "--force"), ("message se", "send")]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("put fo", "file"),
        ("put - --key-file fo", "file"),
        ("get x -o fo", "file"),
        ("get x --output fo", "file"),
        ("serve fo", "dir"),
        ("bench --dir fo", "dir"),
        ("key new fo", "file"),
    ],
)
def test_what_names_a_local_file_is_left_to_the_shell(words: str, kind: str) -> None:
    asked = ["udpft", *words.split()]
    variables = {"COMP_WORDS": " ".join(asked), "COMP_CWORD": str(len(asked) - 1)}
    done = run_udpft(variables={"_UDPFT_COMPLETE": "bash_complete", **variables})
    assert done.stdout == f"{kind},fo\n"


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(shell), reason=f"no {shell} here")


@pytest.fixture
def complete(tmp_path: Path) -> Callable[[str, str], str]:
    """Runs a session of a shell that finds ``udpft`` and its completion script; what it prints."""

    def run(shell: str, session: str) -> str:
        script = tmp_path / "script"
        script.write_text(run_udpft("completion", shell).stdout)
        program = tmp_path / "udpft"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m udpft "$@"\n')
        program.chmod(0o755)
        (tmp_path / "session").write_text(session)
        variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SCRIPT": str(script)}
        finished = subprocess.run(
            [shell, str(tmp_path / "session")],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=environment(HOME=str(tmp_path), TERM="dumb", **variables),
            check=True,
        )
        return finished.stdout

    return run


@needs("bash")
@pytest.mark.parametrize(("words", "expected"), CASES)
def test_bash_completes(complete: Callable[[str, str], str], words: str, expected: str) -> None:
    asked = ["udpft", *words.split()]
    session = f"""
        . $SCRIPT
        COMP_WORDS=({" ".join(asked)}); COMP_CWORD={len(asked) - 1}
        _udpft_completion udpft; echo "${{COMPREPLY[@]}}"
    """
    assert expected in complete("bash", session).split()


@needs("fish")
@pytest.mark.parametrize(("words", "expected"), CASES)
def test_fish_completes(complete: Callable[[str, str], str], words: str, expected: str) -> None:
    shown = complete("fish", f"source $SCRIPT\ncomplete -C 'udpft {words}'\n")
    assert expected in [line.partition("\t")[0] for line in shown.splitlines()]


@needs("zsh")
@pytest.mark.parametrize(("words", "expected"), [case for case in CASES if case[0] != "message se"])
def test_zsh_completes(complete: Callable[[str, str], str], words: str, expected: str) -> None:
    # zsh completes on a terminal only: here is one, and each read waits for what should come.
    shown = complete(
        "zsh",
        f"""
        zmodload zsh/zpty
        zpty z 'zsh -f -i'
        zpty -w z 'PS1=; autoload -Uz compinit; compinit -u -D; . $SCRIPT; echo rea''dy'
        zpty -r z out '*ready*'
        zpty -w -n z $'udpft {words}\t'
        zpty -r z out '*udpft {words.rpartition(" ")[0]}*{expected}*'
        print -r -- $out
        """,
    )
    assert expected in shown
