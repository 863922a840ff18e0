"""Fixture of the command line: a command that ends as a test says."""

from __future__ import annotations

import sys

import click
import pytest

from udpft.cli.app import COMMANDS


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
