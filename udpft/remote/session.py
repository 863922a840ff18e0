"""Session with a far end: a shell is started, an address found, and files are asked for by client.

`RemoteClient` is a `udpft.Client` whose names are those that the user has typed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from udpft.arguments import Name, Output, is_stream, text_of
from udpft.client.client import Client, destination_of, name_on_server, tidied
from udpft.errors import (
    DestinationExists,
    LocalWriteFailed,
    NetworkError,
    NoSuchFile,
    Stopped,
    TimedOut,
    UdpftError,
)
from udpft.keys import Key, need_cryptography
from udpft.outcome.result import Result
from udpft.protocol.params import CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S
from udpft.remote.commands import ShellOptions, command_line, host_on_network
from udpft.remote.messages import (
    Found,
    PathsAsked,
    PlaceAsked,
    PutItem,
    Request,
    encode_request,
)
from udpft.remote.names import RemoteName
from udpft.remote.reach import addresses_to_try, reach
from udpft.remote.shell import Shell

EXAMPLE_PORTS = "60000-60010"
"""Range of ports that a hint names."""

_LABELLED = re.compile("[0-9a-f]{16}/")
"""Beginning of a name by which a far end is asked for a file: see `asked.label_of`."""


class Known(NamedTuple):
    """Name that the user has typed, and what is known of it.

    ``typed``: its words for messages. ``path``: of it over there, as it was typed; ``found``: what
    the far end says.
    """

    typed: str
    path: str
    found: Found


class RemoteClient(Client):
    """Client of a far end, closed with its shell.

    Args:
        address: ``HOST:PORT`` that the far end answers at.
        shell: has started it.
        key: of the session.
        known: by the name that the client is asked by, which the user has typed.
        options: of `Client`.

    Attributes:
        _shell: as ``shell``; closed by `close`.
        _known: as ``known``; never changes.
    """

    def __init__(
        self, address: str, shell: Shell, key: Key, known: dict[str, Known], **options: Any
    ) -> None:
        super().__init__(address, key_file=key, stop=shell.stop, **options)
        self._shell = shell
        self._known = known

    def close(self) -> None:
        """Close the socket, and the shell, with which the far end ends."""
        super().close()
        self._shell.close()

    # ----------------------------------------------------------------------------------- downloads

    def fetch(self, name: Name, output: Output | None = None, **options: Any) -> Result:
        """Fetch one file: see `Client.fetch`. ``name`` is one of those that the session is for."""
        known = self._servable(name)
        if known.found.kind == "folder":
            raise NoSuchFile(f"{known.typed!r} is a folder", hint="-r fetches it whole")
        if output is None or not is_stream(output):
            output = path = destination_of(
                known.path, text_of(output, "output") if output else None
            )
            if os.path.isdir(path):
                raise LocalWriteFailed(
                    f"cannot write {path}: it is a folder", hint="name a file in it with --output"
                )
        with self._explained(known):
            return super().fetch(known.found.name, output, **options)._replace(name=known.typed)

    def fetch_tree(self, pattern: Name, output: Name | None = None, **options: Any) -> Result:
        """Fetch files, folders and what is below them: see `Client.fetch_tree`."""
        known = self._servable(pattern)
        wire, folder = known.found.name, tidied(os.fspath(output) if output else ".")
        own = known.path.rpartition("/")[2]
        if known.found.kind == "folder":
            if own in ("", ".", "..", "~"):
                wire += "/"
            elif own != wire.rpartition("/")[2]:
                # A symlink of another name leads there: what is in it gets the name that was typed.
                wire, folder = f"{wire}/", os.path.join(folder, own)
        with self._explained(known):
            result = super().fetch_tree(wire, folder, **options)
        return _told(result, known)

    def is_one_file(self, name: Name) -> bool:
        """Tell whether a name with wildcards in it is a file's all the same."""
        return self._servable(name).found.kind == "file"

    def _servable(self, name: Name) -> Known:
        known = self._known[os.fspath(name)]
        if known.found.kind == "none":
            raise NoSuchFile(f"{known.typed!r}: {known.found.error}", hint=known.found.hint)
        return known

    # ------------------------------------------------------------------------------------- uploads

    def store(self, path: Name | IO[bytes], as_name: Name | None = None, **options: Any) -> Result:
        """Store one file: see `Client.store`. Its name there is known from the session's start."""
        del as_name
        stored = isinstance(path, (str, os.PathLike))
        known = self._known[os.fspath(path) if stored else "-"]  # type: ignore[arg-type]
        with self._explained(known):
            result = super().store(path, known.found.name, **options)
        return result._replace(name=known.typed)

    def store_tree(self, path: Name, as_name: Name | None = None, **options: Any) -> Result:
        """Store a folder: see `Client.store_tree`."""
        del as_name
        folder = os.fspath(path)
        known = self._known[folder]
        with self._explained(known):
            result = super().store_tree(folder, known.found.name or None, **options)
        return _told(result, known)

    # -------------------------------------------------------------------------------------- errors

    @contextmanager
    def _explained(self, known: Known) -> Iterator[None]:
        """Reword errors: by the name that was typed, and by the shell's own where it has ended."""
        try:
            yield
        except (Stopped, NetworkError) as error:
            if self._shell.has_ended:
                raise self._shell.failure(midway=True) from error
            raise _reworded(error, known) from error.__cause__
        except UdpftError as error:
            raise _reworded(error, known) from error.__cause__


def _reworded(error: UdpftError, known: Known) -> UdpftError:
    """An error by the name that was typed, and without options that are of no use here."""
    wire = known.found.name

    def reword(text: str) -> str:
        if not wire:
            return text
        return text.replace(f"{wire!r}", f"{known.typed!r}").replace(
            f"'{wire}/", f"'{known.typed}/"
        )

    error.args = (reword(str(error)),)
    error.hint = reword(error.hint)
    if isinstance(error, DestinationExists):
        error.hint = error.hint.partition("; --as")[0]
    if isinstance(error.result, Result):
        error.result = _told(error.result, known)
    return error


def _told(result: Result, known: Known) -> Result:
    """The result of a tree by the name that was typed."""
    tree = result.tree
    if tree:
        omissions = (one._replace(name=_shown(one.name, known)) for one in tree.omissions)
        listed = ((_shown(name, known), size) for name, size in tree.listed)
        tree = tree._replace(omissions=tuple(omissions), listed=tuple(listed))
    return result._replace(name=known.typed, tree=tree)


def _shown(name: str, known: Known) -> str:
    """A name of the far end as the user would type it; others as they are."""
    base = known.found.name
    if not _LABELLED.match(base) or not name.startswith(base.partition("/")[0]):
        return name
    below = name.removeprefix(base) if name.startswith(base) else f"/{name.partition('/')[2]}"
    return f"{known.typed.rstrip('/')}{below}"


# --------------------------------------------------------------------------------------- sessions


def fetching(
    names: Sequence[RemoteName],
    shell: ShellOptions,
    say: Callable[[str], None],
    *,
    recursive: bool,
    **options: Any,
) -> RemoteClient:
    """Open a session that fetches names of one place.

    Args:
        names: of one place.
        shell: the remote shell.
        say: called, in a thread, with each line that the shell writes to standard error.
        recursive: folders too.
        options: of `Client`.

    Raises:
        ShellFailed: the shell fails, or there is no udpft behind it.
        VersionMismatch: there is another one.
        TimedOut: there is, and no datagram comes through.
    """
    asked = PathsAsked(tuple(one.path for one in names), recursive)

    def known_of(found: Sequence[Found]) -> dict[str, Known]:
        return {
            one.typed: Known(one.typed, one.path, what)
            for one, what in zip(names, found, strict=True)
        }

    return _open(names[0], asked, shell, say, known_of, options)


def storing(
    target: RemoteName,
    files: Sequence[str],
    shell: ShellOptions,
    say: Callable[[str], None],
    *,
    recursive: bool,
    force: bool,
    **options: Any,
) -> RemoteClient:
    """Open a session that stores files in one place. As `fetching`; ``-`` is standard input."""
    items = []
    for file in files:
        tree = recursive and file != "-" and os.path.isdir(file)
        name = "" if file == "-" else name_on_server(file, None)
        items.append(PutItem(name, tree, tree and file.endswith("/")))
    asked = PlaceAsked(target.path, tuple(items), force)

    def known_of(found: Sequence[Found]) -> dict[str, Known]:
        return {file: _place_known(target, what) for file, what in zip(files, found, strict=True)}

    return _open(target, asked, shell, say, known_of, options)


def _place_known(target: RemoteName, found: Found) -> Known:
    """The place of one item, as one would type it."""
    typed, path = target.typed, target.path
    if typed.endswith(path):
        return Known(typed[: len(typed) - len(path)] + found.path, found.path, found)
    return Known(f"{typed.rstrip('/')}{found.path.removeprefix(path.rstrip('/'))}", path, found)


def _open(
    name: RemoteName,
    asked: PathsAsked | PlaceAsked,
    options: ShellOptions,
    say: Callable[[str], None],
    known_of: Callable[[Sequence[Found]], dict[str, Known]],
    of_client: dict[str, Any],
) -> RemoteClient:
    key = Key()
    request = Request(key, asked, options.ports, of_client.get("timeout", IDLE_TIMEOUT_S))
    shell = Shell(command_line(name, options), name.host, say)
    try:
        need_cryptography()  # and all else that is imported: the shell takes its time meanwhile
        from udpft.net import sealed as _sealed  # noqa: F401
        from udpft.protocol.keyed import channel as _channel  # noqa: F401

        answer = shell.ask(encode_request(request))
        candidates = addresses_to_try(host_on_network(name, options), answer.addresses, answer.port)
        timeout_s = of_client.get("connect_timeout", CONNECT_TIMEOUT_S)
        try:
            address = shell.stop.outlast(lambda: reach(candidates, key, timeout_s))
        except TimedOut:
            raise _unreached(name, options, answer.port) from None
        except Stopped:
            raise shell.failure(midway=True) from None
        return RemoteClient(str(address), shell, key, known_of(answer.found), **of_client)
    except BaseException:
        shell.close(patience_s=0.5)
        raise


def _unreached(name: RemoteName, options: ShellOptions, port: int) -> TimedOut:
    """The error that the far end is up, and not to be reached."""
    host = name.host.rpartition("@")[2]
    if options.ports:
        allowed = f"{options.ports[0]} to {options.ports[1]}"
        hint = f"a firewall between has to let UDP ports {allowed} of {host} through: --ports"
    else:
        hint = f"open UDP port {port} in its firewall, or some for good: `--ports {EXAMPLE_PORTS}`"
    return TimedOut(
        f"the far end is up on {host}, and no datagram comes through to its UDP port {port}",
        hint=hint,
    )
