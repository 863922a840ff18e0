"""``udpft put``: bring files to a server."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from udpft import api
from udpft.cli.books import Books, success
from udpft.cli.command import Command
from udpft.cli.console import Console, print_json
from udpft.cli.ending import verdict
from udpft.cli.options import (
    chunk_size_option,
    connect_timeout_option,
    json_option,
    key_file_option,
    limit_rate_option,
    progress_option,
    server_option,
    timeout_option,
)
from udpft.cli.progress import Meter, ProgressStyle
from udpft.client import Client
from udpft.errors import DestinationExists, LocalReadFailed, UdpftError, UsageError
from udpft.measured import measured
from udpft.storage.root import SourceFile
from udpft.upload_client import open_local, spooled, store


@click.command("put", cls=Command, short_help="Bring files to a server.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@server_option
@click.option("--as", "as_name", metavar="NAME", help="Its name there; of a single file.")
@click.option("-f", "--force", is_flag=True, help="Replace a different file of that name.")
@chunk_size_option
@limit_rate_option
@connect_timeout_option
@key_file_option
@timeout_option("Give up if nothing moves so long.")
@progress_option
@json_option
@click.pass_obj
def command(
    console: Console,
    /,
    files: tuple[str, ...],
    server: str,
    as_name: str | None,
    force: bool,
    progress: ProgressStyle,
    as_json: bool,
    **options: Any,
) -> None:
    """Bring FILEs to a server that is --writable; - is standard input, and needs --as.

    Example: udpft put report.pdf -s files.lan
    """
    if progress != "none" and as_json:
        progress = "json"
    elif console.verbosity < 0:
        progress = "none"
    books = Books(console, as_json)
    with verdict(as_json=as_json, files=books.files):
        if as_name and len(files) > 1:
            raise UsageError("--as names a single file")
        if "-" in files and not as_name:
            raise UsageError("standard input has no name", hint="--as NAME gives it one")
        with api.connect(server, **options) as client:
            for file in files:
                error = _put(books, client, file, as_name or Path(file).name, force, progress)
                if error and not isinstance(error, (DestinationExists, LocalReadFailed)):
                    break
        if books.failures:
            raise click.exceptions.Exit(books.failures[0].exit_code)


def _put(
    books: Books, client: Client, file: str, name: str, force: bool, progress: ProgressStyle
) -> UdpftError | None:
    """Bring one file; return what went wrong, which has been told."""
    if books.as_json:
        print_json("start", name=name, server=str(client.server), mode="reliable")
    try:
        opened: AbstractContextManager[SourceFile] = (
            spooled(sys.stdin.buffer) if file == "-" else open_local(Path(file))
        )
        with opened as source, Meter(name, progress, lambda: client.resent_share) as meter:
            result = measured(
                client,
                lambda: store(
                    client, source, name, path=Path(file), force=force, progress=meter.update
                ),
                receives=False,
            )
        books.tell(result, f"{name} on {client.server}")
    except UdpftError as error:
        books.fail(name, error)
        return error
    books.files.append(success(result))
    return None
