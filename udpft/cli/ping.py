"""``udpft ping``: is the server there, and how far away is it?"""

from __future__ import annotations

import click

from udpft import api
from udpft.cli.console import Console, print_json
from udpft.cli.options import connect_timeout_option, json_option, server_option
from udpft.units import format_seconds


@click.command("ping", short_help="Ask a server whether it is there.")
@server_option
@click.option("-n", "--count", type=click.IntRange(1), default=1, help="Ask so many times.")
@connect_timeout_option
@json_option
@click.pass_obj
def command(
    console: Console, server: str, count: int, connect_timeout: float, as_json: bool
) -> None:
    """Ask a server whether it is there, and time the round trip.

    \b
    Example: udpft ping -s files.lan
    """
    round_trips = []
    with api.connect(server, connect_timeout=connect_timeout) as client:
        for _ in range(count):
            rtt_s = client.ping()
            round_trips.append(rtt_s)
            if as_json:
                print_json("ping", server=server, rtt_s=rtt_s)
            elif console.verbosity >= 0:
                click.echo(f"{server} answered in {format_seconds(rtt_s)}")
    if as_json:
        print_json("summary", ok=True, exit_code=0, min_rtt_s=min(round_trips))
