"""Help of each command: a screen of lines, which begins with an example."""

from __future__ import annotations

import pytest

from tests.documents.cli_page import every_command
from udpft.cli.main import run
from udpft.errors import ExitCode

SCREEN = 24
"""Lines that a terminal has, if nobody made it larger."""


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


def test_a_default_and_a_variable_share_a_bracket(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "[$UDPFT_PORT or 9000]" in out


def test_the_nearest_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["key", "nwe"]) == ExitCode.USAGE
    assert "Did you mean 'new'?" in capsys.readouterr().err
