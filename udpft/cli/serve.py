"""``udpft serve``: serve the files of a folder."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import click

from udpft.cli.console import Console, print_json
from udpft.cli.options import QUANTITY, SECONDS, json_option
from udpft.protocol.params import IDLE_TIMEOUT_S, MAX_SESSIONS, PLAIN_RATE_BYTES_PER_S
from udpft.server import Served, Server
from udpft.units import format_bytes, format_rate, format_seconds


@click.command("serve", short_help="Serve the files of a folder.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--host",
    default="127.0.0.1",
    envvar="UDPFT_HOST",
    show_envvar=True,
    show_default=True,
    help="Address to listen on; 0.0.0.0 for all of this machine's.",
)
@click.option(
    "-p",
    "--port",
    type=click.IntRange(0, 65535),
    default=9000,
    envvar="UDPFT_PORT",
    show_envvar=True,
    show_default=True,
    help="UDP port; 0 for any free one.",
)
@click.option(
    "--plain",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Whom the plain protocol serves; auto: loopback and private addresses.",
)
@click.option(
    "--plain-rate",
    metavar="RATE",
    type=QUANTITY,
    default=PLAIN_RATE_BYTES_PER_S,
    help="Bytes per second of a plain transfer.  [default: 10M]",
)
@click.option(
    "--max-clients",
    type=click.IntRange(1),
    default=MAX_SESSIONS,
    show_default=True,
    help="Transfers at once; more are told to come back.",
)
@click.option(
    "--max-rate", metavar="RATE", type=QUANTITY, default=0, help="Bytes per second of a transfer."
)
@click.option("--hidden", is_flag=True, help="Serve names that begin with a dot, too.")
@click.option(
    "--insecure-public",
    is_flag=True,
    help="Answer addresses that are neither loopback nor private.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=SECONDS,
    default=IDLE_TIMEOUT_S,
    show_default=True,
    help="Drop a transfer that made no progress for so long.",
)
@json_option
@click.pass_obj
def command(
    console: Console, directory: Path, as_json: bool, timeout: float, **options: Any
) -> None:
    """Serve the files below DIR, on one UDP port, until interrupted.

    \b
    Example: udpft serve ./files --host 0.0.0.0
    """

    def on_served(served: Served) -> None:
        _report(console, served, as_json=as_json)

    with Server(directory, idle_timeout=timeout, on_served=on_served, **options) as server:

        def stop(_signum: int, _frame: FrameType | None) -> None:
            server.stop()

        # As PID 1 in a container these two would be ignored without a handler.
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        if as_json:
            print_json("listening", host=server.host, port=server.port)
        console.log(f"serving {directory} on {server.host}:{server.port}")
        server.run()
        console.log("stopped")


def _report(console: Console, served: Served, *, as_json: bool) -> None:
    """One line for each transfer."""
    fields = {
        "name": served.name,
        "peer": served.peer,
        "mode": served.mode,
        "bytes": served.bytes,
        "seconds": round(served.seconds, 6),
        "resent_packets": served.resent_packets,
        "error": str(served.error) if served.error else None,
    }
    if as_json:
        print_json("served", **fields)
    what = f"{served.peer} {served.mode} {served.name!r}"
    if served.error:
        console.log(f"{what}: failed: {served.error}", **fields)
        return
    console.log(
        f"{what}: {format_bytes(served.bytes)} in {format_seconds(served.seconds)}, "
        f"{format_rate(served.rate_bytes_per_s)}, {served.resent_packets} packets resent",
        **fields,
    )
