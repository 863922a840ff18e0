"""``udpft ping``: is the server there, and how far away is it?"""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from udpft.cli.help_screen import Command
from udpft.cli.options import connect_timeout_option, json_option, key_file_option, server_option
from udpft.cli.output.console import Console, print_json, print_line
from udpft.cli.output.exit_status import verdict
from udpft.client.client import Client
from udpft.units import format_seconds


@click.command("ping", cls=Command, short_help="Ask a server whether it is there.")
@click.argument("host", metavar="[HOST[:PORT]]", default="")
@server_option
@click.option(
    "-n", "--count", type=click.IntRange(1), default=1, show_default=True, help="Ask so many times."
)
@connect_timeout_option
@key_file_option
@json_option
@click.pass_obj
@click.pass_context
def command(
    ctx: click.Context,
    console: Console,
    /,
    host: str,
    server: str,
    count: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Ask a server whether it is there, and time the round trip. HOST is what -s names, too.

    Example: udpft ping files.lan
    """
    if host and ctx.get_parameter_source("server") is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"{host!r} and --server both name a server.", ctx)
    with verdict(as_json=as_json), Client(host or server, **options) as client:
        for _ in range(count):
            rtt_s = client.ping()
            if as_json:
                print_json("done", server=str(client.server), rtt_s=round(rtt_s, 6))
            elif console.verbosity >= 0:
                print_line(f"{client.server} answered in {format_seconds(rtt_s)}")
