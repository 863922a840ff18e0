"""``udpft get``: fetch files."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click

from udpft import api
from udpft.cli.app import report
from udpft.cli.console import Console, print_json
from udpft.cli.options import (
    QUANTITY,
    SECONDS,
    connect_timeout_option,
    json_option,
    server_option,
)
from udpft.cli.progress import Meter, ProgressStyle
from udpft.client import Client, Result
from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    ExitCode,
    PartialTransfer,
    ServerRefused,
    UdpftError,
    UsageError,
)
from udpft.protocol.params import IDLE_TIMEOUT_S
from udpft.units import format_bytes, format_rate, format_seconds, parse_bytes

_ONE_FILE_ONLY = (ServerRefused, DestinationExists, DigestMismatch)
"""Errors after which the next file may do better; the others concern the server or the disk."""


class ChunkSize(click.ParamType):
    """A chunk size in bytes, or ``auto``."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Literal["auto"]:
        """Read the words."""
        if isinstance(value, int):
            return value
        if value == "auto":
            return "auto"
        try:
            return parse_bytes(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number of bytes nor auto", param, ctx)


@click.command("get", short_help="Fetch files.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@server_option
@click.option("-o", "--output", metavar="FILE|DIR|-", help="Where to put it; - is standard output.")
@click.option("-f", "--force", is_flag=True, help="Replace a different file of that name.")
@click.option(
    "--mode",
    type=click.Choice(["reliable", "plain"]),
    default="reliable",
    envvar="UDPFT_MODE",
    show_envvar=True,
    show_default=True,
    help="plain: no acknowledgements, unverified.",
)
@click.option(
    "--chunk-size",
    metavar="N|auto",
    type=ChunkSize(),
    default=2048,
    show_default=True,
    help="Bytes in a chunk; auto: the most that the path carries.",
)
@click.option(
    "--limit-rate",
    metavar="RATE",
    type=QUANTITY,
    default=0,
    help="At most so many bytes per second.",
)
@click.option("--allow-partial", is_flag=True, help="Plain: keep what came without the end.")
@connect_timeout_option
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=SECONDS,
    default=IDLE_TIMEOUT_S,
    show_default=True,
    help="Give up after so long without progress.",
)
@click.option(
    "--progress",
    type=click.Choice(["auto", "bar", "line", "none"]),
    default="auto",
    envvar="UDPFT_PROGRESS",
    show_envvar=True,
    help="auto: a bar on a terminal, a line every 10 s elsewhere.",
)
@json_option
@click.pass_obj
def command(
    console: Console,
    names: tuple[str, ...],
    server: str,
    output: str | None,
    force: bool,
    mode: str,
    allow_partial: bool,
    progress: ProgressStyle,
    as_json: bool,
    **options: Any,
) -> None:
    """Fetch files by their NAMEs on the server, each verified and complete or not at all.

    \b
    Example: udpft get report.pdf -s files.lan
    """
    if len(names) > 1 and output not in (None, "-") and not os.path.isdir(str(output)):
        raise UsageError(f"several files cannot all become {output!r}", hint="name a folder")
    first_error: UdpftError | None = None
    results: list[Result] = []
    try:
        with api.connect(server, **options) as client:
            for name in names:
                try:
                    with _destination(name, output) as destination:
                        style = progress if console.verbosity >= 0 and not as_json else "none"
                        with Meter(name, style) as meter:
                            result = _fetch(
                                client, name, destination, mode, force, allow_partial, meter
                            )
                except _ONE_FILE_ONLY as error:
                    first_error = first_error or error
                    if len(names) > 1:
                        report(error)
                    if as_json:
                        _print_error(name, error)
                    continue
                results.append(result)
                _print_result(console, result, as_json=as_json)
    except UdpftError as error:
        first_error = error
        if as_json:
            _print_error(None, error)
    if first_error is None and any(not r.complete for r in results):
        first_error = PartialTransfer(
            "the end of the file did not come", hint="it was kept as it is"
        )
    if as_json:
        _print_summary(results, first_error)
    if first_error and len(names) > 1 and isinstance(first_error, _ONE_FILE_ONLY):
        raise click.exceptions.Exit(first_error.exit_code)  # reported above
    if first_error:
        raise first_error


def _fetch(
    client: Client,
    name: str,
    destination: Path,
    mode: str,
    force: bool,
    allow_partial: bool,
    meter: Meter,
) -> Result:
    if mode == "plain":
        return client.fetch_plain(
            name, destination, force=force, allow_partial=allow_partial, progress=meter.update
        )
    return client.fetch(name, destination, force=force, progress=meter.update)


@contextmanager
def _destination(name: str, output: str | None) -> Iterator[Path]:
    """Where a file goes. For standard output: a folder that goes away, once it was copied out,
    because nothing unverified may leave."""
    if output != "-":
        yield api.destination_of(name, output)
        return
    with tempfile.TemporaryDirectory(prefix="udpft-") as folder:
        path = Path(folder, "file")
        yield path
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
        sys.stdout.buffer.flush()


def _print_result(console: Console, result: Result, *, as_json: bool) -> None:
    if as_json:
        print_json("done", **_fields(result))
        return
    if result.up_to_date:
        console.say(f"{result.path}: up to date, verified")
        return
    verdict = "verified" if result.verified else "unverified: plain checks nothing"
    console.say(
        f"{result.path}: {format_bytes(result.bytes)} in {format_seconds(result.seconds)}, "
        f"{format_rate(result.rate_bytes_per_s)}, {verdict}"
    )
    if result.verified:
        console.say(
            f"  chunks of {result.chunk_size} bytes, {result.resent_packets} packets resent, "
            f"digest {result.digest}",
            level=1,
        )


def _fields(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "path": str(result.path),
        "bytes": result.bytes,
        "seconds": round(result.seconds, 6),
        "rate_bytes_per_s": round(result.rate_bytes_per_s),
        "digest": result.digest,
        "chunk_size": result.chunk_size,
        "resent_packets": result.resent_packets,
        "resumed_bytes": result.resumed_bytes,
        "mode": result.mode,
        "verified": result.verified,
        "up_to_date": result.up_to_date,
    }


def _print_error(name: str | None, error: UdpftError) -> None:
    print_json(
        "error", name=name, message=str(error), hint=error.hint, exit_code=int(error.exit_code)
    )


def _print_summary(results: list[Result], error: UdpftError | None) -> None:
    print_json(
        "summary",
        ok=error is None,
        exit_code=int(error.exit_code if error else ExitCode.DONE),
        files=[_fields(result) for result in results],
    )
