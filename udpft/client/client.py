"""The client: everything that can be asked of a server, over one socket.

    import udpft

    with udpft.Client("files.lan") as client:
        result = client.fetch("hello.txt", "out/")
        print(result.path, result.rate_bytes_per_s, result.limited_by)

`Client` is the face of this folder: `udpft.api` and the command line import it, and not what lies
behind it: `connection`, and a module for each kind of transfer. All are measured here alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, Unpack

from udpft.arguments import (
    Name,
    Output,
    ServerName,
    chunk_size_of,
    is_stream,
    quantity_of,
    seconds_of,
    text_of,
)
from udpft.client.connection import ConnectionOwner, Connector, SocketFactory, servers_of
from udpft.client.fetch import fetch
from udpft.client.names import absolute
from udpft.client.names import check_is_sha256 as check_is_sha256
from udpft.client.names import destination_of as destination_of
from udpft.client.names import name_on_server as name_on_server
from udpft.client.names import tidied as tidied
from udpft.errors import LocalWriteFailed, UsageError
from udpft.outcome.progress import Progress
from udpft.outcome.result import Result
from udpft.protocol.params import CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S
from udpft.storage.destination import Destination

if TYPE_CHECKING:
    from udpft.client.parts.remote_file import RemoteFile
    from udpft.client.tree_outcome import TreeParameters as TreeParameters
    from udpft.keys import KeySource
    from udpft.net.stop import Stop
    from udpft.protocol.handshake.path_probe import PathProbe
    from udpft.protocol.wire.listing import Entry
    from udpft.trace.trace import Trace

DEFAULT_PORT = 9000
DEFAULT_SERVER = "127.0.0.1"

MAX_FETCHED_BYTES = 256 << 20
"""Bytes that `Client.read_bytes` takes into memory, unless told otherwise."""


class Client(ConnectionOwner):
    """A socket to one server, and everything that can be asked of it.

    One thread uses it at a time, for one transfer after another: the later ones save most of the
    handshake. It is closed by `close`, or by the end of its ``with`` block. Every method that
    transfers returns a `Result` with what the transfer took at this end, ``cpu_seconds``, and what
    limited it, ``limited_by``.

    Attributes:
        server: the server's address; ``str(client.server)`` is its ``HOST:PORT``.
        connect_timeout: seconds to wait for the first answer, and for a busy server.
        timeout: seconds without progress after which a transfer has failed.

    Args:
        server: ``HOST`` or ``HOST:PORT``, the port is 9000 unless given; or what `udpft.serve`
            returned. Or a list of these, which have the same files: `fetch` gets stripes of a file
            from all of them at once, and all else is asked of the first that there is a way to.
        chunk_size: bytes; ``"auto"`` for the largest that the path carries. By default 2048; with
            a key, whose cost is for each packet more than for each byte, ``"auto"``.
        limit_rate: bytes per second that a transfer does not exceed, as a number or as ``"2M"``; 0
            for no limit.
        connect_timeout: seconds to wait for the first answer, and for a busy server.
        timeout: seconds without progress after which a transfer has failed.
        offload: use the kernel's segmentation offloads.
        key_file: holds the key that the server has too: `udpft key new` makes one.
        stop: ``stop.set()`` breaks off whatever the client does, from any thread: see `udpft.Stop`.
        max_size: bytes of the largest file or tree that is fetched, or ``"2G"``; 0 for no limit. A
            larger one is refused before any is written, by plain once so many bytes have come.
        trace: is told of each datagram; its owner closes it after the client.
        replicas: each address of the server's name is a server with the same files.

    Raises:
        UsageError: an argument makes no sense; the key file holds no key; keys need a package.
        LocalReadFailed: the key file cannot be read.
        HostNotFound: the server's name does not resolve.
        PortClosed: there is no way to its address.
        Stopped: by ``stop``; from every method too.
    """

    def __init__(
        self,
        server: ServerName | Sequence[ServerName],
        *,
        chunk_size: int | str | None = None,
        limit_rate: int | str = 0,
        connect_timeout: float = CONNECT_TIMEOUT_S,
        timeout: float = IDLE_TIMEOUT_S,
        offload: bool = True,
        key_file: KeySource | None = None,
        stop: Stop | None = None,
        max_size: int | str = 0,
        trace: Trace | None = None,
        replicas: bool = False,
    ) -> None:
        self.connect_timeout = seconds_of(connect_timeout, "connect_timeout")
        self.timeout = seconds_of(timeout, "timeout")
        self._connector = Connector(
            chunk_size=chunk_size_of(chunk_size, keyed=bool(key_file)),
            limit_rate=quantity_of(limit_rate, "limit_rate"),
            connect_timeout_s=connect_timeout,
            idle_timeout_s=timeout,
            sockets=SocketFactory(offload) if trace is None else trace.sockets(offload),
            key_file=key_file,
            max_size=quantity_of(max_size, "max_size"),
        )
        servers = servers_of(server, DEFAULT_PORT, stop, replicas=replicas)
        super().__init__(self._connector.open_first(servers, stop))
        self.server = self._connection.server
        self._replicas = servers if len(servers) > 1 else []

    # --------------------------------------------------------------------------------- downloads

    def fetch(
        self,
        name: Name,
        output: Output | None = None,
        *,
        force: bool = False,
        resume: bool = True,
        sha256: str = "",
        times: bool = True,
        byte_range: tuple[int, int | None] | None = None,
        progress: Progress | None = None,
        on_resume: Progress | None = None,
    ) -> Result:
        """Fetch one file reliably. A busy server is asked again, up to the connect time-out.

        Args:
            name: the file's name on the server, relative to the folder that it serves.
            output: a file, or a folder for it; by default its own name in the current folder. Or a
                binary file object: it gets all of the file, once it is verified, or nothing.
            force: replace a different file of that name.
            resume: go on with what an earlier fetch of that destination left, and leave what there
                is of the file if this one fails; False begins again, and leaves nothing.
            sha256: what the file's SHA-256 must be, 64 hex digits, before it gets its name.
            times: give it the time that it has there; False leaves it that of its arrival.
            byte_range: fetch only a range: start and stop, as `fetch_range` takes them.
            progress: called with the bytes done and in all, ten times a second and at the end.
            on_resume: called once with the bytes that were held already and the bytes in all.

        Returns:
            The verified result. Of a file that is there already, only the digest is compared.

        Raises:
            UsageError: the name, or the SHA-256, makes no sense.
            NoSuchFile: nothing has that name.
            DestinationExists: a different file is there, and ``force`` was not given.
            DigestMismatch: its SHA-256 is another one.
            RangeNotThere: the file ends before the range.
            UdpftError: whatever else went wrong; the destination is as it was.
        """
        name = text_of(name, "a name")

        def transfer(path: str) -> Result:
            def open_destination() -> Destination:
                target = Destination(
                    path,
                    force=force,
                    resume=resume and not is_stream(output),
                    sha256=sha256,
                    on_resume=on_resume,
                    stop=self._connection.stop,
                )
                target.keeps_time = times
                return target

            run: Callable[..., Result] = partial(fetch, self._connection)
            if byte_range is not None:
                from udpft.client.parts.ranges import fetch_range  # most want all of it

                run = partial(fetch_range, self._connection, byte_range=byte_range)
            elif self._replicas:
                from udpft.client.parts.replicas import fetch_striped  # most have one server

                run = partial(fetch_striped, self._connector, self._replicas, self.stop)
            return run(name, open_destination, progress=progress)

        return self._to_output(name, output, sha256, transfer)

    def read_bytes(
        self,
        name: Name,
        *,
        max_bytes: int | str = MAX_FETCHED_BYTES,
        progress: Progress | None = None,
    ) -> bytes:
        """Fetch one file into memory, verified.

        Args:
            name: the file's name on the server.
            max_bytes: a larger file is refused, as a number or as ``"64M"``; 256 MiB by default.
            progress: called with the bytes done and the bytes in all.

        Raises:
            NoSuchFile: nothing has that name.
            UsageError: the file is larger than that; or an argument makes no sense.
            UdpftError: whatever else went wrong.
        """
        from udpft.client.stream_output import read_bytes  # a file goes to a disk without

        limit = quantity_of(max_bytes, "max_bytes")
        return read_bytes(self._connection, text_of(name, "a name"), limit, progress)

    def fetch_range(
        self,
        name: Name,
        start: int = 0,
        stop: int | None = None,
        *,
        max_bytes: int | str = MAX_FETCHED_BYTES,
        progress: Progress | None = None,
    ) -> bytes:
        """Fetch a range of a file into memory, verified: ``content[start:stop]``.

        It costs what the range has of bytes. What lies behind the file's end is left out.

        Args:
            name: the file's name on the server.
            start: the first byte; below 0, counted from the file's end, and without a ``stop``.
            stop: the byte behind the last; None for the file's end.
            max_bytes: a larger range is refused, as a number or as ``"64M"``; 256 MiB by default.
            progress: called with the bytes done and the bytes in all.

        Raises:
            NoSuchFile: nothing has that name.
            RangeNotThere: the file ends before the range.
            UsageError: the range is empty, or larger than that; or an argument makes no sense.
            VersionMismatch: the server is too old for ranges.
            UdpftError: whatever else went wrong.
        """
        from udpft.client.parts.ranges import read_range, wanted_of  # most want all of it

        limit, wanted = quantity_of(max_bytes, "max_bytes"), wanted_of(start, stop)
        name = text_of(name, "a name")
        return bytes(read_range(self._connection, name, wanted, limit, progress)[0])

    def open(self, name: Name, *, read_ahead: int | str = "4M") -> RemoteFile:
        """Open a file for reading: a binary file object that seeks, and fetches what is read.

        It uses the client, which is to outlast it: all that holds for that one's threads, errors
        and time-outs holds for the file. Each block is verified before it is returned, and all are
        of the version that was there when it was opened.

        Args:
            name: the file's name on the server.
            read_ahead: bytes that it fetches at once, at most, where it is read on.

        Raises:
            NoSuchFile: nothing has that name.
            VersionMismatch: the server is too old for ranges.
            UdpftError: whatever else went wrong; and `SourceChanged` from a read, where the file
                is another one by then.
        """
        from udpft.client.parts.remote_file import open_ranges  # most want all of it

        ahead = quantity_of(read_ahead, "read_ahead")
        return open_ranges(self._connection, text_of(name, "a name"), ahead)

    def fetch_tree(
        self,
        pattern: Name,
        output: Name | None = None,
        *,
        recursive: bool = True,
        force: bool = False,
        resume: bool = True,
        progress: Progress | None = None,
        on_resume: Progress | None = None,
        **tree: Unpack[TreeParameters],
    ) -> Result:
        """Fetch the files that a pattern names; with ``recursive``, folders and all below them.

        A folder ``a/tree`` becomes ``OUTPUT/tree``, ``a/tree/`` becomes OUTPUT itself, as with
        rsync. What it makes gets the times and permissions that it has there, the latter as far as
        the umask allows. Files of the same size and time are left alone; symlinks, devices and
        hidden names are left out. ``Result.tree`` says what did not come.

        Args:
            pattern: a file's name; a folder's; or one with wildcards, ``*``, ``?`` and ``[...]``,
                matched between slashes.
            output: a folder, made where it is missing; by default the current one.
            recursive: folders too; without, they are left out.
            force: replace different files, those of the same size and time too.
            resume: go on with what an earlier fetch left, and leave what there is if this fails.
            progress: called with the bytes done and in all, ten times a second and at the end.
            on_resume: called with the bytes that were held already and the bytes in all.
            tree: see `udpft.client.tree_outcome.TreeParameters`.

        Returns:
            The result of the whole. ``files`` says how many there are.

        Raises:
            NoSuchFile: nothing has that name.
            UsageError: two files would have the same name, or only a folder has that name.
            PartialTransfer: something cannot be read there, or not have its name here;
                ``error.result`` tells of the rest, which has come.
            DestinationExists: likewise, for a different file has its name, and no ``force``.
            UdpftError: whatever else went wrong; the destination is as it was.
        """
        from udpft.client.fetch_tree import fetch_tree  # a single file does without
        from udpft.client.tree_outcome import choice_of

        choice = choice_of(force=force, resume=resume, recursive=recursive, parameters=tree)
        pattern = text_of(pattern, "a name")
        folder = tidied(text_of("." if output is None else output, "output") or ".")
        try:
            return self._measured(
                lambda: fetch_tree(
                    self._connection,
                    pattern,
                    folder,
                    choice,
                    progress=progress,
                    on_resume=on_resume,
                )
            )
        except UnicodeEncodeError as error:
            raise LocalWriteFailed(
                f"this process's locale has no way to write {error.object!a}",
                hint="with PYTHONUTF8=1 names are the bytes that they are",
            ) from error

    def fetch_plain(
        self,
        name: Name,
        output: Output | None = None,
        *,
        force: bool = False,
        allow_partial: bool = False,
        sha256: str = "",
        progress: Progress | None = None,
    ) -> Result:
        """Fetch one file by the plain protocol: nothing verifies it, and nothing tells its time.

        Args:
            name: the file's name on the server.
            output: a file, or a folder for it; by default its own name in the current folder. Or a
                binary file object, as for `fetch`.
            force: replace a file of that name.
            allow_partial: keep what came, where the end did not.
            sha256: what the file's SHA-256 must be, 64 hex digits, before it gets its name.
            progress: called with the bytes done and -1, ten times a second; at the end with the
                bytes done twice.

        Raises:
            DestinationExists: a file has that name, and ``force`` was not given.
            TimedOut: nothing at all came.
            PartialTransfer: something came, and not the end; kept with ``allow_partial``.
            DigestMismatch: its SHA-256 is another one.
            UsageError: plain knows no rates, no other chunk size, no key, or no such name.
            UdpftError: whatever else went wrong; the destination is as it was.
        """
        from udpft.client.fetch_plain import fetch_plain  # most gets start without

        name = text_of(name, "a name")

        def transfer(path: str) -> Result:
            return fetch_plain(
                self._connection,
                name,
                path,
                force=force,
                allow_partial=allow_partial,
                sha256=sha256,
                progress=progress,
            )

        return self._to_output(name, output, sha256, transfer)

    # ----------------------------------------------------------------------------------- uploads

    def store(
        self,
        path: Name | IO[bytes],
        as_name: Name | None = None,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Store one file on a server that takes uploads. A busy server is asked again.

        Args:
            path: the local file; or a binary stream, which is read to its end first and needs an
                ``as_name`` that is no folder's.
            as_name: its name on the server, relative to the served folder; by default its own. With
                a slash at its end, the folder there that it goes to.
            force: replace a different file of that name.
            progress: called with the bytes done and the bytes in all, ten times a second and at
                the end.

        Returns:
            The result: the server has the file, verified and under its name. ``resumed_bytes`` are
            those that it had before.

        Raises:
            LocalReadFailed: the file cannot be read, or is a folder.
            UsageError: it has no name for the server.
            UploadRefused: the server takes no uploads.
            Denied: not this one.
            DestinationExists: it has a different file of that name, and no ``force``.
            UdpftError: whatever else went wrong; on the server, the file is as it was.
        """
        from udpft.client.store import open_local, spooled, store  # a get does without

        def transfer() -> Result:
            named = None if as_name is None else text_of(as_name, "as_name")
            if isinstance(path, (str, os.PathLike)) or not hasattr(path, "read"):
                local = tidied(text_of(path, "a file to store"))
                opened = open_local(local)
            elif named and not named.endswith("/"):
                local, opened = "-", spooled(path)
            else:
                raise UsageError("a stream has no name", hint="as_name gives it one")
            with opened as source:
                name = name_on_server(local, named)
                return store(self._connection, source, name, local, force=force, progress=progress)

        return self._measured(transfer, receives=False)

    def store_tree(
        self,
        path: Name,
        as_name: Name | None = None,
        *,
        force: bool = False,
        progress: Progress | None = None,
        **tree: Unpack[TreeParameters],
    ) -> Result:
        """Store a folder on a server that takes uploads, with all that is below it.

        ``a/tree`` becomes ``tree`` there; of ``a/tree/``, what is in it goes to the served folder
        itself, as with rsync. Files and folders that are made there get times and permissions of
        those here. Symlinks, devices, hidden names and the like are left out; ``Result.tree`` says
        so. Files that the server has already, of the same size and time, are left alone.

        Args:
            path: the local folder.
            as_name: its name on the server; with a slash at its end, the folder there that it goes
                to.
            force: replace different files, those of the same size and time too.
            progress: called with the bytes done and the bytes in all, ten times a second and at
                the end.
            tree: see `udpft.client.tree_outcome.TreeParameters`.

        Returns:
            The result of the whole. ``files`` says how many there are.

        Raises:
            LocalReadFailed: the folder cannot be read.
            UploadRefused: the server takes no uploads.
            Denied: not this one.
            PartialTransfer: something cannot be read here, or not have its name there;
                ``error.result`` tells of the rest, which has arrived.
            DestinationExists: likewise, for a different file has its name, and no ``force``.
            UdpftError: whatever else went wrong; on the server, the files are as they were.
        """
        from udpft.client.store_tree import store_tree  # a single file does without
        from udpft.client.tree_outcome import choice_of

        choice = choice_of(force=force, parameters=tree)
        folder = text_of(path, "a folder to store")
        named = None if as_name is None else text_of(as_name, "as_name")
        absolute(folder)  # or say that there is no way to tell
        return self._measured(
            lambda: store_tree(self._connection, folder, named, choice, progress=progress),
            receives=False,
        )

    # ----------------------------------------------------------------------------------- listings

    def list_files(self, pattern: Name = "", *, recursive: bool = False) -> list[Entry]:
        """List what there is on the server, in the order of the paths.

        Args:
            pattern: a folder's name, for what is in it; a file's; or one with wildcards, ``*``,
                ``?`` and ``[...]``, matched between slashes. By default the served folder.
            recursive: of folders, themselves and all that is below them.

        Raises:
            NoSuchFile: nothing has that name.
            UdpftError: whatever else went wrong.
        """
        from udpft.client.fetch_tree import fetch_listing  # who fetches a file does without

        pattern = text_of(pattern, "a name")
        return fetch_listing(self._connection, pattern, recursive=recursive)[0]

    def is_one_file(self, name: Name) -> bool:
        """Tell whether a name with wildcards in it is a file's all the same.

        Raises:
            NoSuchFile: it is no file's, and nothing matches it.
            UdpftError: whatever else went wrong.
        """
        from udpft.protocol.wire.hello import without_dot

        paths = [entry.path for entry in self.list_files(name)]
        return paths == [without_dot(text_of(name, "a name"))]

    # ------------------------------------------------------------------------ questions, measuring

    def ping(self) -> float:
        """Ask the server whether it is there; return the round trip in seconds.

        Raises:
            NetworkError: it is not, or does not answer.
            VersionMismatch: it speaks another version of the protocol.
        """
        from udpft.client.probe import ping  # who transfers does without

        return ping(self._connection)

    def probe_path(self) -> PathProbe:
        """Probe the path to the server: its round trips, its loss, how large datagrams may be.

        Returns:
            The finished probe, with ``round_trips_s``, ``sent``, ``lost`` and ``largest_answered``.

        Raises:
            NetworkError: the server is not there, or does not answer.
            VersionMismatch: it speaks another version of the protocol.
        """
        from udpft.client.probe import probe_path  # who transfers does without

        return probe_path(self._connection)

    def source_host(self) -> str:
        """This machine's own address in what it sends to the server.

        Raises:
            PortClosed: there is no way to it.
        """
        from udpft.net.kernel import source_of  # who transfers does without

        with self._connection.explained():
            return source_of(self.server)

    def fetch_synthetic(self, size: int) -> Result:
        """Fetch ``size`` bytes out of the server's memory into nowhere: it measures the path alone.

        Raises:
            VersionMismatch: the server is too old to make bytes up.
            UdpftError: whatever else went wrong.
        """
        from udpft.client.synthetic import fetch_synthetic  # for those who measure

        return self._measured(lambda: fetch_synthetic(self._connection, size))

    def store_synthetic(self, size: int) -> Result:
        """Send ``size`` bytes to a server that keeps none, to measure the path alone.

        Raises:
            UploadRefused: the server takes no uploads.
            VersionMismatch: the server is too old to discard bytes.
            UdpftError: whatever else went wrong.
        """
        from udpft.client.synthetic import store_synthetic  # for those who measure

        return self._measured(lambda: store_synthetic(self._connection, size), receives=False)

    def _to_output(
        self, name: str, output: Output | None, sha256: str, transfer: Callable[[str], Result]
    ) -> Result:
        """Run a transfer into a file, or into a file object."""
        if sha256:
            check_is_sha256(sha256)
        if output is not None and is_stream(output):
            from udpft.client.stream_output import fetch_to  # a file goes to a disk without

            stream: IO[bytes] = output
            return self._measured(lambda: fetch_to(stream, transfer))
        place = None if output is None else text_of(output, "output")
        path = destination_of(name, place)
        return self._measured(lambda: transfer(path))
