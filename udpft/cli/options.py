"""Options and argument types that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from udpft.units import parse_bytes

Function = TypeVar("Function", bound=Callable[..., Any])


class Quantity(click.ParamType):
    """A size, or a rate in bytes per second: 4096, 10M, 1.5Gi."""

    name = "quantity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the words; a nonsense one is a usage error."""
        if isinstance(value, int):
            return value
        try:
            return parse_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Seconds(click.ParamType):
    """A positive number of seconds."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the number."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds < 1e9:
            self.fail(f"{value!r} is not a number of seconds above 0", param, ctx)
        return seconds


QUANTITY = Quantity()
SECONDS = Seconds()


def server_option(function: Function) -> Function:
    """``-s/--server``, shared by all clients."""
    return click.option(
        "-s",
        "--server",
        metavar="HOST[:PORT]",
        default="127.0.0.1",
        envvar="UDPFT_SERVER",
        show_envvar=True,
        show_default=True,
        help="Where the server is; port 9000 unless given.",
    )(function)


def connect_timeout_option(function: Function) -> Function:
    """``--connect-timeout``, shared by all clients."""
    return click.option(
        "--connect-timeout",
        metavar="SECONDS",
        type=SECONDS,
        default=5,
        show_default=True,
        help="Wait this long for the first answer.",
    )(function)


def json_option(function: Function) -> Function:
    """``--json``, shared by all commands that have something to say to programs."""
    return click.option(
        "--json", "as_json", is_flag=True, help="One JSON object a line on standard output."
    )(function)
