"""The page of all commands, docs/cli.md, made of their help: `make docs` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from udpft.cli.app import cli

PAGE = Path(__file__).parents[2] / "docs/cli.md"

_WIDTH = 78
"""Columns that click uses of a terminal's 80."""

_INTRODUCTION = """\
# The commands

This is what `udpft COMMAND --help` says, on one page. `make docs` makes it from the commands
themselves, so edit those. Exit codes and the environment are in the [README](../README.md).
"""


def every_command(
    command: click.Command = cli, name: str = "udpft", parent: click.Context | None = None
) -> Iterator[tuple[click.Command, click.Context]]:
    """Each command with its context: ``udpft``, and what is below, in the order of the help."""
    context = click.Context(command, parent, info_name=name, terminal_width=_WIDTH)
    yield command, context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            inner = command.get_command(context, below)
            assert inner
            yield from every_command(inner, below, context)


def page() -> str:
    """The page as it should be."""
    sections = [
        f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
        for command, context in every_command()
    ]
    return "\n".join([_INTRODUCTION, *sections])


if __name__ == "__main__":
    PAGE.write_text(page())
