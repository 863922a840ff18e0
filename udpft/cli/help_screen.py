"""Commands and groups as all of ours are: quick to start, and with a help that fits a screen.

The help begins with the example that stands in the docstring, in a paragraph of its own. An
option's variable and default stand behind its description in a few characters, and its range is
told to whoever leaves it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import click

from udpft.cli.output.console import printing


class Command(click.Command):
    """See the module's docstring."""

    def __init__(self, name: str | None, *, help: str | None = None, **attributes: Any) -> None:
        paragraphs = inspect.cleandoc(help or "").split("\n\n")
        examples = [one for one in paragraphs if one.removeprefix("\b\n").startswith("Example:")]
        rest = "\n\n".join(one for one in paragraphs if one not in examples)
        self.example = "\n".join(examples).removeprefix("\b\n")
        super().__init__(name, help=rest or None, **attributes)

    def get_help_option_names(self, _ctx: click.Context) -> list[str]:
        """Options that ask for help."""
        return ["-h", "--help"]

    def make_context(
        self, info_name: str | None, args: list[str], *rest: Any, **extra: Any
    ) -> click.Context:
        """Read the words; those that ask for the help or the version are answered here.

        Raises:
            LocalWriteFailed: standard output does not take the answer.
        """
        if sys.stdout is None and {"-h", "--help", "--version"}.isdisjoint(args):
            return super().make_context(info_name, args, *rest, **extra)
        with printing():
            return super().make_context(info_name, args, *rest, **extra)

    def make_parser(self, ctx: click.Context) -> Any:
        """The parser, whose long options are the short ones too.

        click looks for a short option among the long ones first, and where it is not there imports
        difflib, to find a near name that it then throws away: a tenth of a short get's time.
        """
        parser = super().make_parser(ctx)
        parser._long_opt |= parser._short_opt
        return parser

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example, and then what click writes."""
        if self.example:
            formatter.write(f"{self.example}\n")
        super().format_help(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each in as few lines as will do."""
        with formatter.section("Options"):
            formatter.write_dl(list(self._records(ctx)))

    def _records(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record and isinstance(param, click.Option):
                yield record[0], f"{param.help} {_origins(param, ctx)}".rstrip()


def _origins(option: click.Option, ctx: click.Context) -> str:
    """Sources of an option's value besides the command line: ``[$UDPFT_PORT or 9000]``.

    An empty text where the description says all.
    """
    extra = option.get_help_extra(ctx)
    default = extra.get("default", "").strip("()")
    variables = [f"${name}" for name in extra.get("envvars", ())]
    if not variables:
        return f"[default: {default}]" if default else ""
    return f"[{' or '.join([*variables, default] if default else variables)}]"


class Group(Command, click.Group):
    """A group of such commands. Of a command that it does not have, it names the nearest one."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, and the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the words begin with, or say which may have been meant."""
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], names, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)
