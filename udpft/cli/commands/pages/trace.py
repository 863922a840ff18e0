"""``udpft trace``: a page of events that were written down before."""

from __future__ import annotations

from contextlib import ExitStack
from typing import IO

import click

from udpft.cli.help_screen import Command
from udpft.cli.options import LOCAL_FILES
from udpft.cli.output.console import Console
from udpft.errors import LocalReadFailed, UsageError
from udpft.units import format_bytes


@click.command("trace", cls=Command, short_help="Make a page of traces.")
@click.argument(
    "files", metavar="FILE.sqlog...", nargs=-1, required=True, shell_complete=LOCAL_FILES
)
@click.option(
    "-o",
    "--output",
    metavar="FILE.html",
    required=True,
    shell_complete=LOCAL_FILES,
    help="The page; it needs no other file.",
)
@click.pass_obj
def command(console: Console, /, files: tuple[str, ...], output: str) -> None:
    """Make a page of one end's events, or of both ends' together.

    Example: udpft trace client.sqlog server.sqlog -o both.html
    """
    from udpft.trace.files import cannot_write
    from udpft.trace.page import page_of
    from udpft.trace.qlog import NotATrace

    if len(files) > 2:
        raise UsageError("a transfer has two ends", hint="name the trace of one, or of both")
    with ExitStack() as stack:
        try:
            page = page_of([stack.enter_context(_opened(file)) for file in files])
        except NotATrace as why:
            raise UsageError(
                f"no trace: {why}", hint="`udpft get … --trace t.sqlog` writes one"
            ) from None
    try:
        with open(output, "w", encoding="utf-8") as out:
            out.write(page)
    except OSError as error:
        raise cannot_write(output, error) from error
    console.say(f"{output}: {format_bytes(len(page))}")


def _opened(path: str) -> IO[bytes]:
    try:
        return open(path, "rb")
    except OSError as error:
        raise LocalReadFailed(f"cannot read {path}: {error.strerror}") from error
