"""Page of all commands, compared with their help."""

from __future__ import annotations

import re

import pytest

from tests.documents.cli_page import PAGE, every_command, page
from udpft.cli.main import run


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_the_page_has_every_command_in_a_section_of_its_own() -> None:
    headings = re.findall("^## (.*)$", page(), re.MULTILINE)
    assert headings == [context.command_path for _, context in every_command()]
    assert {"udpft", "udpft get", "udpft doctor", "udpft message send"} <= set(headings)


def test_it_is_the_help_of_a_usual_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["message", "send", "--help"]) == 0
    assert f"```text\n{capsys.readouterr().out}```\n" in page()
