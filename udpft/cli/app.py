"""The ``udpft`` command: its global options, its commands by name, and how errors leave it.

Commands are imported when they are called, because a get of one kilobyte is mostly start-up.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import click

import udpft
from udpft.cli.command import Group
from udpft.cli.console import Console, escape, print_aside
from udpft.cli.ending import Terminated, exit_code_of
from udpft.errors import ExitCode, UdpftError

COMMANDS = {
    "serve": "udpft.cli.serve",
    "get": "udpft.cli.get",
    "put": "udpft.cli.put",
    "ls": "udpft.cli.ls",
    "ping": "udpft.cli.ping",
    "bench": "udpft.cli.bench",
    "doctor": "udpft.cli.doctor",
    "key": "udpft.cli.key",
    "add": "udpft.cli.add",
    "message": "udpft.cli.message",
    "completion": "udpft.cli.completion",
}
"""Command name to the module that defines ``command``, in the order of ``--help``."""


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
            raise click.exceptions.Exit(error.exit_code) from error


@click.group(
    cls=LazyGroup,
    context_settings={"max_content_width": 100},
)
@click.version_option(udpft.__version__, "--version", message="udpft %(version)s")
@click.option("-v", "--verbose", count=True, help="Say more; -vv says everything.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
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
    """Run one command line; return its exit code. No traceback leaves it but a bug's, with -v."""
    before = signal.signal(signal.SIGTERM, _terminate)
    _never_fail_to_encode()
    try:
        code = cli.main(args=list(arguments), prog_name="udpft", standalone_mode=False)
        return code or ExitCode.DONE  # not 0 where Exit was raised
    except BaseException as ending:
        code = exit_code_of(ending)
        if code == ExitCode.BUG and any(re.fullmatch("-v+|--verbose", a) for a in arguments):
            raise
        _explain(ending)
        return code
    finally:
        _flush_output()
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _terminate(signum: int, _frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_IGN)  # a second one must not disturb the cleaning up
    raise Terminated


def _explain(ending: BaseException) -> None:
    """Say why the command ends, unless that was said already."""
    if isinstance(ending, click.exceptions.NoArgsIsHelpError):
        ending.show()  # nothing was asked for: the help is the answer
    elif isinstance(ending, click.ClickException):
        context = getattr(ending, "ctx", None)
        print_aside(f"udpft: {escape(' '.join(ending.format_message().split()))}")
        if isinstance(ending, click.NoSuchOption) and _is_global(ending.option_name):
            print_aside(f"hint: it comes before the command: `udpft {ending.option_name} …`")
        else:
            print_aside(f"hint: `{context.command_path if context else 'udpft'} --help` says more")
    elif isinstance(ending, (KeyboardInterrupt, click.exceptions.Abort)):
        print_aside("udpft: interrupted")
        _give_hints(ending.__cause__ or ending)
    elif isinstance(ending, Terminated):
        print_aside("udpft: terminated")
        _give_hints(ending)
    elif exit_code_of(ending) == ExitCode.BUG:
        what = escape(f"{type(ending).__name__}: {ending}")
        print_aside(f"udpft: a bug in udpft: {what}")
        print_aside("hint: run it again as `udpft -v …` for the traceback, and report it")


def _is_global(option: str) -> bool:
    """Whether an option is the ``udpft`` command's own."""
    return any(option in param.opts for param in cli.params)


def _give_hints(ending: BaseException) -> None:
    """Say how to go on, where that was noted on the way out."""
    for note in getattr(ending, "__notes__", ()):
        print_aside(f"hint: {escape(note)}")


def _never_fail_to_encode() -> None:
    """What standard output's encoding lacks, such as the µ of µs, is written as an escape."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _flush_output() -> None:
    """Empty standard output's buffer, into nothing where nobody takes it.

    Else the interpreter would complain at its end.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
