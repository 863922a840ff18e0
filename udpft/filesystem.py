"""File system for fsspec: ``udpft://HOST[:PORT]/PATH`` in pandas, pyarrow, Dask and the like.

    import fsspec

    with fsspec.open("udpft://files.lan/data/table.csv") as file:
        print(file.readline())

fsspec finds it by its entry point, where both are installed. See docs/fsspec.md.
"""

from __future__ import annotations

import errno
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import urlsplit

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from fsspec.utils import isfilelike

from udpft import errors
from udpft.client.client import DEFAULT_PORT, Client
from udpft.outcome.progress import Progress
from udpft.protocol.wire.listing import Entry

_NUMBERS: tuple[tuple[type[errors.UdpftError], int], ...] = (
    (errors.NoSuchFile, errno.ENOENT),
    (errors.DestinationExists, errno.EEXIST),
    (errors.Denied, errno.EACCES),
    (errors.UploadRefused, errno.EACCES),
    (errors.KeyRejected, errno.EACCES),
    (errors.TimedOut, errno.ETIMEDOUT),
    (errors.PortClosed, errno.ECONNREFUSED),
    (errors.NetworkError, errno.ECONNABORTED),
    (errors.UsageError, errno.EINVAL),
)
"""Errors of the system that programs know what to do about, by ours; all others are EIO."""


_ANY_SIZE = 1 << 62
"""Bytes that fit into memory, as far as we know: whoever asks for them has their size."""


def _os_error(error: errors.UdpftError, path: str) -> OSError:
    """Make the error of the system that says the same."""
    number = next((number for kind, number in _NUMBERS if isinstance(error, kind)), errno.EIO)
    words = f"{error}; {error.hint}" if error.hint else str(error)
    return OSError(number, words, path)  # of the subclass that the number has


class _Clients:
    """Clients of one server, each of which is one thread's at a time.

    Args:
        make: makes one more.

    Attributes:
        idle: those that nobody uses at the moment.
        _made: all of them, until they are closed.
        _process: that has made them: one that was forked from it makes its own.
    """

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make = make
        self._process = os.getpid()
        self._made: list[Client] = []
        self.idle: list[Client] = []

    def take(self) -> Client:
        """Take an idle one, or make one. Raises UdpftError."""
        if self._process != os.getpid():
            self._process, self._made, self.idle = os.getpid(), [], []
        with suppress(IndexError):  # of another thread that was faster, too
            return self.idle.pop()
        client = self._make()
        self._made.append(client)
        return client

    def give_back(self, client: Client) -> None:
        """Give one back that was taken."""
        if self._process == os.getpid():
            self.idle.append(client)

    def close(self) -> None:
        """Close all of them."""
        for client in self._made:
            client.close()


class UdpftFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Files of one server, for fsspec; any number of threads may use it.

    Paths are names on the server, from the folder that it serves on, which is the root ``/``; the
    slash before them may be left out. Nothing is kept of listings. Nothing can be removed, as
    everywhere in udpft.

    Args:
        host: the server's.
        port: its port.
        options: of `Client`, such as ``key_file``; and of fsspec.

    Attributes:
        address: the server's ``HOST:PORT``.
        _clients: of that server; closed with the last file, or with the process.
    """

    protocol = "udpft"
    root_marker = "/"

    _options_of_clients: ClassVar = (
        "chunk_size",
        "limit_rate",
        "connect_timeout",
        "timeout",
        "offload",
        "key_file",
        "max_size",
    )

    def __init__(self, host: str, port: int | str = DEFAULT_PORT, **options: Any) -> None:
        names = [name for name in self._options_of_clients if name in options]
        of_clients = {name: options.pop(name) for name in names}
        super().__init__(host=host, port=port, **options)
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._clients = _Clients(partial(Client, self.address, **of_clients))
        weakref.finalize(self, self._clients.close)

    # ------------------------------------------------------------------------------- addresses

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """Path of a URL, or of a path without the slash before it."""
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        path = os.fspath(path)
        if path.startswith(f"{cls.protocol}://"):
            path = path.removeprefix(f"{cls.protocol}://").partition("/")[2]
        return f"/{path.strip('/')}"

    def unstrip_protocol(self, name: str) -> str:
        """URL of a path."""
        return f"{self.protocol}://{self.address}{self._strip_protocol(name)}"

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        """Server that a URL names."""
        parts = urlsplit(path)
        if parts.scheme != UdpftFileSystem.protocol or not parts.hostname:
            return {}
        return {"host": parts.hostname, **({"port": parts.port} if parts.port else {})}

    # --------------------------------------------------------------------------------- clients

    @contextmanager
    def _client(self, path: str) -> Iterator[Client]:
        """Use a client, and raise the system's errors for those of udpft."""
        client = None
        try:
            client = self._clients.take()
            yield client
        except errors.UdpftError as error:
            raise _os_error(error, path) from error
        finally:
            if client:
                self._clients.give_back(client)

    # -------------------------------------------------------------------------------- listings

    def _infos(self, path: str, *, recursive: bool = False) -> list[dict[str, Any]]:
        """Tell of the file of that name, or of the folder and what it holds.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._client(path) as client:
            found = [_info(one) for one in client.list_files(_name(path), recursive=recursive)]
        below = f"{path.rstrip('/')}/"
        if not all(one["name"] == path or one["name"].startswith(below) for one in found):
            # What is not there was taken for a pattern.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if not found or found[0]["name"] != path:
            found.insert(0, {"name": path, "size": 0, "type": "directory"})
        return found

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List a folder, or tell of a file. Raises FileNotFoundError."""
        first, *rest = self._infos(self._strip_protocol(path))
        found = [first] if first["type"] == "file" else rest
        return found if detail else [one["name"] for one in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Tell of a file or a folder. Raises FileNotFoundError."""
        path = self._strip_protocol(path)
        return self._infos(path)[0]

    def exists(self, path: str, **_: Any) -> bool:
        """Tell whether there is a file or a folder of that name."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **_: Any,
    ) -> Any:
        """Find all files below a folder, by one listing."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        path = self._strip_protocol(path)
        infos: list[dict[str, Any]] = []
        with suppress(FileNotFoundError):
            infos = self._infos(path, recursive=True)
        found = {}
        for one in infos:
            depth = one["name"].removeprefix(path).strip("/").count("/") + 1
            wanted = one["type"] == "file" or (withdirs and one["name"] != self.root_marker)
            if wanted and (maxdepth is None or depth <= maxdepth):
                found[one["name"]] = one
        return dict(sorted(found.items())) if detail else sorted(found)

    def modified(self, path: str) -> datetime:
        """Time of a file's last change."""
        return datetime.fromtimestamp(self.info(path)["mtime"], UTC)

    # --------------------------------------------------------------------------------- reading

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> AbstractBufferedFile:
        if mode == "rb":
            return _Reader(self, path, block_size, cache_options, **options)
        if mode == "xb" and self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        return _Writer(self, path, mode, block_size or "default", autocommit=autocommit)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """Fetch a file into memory, or the part of it that a slice has."""
        path = self._strip_protocol(path)
        if (start or 0) < 0 < abs(end or 0) or (end or 0) < 0:
            start, end, _step = slice(start, end).indices(self.info(path)["size"])
        if end is not None and end <= (start or 0):
            return b""
        with self._client(path) as client, suppress(errors.RangeNotThere):
            return client.fetch_range(_name(path), start or 0, end, max_bytes=_ANY_SIZE)
        return b""

    def get_file(
        self,
        rpath: str,
        lpath: Any,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **_: Any,
    ) -> None:
        """Fetch a file, verified or not at all; what has its name here is replaced."""
        path = self._strip_protocol(rpath)
        target = outfile or (lpath if isfilelike(lpath) else Path(lpath))
        if isinstance(target, Path):
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._client(path) as client:
                client.fetch(_name(path), target, force=True, progress=_told(callback))
        except FileNotFoundError:
            if not isinstance(target, Path) or not self.isdir(path):
                raise
            target.mkdir(exist_ok=True)

    # --------------------------------------------------------------------------------- writing

    def put_file(
        self,
        lpath: Any,
        rpath: str,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        **_: Any,
    ) -> None:
        """Store a file, verified or not at all; with mode ``create``, only where none is."""
        path = self._strip_protocol(rpath)
        if os.path.isdir(lpath):
            self.makedirs(path, exist_ok=True)
            return
        if mode == "create" and self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        with self._client(path) as client:
            client.store(lpath, _name(path), force=mode != "create", progress=_told(callback))

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a file on the server, by way of this machine."""
        if self.isdir(path1):
            self.makedirs(path2, exist_ok=True)
            return
        with TemporaryDirectory(prefix="udpft-") as folder:
            here = os.path.join(folder, "file")
            self.get_file(path1, here)
            self.put_file(here, path2)

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a folder. Raises FileExistsError; FileNotFoundError, where its parent is missing."""
        path = self._strip_protocol(path)
        if self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if not create_parents and not self.exists(self._parent(path)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._parent(path))
        with TemporaryDirectory(prefix="udpft-") as folder, self._client(path) as client:
            os.chmod(folder, 0o755)
            client.store_tree(folder, _name(path))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder and those above it. Raises FileExistsError."""
        if not (exist_ok and self.isdir(path)):
            self.mkdir(path)


class _Reader(AbstractBufferedFile):  # type: ignore[misc]
    """File that is read by ranges, through one of fsspec's caches.

    Attributes:
        _client: of this file alone, until it is closed.
        _file: fetches the ranges, all of one version of the file.
        _lock: held by the thread that fetches: some caches have one of their own.
    """

    _client: Client | None = None

    def __init__(
        self,
        fs: UdpftFileSystem,
        path: str,
        block_size: int | str | None,
        cache_options: dict[str, Any] | None,
        **options: Any,
    ) -> None:
        self._lock = Lock()
        try:
            self._client = fs._clients.take()
            self._file = self._client.open(_name(path), read_ahead=0)
        except errors.UdpftError as error:
            self._give_back(fs)
            raise _os_error(error, path) from error
        options["size"] = self._file.size
        super().__init__(
            fs, path, "rb", block_size or "default", cache_options=cache_options, **options
        )

    def _give_back(self, fs: UdpftFileSystem) -> None:
        client, self._client = self._client, None
        if client:
            fs._clients.give_back(client)

    def _fetch_range(self, start: int, end: int) -> bytes:
        """Fetch a block. Raises OSError."""
        try:
            with self._lock:
                blocks: list[bytes] = []
                reader: Any = self._file.raw
                reader.seek(start)
                while start < end and (block := reader.read(end - start)):
                    blocks.append(block)
                    start += len(block)
                return b"".join(blocks)
        except errors.UdpftError as error:
            raise _os_error(error, self.path) from error

    def close(self) -> None:
        """Close it. May be called twice."""
        super().close()
        self._give_back(self.fs)


class _Writer(AbstractBufferedFile):  # type: ignore[misc]
    """File that is stored when it is closed, all of it, or in a transaction when that is committed.

    Attributes:
        _spool: what was written so far.
    """

    def _initiate_upload(self) -> None:
        """Begin with nothing; or with what is there, to write behind it."""
        self._spool = NamedTemporaryFile(prefix="udpft-")  # noqa: SIM115 - until it is stored
        if self.mode == "ab" and self.fs.exists(self.path):
            self.fs.get_file(self.path, self._spool)

    def _upload_chunk(self, final: bool = False) -> None:
        """Keep what is in the buffer."""
        self.buffer.seek(0)
        shutil.copyfileobj(self.buffer, self._spool)
        if final and self.autocommit:
            self.commit()

    def commit(self) -> None:
        """Store the file under its name. Raises OSError."""
        self._spool.flush()
        mode = "create" if self.mode == "xb" else "overwrite"
        try:
            self.fs.put_file(self._spool.name, self.path, mode=mode)
        finally:
            self._spool.close()

    def discard(self) -> None:
        """Throw away what was written."""
        self._spool.close()


def _name(path: str) -> str:
    """Name on the server, of a path."""
    return path.lstrip("/")


def _info(entry: Entry) -> dict[str, Any]:
    """An entry as fsspec has it."""
    told = {"name": f"/{entry.path}", "size": entry.size, "mtime": entry.mtime_ns / 1e9}
    if entry.is_folder:
        return {**told, "type": "directory"}
    return {**told, "type": "file", "version": entry.version}


def _told(callback: Any) -> Progress:
    """Progress for one of fsspec's callbacks."""

    def progress(done_bytes: int, total_bytes: int) -> None:
        callback.set_size(total_bytes)
        callback.absolute_update(done_bytes)

    return progress
