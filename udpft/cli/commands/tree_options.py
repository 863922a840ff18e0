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

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """The option, which is not told: a screen is full."""
        option = super().get_help_option(ctx)
        if option:
            option.hidden = True
        return option

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


def tree_options(*more: str) -> Callable[[Function], Function]:
    """Options of those who transfer trees; ``more`` flags of a command stand beside them."""
    flags = ("--links", "--checksum", *more, "--dry-run")

    def add(function: Function) -> Function:
        for option in (
            *(click.option(name, is_flag=True, hidden=True) for name in flags),
            click.option(_RULE_OPTION, "rules", multiple=True, hidden=True),
            click.option(  # a row for all of them: a help has to fit a screen
                "--exclude", "--include", "_ruled", metavar="P", help=f"And {', '.join(flags)}."
            ),
        ):
            function = option(function)
        return function

    return add
