"""``udpft web``: a page for the browser, with files, sums, messages and measurements."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import click

from udpft.cli.help_screen import Command
from udpft.cli.options import LOCAL_FOLDERS, QUANTITY, key_file_option, server_option
from udpft.cli.output.console import Console, print_line
from udpft.cli.output.server_log import failures_told
from udpft.client.client import DEFAULT_SERVER
from udpft.errors import LocalReadFailed, UsageError

_REPORTS = ("docs/benchmarks", "bench/reports")
"""Folders of reports in a clone."""


@click.command("web", cls=Command, short_help="Show a page for the browser.")
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Listen here; 0.0.0.0 is all.",
)
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="TCP port; 0 for any free one.",
)
@server_option
@click.option(
    "--add",
    metavar="HOST[:PORT]",
    default=DEFAULT_SERVER,
    envvar="UDPFT_ADD_SERVER",
    show_envvar=True,
    show_default=True,
    help="Its port [9001].",
)
@click.option(
    "--message",
    metavar="HOST[:PORT]",
    default=DEFAULT_SERVER,
    envvar="UDPFT_MESSAGE_SERVER",
    show_envvar=True,
    show_default=True,
    help="Its port [9002].",
)
@click.option(
    "--folder",
    metavar="DIR",
    type=Path,
    default=".",
    shell_complete=LOCAL_FOLDERS,
    help="For files that are fetched [.].",
)
@click.option(
    "--reports",
    metavar="DIR",
    type=Path,
    multiple=True,
    shell_complete=LOCAL_FOLDERS,
    help="With past reports [those of a clone].",
)
@click.option(
    "--max-upload",
    metavar="SIZE",
    type=QUANTITY,
    default="1Gi",
    show_default=True,
    help="Of what a form brings at once.",
)
@click.option("--open", "open_it", is_flag=True, help="Open a browser, too.")
@key_file_option
@click.pass_obj
def command(
    console: Console,
    /,
    host: str,
    port: int,
    add: str,
    message: str,
    folder: Path,
    reports: tuple[Path, ...],
    open_it: bool,
    **options: Any,
) -> None:
    """Show a page for the browser: files, sums, messages, speed.

    Example: udpft web -s files.lan --folder ~/Downloads
    """
    try:
        from udpft.web.server import run
        from udpft.web.settings import Settings
        from udpft.web.transfers import LOGGER
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        raise UsageError(
            f"the page needs the package {package}, which is not installed",
            hint="pip install starlette uvicorn Jinja2 python-multipart",
        ) from None
    if not folder.is_dir():
        raise LocalReadFailed(f"{folder} is no folder", hint="--folder names one that is there")

    def ready(url: str) -> None:
        print_line(url)
        console.say("whoever has this URL may do here what you may; Ctrl-C ends it")
        if open_it:
            import webbrowser

            webbrowser.open(url)

    settings = Settings(
        add_server=add,
        message_server=message,
        folder=folder.absolute(),
        name=f"Client on {socket.gethostname()}",
        reports=reports or tuple(Path(one) for one in _REPORTS if Path(one).is_dir()),
        **options,
    )
    with failures_told(console, LOGGER):
        run(settings, host, port, ready)
