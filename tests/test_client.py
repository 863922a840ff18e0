"""The client against real servers on loopback: reliable fetches, pings, and what goes wrong."""

from __future__ import annotations

import errno
import os
import resource
import secrets
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

import udpft
from tests.cli.processes import Server as ServerProcess
from tests.relay import Relay
from tests.samples import LARGE, PATIENCE_S, SIZES, sample
from tests.storage.conftest import names, unprivileged
from udpft import client as client_module
from udpft.api import RunningServer, connect
from udpft.client import Client
from udpft.errors import (
    DestinationExists,
    ExitCode,
    HostNotFound,
    LocalReadFailed,
    LocalWriteFailed,
    NoSuchFile,
    PartialTransfer,
    PortClosed,
    ServerBusy,
    TimedOut,
    UsageError,
    VersionMismatch,
)
from udpft.net.address import Address
from udpft.net.driver import clock
from udpft.protocol.handshake import Initiator
from udpft.protocol.packets import (
    ErrorCode,
    Hello,
    Refusal,
    Retry,
    decode_hello_untrusted,
    decode_untrusted,
    encode_error,
    encode_retry,
)
from udpft.served import Served


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with connect(server.address) as connected:
        yield connected


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """A socket on loopback that is no server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE_S)
        yield sock


def address_of(sock: socket.socket) -> str:
    return str(Address.of(sock.getsockname()))


def closed_port() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return address_of(sock)


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do some work in a thread, and see at the end that it was done."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        yield
        done.result(PATIENCE_S)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the working directory, that nobody may enter too: by relative paths."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def failing_below(call: str, folder: Path) -> Callable[..., int]:
    """A call of `os` that fails for the files in a folder, as on a broken disk."""
    real = getattr(os, call)

    def fail_or_not(fd: int, *arguments: Any) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").startswith(str(folder)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        done: int = real(fd, *arguments)
        return done

    return fail_or_not


# ------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("at_client", [True, False], ids=["joining", "singly"])
@pytest.mark.parametrize("at_server", [True, False], ids=["segmenting", "one-by-one"])
def test_every_size_arrives_exact_with_offloads_and_without(
    samples: Path, tmp_path: Path, size: int, at_server: bool, at_client: bool
) -> None:
    path = tmp_path / "out"
    with (
        udpft.serve(samples, port=0, offload=at_server) as server,
        connect(server.address, offload=at_client) as client,
    ):
        result = client.fetch(str(size), path)
    assert path.read_bytes() == sample(size)
    assert (result.bytes, result.verified, result.complete) == (size, True, True)
    assert (result.path, result.mode, result.chunk_size) == (path, "reliable", 2048)
    assert not result.up_to_date
    assert len(bytes.fromhex(result.digest)) == 16
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("asked", "agreed"), [(64, 64), (1000, 1000), (1003, 1000), ("auto", 16_344), (16_344, 16_344)]
)
def test_chunks_of_another_size(
    server: RunningServer, tmp_path: Path, asked: int | Literal["auto"], agreed: int
) -> None:
    result = udpft.get(str(LARGE), server=server.address, output=tmp_path, chunk_size=asked)
    assert result.chunk_size == agreed
    assert (tmp_path / str(LARGE)).read_bytes() == sample(LARGE)


def test_files_one_after_another_over_one_socket(client: Client, tmp_path: Path) -> None:
    for size in SIZES:
        client.fetch(str(size), tmp_path / str(size))
        assert (tmp_path / str(size)).read_bytes() == sample(size)
    assert client.ping() > 0


def test_a_limited_rate_is_kept(server: RunningServer, tmp_path: Path) -> None:
    limit = 25_000_000
    result = udpft.get(str(LARGE), server=server.address, output=tmp_path, limit_rate=limit)
    assert result.rate_bytes_per_s <= limit * 1.05


@pytest.mark.parametrize(("loss", "name"), [(0.05, str(LARGE)), (0.25, "big")])
def test_what_a_bad_network_loses_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: float, name: str
) -> None:
    monkeypatch.setattr("udpft.server.DRAIN_S", 0)  # the client's last word may be lost
    files = tmp_path / "files"
    files.mkdir()
    content = sample(LARGE)[: LARGE if loss < 0.1 else 500_000]
    (files / name).write_bytes(content)
    (files / "empty").touch()
    with (
        udpft.serve(files, port=0) as server,
        Relay((server.host, server.port), loss=loss, seed=7) as relay,
        connect(relay.address) as client,
    ):
        client.fetch("empty", tmp_path / "empty")
        result = client.fetch(name, tmp_path / "out")
        assert relay.lost > 0
    assert (tmp_path / "out").read_bytes() == content
    assert (tmp_path / "empty").read_bytes() == b""
    assert result.resent_packets > 0


# ------------------------------------------------------------------------- what is there already


def test_the_same_file_is_up_to_date_and_nothing_is_sent(samples: Path, tmp_path: Path) -> None:
    served: list[Served] = []
    with (
        udpft.serve(samples, port=0, on_served=served.append) as server,
        connect(server.address) as client,
    ):
        for size in SIZES:
            path = tmp_path / str(size)
            path.write_bytes(sample(size))
            before = path.stat()
            result = client.fetch(str(size), path)
            assert result.up_to_date
            assert result.verified
            assert (result.bytes, result.resumed_bytes) == (size, size)
            assert path.stat() == before
    assert all(one.bytes_sent < 10_000 for one in served)
    assert names(tmp_path) == sorted(map(str, SIZES))


@pytest.mark.parametrize(
    "old", [b"", b"another", sample(4096)[:-1] + b"!", sample(4096) + b"!"], ids=len
)
def test_a_different_file_is_kept_unless_forced(client: Client, tmp_path: Path, old: bytes) -> None:
    path = tmp_path / "out"
    path.write_bytes(old)
    with pytest.raises(DestinationExists, match="out exists and is a different file") as caught:
        client.fetch("4096", path)
    assert caught.value.exit_code == ExitCode.EXISTS
    assert "--force" in caught.value.hint
    assert path.read_bytes() == old
    client.fetch("4096", path, force=True)
    assert path.read_bytes() == sample(4096)
    assert names(tmp_path) == ["out"]


def test_a_symlink_that_leads_nowhere_is_something(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.symlink_to("nowhere")
    with pytest.raises(DestinationExists, match="out is a symlink that leads nowhere"):
        client.fetch("1", path)
    client.fetch("1", path, force=True)
    assert not path.is_symlink()
    assert path.read_bytes() == sample(1)


def test_a_symlink_to_the_same_file_is_up_to_date(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(sample(2049))
    (tmp_path / "link").symlink_to("file")
    assert client.fetch("2049", tmp_path / "link").up_to_date


def test_what_is_no_file_cannot_be_replaced(client: Client, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for force in (False, True):
        for name, why in (("folder", "it is a folder"), ("fifo", "it is no regular file")):
            with pytest.raises(LocalWriteFailed, match=why):
                client.fetch("1", tmp_path / name, force=force)
            with pytest.raises(LocalWriteFailed, match=why):
                client.fetch_plain("1", tmp_path / name, force=force)
    assert names(tmp_path) == ["fifo", "folder"]


def test_a_file_that_cannot_be_read_cannot_be_compared(client: Client, here: Path) -> None:
    (here / "out").write_bytes(b"secret")
    (here / "out").chmod(0)
    with unprivileged(), pytest.raises(DestinationExists, match="cannot be read to compare it"):
        client.fetch("1", Path("out"))
    assert (here / "out").read_bytes() == b"secret"


def test_a_disk_that_fails_while_comparing(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").write_bytes(sample(LARGE))
    monkeypatch.setattr(os, "preadv", failing_below("preadv", tmp_path))
    with pytest.raises(LocalReadFailed, match="cannot read the file that is here: Input/output"):
        client.fetch(str(LARGE), tmp_path / "out")


# ---------------------------------------------------------------------------------- local disk


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process grows beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_it_at_once_and_leaves_the_old_file(samples: Path, tmp_path: Path) -> None:
    served: list[Served] = []
    (tmp_path / "out").write_bytes(b"old")
    with udpft.serve(samples, port=0, on_served=served.append) as server:
        with connect(server.address) as client, file_size_limit(100_000):
            for fetch in (client.fetch, client.fetch_plain):
                with pytest.raises(LocalWriteFailed) as caught:
                    fetch(str(LARGE), tmp_path / "out", force=True)
                assert caught.value.exit_code == ExitCode.WRITE_FAILED
        assert udpft.ping(server.address) > 0
    assert (tmp_path / "out").read_bytes() == b"old"
    assert names(tmp_path) == ["out"]
    assert str(tmp_path) not in " ".join(str(one.error) for one in served)


def test_a_disk_that_fails_in_mid_transfer_is_told_to_the_server_without_local_names(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Served] = []
    with udpft.serve(samples, port=0, on_served=served.append) as server:
        monkeypatch.setattr(os, "pwritev", failing_below("pwritev", tmp_path))
        with pytest.raises(LocalWriteFailed, match="Input/output error"):
            udpft.get(str(LARGE), server=server.address, output=tmp_path / "out")
    assert [str(one.error) for one in served] == ["the client's disk failed"]
    assert names(tmp_path) == []


def test_a_folder_that_is_not_there(client: Client, tmp_path: Path) -> None:
    for fetch in (client.fetch, client.fetch_plain):
        with pytest.raises(LocalWriteFailed, match=r"there is no folder .*missing") as caught:
            fetch("1", tmp_path / "missing" / "out")
        assert "mkdir" in caught.value.hint


def test_a_folder_that_may_not_be_written_to(client: Client, here: Path) -> None:
    here.chmod(0o555)
    for fetch in (client.fetch, client.fetch_plain):
        with unprivileged(), pytest.raises(LocalWriteFailed, match="Permission denied"):
            fetch("1", Path("out"))


@pytest.mark.parametrize("name", ["nul\0", "\ud800"], ids=ascii)
def test_a_destination_that_cannot_be(client: Client, tmp_path: Path, name: str) -> None:
    for fetch in (client.fetch, client.fetch_plain):
        with pytest.raises(LocalWriteFailed):
            fetch("1", tmp_path / name)


def test_interrupted_it_leaves_nothing_and_tells_the_server(samples: Path, tmp_path: Path) -> None:
    served: list[Served] = []

    def interrupt(_done: int, _total: int) -> None:
        assert names(tmp_path) == [".out.udpft-part"]
        raise KeyboardInterrupt

    with (
        udpft.serve(samples, port=0, on_served=served.append, max_rate=1_000_000) as server,
        pytest.raises(KeyboardInterrupt),
    ):
        udpft.get(str(LARGE), server=server.address, output=tmp_path / "out", progress=interrupt)
    assert [str(one.error) for one in served] == ["the client gave up"]
    assert names(tmp_path) == []


# ------------------------------------------------------------------------------------ progress


def test_progress_grows_up_to_the_whole(samples: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with udpft.serve(samples, port=0, max_rate=20_000_000) as server:
        udpft.get(
            str(LARGE),
            server=server.address,
            output=tmp_path / "out",
            progress=lambda *now: told.append(now),
        )
    assert told == sorted(told)
    assert told[-1] == (LARGE, LARGE)
    assert all(total == LARGE for _, total in told)
    assert 0 < told[0][0] < LARGE


# ------------------------------------------------------------------------------- the other side


def test_nobody_there(tmp_path: Path) -> None:
    address = closed_port()
    with connect(address) as client:
        for ask in (
            client.ping,
            lambda: client.fetch("1", tmp_path / "out"),
            lambda: client.fetch_plain("1", tmp_path / "out"),
        ):
            with pytest.raises(PortClosed, match=f"nothing listens on {address}") as caught:
                ask()
            assert caught.value.exit_code == ExitCode.PORT_CLOSED
            assert "udpft serve" in caught.value.hint
    assert names(tmp_path) == []


def test_somebody_who_does_not_answer(stranger: socket.socket, tmp_path: Path) -> None:
    silent = address_of(stranger)
    with connect(silent, connect_timeout=0.2) as client:
        for ask in (
            client.ping,
            lambda: client.fetch("1", tmp_path / "out"),
            lambda: client.fetch_plain("1", tmp_path / "out"),
        ):
            with pytest.raises(TimedOut, match=f"no answer from {silent} within 0.2 s") as caught:
                ask()
            assert caught.value.exit_code == ExitCode.TIMED_OUT
            assert caught.value.hint
    assert names(tmp_path) == []


def test_an_unknown_host_and_no_way_to_one() -> None:
    with pytest.raises(HostNotFound, match=r"no host is known as 'no\.invalid'") as caught:
        connect("no.invalid")
    assert caught.value.exit_code == ExitCode.HOST_NOT_FOUND
    with pytest.raises(PortClosed, match=r"no way to 255\.255\.255\.255:9000: Permission"):
        connect("255.255.255.255")


def test_a_missing_file_and_its_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "hello.txt").touch()
    with udpft.serve(tmp_path, port=0) as server, pytest.raises(NoSuchFile) as caught:
        udpft.get("helo.txt", server=server.address)
    assert str(caught.value) == "no such file on the server: 'helo.txt'"
    assert caught.value.hint == "did you mean 'hello.txt'?"
    assert caught.value.exit_code == ExitCode.NO_SUCH_FILE


@pytest.mark.parametrize(
    "name", ["", "../x", "/etc/passwd", "no/such", "nul\0", "\udcff", "x" * 255]
)
def test_names_that_no_server_has(client: Client, tmp_path: Path, name: str) -> None:
    with pytest.raises(NoSuchFile):
        client.fetch(name, tmp_path / "out")


@pytest.mark.parametrize("name", ["x" * 5000, "\ud800"], ids=ascii)
def test_names_that_cannot_be_asked_for(client: Client, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        client.fetch(name, tmp_path / "out")
    assert caught.value.exit_code == ExitCode.USAGE


def test_another_version_of_the_protocol(stranger: socket.socket) -> None:
    def answer() -> None:
        request, client = stranger.recvfrom(65_536)
        hello = decode_hello_untrusted(decode_untrusted(memoryview(request)))
        retry = Retry(hello.nonce, bytes(16), len(request), 2, hello.attempt)
        stranger.sendto(encode_retry(retry, hello.connection_id), client)

    with meanwhile(answer), pytest.raises(VersionMismatch, match="speaks version 2") as caught:
        udpft.ping(address_of(stranger))
    assert caught.value.exit_code == ExitCode.VERSION


def test_garbage_is_no_answer(stranger: socket.socket) -> None:
    def answer() -> None:
        _, client = stranger.recvfrom(65_536)
        for garbage in (b"", b"\x82", b"\x82" + bytes(63), b"hello", os.urandom(1200)):
            stranger.sendto(garbage, client)

    with meanwhile(answer), pytest.raises(TimedOut):
        udpft.ping(address_of(stranger), connect_timeout=0.2)


# ------------------------------------------------------------------ a busy server, a dead one


class HeldTransfer:
    """A transfer that was let in and does not go on, by hand."""

    def __init__(self, server: RunningServer, name: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((server.host, server.port))
        self._socket.settimeout(PATIENCE_S)
        hello = Hello(secrets.randbits(64), secrets.randbits(32), name.encode(), 2048, 4096)
        initiator = Initiator(hello, now=clock())
        while not initiator.introduction:
            while datagram := initiator.poll(clock()):
                self._socket.send(datagram)
            initiator.handle(memoryview(self._socket.recv(65_536)), clock())
        self._accept = initiator.introduction.accept

    def end(self) -> None:
        """Cancel it."""
        refusal = Refusal(self._accept.nonce, ErrorCode.CANCELLED, "enough")
        self._socket.send(encode_error(refusal, self._accept.connection_id))
        self._socket.close()


def test_a_busy_server_says_so(samples: Path, tmp_path: Path) -> None:
    with udpft.serve(samples, port=0, max_clients=1) as server:
        held = HeldTransfer(server, str(LARGE))
        with pytest.raises(ServerBusy) as caught:
            udpft.get("1", server=server.address, output=tmp_path, connect_timeout=0.3)
        assert caught.value.exit_code == ExitCode.BUSY
        assert caught.value.hint
        held.end()
    assert names(tmp_path) == []


def test_a_busy_server_is_asked_again(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with udpft.serve(samples, port=0, max_clients=1) as server:
        held = [HeldTransfer(server, str(LARGE))]
        pauses: list[float] = []

        def instead_of_sleeping(seconds: float) -> None:
            pauses.append(seconds)
            if held:
                held.pop().end()

        monkeypatch.setattr(client_module, "sleep", instead_of_sleeping)
        udpft.get("2049", server=server.address, output=tmp_path, connect_timeout=PATIENCE_S)
    assert all(0.5 <= pause <= 1 for pause in pauses)
    assert pauses
    assert (tmp_path / "2049").read_bytes() == sample(2049)


def test_a_server_that_vanishes_is_waited_for(samples: Path, tmp_path: Path) -> None:
    # Its port is closed, and says so; another server may take its place.
    process = ServerProcess("serve", str(samples), "--max-rate", "1M")
    with process, connect(process.address, timeout=0.5) as client:
        killed_at: list[float] = []

        def kill(_done: int, _total: int) -> None:
            if not killed_at:
                process.process.kill()
                process.process.wait()
                killed_at.append(clock())

        with pytest.raises(TimedOut, match=r"nothing came from the server for 0\.5 s"):
            client.fetch(str(LARGE), tmp_path / "out", progress=kill)
        assert clock() - killed_at[0] >= 0.3
    assert names(tmp_path) == []


def test_a_server_that_stops_says_so(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("udpft.server.DRAIN_S", 0)
    with udpft.serve(samples, port=0, max_rate=1_000_000) as server:
        with pytest.raises(PartialTransfer, match="the server is stopping") as caught:
            udpft.get(
                str(LARGE),
                server=server.address,
                output=tmp_path / "out",
                progress=lambda *_: server.stop(),
            )
        assert caught.value.exit_code == ExitCode.PARTIAL
    assert names(tmp_path) == []
