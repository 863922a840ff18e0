"""Options of commands that reach other machines through a remote shell, and names of these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from udpft.cli.output.console import Console
from udpft.client.client import Client
from udpft.errors import UsageError

if TYPE_CHECKING:
    from udpft.remote.commands import ShellOptions
    from udpft.remote.names import RemoteName

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = {"rsh": "ssh", "remote_udpft": "udpft", "ports": ""}
"""Parameters of the commands, and what they are unless they are given."""


def remote_options(function: Function) -> Function:
    """``-e/--rsh``, ``--remote-udpft`` and ``--ports``, in one row of the help."""
    for option in (
        click.option("--ports", metavar="FIRST-LAST", hidden=True),
        click.option("--remote-udpft", metavar="COMMAND", envvar="UDPFT_REMOTE", hidden=True),
        click.option(
            "-e",
            "--rsh",
            metavar="COMMAND",
            envvar="UDPFT_RSH",
            show_envvar=True,
            help="HOST:PATH; --remote-udpft, --ports.",
        ),
    ):
        function = option(function)
    return function


def is_remote(name: str) -> bool:
    """Tell whether a name has a colon before its first slash, and something before that."""
    return ":" in name.partition("/")[0][1:]


def shell_options(words: dict[str, Any], names: Sequence[str]) -> ShellOptions | None:
    """Take the options of remote shells out of a command's words.

    Args:
        words: of the command; these options are removed.
        names: that may be remote; they are not where a server is named.

    Returns:
        None where no name is remote.

    Raises:
        UsageError: there are such options, and none is; or they make no sense.
    """
    given = {name: words.pop(name) for name in _OPTIONS}
    source = click.get_current_context().get_parameter_source
    if source("server") != ParameterSource.DEFAULT or not any(map(is_remote, names)):
        if any(source(name) == ParameterSource.COMMANDLINE for name in _OPTIONS):
            raise UsageError(
                "-e, --remote-udpft and --ports are of HOST:PATH",
                hint="a name with a colon before its first slash, and no --server",
            )
        return None
    from udpft.remote.commands import ShellOptions  # who names a server does without
    from udpft.remote.names import parse_ports

    ports = parse_ports(given["ports"]) if given["ports"] else None
    del words["key_file"]  # the session has one of its own
    return ShellOptions(
        given["rsh"] or _OPTIONS["rsh"], given["remote_udpft"] or _OPTIONS["remote_udpft"], ports
    )


class RemoteFetches:
    """Names that are fetched through remote shells: one session for each place.

    Args:
        console: is told, at -v, what the shells say.
        names: as they are typed; all remote.
        shell: the remote shell.
        recursive: folders too.

    Attributes:
        _names: by how they are typed; never changes.

    Raises:
        UsageError: one of the names is not remote, or makes no sense.
    """

    def __init__(
        self, console: Console, names: Sequence[str], shell: ShellOptions, *, recursive: bool
    ) -> None:
        self._say = partial(console.say, level=1)
        self._shell = shell
        self._recursive = recursive
        self._names = {name: _parsed(name) for name in names}

    def path_of(self, name: str) -> str:
        """Path of a name over there, as it was typed; one whose end names a file here."""
        return self._names[name].path

    def groups(self) -> Iterator[tuple[Callable[..., Client], list[str]]]:
        """Iterate over the places: a function that opens a session there, and its names."""
        from udpft.remote.session import fetching

        places: dict[Any, list[RemoteName]] = {}
        for name in self._names.values():
            places.setdefault(name.place, []).append(name)

        def opening(names: list[RemoteName], _server: str, **more: Any) -> Client:
            return fetching(names, self._shell, self._say, recursive=self._recursive, **more)

        for names in places.values():
            yield partial(opening, names), [name.typed for name in names]


def _parsed(name: str) -> RemoteName:
    from udpft.remote.names import parse_remote

    if not is_remote(name):
        raise UsageError(
            f"{name!r} is of no host, and other names are",
            hint="fetch them by two commands, or name the host before each",
        )
    return parse_remote(name)


def storing_at(
    console: Console, files: Sequence[str], shell: ShellOptions, **choice: bool
) -> Callable[..., Client]:
    """A function that opens the session which stores files in the place that the last one names.

    Raises:
        UsageError: there is nothing to store, or it is not here; or the place makes no sense.
    """
    from udpft.remote.names import parse_remote
    from udpft.remote.session import storing

    *local, place = files
    if not is_remote(place):
        raise UsageError(
            f"{next(filter(is_remote, files))!r} is of another machine, and not the last one",
            hint="put brings files to the last one, get fetches them; ./a:b is a file here",
        )
    if not local:
        raise UsageError(f"nothing is to be brought to {place!r}", hint="name files before it")
    if elsewhere := next(filter(is_remote, local), ""):
        raise UsageError(
            f"{elsewhere!r} is of another machine, and so is {place!r}",
            hint="one of both ends is here; ./a:b is a file here",
        )
    target = parse_remote(place)

    def opening(_server: str, **options: Any) -> Client:
        return storing(target, local, shell, partial(console.say, level=1), **choice, **options)

    return opening
