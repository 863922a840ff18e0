"""Options that `add` and `message` share, and how they report noise."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Callable

import click

from udpft.cli.options import SECONDS, Function
from udpft.cli.output.console import Console, escape
from udpft.net.address import Address
from udpft.protocol.params import CONNECT_TIMEOUT_S
from udpft.small_modes.conversation import Datagram
from udpft.small_modes.exchange import worth_a_line

_EXCERPT_BYTES = 40


def server_options(default_port: int) -> Callable[[Function], Function]:
    """``--host``, ``--port`` and ``--name``, as a server has them."""

    def add(function: Function) -> Function:
        function = _name_option("Server")(function)
        function = click.option(
            "-p",
            "--port",
            type=click.IntRange(0, 65535),
            default=default_port,
            envvar="UDPFT_PORT",
            show_envvar=True,
            show_default=True,
            help="UDP port; 0 for any free one.",
        )(function)
        return click.option(
            "--host",
            default="127.0.0.1",
            envvar="UDPFT_HOST",
            show_envvar=True,
            show_default=True,
            help="Listen here; 0.0.0.0 is all.",
        )(function)

    return add


def client_options(default_port: int, own_variable: str) -> Callable[[Function], Function]:
    """``--server``, ``--name`` and ``--timeout``, as a client has them.

    ``own_variable`` is looked at before UDPFT_SERVER, which may name the file server.
    """

    def add(function: Function) -> Function:
        function = click.option(
            "--timeout",
            metavar="SECONDS",
            type=SECONDS,
            default=f"{CONNECT_TIMEOUT_S:g}",
            show_default=True,
            help="Give up when nothing was heard for so long.",
        )(function)
        function = _name_option("Client")(function)
        return click.option(
            "-s",
            "--server",
            metavar="HOST[:PORT]",
            default="127.0.0.1",
            envvar=[own_variable, "UDPFT_SERVER"],
            show_envvar=True,
            show_default=True,
            help=f"Its address; port {default_port} unless given.",
        )(function)

    return add


def _name_option(role: str) -> Callable[[Function], Function]:
    return click.option(
        "--name",
        default=lambda: f"{role} on {socket.gethostname()}",
        show_default=f"{role} on HOSTNAME",
        help="What to be called.",
    )


def new_id() -> str:
    """An id for one question: 32 random bits, enough among those of one address."""
    return secrets.token_hex(4)


def terminal_fd() -> int | None:
    """Standard input, if a person may type there: a terminal, and not a shell's background job."""
    fd = input_fd()
    if fd is None or not os.isatty(fd):
        return None
    try:
        return fd if os.tcgetpgrp(fd) == os.getpgrp() else None
    except OSError:
        return fd  # a terminal that does not control us, and so cannot stop us either


def input_fd() -> int | None:
    """Standard input, if there is any."""
    return sys.stdin.fileno() if sys.stdin is not None else None


class Prompt:
    """A question on the terminal, on standard error, out of the way of what is shown meanwhile."""

    def __init__(self) -> None:
        self._shown = ""

    def show(self, question: str) -> None:
        """Ask, unless the same question stands there already; nothing to clear it."""
        if question != self._shown:
            self.leave()
            self._shown = question
            print(escape(question), end="", file=sys.stderr, flush=True)

    def leave(self) -> None:
        """Go to a new line, before something else is printed."""
        if self._shown:
            print(file=sys.stderr, flush=True)
        self._shown = ""

    def entered(self) -> None:
        """The person pressed Enter: the terminal is on a new line."""
        self._shown = ""


def log_ignored(console: Console, count: int, last: Datagram) -> None:
    """Log that datagrams are being ignored, at the 1st, 10th, 100th and so on."""
    if not worth_a_line(count):
        return
    begin = last.data[:_EXCERPT_BYTES].decode(errors="backslashreplace")
    console.log(
        f"datagrams ignored so far: {count:,}; "
        f"the latest, {len(last.data):,} bytes from {Address.of(last.source)}: {begin}",
        ignored=count,
    )
