"""``udpft serve``: serve the files of a folder."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from udpft.cli.help_screen import Command
from udpft.cli.options import (
    LOCAL_FOLDERS,
    QUANTITY,
    json_option,
    key_file_option,
    timeout_option,
    trace_options,
)
from udpft.cli.output.console import Console, print_json
from udpft.cli.output.exit_status import Exit, verdict
from udpft.cli.output.server_log import TO_ANSWER, ServerLog, failures_told
from udpft.cli.output.tracing import traced
from udpft.errors import UsageError
from udpft.net.address import Address, parse_server
from udpft.protocol.params import MAX_SESSIONS, PLAIN_RATE_BYTES_PER_S
from udpft.server.failures import LOGGER
from udpft.server.plain import MAX_PLAIN_TRANSFERS
from udpft.server.server import Server

if TYPE_CHECKING:
    from udpft.server.metrics import Metrics
    from udpft.server.workers.supervisor import Supervisor

_OTHER_OPEN_FILES = 64

MAX_WORKERS = 256
"""Workers at most: more than machines have processors for."""

DEFAULT_METRICS_PORT = 9100
"""The TCP port of --metrics, unless it names one."""


def _workers(value: Any) -> int:
    """A number of workers, or what this process may use of the machine."""
    if value == "auto":
        from udpft.net.kernel import usable_processors  # who has one worker does without

        return usable_processors()
    try:
        workers = int(value)
    except ValueError:
        workers = 0
    if not 1 <= workers <= MAX_WORKERS:
        raise click.BadParameter(f"{value!r} is neither auto nor a number from 1 to {MAX_WORKERS}")
    return workers


def _serve_shell(_ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    """Be the far end of a remote shell's session, and nothing else."""
    if asked:
        from udpft.remote.far_end import run  # who serves a folder does without

        raise Exit(run())


@click.command("serve", cls=Command, short_help="Serve the files of a folder.")
@click.argument(
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path, readable=False),
    shell_complete=LOCAL_FOLDERS,
)
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
    help="auto: private addresses; always; never.",
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
    "--workers",
    metavar="N",
    type=_workers,
    default="1",
    show_default=True,
    help="Processes; auto: as many as processors.",
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
@click.option(
    "--for-shell",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    hidden=True,
    callback=_serve_shell,
)
@trace_options
@key_file_option
@timeout_option("Drop who stands still so long.")
@json_option
@click.pass_obj
def command(
    console: Console,
    /,
    directory: Path,
    as_json: bool,
    workers: int,
    metrics: str | None,
    trace: tuple[str, ...],
    trace_limit: int,
    **options: Any,
) -> None:
    """Serve the files below DIR on one UDP port, until interrupted.

    Example: udpft serve ./files --host 0.0.0.0
    """
    # A server whose output nobody takes goes on, and ends well.
    with suppress(BrokenPipeError), verdict(as_json=as_json):
        if trace and workers > 1:
            raise UsageError(
                "--trace follows one process", hint="without --workers there is only one"
            )
        _allow_open_files(options["max_clients"], writable=options["writable"])
        log = ServerLog(console, as_json)
        with ExitStack() as stack:
            stack.enter_context(failures_told(console, LOGGER))
            if trace:
                options["trace"] = stack.enter_context(
                    traced(console, "server", trace, trace_limit)
                )
            server: Server | Supervisor
            if workers > 1:
                place = parse_server(metrics, DEFAULT_METRICS_PORT) if metrics else None
                server = stack.enter_context(_supervisor(directory, workers, log, place, options))
                page_at, silent = server.metrics_address, server.is_silent
            else:
                server = stack.enter_context(
                    Server(
                        directory,
                        on_served=log.tell,
                        on_refused=log.tell_refused,
                        on_notice=log.tell_notice,
                        **options,
                    )
                )
                page = stack.enter_context(_metrics(metrics, server)) if metrics else None
                page_at, silent = "", server.on_silence(log.tell_silence)
                if page:
                    log.also, page_at = page.count, str(page.address)
            stack.enter_context(_until_signal(server))
            if as_json:
                print_json("start", host=server.host, port=server.port, workers=workers)
            where = Address(server.host, server.port)
            only = ", to private addresses only" if silent and not _is_loopback(server.host) else ""
            by = f", {workers} workers" if workers > 1 else ""
            console.log(f"serving {directory} on {where}{by}{only}")
            if only:
                console.log(f"public addresses hear nothing; {TO_ANSWER}")
            if page_at:
                console.log(f"metrics on http://{page_at}/metrics")
            server.run()
            log.tell_untold()
            console.log("stopped")


def _supervisor(
    directory: Path,
    workers: int,
    log: ServerLog,
    metrics: Address | None,
    options: dict[str, Any],
) -> Supervisor:
    """Begin a number of processes that serve together. Raises UdpftError: they cannot."""
    from udpft.server.workers.supervisor import Supervisor  # one process does without

    server = Supervisor(directory, workers, log, metrics=metrics, options=options)
    try:
        server.begin()
    except BaseException:
        server.close()
        raise
    return server


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"


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
def _until_signal(server: Server | Supervisor) -> Iterator[None]:
    """Stop the server at SIGTERM, SIGINT and SIGHUP, the second time at once.

    As PID 1 in a container they would be ignored without a handler.
    """
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    if before[signal.SIGHUP] == signal.SIG_IGN:
        del before[signal.SIGHUP]  # nohup wants it so

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
