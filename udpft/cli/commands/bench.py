"""``udpft bench``: how fast is the path to a server?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from udpft.cli.help_screen import Command
from udpft.cli.options import (
    LOCAL_FOLDERS,
    QUANTITY,
    SECONDS,
    chunk_size_option,
    connect_timeout_option,
    json_option,
    key_file_option,
    server_option,
    timeout_option,
)
from udpft.cli.output.console import Console, escape, print_json, print_line
from udpft.cli.output.exit_status import verdict
from udpft.client.client import Client
from udpft.diagnosis.conclusion import conclusion
from udpft.diagnosis.speed import ROUNDS, TIME_S, Plan, Row, measure
from udpft.units import format_bytes, format_rate, format_seconds

_COLUMNS = "{:6}  {:9}  {:8}  {:25}  {:>6}  {:>10}"

HEADING = _COLUMNS.format("what", "direction", "mode", "rate", "resent", "round trip")


@click.command("bench", cls=Command, short_help="Measure how fast the path to a server is.")
@server_option
@click.option(
    "--time",
    "time_s",
    metavar="SECONDS",
    type=SECONDS,
    default=f"{TIME_S:g}",
    show_default=True,
    help="For the rounds of a row.",
)
@click.option("--size", metavar="SIZE", type=QUANTITY, default=0, help="Of a round, not --time.")
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    default=ROUNDS,
    show_default=True,
    help="Of which the median counts.",
)
@click.option("--name", metavar="FILE", default="", help="What to fetch [a large one there].")
@click.option("--put-as", metavar="NAME", default="", help="Bring a file too; it stays there.")
@click.option(
    "--dir",
    "folder",
    metavar="DIR",
    type=Path,
    shell_complete=LOCAL_FOLDERS,
    help="For files that come [$TMPDIR].",
)
@chunk_size_option
@connect_timeout_option
@key_file_option
@timeout_option("Give up if nothing moves so long.")
@json_option
@click.pass_obj
def command(
    console: Console,
    /,
    server: str,
    time_s: float,
    size: int,
    rounds: int,
    name: str,
    put_as: str,
    folder: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure the path to a server: out of memory and of files, down and, where allowed, up.

    Example: udpft bench -s files.lan
    """
    plan = Plan(time_s, size, rounds, name, put_as, folder)
    rows: list[Row] = []
    told: list[dict[str, Any]] = []
    aloud = console.verbosity >= 0 and not as_json
    with verdict(as_json=as_json, rows=told), Client(server, **options) as client:
        with closing(measure(client, plan)) as measured:
            for row in measured:
                if aloud and not rows:
                    print_line(HEADING)
                rows.append(row)
                told.append(_as_json(row))
                if as_json:
                    print_json("skipped" if row.missing else "done", **told[-1])
                elif aloud:
                    print_line(line_of(row))
        if as_json:
            print_json("conclusion", message=conclusion(rows))
        elif aloud:
            for line in lines_below(rows):
                print_line(line)


def lines_below(rows: Sequence[Row]) -> Iterator[str]:
    """Lines below the table: which files they were, and what the rows say together."""
    for row in rows:
        if row.what == "file" and row.mode == "reliable" and row.results:
            file = row.results[0]
            yield escape(f"file {row.direction}: {file.name}, {format_bytes(file.bytes)}")
    for row in rows:
        if row.limit:
            yield f"{row.what} {row.direction} was limited by {row.limit}"
    yield conclusion(rows)


def line_of(row: Row) -> str:
    """A row, as a line of the table."""
    head = (row.what, row.direction, row.mode)
    if row.missing:
        return _COLUMNS.format(*head, f"- {escape(row.missing)}", "", "").rstrip()
    rate = format_rate(row.rate_bytes_per_s)
    if row.mode == "plain":
        return _COLUMNS.format(*head, rate, row.note, "").rstrip()
    resent = f"{100 * row.resent_share:.2g} %"
    return _COLUMNS.format(*head, rate, resent, format_seconds(row.rtt_s))


def _as_json(row: Row) -> dict[str, Any]:
    fields: dict[str, Any] = {"what": row.what, "direction": row.direction, "mode": row.mode}
    if row.missing:
        return {**fields, "reason": row.missing}
    rounds = [
        {
            "bytes": one.bytes,
            "seconds": round(one.seconds, 6),
            "rate_bytes_per_s": round(one.rate_bytes_per_s),
            "resent_packets": one.resent_packets,
            "complete": one.complete,
            "verified": one.verified,
        }
        for one in row.results
    ]
    return {
        **fields,
        "name": row.results[0].name or None,
        "rate_bytes_per_s": round(row.rate_bytes_per_s),
        "rate_bits_per_s": round(8 * row.rate_bytes_per_s),
        "resent_share": None if row.mode == "plain" else round(row.resent_share, 6),
        "rtt_s": round(row.rtt_s, 6),
        "chunk_size": row.results[0].chunk_size,
        "verified": all(one.verified for one in row.results),
        "limited_by": row.limited_by or None,
        "rounds": rounds,
    }
