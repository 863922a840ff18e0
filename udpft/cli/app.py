"""The ``udpft`` command: its global options, its commands by name, and what it says of bad words.

Commands are imported when they are called, because a get of one kilobyte is mostly start-up.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Sequence
from typing import Any

import click

import udpft
from udpft.cli.help_screen import Group
from udpft.cli.output.console import Console, escape, print_aside
from udpft.cli.output.exit_status import Exit
from udpft.errors import ExitCode, UdpftError

COMMANDS = {
    "serve": "udpft.cli.commands.serve",
    "get": "udpft.cli.commands.get_options",
    "put": "udpft.cli.commands.put",
    "ls": "udpft.cli.commands.ls",
    "ping": "udpft.cli.commands.ping",
    "bench": "udpft.cli.commands.bench",
    "doctor": "udpft.cli.commands.doctor",
    "trace": "udpft.cli.commands.pages.trace",
    "web": "udpft.cli.commands.pages.web",
    "key": "udpft.cli.commands.key",
    "add": "udpft.cli.commands.add",
    "message": "udpft.cli.commands.message",
    "completion": "udpft.cli.commands.completion",
}
"""Command name to the module that defines ``command``, in the order of ``--help``."""


_OF_NAMES = ("get", "put", "ls")
"""Commands whose arguments are names of files, which may begin with a dash."""


class LazyGroup(Group):
    """A group that imports a command's module when the command is used or described."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The commands' names."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        gc.freeze()  # what was imported stays: no collection need look at it
        gc.enable()  # `udpft.__main__` starts without
        return command

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """The option, which is not told: who reads of it has found it, and a screen is full."""
        option = super().get_help_option(ctx)
        if option:
            option.hidden = True
        return option

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours leaves it in words, and as an exit code."""
        try:
            return super().invoke(ctx)
        except UdpftError as error:
            ctx.obj.report(error)
            raise Exit(error.exit_code) from error


@click.group(
    cls=LazyGroup,
    context_settings={"max_content_width": 100},
)
@click.version_option(  # hidden, because a screen is full, and everybody knows it
    udpft.__version__, "--version", message="udpft %(version)s", hidden=True
)
@click.option("-v", "--verbose", count=True, help="Say more; -vv everything; -q only errors.")
@click.option("-q", "--quiet", is_flag=True, hidden=True)  # in the row above: a screen is full
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    envvar="UDPFT_LOG_FORMAT",
    show_envvar=True,
    help="Of a server's log.",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Colour of errors; NO_COLOR is heeded.",
)
@click.pass_context
def cli(ctx: click.Context, verbose: int, quiet: bool, log_format: str, color: str) -> None:
    """Reliable file transfer over UDP.

    Example: udpft get report.pdf -s files.lan
    """
    ctx.obj = Console(verbosity=-1 if quiet else verbose, log_format=log_format, color=color)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code. Words that make no sense are told here."""
    try:
        code = cli.main(args=list(arguments), prog_name="udpft", standalone_mode=False)
        return code or ExitCode.DONE  # not 0 where click's Exit was raised
    except click.exceptions.NoArgsIsHelpError as nothing:
        nothing.show()  # nothing was asked for: the help is the answer
    except click.ClickException as nonsense:
        _explain(nonsense, arguments)
    except click.exceptions.Abort as ending:  # click has ended the line of the ^C
        raise ending.__cause__ or KeyboardInterrupt from None
    return ExitCode.USAGE


def _explain(nonsense: click.ClickException, arguments: Sequence[str]) -> None:
    context = getattr(nonsense, "ctx", None)
    print_aside(f"udpft: {escape(' '.join(nonsense.format_message().split()))}")
    if isinstance(nonsense, click.NoSuchOption) and _is_global(nonsense.option_name):
        print_aside(f"hint: it comes before the command: `udpft {nonsense.option_name} …`")
        return
    unknown = nonsense.option_name if isinstance(nonsense, click.NoSuchOption) else "--"
    if context and context.info_name in _OF_NAMES and not unknown.startswith("--"):
        word = escape(next((one for one in arguments if one.startswith(unknown)), unknown))
        print_aside(f"hint: a name that begins with a dash: `{context.command_path} -- {word}`")
    else:
        print_aside(f"hint: `{context.command_path if context else 'udpft'} --help` says more")


def _is_global(option: str) -> bool:
    """Whether an option is the ``udpft`` command's own."""
    return any(option in param.opts for param in cli.params)
