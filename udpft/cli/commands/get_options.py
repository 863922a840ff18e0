"""``udpft get``: fetch files."""

from __future__ import annotations

from typing import Any

import click

from udpft.cli.commands.get import fetch
from udpft.cli.commands.remote_options import RemoteFetches, remote_options, shell_options
from udpft.cli.commands.tree_options import RuledCommand, tree_options
from udpft.cli.options import (
    BYTE_RANGE,
    LOCAL_FILES,
    QUANTITY,
    chunk_size_option,
    connect_timeout_option,
    json_option,
    key_file_option,
    limit_rate_option,
    progress_option,
    servers_option,
    timeout_option,
    trace_options,
)
from udpft.cli.output.console import Console
from udpft.errors import UsageError


@click.command("get", cls=RuledCommand, short_help="Fetch files.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@servers_option
@remote_options
@click.option(
    "-o",
    "--output",
    metavar="FILE|DIR|-",
    shell_complete=LOCAL_FILES,
    help="Where to put it; - is standard output.",
)
@click.option("-f", "--force", is_flag=True, help="Replace a different file of that name.")
@click.option(
    "--mode",
    type=click.Choice(["reliable", "plain"]),
    default="reliable",
    envvar="UDPFT_MODE",
    show_envvar=True,
    help="plain: unverified; --allow-partial.",
)
@chunk_size_option
@limit_rate_option
@click.option("-r", "--recursive", is_flag=True, help="Folders, with all that is below them.")
@tree_options()
@click.option("--no-resume", is_flag=True, help="Begin again, whatever was left; also --no-times.")
@click.option("--no-times", is_flag=True, hidden=True)  # a file keeps the time of its arrival
@click.option("--allow-partial", is_flag=True, hidden=True)  # of plain: what has no end is kept
@click.option("--max-size", metavar="SIZE", type=QUANTITY, default=0, hidden=True)
@click.option(
    "--range",
    "byte_range",
    metavar="FIRST-LAST",
    type=BYTE_RANGE,
    help="Only bytes 0-99, 100-, or -5: the last five.",
)
@click.option("--sha256", metavar="HEX", help="What its SHA-256 must be; --max-size SIZE.")
@connect_timeout_option
@key_file_option
@timeout_option("Give up if nothing moves so long.")
@progress_option
@trace_options
@json_option
@click.pass_obj
def command(console: Console, /, **words: Any) -> None:
    """Fetch NAMEs, 'wild*cards' or [USER@]HOST:PATHs, verified or not at all.

    Example: udpft get report.pdf -s files.lan
    """
    del words["_ruled"]
    if shell := shell_options(words, words["names"]):
        if words["mode"] == "plain":
            raise UsageError("plain knows no keys, and a remote shell makes one")
        recursive = words["recursive"]
        words["far"] = RemoteFetches(console, words["names"], shell, recursive=recursive)
    fetch(console, **words)
