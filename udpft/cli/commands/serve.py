"""``udpft serve``: serve the files of a folder."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from udpft.cli.help_screen import Command
from udpft.cli.options import QUANTITY, json_option, key_file_option, timeout_option
from udpft.cli.output.console import Console, print_json
from udpft.cli.output.exit_status import verdict
from udpft.cli.output.tally import rounded
from udpft.errors import LocalWriteFailed
from udpft.net.address import Address, parse_server
from udpft.net.clock import clock
from udpft.outcome.served import Served
from udpft.protocol.params import MAX_SESSIONS, PLAIN_RATE_BYTES_PER_S
from udpft.server.plain import MAX_PLAIN_TRANSFERS
from udpft.server.server import Server
from udpft.units import format_bytes, format_rate, format_seconds

if TYPE_CHECKING:
    from udpft.server.metrics import Metrics

_OTHER_OPEN_FILES = 64

DEFAULT_METRICS_PORT = 9100
"""The TCP port of --metrics, unless it names one."""


@click.command("serve", cls=Command, short_help="Serve the files of a folder.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, readable=False))
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    envvar="UDPFT_HOST",
    show_envvar=True,
    show_default=True,
    help="Listen here; 0.0.0.0 is all.",
)
@click.option(
    "-p",
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    default=9000,
    envvar="UDPFT_PORT",
    show_envvar=True,
    show_default=True,
    help="UDP port; 0 for any free one.",
)
@click.option(
    "--plain",
    metavar="WHOM",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="auto: to private addresses; always; never.",
)
@click.option(
    "--plain-rate",
    metavar="RATE",
    type=QUANTITY,
    default=f"{PLAIN_RATE_BYTES_PER_S // 1_000_000}M",
    show_default=True,
    help="Bytes per second, each plain transfer.",
)
@click.option(
    "--max-clients",
    metavar="N",
    type=click.IntRange(1),
    default=MAX_SESSIONS,
    show_default=True,
    help="More must come back later.",
)
@click.option(
    "--max-rate",
    metavar="RATE",
    type=QUANTITY,
    default=0,
    help="Bytes per second, each transfer, at most.",
)
@click.option("--writable", is_flag=True, help="Take uploads.")
@click.option("--max-upload", metavar="SIZE", type=QUANTITY, default=0, help="Of one upload.")
@click.option("--quota", metavar="SIZE", type=QUANTITY, default=0, help="Of all uploads.")
@click.option("--hidden", is_flag=True, help="Serve names that begin with a dot, too.")
@click.option("--insecure-public", is_flag=True, help="Answer public addresses, too.")
@click.option("--metrics", metavar="HOST:PORT", help="Figures for Prometheus, by HTTP there.")
@key_file_option
@timeout_option("Drop who stands still so long.")
@json_option
@click.pass_obj
def command(
    console: Console, /, directory: Path, as_json: bool, metrics: str | None, **options: Any
) -> None:
    """Serve the files below DIR on one UDP port, until interrupted.

    Example: udpft serve ./files --host 0.0.0.0
    """
    with verdict(as_json=as_json):
        _allow_open_files(options["max_clients"], writable=options["writable"])
        teller = _Teller(console, as_json)
        with ExitStack() as stack:
            server = stack.enter_context(Server(directory, on_served=teller.tell, **options))
            page = stack.enter_context(_metrics(metrics, server)) if metrics else None
            stack.enter_context(_until_signal(server))
            if as_json:
                print_json("start", host=server.host, port=server.port)
            console.log(f"serving {directory} on {Address(server.host, server.port)}")
            if page:
                teller.also = page.count
                console.log(f"metrics on http://{page.address}/metrics")
            server.run()
            teller.tell_untold()
            console.log("stopped")


def _metrics(address: str, server: Server) -> Metrics:
    """Figures of a server, where somebody may fetch them.

    Raises:
        UsageError: the package that makes them is missing, or the address makes no sense.
    """
    from udpft.server.metrics import Metrics  # nobody else needs its package

    place = parse_server(address, DEFAULT_METRICS_PORT)
    return Metrics(place, transfers=lambda: server.transfers, drops=lambda: server.drops)


def _allow_open_files(max_clients: int, *, writable: bool = False) -> None:
    """Raise this process's limit of open files, usually 1,024, as far as it may be raised.

    Each transfer has a file open, a plain one a socket as well, and an upload its folder, twice.
    """
    wanted = max_clients * (3 if writable else 1) + 2 * MAX_PLAIN_TRANSFERS + _OTHER_OPEN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _until_signal(server: Server) -> Iterator[None]:
    """Stop the server at SIGTERM and SIGINT, the second time at once.

    As PID 1 in a container the two would be ignored without a handler.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(_signum: int, _frame: FrameType | None) -> None:
        server.stop()
        restore()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        restore()


class _Budget:
    """How many lines may be written: some at once, and then so many a second.

    Whoever can reach the server can make it write a line, and should not fill its disk.
    """

    BURST = 2_000
    PER_S = 20.0

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = float(self.BURST)
        self._counted_at = clock()

    def take(self) -> bool:
        """Whether there is one more line to write."""
        now = self._clock()
        self._left = min(self.BURST, self._left + (now - self._counted_at) * self.PER_S)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class _Teller:
    """Tells of each transfer that is over, in a line, unless there are too many of them."""

    def __init__(self, console: Console, as_json: bool, clock: Callable[[], float] = clock) -> None:
        self._console = console
        self._as_json = as_json
        self._budget = _Budget(clock)
        self._untold = 0
        self.also: Callable[[Served], None] = lambda _: None

    def tell(self, served: Served) -> None:
        """Write the line, or lines. A server whose output nobody takes goes on without."""
        self.also(served)
        if not self._budget.take():
            self._untold += 1
            return
        self.tell_untold()
        fields: dict[str, Any] = {
            "name": served.name,
            "peer": served.peer,
            "mode": served.mode,
            "bytes": served.bytes,
            "bytes_sent": served.bytes_sent,
            "seconds": round(served.seconds, 6),
            "resent_packets": served.resent_packets,
            "verified": served.verified,
            "upload": served.bytes_received is not None,
            "cpu_seconds": round(served.cpu_seconds, 6),
            "cpu_seconds_per_gb": rounded(served.cpu_seconds_per_gb),
            "dropped_packets": served.dropped_packets,
            "limited_by": served.limited_by or None,
            "slow": served.slow,
        }
        if served.error:
            fields |= {"message": str(served.error), "exit_code": int(served.error.exit_code)}
        self._print_json("error" if served.error else "done", fields)
        self._console.log(self._in_words(served), **fields)

    def _in_words(self, served: Served) -> str:
        """The line of the log; with ``-v``, what it cost too."""
        told, verbose = _in_words(served), self._console.verbosity > 0
        if verbose and served.cpu_seconds_per_gb is not None:
            told += f", {served.cpu_seconds_per_gb:.2f} s of processor for each GB"
        if served.limit and (served.slow or verbose):
            told += f"; limited by {served.limit}"
        return told

    def tell_untold(self) -> None:
        """Say how many transfers were over and not told of."""
        if self._untold:
            fields = {"transfers": self._untold}
            self._print_json("untold", fields)
            self._console.log(f"{self._untold} more transfers, too many to tell", **fields)
            self._untold = 0

    def _print_json(self, event: str, fields: dict[str, Any]) -> None:
        if self._as_json:
            try:
                print_json(event, **fields)
            except (LocalWriteFailed, BrokenPipeError):
                self._as_json = False


def _in_words(served: Served) -> str:
    direction = "" if served.bytes_received is None else "upload of "
    what = f"{served.peer} {served.mode} {direction}{served.name!r}"
    if served.error:
        return f"{what}: failed: {served.error}"
    size = format_bytes(served.bytes)
    if served.bytes_received is not None:
        if served.bytes_received < served.bytes:
            size += f", {format_bytes(served.bytes_received)} of it new,"
    elif served.bytes_sent < served.bytes:
        size += f", {format_bytes(served.bytes_sent)} of it sent,"
    taken = f"{size} in {format_seconds(served.seconds)}, {format_rate(served.rate_bytes_per_s)}"
    if served.mode == "plain":
        return f"{what}: {taken}, unverified"
    unconfirmed = "" if served.verified else ", not confirmed: the client left without a word"
    return f"{what}: {taken}, {served.resent_packets} packets resent{unconfirmed}"
