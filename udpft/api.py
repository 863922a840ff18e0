"""udpft as a library: the commands' words as functions.

    import udpft

    with udpft.serve("/srv/files", port=0) as server:
        result = udpft.get("hello.txt", server=server.address, output="/tmp/")
        print(result.bytes, result.rate_bytes_per_s, result.verified)

Errors are `udpft.errors.UdpftError`, with ``.exit_code`` and ``.hint``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from udpft.client.client import Client
from udpft.client.measured import measured
from udpft.errors import UsageError
from udpft.net.address import Address, parse_server
from udpft.outcome.progress import Progress
from udpft.outcome.result import Result
from udpft.protocol.params import (
    CHUNK_SIZE,
    CONNECT_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    MAX_CHUNK_SIZE,
    MIN_CHUNK_SIZE,
)

if TYPE_CHECKING:
    from udpft.net.stop import Stop
    from udpft.outcome.served import Served
    from udpft.protocol.wire.listing import Entry
    from udpft.server.server import PlainPolicy, Server

DEFAULT_PORT = 9000
DEFAULT_SERVER = "127.0.0.1"


class ClientOptions(TypedDict, total=False):
    """How to talk to a server: `connect` explains them."""

    chunk_size: int | Literal["auto"] | None
    limit_rate: int
    connect_timeout: float
    timeout: float
    offload: bool
    key_file: str | os.PathLike[str] | None
    stop: Stop | None


class ServerOptions(TypedDict, total=False):
    """How to serve: `udpft.server.server.Server` explains them."""

    host: str
    port: int
    plain: PlainPolicy
    plain_rate: float
    max_clients: int
    max_rate: int
    hidden: bool
    insecure_public: bool
    writable: bool
    max_upload: int
    quota: int
    timeout: float
    offload: bool
    key_file: str | os.PathLike[str] | None


def connect(
    server: str,
    *,
    chunk_size: int | Literal["auto"] | None = None,
    limit_rate: int = 0,
    connect_timeout: float = CONNECT_TIMEOUT_S,
    timeout: float = IDLE_TIMEOUT_S,
    offload: bool = True,
    key_file: str | os.PathLike[str] | None = None,
    stop: Stop | None = None,
) -> Client:
    """A `Client` of a server, ``HOST`` or ``HOST:PORT``, to fetch several files with.

    Args:
        server: where it is.
        chunk_size: bytes; ``"auto"`` for the largest that the path carries. By default 2048; with
            a key, whose cost is for each packet more than for each byte, ``"auto"``.
        limit_rate: bytes per second; 0 for no limit.
        connect_timeout: seconds to wait for the first answer.
        timeout: seconds without progress after which a transfer has failed.
        offload: use the kernel's segmentation offloads.
        key_file: holds the key that the server has too: `udpft key new` makes one.
        stop: ``stop.set()`` breaks it off, from any thread: see `udpft.Stop`.

    Raises:
        UsageError: the server's address or the chunk size makes no sense; there is no key in the
            key file, or the package that keys need is missing.
        LocalReadFailed: the key file cannot be read.
        HostNotFound: the server's name does not resolve.
        Stopped: by ``stop``, as everything that is done with this client.
    """
    if chunk_size is None:
        chunk_size = "auto" if key_file else CHUNK_SIZE
    if chunk_size == "auto":
        chunk_size = MAX_CHUNK_SIZE
    elif not MIN_CHUNK_SIZE <= chunk_size <= MAX_CHUNK_SIZE:
        raise UsageError(
            f"a chunk of {chunk_size} bytes is not to be had",
            hint=f"from {MIN_CHUNK_SIZE} to {MAX_CHUNK_SIZE}, or auto for what the path carries",
        )
    return Client(
        parse_server(server, DEFAULT_PORT),
        chunk_size=chunk_size,
        limit_rate=limit_rate,
        connect_timeout=connect_timeout,
        timeout=timeout,
        offload=offload,
        key_file=key_file,
        stop=stop,
    )


def destination_of(name: str, output: str | os.PathLike[str] | None) -> Path:
    """Where a fetched file goes: ``output``, or in it where it is a folder, or the current folder.

    The name here is the last part of what the user asked for, and never the server's choice.

    Raises:
        UsageError: the name has no last part that could be a file's.
    """
    base = name.rsplit("/", 1)[-1]
    if output is not None:
        text = os.fspath(output)
        if not text.endswith("/") and not os.path.isdir(text):
            return Path(text)
    if base in ("", ".", "..") or "\0" in name:
        raise UsageError(f"{name!r} names no file")
    return Path(output or "") / base


def check_is_sha256(text: str) -> str:
    """The text, if it is a SHA-256 in hex; raises UsageError."""
    if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
        raise UsageError(f"{text!r} is no SHA-256", hint="64 hex digits, as sha256sum prints them")
    return text


def get(
    name: str,
    *,
    server: str,
    output: str | os.PathLike[str] | None = None,
    mode: Literal["reliable", "plain"] = "reliable",
    force: bool = False,
    resume: bool = True,
    recursive: bool = False,
    allow_partial: bool = False,
    sha256: str = "",
    progress: Progress | None = None,
    **options: Unpack[ClientOptions],
) -> Result:
    """Fetch one file; with ``recursive``, a folder with all that is below it.

    Args:
        name: the file's name on the server, relative to the folder that it serves. With
            ``recursive`` it may be a folder's, or have wildcards: see `tree_client.fetch_tree`.
        server: ``HOST`` or ``HOST:PORT``.
        output: a file or a folder; by default the file's own name in the current folder.
        mode: reliable, or plain: unverified, for servers that know nothing else.
        force: replace a different file of that name.
        resume: reliable only: go on with what an earlier get of that file left, and leave what
            there is of it if this one fails.
        recursive: reliable only. ``output`` is then a folder, made where it is missing, and
            ``Result.files`` tells how many files there are.
        allow_partial: plain only: keep what came, where the end did not.
        sha256: what the file's SHA-256 must be, 64 hex digits, before it gets its name. Of single
            files only.
        progress: called with the bytes done and the bytes in all, -1 where plain cannot know
            them: ten times a second, and at the end.
        options: of `connect`.

    Raises:
        UdpftError: see `udpft.errors`; the destination is as it was.
    """
    if sha256:
        check_is_sha256(sha256)
    if recursive:
        if mode == "plain":
            raise UsageError("plain fetches single files")
        if sha256:
            raise UsageError("a folder has no SHA-256")
        from udpft.client.fetch_tree import fetch_tree  # a single file does without

        with connect(server, **options) as client:
            return measured(
                client,
                lambda: fetch_tree(
                    client,
                    name,
                    Path(output or "."),
                    force=force,
                    resume=resume,
                    progress=progress,
                ),
            )
    destination = destination_of(name, output)
    common: Any = {"force": force, "sha256": sha256, "progress": progress}
    with connect(server, **options) as client:
        if mode == "plain":
            return client.fetch_plain(name, destination, allow_partial=allow_partial, **common)
        return measured(client, lambda: client.fetch(name, destination, resume=resume, **common))


def put(
    path: str | os.PathLike[str],
    *,
    server: str,
    as_name: str | None = None,
    force: bool = False,
    recursive: bool = False,
    progress: Progress | None = None,
    **options: Unpack[ClientOptions],
) -> Result:
    """Bring one file to a server that takes uploads; with ``recursive``, a folder with all in it.

    Args:
        path: the file here; with ``recursive`` it may be a folder: see `tree_upload.store_tree`.
        server: ``HOST`` or ``HOST:PORT``.
        as_name: its name there, relative to the served folder; by default the name that it has.
            With a slash at its end, the folder there that it goes to.
        force: replace a different file of that name.
        recursive: folders too. ``Result.files`` tells how many files there are.
        progress: called with the bytes done and the bytes in all.
        options: of `connect`.

    Raises:
        UploadRefused: the server takes none.
        UdpftError: see `udpft.errors`; on the server, what had that name is as it was.
    """
    from udpft.client.store import name_there, open_local, store  # who fetches does without

    if recursive and os.path.isdir(path):
        from udpft.client.store_tree import store_tree

        with connect(server, **options) as client:
            return measured(
                client,
                lambda: store_tree(
                    client, os.fspath(path), as_name=as_name, force=force, progress=progress
                ),
                receives=False,
            )
    local = Path(path)
    with connect(server, **options) as client, open_local(local) as source:
        name = name_there(local, as_name)
        return measured(
            client,
            lambda: store(client, source, name, path=local, force=force, progress=progress),
            receives=False,
        )


def list_files(
    pattern: str = "",
    *,
    server: str,
    recursive: bool = False,
    **options: Unpack[ClientOptions],
) -> list[Entry]:
    """What there is on a server, in the order of the paths.

    Args:
        pattern: a folder's name, for what is in it; a file's; or one with wildcards, ``*``, ``?``
            and ``[...]``, matched between slashes. By default the served folder.
        server: ``HOST`` or ``HOST:PORT``.
        recursive: of folders, themselves and all that is below them.
        options: of `connect`.

    Raises:
        NoSuchFile: nothing has that name.
        UdpftError: see `udpft.errors`.
    """
    from udpft.client.fetch_tree import fetch_listing  # who fetches a file does without

    with connect(server, **options) as client:
        return fetch_listing(client, pattern, recursive=recursive)[0]


def ping(server: str, **options: Unpack[ClientOptions]) -> float:
    """Ask a server whether it is there; return the round trip in seconds.

    Raises:
        NetworkError: it is not, or does not answer.
    """
    with connect(server, **options) as client:
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
    **options: Unpack[ServerOptions],
) -> RunningServer:
    """Serve a folder from a thread of its own.

    Args:
        directory: the folder.
        on_served: called in that thread with each transfer that is over; must not raise.
        options: of `udpft.server.server.Server`; ``port=0`` takes any free port.

    Raises:
        LocalReadFailed: the folder cannot be read.
        UsageError: the address cannot be bound.
    """
    from udpft.server.server import Server  # a client has no use for it, and starts without

    return RunningServer(Server(os.fspath(directory), on_served=on_served, **options))
