"""``udpft key``: make the key that a server and its clients share."""

from __future__ import annotations

from pathlib import Path

import click

from udpft.cli.help_screen import Group
from udpft.cli.output.console import Console
from udpft.keys import new_key_file


@click.group("key", cls=Group, short_help="Make a key for both ends.")
def command() -> None:
    """The key that a server and its clients share, so that nobody else can ask, read or meddle.

    Example: udpft key new udpft.key
    """


@command.command("new", short_help="Write a new key to a file.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.pass_obj
def new(console: Console, /, file: Path) -> None:
    """Write a new key to FILE, which must not be there yet, readable by its owner only.

    Example: udpft key new udpft.key
    """
    new_key_file(file)
    console.say(f"{file}: a new key. Copy it to the other end, and name it there by --key-file.")
