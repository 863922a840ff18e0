"""``udpft ls``: what there is on a server."""

from __future__ import annotations

from stat import S_IFDIR, S_IFREG, filemode
from time import localtime, strftime
from typing import Any

import click

from udpft.cli.help_screen import Command
from udpft.cli.options import (
    connect_timeout_option,
    json_option,
    key_file_option,
    server_option,
    timeout_option,
)
from udpft.cli.output.console import Console, escape, print_json, print_line
from udpft.cli.output.exit_status import verdict
from udpft.client.client import Client
from udpft.protocol.wire.listing import Entry
from udpft.units import format_bytes


@click.command("ls", cls=Command, short_help="List a server's files.")
@click.argument("pattern", default="")
@server_option
@click.option("-l", "--long", is_flag=True, help="With permissions, size and time.")
@click.option("-r", "--recursive", is_flag=True, help="All below, too.")
@connect_timeout_option
@key_file_option
@timeout_option("Give up if nothing moves so long.")
@json_option
@click.pass_obj
def command(
    _console: Console,
    /,
    pattern: str,
    server: str,
    long: bool,
    recursive: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """List the files that PATTERN names: a folder, a file, or 'quoted*.wildcards'.

    Example: udpft ls -l 'logs/*.gz' -s files.lan
    """
    with verdict(as_json=as_json), Client(server, **options) as client:
        for entry in client.list_files(pattern, recursive=recursive):
            if as_json:
                print_json("entry", **_as_json(entry))
            else:
                print_line(_long(entry) if long else _shown(entry))


def _shown(entry: Entry) -> str:
    return escape(entry.path) + ("/" if entry.is_folder else "")


def _long(entry: Entry) -> str:
    mode = filemode((S_IFDIR if entry.is_folder else S_IFREG) | entry.mode)
    try:
        time = strftime("%Y-%m-%d %H:%M:%S", localtime(entry.mtime_ns // 10**9))
    except (OverflowError, ValueError, OSError):  # a time that the C library has no year for
        time = "?"
    size = "-" if entry.is_folder else format_bytes(entry.size)
    return f"{mode} {size:>9} {time:>19} {_shown(entry)}"


def _as_json(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.path,
        "type": "folder" if entry.is_folder else "file",
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
        "mode": f"{entry.mode:04o}",
    }
