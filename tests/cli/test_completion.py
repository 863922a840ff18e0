"""``udpft completion``: the scripts, and what the shells that are here make of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
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


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
@pytest.mark.parametrize(
    ("words", "expected"), [("pi", "ping"), ("ser", "serve"), ("get --fo", "--force")]
)
def test_bash_completes(tmp_path: Path, words: str, expected: str) -> None:
    script = tmp_path / "script"
    script.write_text(run_udpft("completion", "bash").stdout)
    program = tmp_path / "udpft"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m udpft "$@"\n')
    program.chmod(0o755)
    asked = ["udpft", *words.split()]
    session = f"""
        PATH={tmp_path}:$PATH; . {script}
        COMP_WORDS=({" ".join(asked)}); COMP_CWORD={len(asked) - 1}
        _udpft_completion udpft; echo "${{COMPREPLY[@]}}"
    """
    finished = subprocess.run(
        ["bash", "-c", session],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
        check=True,
    )
    assert expected in finished.stdout.split()
