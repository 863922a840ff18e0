"""udpft as a library: the commands as functions, each of one call.

    import udpft

    with udpft.serve("/srv/files", port=0) as server:
        result = udpft.get("hello.txt", server=server.address, output="/tmp/")
        print(result.bytes, result.rate_bytes_per_s, result.verified)

Each makes a `Client` that lasts as long as the call. Errors are `udpft.errors.UdpftError`, with
``.exit_code`` and ``.hint``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, Literal, TypedDict, Unpack

from udpft.arguments import Name, Output, ServerName, is_stream, one_of, text_of
from udpft.client.client import MAX_FETCHED_BYTES, Client
from udpft.errors import UsageError
from udpft.net.address import Address
from udpft.outcome.progress import Progress
from udpft.outcome.result import Result
from udpft.outcome.served import Refused, Served

if TYPE_CHECKING:
    from udpft.client.client import TreeParameters
    from udpft.net.stop import Stop
    from udpft.protocol.wire.listing import Entry
    from udpft.server.access import PlainPolicy
    from udpft.server.server import Server
    from udpft.trace.trace import Trace


class ClientOptions(TypedDict, total=False):
    """Options of a connection to a server: `Client` explains them."""

    chunk_size: int | str | None
    limit_rate: int | str
    connect_timeout: float
    timeout: float
    offload: bool
    key_file: str | os.PathLike[str] | None
    stop: Stop | None
    max_size: int | str
    trace: Trace | None
    replicas: bool


class ServerOptions(TypedDict, total=False):
    """Options of a server: `udpft.server.server.Server` explains them."""

    host: str
    port: int
    plain: PlainPolicy
    plain_rate: float | str
    max_clients: int
    max_rate: int | str
    hidden: bool
    insecure_public: bool
    writable: bool
    max_upload: int | str
    quota: int | str
    timeout: float
    offload: bool
    key_file: str | os.PathLike[str] | None
    trace: Trace | None


class _SingleOptions(TypedDict):
    """Options of a single file, reliable or plain."""

    force: bool
    sha256: str


class _ResumeOptions(TypedDict):
    """Options of what is told, and of what an earlier get has left."""

    resume: bool
    on_resume: Progress | None
    progress: Progress | None


class _ReliableOptions(_ResumeOptions):
    """Options of a single file, reliable."""

    times: bool
    byte_range: tuple[int, int | None] | None


class _StoreOptions(TypedDict):
    """Options of an upload."""

    force: bool
    progress: Progress | None


def _refuse_for_a_file(tree: TreeParameters) -> None:
    """Refuse options of trees for a single file. Raises UsageError."""
    given = [name for name, value in tree.items() if value]
    if given:
        raise UsageError(f"{', '.join(given)}: of trees only", hint="recursive=True makes it one")


def _refuse_for_a_tree(mode: str, sha256: str, output: Output | None) -> None:
    """Refuse options of single files for a tree. Raises UsageError."""
    if mode == "plain":
        raise UsageError("plain fetches single files")
    if sha256:
        raise UsageError("a folder has no SHA-256")
    if is_stream(output):
        raise UsageError("a folder is nothing for a file object")


def _check_mode(mode: str, byte_range: object, recursive: bool) -> None:
    """Refuse other modes, and a range of what is no single file. Raises UsageError."""
    one_of(mode, ("reliable", "plain"), "mode")
    if byte_range and (recursive or mode == "plain"):
        raise UsageError("a range is of a single file, and not of plain")


def connect(server: ServerName, **options: Unpack[ClientOptions]) -> Client:
    """Make a `Client` of a server, ``HOST`` or ``HOST:PORT``, for several requests to it.

    Args:
        server: where it is; the port is 9000 unless given.
        options: of `Client`, which explains them and says what they raise.
    """
    return Client(server, **options)


def get(
    name: Name,
    *,
    server: ServerName,
    output: Output | None = None,
    mode: Literal["reliable", "plain"] = "reliable",
    force: bool = False,
    resume: bool = True,
    recursive: bool = False,
    allow_partial: bool = False,
    sha256: str = "",
    times: bool = True,
    byte_range: tuple[int, int | None] | None = None,
    exclude: str | Sequence[str] = (),
    include: str | Sequence[str] = (),
    rules: str | Sequence[str] = (),
    links: bool = False,
    checksum: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    on_resume: Progress | None = None,
    **options: Unpack[ClientOptions],
) -> Result:
    """Fetch one file; with ``recursive``, a folder with all that is below it.

    Args:
        name: the file's name on the server, relative to the folder that it serves. With
            ``recursive`` it may be a folder's, or have wildcards: see `Client.fetch_tree`.
        server: ``HOST`` or ``HOST:PORT``, or what `serve` returned.
        output: a file or a folder; by default the file's own name in the current folder. Or a
            binary file object, of a single file: it gets all of it, once verified, or nothing.
        mode: reliable, or plain: unverified, for servers that know nothing else.
        force: replace a different file of that name.
        resume: reliable only: go on with what an earlier get left, and leave what there is, too.
        recursive: reliable only. ``output`` is then a folder, made where it is missing, and
            ``Result.files`` tells how many files there are.
        allow_partial: plain only: keep what came, where the end did not.
        sha256: of a single file: what its SHA-256 must be, 64 hex digits, to get its name.
        times: give a single file the time that it has there; plain knows none, a tree has its own.
        byte_range: of a single file: fetch these bytes only, as `Client.fetch` takes them.
        exclude: of trees: a pattern of what is left out, or a list of them; see docs/trees.md.
        include: likewise, of what comes although ``exclude`` matches it.
        rules: both in an order of their own, each ``- PATTERN`` or ``+ PATTERN``.
        links: of trees: symlinks too, as symlinks, where they stay within the tree.
        checksum: of trees: compare files of the same size by their contents, not by their times.
        dry_run: of trees: change nothing, and tell in ``Result.tree`` what would come.
        progress: called with the bytes done and the bytes in all, -1 where plain cannot know
            them: ten times a second, and at the end.
        on_resume: reliable only: called once, with the same, where an earlier get is gone on with.
        options: of `Client`.

    Raises:
        UdpftError: see `udpft.errors`; the destination is as it was.
    """
    tree: TreeParameters = {"exclude": exclude, "include": include, "rules": rules}
    tree |= {"links": links, "checksum": checksum, "dry_run": dry_run}
    _check_mode(mode, byte_range, recursive)
    _refuse_for_a_tree(mode, sha256, output) if recursive else _refuse_for_a_file(tree)
    with Client(server, **options) as client:
        single: _SingleOptions = {"force": force, "sha256": sha256}
        if mode == "plain":
            return client.fetch_plain(
                name, output, allow_partial=allow_partial, progress=progress, **single
            )
        told: _ResumeOptions = {"resume": resume, "on_resume": on_resume, "progress": progress}
        if recursive:
            folder = None if output is None else text_of(output, "output")
            return client.fetch_tree(name, folder, force=force, **told, **tree)
        reliable: _ReliableOptions = {**told, "times": times, "byte_range": byte_range}
        return client.fetch(name, output, **reliable, **single)


def read_bytes(
    name: Name,
    *,
    server: ServerName,
    max_bytes: int | str = MAX_FETCHED_BYTES,
    progress: Progress | None = None,
    **options: Unpack[ClientOptions],
) -> bytes:
    """Fetch one file into memory, verified.

    Args:
        name: the file's name on the server.
        server: ``HOST`` or ``HOST:PORT``, or what `serve` returned.
        max_bytes: a larger file is refused, as a number or as ``"64M"``; 256 MiB by default.
        progress: called with the bytes done and the bytes in all.
        options: of `Client`.

    Raises:
        NoSuchFile: nothing has that name.
        UsageError: the file is larger than that; or an argument makes no sense.
        UdpftError: see `udpft.errors`.
    """
    with Client(server, **options) as client:
        return client.read_bytes(name, max_bytes=max_bytes, progress=progress)


def put(
    path: Name | IO[bytes],
    *,
    server: ServerName,
    as_name: Name | None = None,
    force: bool = False,
    recursive: bool = False,
    exclude: str | Sequence[str] = (),
    include: str | Sequence[str] = (),
    rules: str | Sequence[str] = (),
    links: bool = False,
    checksum: bool = False,
    hidden: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    **options: Unpack[ClientOptions],
) -> Result:
    """Store one file on a server that takes uploads; with ``recursive``, a folder with all in it.

    Args:
        path: the local file, or a binary stream; with ``recursive`` it may be a folder: see
            `Client.store_tree`.
        server: ``HOST`` or ``HOST:PORT``, or what `serve` returned.
        as_name: its name there, relative to the served folder; by default the name that it has.
            With a slash at its end, the folder there that it goes to.
        force: replace a different file of that name.
        recursive: folders too. ``Result.files`` tells how many files there are.
        exclude: of trees: a pattern of what is left out, or a list of them; see docs/trees.md.
        include: likewise, of what comes although ``exclude`` matches it.
        rules: both in an order of their own, each ``- PATTERN`` or ``+ PATTERN``.
        links: of trees: symlinks too, as symlinks, where they stay within the tree.
        checksum: of trees: compare files of the same size by their contents, not by their times.
        hidden: of trees: names that begin with a dot too.
        dry_run: of trees: change nothing, and tell in ``Result.tree`` what would come.
        progress: called with the bytes done and the bytes in all.
        options: of `Client`.

    Raises:
        UploadRefused: the server takes none.
        UdpftError: see `udpft.errors`; on the server, what had that name is as it was.
    """
    tree: TreeParameters = {"exclude": exclude, "include": include, "rules": rules}
    tree |= {"links": links, "checksum": checksum, "hidden": hidden, "dry_run": dry_run}
    options_of_it: _StoreOptions = {"force": force, "progress": progress}
    if recursive and isinstance(path, (str, os.PathLike)) and os.path.isdir(path):
        with Client(server, **options) as client:
            return client.store_tree(path, as_name, **options_of_it, **tree)
    _refuse_for_a_file(tree)
    with Client(server, **options) as client:
        return client.store(path, as_name, **options_of_it)


def list_files(
    pattern: Name = "",
    *,
    server: ServerName,
    recursive: bool = False,
    **options: Unpack[ClientOptions],
) -> list[Entry]:
    """List what there is on a server, in the order of the paths.

    Args:
        pattern: a folder's name, for what is in it; a file's; or one with wildcards, ``*``, ``?``
            and ``[...]``, matched between slashes. By default the served folder.
        server: ``HOST`` or ``HOST:PORT``, or what `serve` returned.
        recursive: of folders, themselves and all that is below them.
        options: of `Client`.

    Raises:
        NoSuchFile: nothing has that name.
        UdpftError: see `udpft.errors`.
    """
    with Client(server, **options) as client:
        return client.list_files(pattern, recursive=recursive)


def ping(server: ServerName, **options: Unpack[ClientOptions]) -> float:
    """Ask a server whether it is there; return the round trip in seconds.

    Raises:
        NetworkError: it is not, or does not answer.
    """
    with Client(server, **options) as client:
        return client.ping()


class RunningServer:
    """A server at work in a thread of its own. ``stop`` it, or leave its ``with`` block.

    ``host`` and ``port`` are those that it is bound to; ``address`` is both, as `get` takes them.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.host: str = server.host
        self.port: int = server.port
        self.address = str(Address(server.host, server.port))
        import threading  # a client has no use for it, and starts without

        self._thread = threading.Thread(target=self._run, name="udpft-server", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._server:
            self._server.run()

    def stop(self, drain: float | None = None, *, wait: bool = True) -> None:
        """End the server. From any thread, and as often as you like.

        Args:
            drain: seconds that transfers at work have to end, five by default. Another call may
                shorten it.
            wait: return when it has ended, and not before.
        """
        self._server.stop(drain)
        if wait:
            self._thread.join()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def serve(
    directory: str | os.PathLike[str],
    *,
    on_served: Callable[[Served], None] = lambda _: None,
    on_refused: Callable[[Refused], None] = lambda _: None,
    on_notice: Callable[[str], None] = lambda _: None,
    **options: Unpack[ServerOptions],
) -> RunningServer:
    """Serve a folder from a thread of its own.

    Args:
        directory: the folder.
        on_served: called in that thread with each transfer that is over; must not raise.
        on_refused: likewise, with each request that is refused, such as one for a missing file;
            not with those that are to come back later.
        on_notice: called, from any thread, with each line that a log should have beside; likewise.
        options: of `udpft.server.server.Server`; ``port=0`` takes any free port.

    Raises:
        LocalReadFailed: the folder cannot be read.
        UsageError: the address cannot be bound.
    """
    from udpft.server.server import Server  # a client has no use for it, and starts without

    return RunningServer(
        Server(
            os.fspath(directory),
            on_served=on_served,
            on_refused=on_refused,
            on_notice=on_notice,
            **options,
        )
    )
