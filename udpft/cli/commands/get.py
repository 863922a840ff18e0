"""``udpft get`` without click, once `get_options` or `fast_path` has read its words."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

from udpft.cli.output.console import Console, print_json, printing
from udpft.cli.output.exit_status import Exit, verdict
from udpft.cli.output.progress import Meter, ProgressStyle, metered
from udpft.cli.output.tally import Tally, count_of_files, success
from udpft.client.client import DEFAULT_SERVER, Client, check_is_sha256, destination_of, tidied
from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    ExitCode,
    PartialTransfer,
    ServerRefused,
    TooLarge,
    UdpftError,
    UsageError,
)
from udpft.outcome.result import Result
from udpft.protocol.params import WILDCARDS
from udpft.units import format_bytes

if TYPE_CHECKING:
    from udpft.cli.commands.remote_options import RemoteFetches  # most name a server

_ONE_FILE_ONLY = (ServerRefused, DestinationExists, DigestMismatch, TooLarge)
"""Errors after which the next file may do better; the others concern the server or the disk."""

_STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def fetch(
    console: Console,
    /,
    names: Sequence[str],
    *,
    server: str | list[str] = DEFAULT_SERVER,
    output: str | None = None,
    force: bool = False,
    mode: Literal["reliable", "plain"] = "reliable",
    allow_partial: bool = False,
    recursive: bool = False,
    no_resume: bool = False,
    no_times: bool = False,
    sha256: str | None = None,
    byte_range: tuple[int, int | None] | None = None,
    progress: ProgressStyle = "auto",
    as_json: bool = False,
    replicas: bool = False,
    far: "RemoteFetches | None" = None,  # where names are behind remote shells
    rules: Sequence[str] = (),
    links: bool = False,
    checksum: bool = False,
    dry_run: bool = False,
    trace: Sequence[str] = (),
    trace_limit: int = 64 << 20,
    **options: Any,
) -> None:
    """Fetch files, and tell of them. The arguments are the command's, and the others `Client`'s.

    Raises:
        UdpftError: nothing was fetched, for this reason.
        Exit: files were not, for reasons that have been told.
    """
    # What goes to standard output leaves nothing in a folder that anybody would find again.
    no_resume = no_resume or output in _STANDARD_OUTPUT
    tally = Tally(console, as_json)
    of_trees: dict[str, Any] = {"links": links, "checksum": checksum, "dry_run": dry_run}
    getter = _Getter(
        output,
        mode,
        force,
        not no_resume,
        recursive,
        allow_partial,
        sha256 or "",
        tally.progress_style(progress),
        tally,
        {**of_trees, "rules": rules},
        far.path_of if far else str,
        not no_times,
        byte_range,
    )
    with verdict(as_json=as_json, files=tally.files):
        if mode == "plain" and (isinstance(server, list) or replicas):
            raise UsageError("plain fetches from one server")
        if replicas:
            if far:
                raise UsageError("--replicas is of servers, and not of HOST:PATH")
            options["replicas"] = True
        _check_words(getter, names, of_trees=bool(rules) or any(of_trees.values()), as_json=as_json)
        with _tracing(console, trace, trace_limit) as traced:
            for client_of, group in far.groups() if far else [(Client, names)]:
                with client_of(server, **options, **traced) as client:
                    tally.go_through(group, partial(getter.get, client), _ONE_FILE_ONLY)
        tally.end()


@contextmanager
def _tracing(console: Console, files: Sequence[str], limit: int) -> Iterator[dict[str, Any]]:
    """Trace what is done meanwhile, if it is asked for; what a `Client` is told of it."""
    if not files:
        yield {}
        return
    from udpft.cli.output.tracing import traced  # a short get starts without

    with traced(console, "client", files, limit) as trace:
        yield {"trace": trace}


def _check_words(getter: "_Getter", names: Sequence[str], *, of_trees: bool, as_json: bool) -> None:
    """See that options and names go together.

    Raises:
        UsageError: they do not.
    """
    single = [name for name in names if not getter.is_tree(name)]
    has_tree, output = len(single) < len(names), getter.output
    _check_output(single, output, getter.path_of, as_json=as_json)
    if has_tree and (output in _STANDARD_OUTPUT or getter.mode == "plain"):
        raise UsageError("folders and wildcards go to a folder, and not by plain")
    if single and of_trees:
        raise UsageError(
            "--exclude, --include, --links, --checksum and --dry-run are of trees",
            hint="-r fetches one",
        )
    if getter.sha256 and (len(single) > 1 or has_tree):
        raise UsageError("--sha256 is of a single file")
    if getter.byte_range and (has_tree or getter.mode == "plain"):
        raise UsageError("--range is of single files, and not of plain")
    if has_tree and not getter.times:
        raise UsageError("--no-times is of single files", hint="trees keep theirs")
    if getter.sha256:
        check_is_sha256(getter.sha256)


def _check_output(
    names: Sequence[str], output: str | None, path_of: Callable[[str], str], *, as_json: bool
) -> None:
    """See that every file has a place of its own.

    Raises:
        UsageError: some would have to share one.
    """
    if output in _STANDARD_OUTPUT:
        if as_json:
            raise UsageError("standard output takes either the file or JSON lines")
        return
    if len(names) > 1 and output is not None and not os.path.isdir(output):
        raise UsageError(
            f"several files cannot all become {output!r}", hint="name a folder that is there"
        )
    taken: dict[str, str] = {}
    for name in names:
        path = destination_of(path_of(name), output)
        if path in taken:
            raise UsageError(f"{taken[path]!r} and {name!r} would both become {path}")
        taken[path] = name


class _Getter(NamedTuple):
    """Fetches one file after the other, tells of each, and keeps the tally."""

    output: str | None
    mode: Literal["reliable", "plain"]
    force: bool
    resume: bool
    recursive: bool
    allow_partial: bool
    sha256: str
    progress: ProgressStyle
    tally: Tally
    of_trees: dict[str, Any]
    path_of: Callable[[str], str]
    times: bool
    byte_range: tuple[int, int | None] | None

    def is_tree(self, name: str) -> bool:
        """Whether a name may stand for more than one file."""
        return self.recursive or any(sign in self.path_of(name) for sign in WILDCARDS)

    def get(self, client: Client, name: str) -> UdpftError | None:
        """Fetch one file; return what went wrong, which has been told."""
        if self.tally.as_json:
            print_json("start", name=name, server=str(client.server), mode=self.mode)
        try:
            tree = self._stands_for_several(client, name)
            with metered(client, name, self.progress) as meter:
                result = self._fetch(client, name, meter, tree=tree)
            self.tally.tell(result, self._where(result, tree=tree))
            if not result.complete:
                raise PartialTransfer(
                    f"the end of {name!r} did not come", hint="what came was kept"
                )
        except UdpftError as error:
            if isinstance(error.result, Result):
                self.tally.tell_partial(error.result, self._where(error.result, tree=True))
            self.tally.fail(name, error)
            return error
        self.tally.files.append(success(result))
        return None

    def _stands_for_several(self, client: Client, name: str) -> bool:
        """Whether a name is a folder's or has wildcards, and not just a file's with such signs."""
        if self.recursive or not self.is_tree(name):
            return self.recursive
        return not client.is_one_file(name)

    def _fetch(self, client: Client, name: str, meter: Meter, *, tree: bool) -> Result:
        output: Any = self.output
        if output in _STANDARD_OUTPUT:
            output = _StandardOutput()
        if self.mode == "plain":
            return client.fetch_plain(
                name,
                output,
                force=self.force,
                allow_partial=self.allow_partial,
                sha256=self.sha256,
                progress=meter.update,
            )

        def on_resume(done_bytes: int, total_bytes: int) -> None:
            if tree:
                path = name if output is None else f"{name} in {tidied(output)}"
            else:
                path = destination_of(self.path_of(name), output)
            meter.begin_at(done_bytes)
            self.tally.console.say(
                f"{path}: resumed at {format_bytes(done_bytes)} of {format_bytes(total_bytes)}"
            )

        options: dict[str, Any] = {"force": self.force, "resume": self.resume}
        options |= {"progress": meter.update, "on_resume": on_resume}
        if tree:
            options |= self.of_trees
            return client.fetch_tree(name, output, recursive=self.recursive, **options)
        options |= {"times": self.times, "byte_range": self.byte_range}
        return client.fetch(name, output, sha256=self.sha256, **options)

    def _where(self, result: Result, *, tree: bool) -> str:
        if tree:
            place = "" if self.output is None else f" in {result.local_path}"
            return f"{result.name}{place}: {count_of_files(result)}"
        return "standard output" if self.output in _STANDARD_OUTPUT else result.local_path


class _StandardOutput:
    """Standard output as the client's file object, with our errors in place of the system's."""

    def write(self, data: bytes) -> int:
        """Write bytes.

        Raises:
            LocalWriteFailed: it takes nothing, or is closed.
            Exit: its reader has left.
        """
        with self._reported() as stream:
            return stream.write(data)

    def flush(self) -> None:
        """Empty the buffer. Raises as `write` does."""
        with self._reported() as stream:
            stream.flush()

    @contextmanager
    def _reported(self) -> Iterator[IO[bytes]]:
        try:
            with printing():
                yield sys.stdout.buffer
        except BrokenPipeError:
            raise Exit(ExitCode.NO_READER) from None
