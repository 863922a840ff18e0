"""Options and argument types that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from udpft.cli.output.console import Console
from udpft.client.client import DEFAULT_SERVER
from udpft.keys import readable_by_others
from udpft.protocol.params import CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S
from udpft.units import parse_byte_range, parse_bytes

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Function = TypeVar("Function", bound=Callable[..., Any])


def _quantity(value: Any) -> int:
    try:
        return parse_bytes(str(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _seconds(value: Any) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = nan
    if not 0 < seconds < 1e9:
        raise click.BadParameter(f"{value!r} is not a number of seconds above 0")
    return seconds


def _byte_range(value: Any) -> tuple[int, int | None]:
    try:
        return parse_byte_range(str(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _files(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem  # where a shell asks for it

    return [CompletionItem(begun, type="file")]


def _folders(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem  # where a shell asks for it

    return [CompletionItem(begun, type="dir")]


LOCAL_FILES = _files
"""``shell_complete`` of what names a file here: the shell completes its name."""

LOCAL_FOLDERS = _folders
"""``shell_complete`` of what names a folder here."""

QUANTITY = _quantity
"""A size, or a rate in bytes per second: 4096, 10M, 1.5Gi."""

BYTE_RANGE = _byte_range
"""Bytes of a file: see `parse_byte_range`."""

SECONDS = _seconds
"""A positive number of seconds."""


def server_option(function: Function) -> Function:
    """``-s/--server``, shared by all clients."""
    return click.option(
        "-s",
        "--server",
        metavar="HOST[:PORT]",
        default=DEFAULT_SERVER,
        envvar="UDPFT_SERVER",
        show_envvar=True,
        show_default=True,
        help="Its port [9000].",
    )(function)


def servers_option(function: Function) -> Function:
    """``-s/--server`` of a command that fetches from several at once, and ``--replicas``."""
    for option in (
        click.option("--replicas", is_flag=True, hidden=True),  # each address of the server's name
        click.option(
            "-s",
            "--server",
            metavar="HOST[:PORT]",
            default=(DEFAULT_SERVER,),
            multiple=True,
            callback=_one_or_more,
            envvar="UDPFT_SERVER",
            show_envvar=True,
            help="Or several; --replicas.",
        ),
    ):
        function = option(function)
    return function


def _one_or_more(
    _: click.Context, __: click.Parameter, servers: tuple[str, ...]
) -> str | list[str]:
    return servers[0] if len(servers) == 1 else list(servers)


def connect_timeout_option(function: Function) -> Function:
    """``--connect-timeout``, shared by all clients."""
    return click.option(
        "--connect-timeout",
        metavar="SECONDS",
        type=SECONDS,
        default=f"{CONNECT_TIMEOUT_S:g}",
        show_default=True,
        help="Wait so long for the first answer.",
    )(function)


def timeout_option(help_: str) -> Callable[[Function], Function]:
    """``--timeout``: how long a transfer may stand still."""
    return click.option(
        "--timeout",
        metavar="SECONDS",
        type=SECONDS,
        default=f"{IDLE_TIMEOUT_S:g}",
        show_default=True,
        help=help_,
    )


def key_file_option(function: Function) -> Function:
    """``--key-file``, shared by all commands that talk to a server, and by the server.

    The key itself is no option: what is on a command line, every user of the machine can read.
    """
    return click.option(
        "--key-file",
        metavar="FILE",
        type=click.Path(),
        callback=_warn_of_readers,
        envvar="UDPFT_KEY_FILE",
        show_envvar=True,
        help="See udpft key.",
    )(function)


def _warn_of_readers(ctx: click.Context, _: click.Parameter, path: str | None) -> str | None:
    # At -v only: secrets that a container is given are often readable by all that runs in it.
    if path and readable_by_others(path) and isinstance(ctx.obj, Console):
        ctx.obj.say(f"others can read {path}: `chmod 600` keeps a key from them", level=1)
    return path or None


def json_option(function: Function) -> Function:
    """``--json``, shared by all commands that have something to say to programs."""
    return click.option("--json", "as_json", is_flag=True, help="JSON lines on standard output.")(
        function
    )


def _chunk_size(value: Any) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    try:
        return parse_bytes(str(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number of bytes nor auto") from None


def chunk_size_option(function: Function) -> Function:
    """``--chunk-size``, of those who transfer."""
    return click.option(
        "--chunk-size",
        metavar="N|auto",
        type=_chunk_size,
        help="Bytes [2048], or auto: what the path carries.",
    )(function)


def limit_rate_option(function: Function) -> Function:
    """``--limit-rate``, of those who transfer."""
    return click.option(
        "--limit-rate", metavar="RATE", type=QUANTITY, default=0, help="Bytes per second, at most."
    )(function)


def progress_option(function: Function) -> Function:
    """``--progress``, of those who transfer."""
    return click.option(
        "--progress",
        metavar="STYLE",
        type=click.Choice(["auto", "bar", "line", "none"]),
        default="auto",
        envvar="UDPFT_PROGRESS",
        show_envvar=True,
        help="auto, bar, line, none.",
    )(function)


def trace_options(function: Function) -> Function:
    """``--trace`` and ``--trace-limit``, of those who transfer."""
    limit = click.option("--trace-limit", type=QUANTITY, default="64Mi", hidden=True)
    files = click.option(  # a row for both: a help has to fit a screen
        "--trace",
        metavar="FILE",
        multiple=True,
        shell_complete=LOCAL_FILES,
        help=".html, .sqlog, .pcapng; --trace-limit [64Mi].",
    )
    return files(limit(function))
