"""The ``udpft`` command: its global options, its commands by name, and how errors leave it.

Commands are imported when they are called, because a get of one kilobyte is mostly start-up.
"""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

import udpft
from udpft.cli.console import Console, escape
from udpft.errors import ExitCode, UdpftError

COMMANDS = {
    "serve": "udpft.cli.serve",
    "get": "udpft.cli.get",
    "ping": "udpft.cli.ping",
    "add": "udpft.cli.add",
    "message": "udpft.cli.message",
}
"""Command name to the module that defines ``command``, in the order of ``--help``."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used or described."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
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
    help="How log lines are written.",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Colour on standard error; NO_COLOR switches it off too.",
)
@click.pass_context
def cli(ctx: click.Context, verbose: int, quiet: bool, log_format: str, color: str) -> None:
    """Reliable file transfer over UDP.

    \b
    udpft serve DIR                       serve the files of a folder
    udpft get NAME -s HOST                fetch one of them
    """
    ctx.obj = Console(verbosity=-1 if quiet else verbose, log_format=log_format, color=color)


class Terminated(BaseException):
    """SIGTERM arrived, as an exception, so that ``finally`` clauses run."""


def _raise_terminated(_signum: int, _frame: FrameType | None) -> None:
    raise Terminated


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code. No traceback leaves it but a bug's, with -vv."""
    signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        cli.main(args=list(arguments), prog_name="udpft", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except UdpftError as error:
        report(error)
        return error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        print("udpft: interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except Terminated:
        print("udpft: terminated", file=sys.stderr)
        return ExitCode.TERMINATED
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; the interpreter must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except Exception as bug:
        if any(flag in arguments for flag in ("-v", "-vv", "--verbose")):
            raise
        what = escape(f"{type(bug).__name__}: {bug}")
        print(f"udpft: a bug in udpft: {what}", file=sys.stderr)
        print("hint: run it again with -v for the traceback, and report it", file=sys.stderr)
        return ExitCode.BUG
    return ExitCode.DONE


def report(error: UdpftError) -> None:
    """Print an error in one line and, where there is one, its hint in another."""
    print(f"udpft: {escape(str(error))}", file=sys.stderr)
    if error.hint:
        print(f"hint: {escape(error.hint)}", file=sys.stderr)
