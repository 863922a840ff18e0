"""``udpft put``: bring files to a server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import IO, Any, NamedTuple

import click

from udpft.cli.commands.remote_options import remote_options, shell_options, storing_at
from udpft.cli.commands.tree_options import RuledCommand, tree_options
from udpft.cli.options import (
    LOCAL_FILES,
    chunk_size_option,
    connect_timeout_option,
    json_option,
    key_file_option,
    limit_rate_option,
    progress_option,
    server_option,
    timeout_option,
    trace_options,
)
from udpft.cli.output.console import Console, print_json
from udpft.cli.output.exit_status import verdict
from udpft.cli.output.progress import Meter, ProgressStyle, metered
from udpft.cli.output.tally import Tally, count_of_files, success
from udpft.cli.output.tracing import traced
from udpft.client.client import Client, name_on_server
from udpft.errors import (
    Denied,
    DestinationExists,
    DigestMismatch,
    LocalReadFailed,
    UdpftError,
    UsageError,
)
from udpft.outcome.result import Result

_ONE_FILE_ONLY = (Denied, DestinationExists, DigestMismatch, LocalReadFailed)
"""Errors after which the next file may do better; the others concern the server or the path."""


@click.command("put", cls=RuledCommand, short_help="Bring files to a server.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, shell_complete=LOCAL_FILES)
@server_option
@remote_options
@click.option("--as", "as_name", metavar="NAME", help="Its name there; DIR/ for a folder there.")
@click.option("-f", "--force", is_flag=True, help="Replace a different file of that name.")
@click.option("-r", "--recursive", is_flag=True, help="Folders, with all that is below them.")
@tree_options("--hidden")
@chunk_size_option
@limit_rate_option
@connect_timeout_option
@key_file_option
@timeout_option("Give up if nothing moves so long.")
@progress_option
@trace_options
@json_option
@click.pass_obj
def command(
    console: Console,
    /,
    files: tuple[str, ...],
    server: str,
    as_name: str | None,
    force: bool,
    recursive: bool,
    progress: ProgressStyle,
    as_json: bool,
    rules: tuple[str, ...],
    links: bool,
    hidden: bool,
    checksum: bool,
    dry_run: bool,
    trace: tuple[str, ...],
    trace_limit: int,
    _ruled: None,
    **options: Any,
) -> None:
    """Bring FILEs to a server that is --writable, or to a last [USER@]HOST:PATH; - is standard
    input, and needs a name.

    Example: udpft put report.pdf -s files.lan
    """
    shell = shell_options(options, files)
    connect: Callable[..., Client] = Client
    if shell:
        if as_name:
            raise UsageError("--as names a file on a server", hint="HOST:PATH has its name there")
        connect = storing_at(console, files, shell, recursive=recursive, force=force)
        files = files[:-1]
        # As scp and rsync have it.
        hidden = hidden or (recursive and any(map(os.path.isdir, files)))
    tally = Tally(console, as_json)
    progress = tally.progress_style(progress)
    of_trees: dict[str, Any] = {
        "links": links,
        "hidden": hidden,
        "checksum": checksum,
        "dry_run": dry_run,
    }
    of_trees["rules"] = rules
    putter = _Putter(as_name, force, recursive, progress, tally, of_trees, remote=bool(shell))
    with verdict(as_json=as_json, files=tally.files):
        putter.check(files)
        with ExitStack() as stack:
            if trace:
                opened = traced(console, "client", trace, trace_limit)
                options["trace"] = stack.enter_context(opened)
            client = stack.enter_context(connect(server, **options))
            tally.go_through(files, lambda file: putter.put(client, file), _ONE_FILE_ONLY)
        tally.end()


class _Putter(NamedTuple):
    """Brings one file after the other, tells of each, and keeps the tally."""

    as_name: str | None
    force: bool
    recursive: bool
    progress: ProgressStyle
    tally: Tally
    of_trees: dict[str, Any]
    remote: bool = False

    def check(self, files: Sequence[str]) -> None:
        """See that every file has a name of its own there.

        Raises:
            UsageError: some would have to share one, or one has none.
        """
        named = bool(self.as_name) and not str(self.as_name).endswith("/")
        if named and len(files) > 1:
            raise UsageError("--as names a single file", hint="with a slash at its end, a folder")
        if "-" in files and not (named or self.remote):
            raise UsageError("standard input has no name", hint="--as NAME gives it one")
        if any(self.of_trees.values()) and not any(map(self._is_tree, files)):
            raise UsageError(
                "--exclude, --include, --links, --hidden, --checksum and --dry-run are of trees",
                hint="-r brings one",
            )
        taken: dict[str, str] = {}
        for file in files:
            if file != "-" and not self._is_tree(file):
                name = name_on_server(file, self.as_name)
                if name in taken:
                    raise UsageError(f"{taken[name]!r} and {file!r} would both become {name!r}")
                taken[name] = file

    def _is_tree(self, file: str) -> bool:
        return self.recursive and os.path.isdir(file)

    def put(self, client: Client, file: str) -> UdpftError | None:
        """Bring one file or folder; return what went wrong, which has been told."""
        if self.tally.as_json:
            print_json("start", name=file, server=str(client.server), mode="reliable")
        try:
            with metered(client, file, self.progress) as meter:
                result = self._store(client, file, meter)
        except UdpftError as error:
            if isinstance(error.result, Result):
                where = f"{self._where(client, error.result)}: {count_of_files(error.result)}"
                self.tally.tell_partial(error.result, where)
            self.tally.fail(file, error)
            return error
        count = f": {count_of_files(result)}" if self._is_tree(file) else ""
        where = f"{self._where(client, result)}{count}"
        self.tally.tell(result, where)
        self.tally.files.append(success(result))
        return None

    def _where(self, client: Client, result: Result) -> str:
        return result.name if self.remote else f"{result.name} on {client.server}"

    def _store(self, client: Client, file: str, meter: Meter) -> Result:
        options: dict[str, Any] = {"force": self.force, "progress": meter.update}
        if self._is_tree(file):
            return client.store_tree(file, self.as_name, **options, **self.of_trees)
        source: Any = _standard_input() if file == "-" else file
        return client.store(source, self.as_name, **options)


def _standard_input() -> IO[bytes]:
    """Standard input, in bytes.

    Raises:
        LocalReadFailed: it is closed, as a daemon's or a cron job's may be.
    """
    if sys.stdin is None:
        raise LocalReadFailed(
            "standard input is closed", hint="`< FILE` or a pipe gives it something to read"
        )
    return sys.stdin.buffer
