"""Files on a server as fsspec has them: its own tests of file systems, and what is ours alone."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.loopback import closed_port
from tests.samples import LARGE, sample
from udpft.api import RunningServer

fsspec = pytest.importorskip("fsspec", reason="the extra `fsspec` brings it")
abstract = pytest.importorskip("fsspec.tests.abstract")

from udpft.filesystem import UdpftFileSystem  # noqa: E402 - where fsspec is

NAME = str(LARGE)


class Removing(UdpftFileSystem):
    """The file system, with the server's folder at hand for what udpft has not: to remove."""

    cachable = False
    folder: Path

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        del maxdepth
        for one in [path] if isinstance(path, str) else path:
            there = self.folder / self._strip_protocol(one)[1:]
            shutil.rmtree(there) if recursive and there.is_dir() else there.unlink()


@pytest.fixture(scope="class")
def removing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Removing]:
    folder = tmp_path_factory.mktemp("served")
    with udpft.serve(folder, port=0, writable=True) as server:
        fs = Removing("127.0.0.1", server.port)
        fs.folder = folder
        yield fs


class Fixtures(abstract.AbstractFixtures):  # type: ignore[misc]
    @pytest.fixture
    def fs(self, removing: Removing) -> Removing:
        return removing

    @pytest.fixture
    def fs_path(self) -> str:
        return "/"

    @pytest.fixture
    def fs_sanitize_path(self) -> Any:
        return lambda path: path


class TestGet(abstract.AbstractGetTests, Fixtures):  # type: ignore[misc]
    """fsspec's tests of `get`."""


class TestPut(abstract.AbstractPutTests, Fixtures):  # type: ignore[misc]
    """fsspec's tests of `put`."""


class TestCopy(abstract.AbstractCopyTests, Fixtures):  # type: ignore[misc]
    """fsspec's tests of `cp`."""


class TestOpen(abstract.AbstractOpenTests, Fixtures):  # type: ignore[misc]
    """fsspec's tests of `open`."""


class TestPipe(abstract.AbstractPipeTests, Fixtures):  # type: ignore[misc]
    """fsspec's tests of `pipe`."""


@pytest.fixture
def fs(server: RunningServer) -> UdpftFileSystem:
    """The file system of the samples, made anew."""
    return UdpftFileSystem("127.0.0.1", server.port, skip_instance_cache=True)


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[tuple[UdpftFileSystem, Path]]:
    """A file system that takes files, and the folder that they go to."""
    folder = tmp_path / "served"
    folder.mkdir()
    with udpft.serve(folder, port=0, writable=True) as server:
        yield UdpftFileSystem("127.0.0.1", server.port, skip_instance_cache=True), folder


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("udpft://files.lan/a/b.csv", "files.lan", 9000, "/a/b.csv"),
        ("udpft://10.0.0.7:9999/a", "10.0.0.7", 9999, "/a"),
        ("udpft://[::1]:9999/a", "::1", 9999, "/a"),
        ("udpft://files.lan", "files.lan", 9000, "/"),
        ("udpft://files.lan/a//", "files.lan", 9000, "/a"),
    ],
)
def test_a_url_names_a_server_and_a_file(url: str, host: str, port: int, path: str) -> None:
    given = UdpftFileSystem._get_kwargs_from_urls(url)
    assert (given["host"], given.get("port", 9000)) == (host, port)
    assert UdpftFileSystem._strip_protocol(url) == path
    assert UdpftFileSystem._strip_protocol([url]) == [path]


def test_a_path_may_lack_its_slash_and_has_a_url(
    fs: UdpftFileSystem, server: RunningServer
) -> None:
    assert fs.cat_file("2049") == fs.cat_file("/2049") == sample(2049)
    assert fs.unstrip_protocol("2049") == f"udpft://127.0.0.1:{server.port}/2049"
    assert UdpftFileSystem._get_kwargs_from_urls("2049") == {}
    assert UdpftFileSystem("::1", skip_instance_cache=True).address == "[::1]:9000"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (None, None),
        (0, 10),
        (5, 5),
        (9, 3),
        (-10, None),
        (None, -10),
        (-20, -10),
        (-20, 2045),
        (2_040, 9_000),
        (2_049, None),
        (9_000, None),
        (None, 0),
        (-9_000, None),
    ],
)
def test_a_part_is_what_a_slice_is(fs: UdpftFileSystem, start: int | None, end: int | None) -> None:
    assert fs.cat_file("2049", start, end) == sample(2049)[start:end]


def test_what_there_is_of_a_folder_is_listed(writable: tuple[UdpftFileSystem, Path]) -> None:
    fs, folder = writable
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/one.csv").write_text("1")
    (folder / "a/x[1].csv").write_text("22")
    assert fs.ls("", detail=False) == ["/a"]
    assert [(one["name"], one["type"]) for one in fs.ls("a")] == [
        ("/a/b", "directory"),
        ("/a/x[1].csv", "file"),
    ]
    assert fs.ls("a/b/one.csv", detail=False) == ["/a/b/one.csv"]
    assert fs.glob("**/*.csv") == ["/a/b/one.csv", "/a/x[1].csv"]
    assert fs.find("a", maxdepth=1) == ["/a/x[1].csv"]
    assert sorted(fs.find("a", withdirs=True, detail=True)) == [
        "/a",
        "/a/b",
        "/a/b/one.csv",
        "/a/x[1].csv",
    ]
    assert fs.find("missing") == []
    assert [names for _, *names in fs.walk("/")] == [
        [["a"], []],
        [["b"], ["x[1].csv"]],
        [[], ["one.csv"]],
    ]
    assert (fs.isdir("/"), fs.isdir("a"), fs.isfile("a"), fs.exists("b")) == (
        True,
        True,
        False,
        False,
    )
    assert fs.cat_file("a/x[1].csv") == b"22"
    assert fs.modified("a/x[1].csv").timestamp() == pytest.approx(
        (folder / "a/x[1].csv").stat().st_mtime
    )
    with pytest.raises(ValueError, match="maxdepth"):
        fs.find("a", maxdepth=0)


def test_a_pattern_is_no_name(writable: tuple[UdpftFileSystem, Path]) -> None:
    fs, folder = writable
    (folder / "x1.csv").write_text("1")
    assert not fs.exists("x?.csv")
    with pytest.raises(FileNotFoundError):
        fs.info("*")


def test_it_reads_ranges_and_no_more_than_its_cache_asks_for(samples: Path) -> None:
    sizes: list[int] = []
    with udpft.serve(samples, port=0, on_served=lambda one: sizes.append(one.bytes)) as server:
        fs = UdpftFileSystem("127.0.0.1", server.port, skip_instance_cache=True)
        with fs.open(NAME, block_size=10_000, cache_type="blockcache") as file:
            assert file.size == LARGE
            file.seek(LARGE // 2)
            assert file.read(100) == sample(LARGE)[LARGE // 2 :][:100]
            file.seek(-5, 2)
            assert file.read() == sample(LARGE)[-5:]
        with fs.open("0") as file:
            assert file.read() == b""
        with fs.open("2049", "rt", encoding="latin-1", newline="") as file:
            assert file.read().encode("latin-1") == sample(2049)
    assert sum(sizes) < 40_000


@pytest.mark.parametrize("cache_type", ["none", "readahead", "all", "first", "background", "mmap"])
def test_each_cache_reads_the_file(fs: UdpftFileSystem, cache_type: str) -> None:
    with fs.open(NAME, block_size=100_000, cache_type=cache_type) as file:
        assert file.read() == sample(LARGE)


def test_another_version_is_told_and_not_mixed_in(writable: tuple[UdpftFileSystem, Path]) -> None:
    fs, folder = writable
    (folder / "file").write_bytes(bytes(100_000))
    with fs.open("file", block_size=1_000) as file:
        assert file.read(10) == bytes(10)
        (folder / "file").write_bytes(b"x" * 100_000)
        os.utime(folder / "file", (1, 1))
        file.seek(50_000)
        with pytest.raises(OSError, match="changed on the server"):
            file.read(10)


def test_files_are_written_when_they_are_closed(writable: tuple[UdpftFileSystem, Path]) -> None:
    fs, folder = writable
    with fs.open("new/file", "wb", block_size=1_000) as file:
        for n in range(10):
            file.write(bytes([n]) * 999)
        assert not (folder / "new").exists()
    assert (folder / "new/file").read_bytes() == b"".join(bytes([n]) * 999 for n in range(10))
    with fs.open("new/file", "ab") as file:
        file.write(b"end")
    assert (folder / "new/file").read_bytes()[-4:] == b"\x09end"
    with fs.transaction:
        with fs.open("late", "wb") as file:
            file.write(b"1")
        assert not (folder / "late").exists()
    assert (folder / "late").read_bytes() == b"1"
    fs.start_transaction()
    with fs.open("never", "wb") as file:
        file.write(b"1")
    fs.transaction.complete(commit=False)
    assert not (folder / "never").exists()
    with fs.open("once", "xb") as file:
        file.write(b"2")
    assert (folder / "once").read_bytes() == b"2"


def test_folders_are_made_and_nothing_is_removed(writable: tuple[UdpftFileSystem, Path]) -> None:
    fs, folder = writable
    fs.mkdir("a/b")
    assert (folder / "a/b").is_dir()
    assert (folder / "a/b").stat().st_mode & 0o777 == 0o755
    fs.makedirs("a/b", exist_ok=True)
    with pytest.raises(FileExistsError):
        fs.makedirs("a/b")
    with pytest.raises(FileExistsError):
        fs.mkdir("a")
    with pytest.raises(FileNotFoundError):
        fs.mkdir("c/d", create_parents=False)
    with pytest.raises(NotImplementedError):
        fs.rm("a", recursive=True)


def test_progress_is_told(fs: UdpftFileSystem, tmp_path: Path) -> None:
    callback = fsspec.Callback()
    fs.get_file(NAME, tmp_path / "to/file", callback=callback)
    assert (callback.size, callback.value) == (LARGE, LARGE)
    with open(tmp_path / "other", "wb") as other:
        fs.get_file("2049", other)
    assert (tmp_path / "other").read_bytes() == sample(2049)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda fs: fs.open("missing"), FileNotFoundError),
        (lambda fs: fs.cat_file("missing"), FileNotFoundError),
        (lambda fs: fs.ls("missing"), FileNotFoundError),
        (lambda fs: fs.get_file("missing", "here"), FileNotFoundError),
        (lambda fs: fs.pipe_file("new", b""), PermissionError),
    ],
)
@pytest.mark.usefixtures("here")
def test_errors_are_those_of_files(fs: UdpftFileSystem, call: Any, kind: type[OSError]) -> None:
    with pytest.raises(kind) as caught:
        call(fs)
    assert caught.value.filename
    assert isinstance(caught.value.__cause__, udpft.errors.UdpftError)
    assert fs.cat_file("1") == sample(1)  # and it works on


def test_a_server_that_is_not_there_is_a_connection_error() -> None:
    host, _, port = closed_port().rpartition(":")
    fs = UdpftFileSystem(host, port, skip_instance_cache=True)
    for call in (fs.open, fs.info, fs.exists, fs.cat_file):
        with pytest.raises(ConnectionRefusedError):
            call("file")
    with pytest.raises(OSError, match="key"):
        UdpftFileSystem(host, port, key_file="/nowhere").info("file")


def test_threads_share_it_and_their_sockets_are_used_again(fs: UdpftFileSystem) -> None:
    failures: list[BaseException] = []

    def read(n: int) -> None:
        try:
            with fs.open(NAME, block_size=50_000) as file:
                for k in range(5):
                    file.seek(1_000 * (n + k))
                    assert file.read(10) == sample(LARGE)[1_000 * (n + k) :][:10]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert 1 <= len(fs._clients.idle) <= 4
    before = list(fs._clients.idle)
    fs.info("1")
    assert set(fs._clients.idle) == set(before)


def test_it_is_pickled_and_forks_share_no_socket(
    fs: UdpftFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fs.cat_file("1") == sample(1)
    again = pickle.loads(pickle.dumps(fs))
    assert (again.address, again.cat_file("1")) == (fs.address, sample(1))
    parents = list(fs._clients.idle)
    monkeypatch.setattr("udpft.filesystem.os.getpid", lambda: -1)
    assert fs.cat_file("1") == sample(1)
    assert not set(fs._clients.idle) & set(parents)
    for client in parents:
        client.close()


def test_with_a_key(samples: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    key = tmp_path / "key"
    key.write_text(bytes(range(32)).hex())
    with udpft.serve(samples, port=0, key_file=key) as server:
        fs = UdpftFileSystem("127.0.0.1", server.port, key_file=str(key))
        with fs.open("2049") as file:
            assert file.read() == sample(2049)
        with pytest.raises(OSError, match="key"):
            UdpftFileSystem("127.0.0.1", server.port, connect_timeout=0.3).info("2049")
