"""Options of commands that transfer trees: what is left out, compared, or only told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from udpft.cli.help_screen import Command

Function = TypeVar("Function", bound=Callable[..., Any])

_RULE_OPTION = "--rule"
"""Option that rules arrive in, each behind its sign, so that their order is kept."""

_SIGNS = {"--exclude": "- ", "--include": "+ "}


class RuledCommand(Command):
    """Command with ``--exclude`` and ``--include``, whose order among each other counts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words, with both options as one."""
        ruled: list[str] = []
        words = iter(args)
        for word in words:
            if word == "--":
                ruled += [word, *words]
                break
            option, equals, value = word.partition("=")
            if option not in _SIGNS:
                ruled.append(word)
                continue
            if not equals and (found := next(words, None)) is not None:
                value = found
            elif not equals:
                ruled.append(word)  # click says that it lacks its pattern
                break
            ruled.append(f"{_RULE_OPTION}={_SIGNS[option]}{value}")
        return super().parse_args(ctx, ruled)


class _Together(click.Option):
    """Flag that stands for others too in a help that has to fit a screen."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The record, with another's name."""
        record = super().get_help_record(ctx)
        return record and (f"{record[0]}, --checksum", record[1])


def tree_options(*more: str) -> Callable[[Function], Function]:
    """Options of those who transfer trees; ``more`` flags of a command stand beside them."""
    hidden = (*more, "--dry-run")

    def add(function: Function) -> Function:
        for option in (
            *(click.option(name, is_flag=True, hidden=True) for name in ("--checksum", *hidden)),
            click.option(
                "--links",
                is_flag=True,
                cls=_Together,
                help=f"And {', '.join(hidden)}: see docs/trees.md.",
            ),
            click.option(_RULE_OPTION, "rules", multiple=True, hidden=True),
            click.option("--exclude", "--include", "_ruled", metavar="P", help="Of trees."),
        ):
            function = option(function)
        return function

    return add
