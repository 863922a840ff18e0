"""The public `Client`: names and addresses as its user writes them, and measured transfers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.samples import LARGE
from udpft.api import RunningServer, connect
from udpft.cli.main import run
from udpft.client.client import Client
from udpft.errors import DestinationExists, HostNotFound, UsageError
from udpft.net.address import Address
from udpft.outcome.bottleneck import Limit, Verdict


def test_a_transfer_at_its_limit_says_so(server: RunningServer, tmp_path: Path) -> None:
    result = udpft.get(
        str(LARGE), server=server.address, output=tmp_path, limit_rate=LARGE * 4 // 3
    )
    assert result.seconds > 0.5
    assert result.limited_by == Limit.RATE
    assert result.limit.startswith("--limit-rate, ")
    assert not result.slow  # it was over soon enough
    assert 0 < result.cpu_seconds < result.seconds
    assert result.cpu_seconds_per_gb is not None


def test_what_is_here_already_was_limited_by_nothing(server: RunningServer, tmp_path: Path) -> None:
    for _ in range(2):
        result = udpft.get("4096", server=server.address, output=tmp_path)
    assert result.up_to_date
    assert result.limited_by == ""
    assert result.cpu_seconds_per_gb is None


def test_an_upload_is_measured_too(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    file = tmp_path / "file"
    file.write_bytes(bytes(2_000_000))
    with udpft.serve(tmp_path / "there", port=0, writable=True) as server:
        result = udpft.put(file, server=server.address, limit_rate=3_000_000)
    assert result.limited_by == Limit.RATE
    assert result.dropped_packets == 0


def test_the_loops_waiting_is_counted(server: RunningServer, tmp_path: Path) -> None:
    with connect(server.address, limit_rate=LARGE * 4 // 3) as client:
        result = client.fetch(str(LARGE), tmp_path / "file")
        assert 0.3 * result.seconds < client.usage().waited_s < result.seconds


@pytest.mark.parametrize("server", ["", ":9000", "host:0", "host:port", "a b", "[::1", "::1:x"])
def test_addresses_that_make_no_sense(server: str) -> None:
    with pytest.raises(UsageError):
        connect(server)


def test_the_port_is_9000_unless_given() -> None:
    with connect("127.0.0.1") as client:
        assert client.server == Address("127.0.0.1", 9000)
    with connect("localhost:7") as client:
        assert client.server == Address("localhost", 7)
    with pytest.raises(HostNotFound):
        connect("no.invalid")


@pytest.mark.parametrize("chunk_size", [-1, 0, 63, 16_345, 10**9])
def test_chunk_sizes_that_make_no_sense(chunk_size: int) -> None:
    with pytest.raises(UsageError, match="is not to be had") as caught:
        connect("127.0.0.1", chunk_size=chunk_size)
    assert "auto" in caught.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"limit_rate": "fast"},
        {"limit_rate": None},
        {"chunk_size": "large"},
        {"chunk_size": 2048.5j},
        {"connect_timeout": "5"},
        {"timeout": None},
        {"key_file": 7},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_told(options: Any) -> None:
    with pytest.raises(UsageError):
        connect("127.0.0.1", **options)


def test_arguments_are_taken_as_they_look(server: RunningServer, here: Path) -> None:
    with connect(server, limit_rate="2M", chunk_size="4Ki") as client:
        assert client.limit_rate == 2_000_000
        result = client.fetch(Path("4096"), here)
        assert (result.chunk_size, result.path) == (4096, here / "4096")
        assert [one.path for one in client.list_files(Path("4096"))] == ["4096"]
    assert udpft.ping(server) > 0
    for nonsense in (7, None, b"4096"):
        with pytest.raises(UsageError):
            udpft.get(nonsense, server=server)  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            udpft.put(nonsense, server=server)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        udpft.get("4096", server=server, output=b"out")  # type: ignore[arg-type]


def test_a_leading_dot_is_no_part_of_a_name(client: Client, here: Path) -> None:
    assert client.fetch("./4096").path == Path("4096")
    assert client.fetch(".//./2048", "x").bytes == 2048
    assert client.fetch_plain("./1", here / "plain").bytes == 1
    assert client.is_one_file("./1")


def test_an_empty_tree_is_verified(tmp_path: Path) -> None:
    (tmp_path / "served/tree").mkdir(parents=True)
    with udpft.serve(tmp_path / "served", port=0) as server, connect(server) as client:
        result = client.fetch_tree("tree", tmp_path / "out")
    assert (result.files, result.verified) == (0, True)


def test_the_files_of_a_tree_are_counted(tmp_path: Path) -> None:
    tree = tmp_path / "served/tree"
    tree.mkdir(parents=True)
    for number in range(20):
        (tree / str(number)).write_bytes(bytes([number]) * 20_000)
    seen: list[tuple[int, int] | None] = []
    with (
        udpft.serve(tmp_path / "served", port=0, writable=True) as server,
        connect(server, limit_rate="1M") as client,
    ):

        def look(_done: int, _total: int) -> None:
            seen.append(client.file_counts)

        client.fetch_tree("tree", tmp_path, progress=look)
        client.store_tree(tmp_path / "tree", "other", progress=look)
        assert client.file_counts is not None
        client.fetch("tree/1", tmp_path / "one")
        assert client.file_counts is None
    counts = [one for one in seen if one]
    assert {total for _, total in counts} == {20}
    assert any(0 < done < 20 for done, _ in counts)


# ------------------------------------------------------------------ everything, with plain strings


@pytest.fixture
def both(here: Path) -> Iterator[RunningServer]:
    """A server that gives and takes, and the working directory of its client."""
    (here / "served/tree").mkdir(parents=True)
    (here / "served/hello.txt").write_text("hello")
    (here / "served/tree/leaf.txt").write_text("leaf")
    (here / "local.txt").write_text("local")
    (here / "out").mkdir()
    with udpft.serve("served", port=0, writable=True) as server:
        yield server


def test_a_client_takes_names_as_people_write_them(both: RunningServer, here: Path) -> None:
    with udpft.Client(both.address) as client:
        assert client.fetch("hello.txt", "out/").path == Path("out/hello.txt")
        assert client.fetch("hello.txt").path == Path("hello.txt")
        assert client.fetch_plain("hello.txt", here / "plain.txt").path == here / "plain.txt"
        assert client.fetch_tree("tree", "out").files == 1
        assert client.store("local.txt").name == "local.txt"
        assert client.store(here / "local.txt", "sub/").name == "sub/local.txt"
        assert client.store(io.BytesIO(b"streamed"), "stream.txt").bytes == 8
        assert client.store_tree("out/tree", "copied").files == 1
        assert client.is_one_file("hello.txt")
        assert not client.is_one_file("*.txt")
        assert [entry.path for entry in client.list_files("*.txt")] == [
            "hello.txt",
            "local.txt",
            "stream.txt",
        ]
        assert client.ping() > 0
    assert (here / "out/hello.txt").read_text() == (here / "plain.txt").read_text() == "hello"
    assert (here / "out/tree/leaf.txt").read_text() == "leaf"
    assert (here / "served/sub/local.txt").read_text() == "local"
    assert (here / "served/stream.txt").read_text() == "streamed"
    assert (here / "served/copied/leaf.txt").read_text() == "leaf"


@pytest.mark.parametrize("as_name", [None, "", "folder/"])
def test_a_stream_needs_a_name(both: RunningServer, as_name: str | None) -> None:
    with Client(both.address) as client, pytest.raises(UsageError, match="a stream has no name"):
        client.store(io.BytesIO(b"x"), as_name)


def test_a_sha256_is_checked_by_the_client_too(both: RunningServer) -> None:
    with Client(both.address) as client:
        for fetch in (client.fetch, client.fetch_plain):
            with pytest.raises(UsageError, match="no SHA-256"):
                fetch("hello.txt", "out", sha256="abc")


def test_a_client_goes_on_after_an_error(both: RunningServer, here: Path) -> None:
    (here / "hello.txt").write_text("mine")
    with Client(both.address) as client:
        with pytest.raises(DestinationExists):
            client.fetch("hello.txt")
        assert client.fetch("hello.txt", force=True).verified


# ---------------------------------------------------------- library and command line measure alike


@pytest.mark.parametrize(
    ("words", "method", "arguments"),
    [
        (["get", "large", "-o", "by-command"], "fetch", ["large", "by-library"]),
        (
            ["get", "large", "--mode", "plain", "-o", "by-command"],
            "fetch_plain",
            ["large", "by-library"],
        ),
        (["get", "-r", "tree", "-o", "by-command"], "fetch_tree", ["tree", "by-library"]),
        (["put", "local.txt", "--as", "by-command"], "store", ["local.txt", "by-library"]),
        (["put", "-r", "out", "--as", "by-command"], "store_tree", ["out", "by-library"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_library_and_command_line_measure_alike(
    both: RunningServer,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    method: str,
    arguments: list[str],
) -> None:
    limit = Verdict(Limit.DISK, "the disk at this end", slow=False)
    monkeypatch.setattr("udpft.outcome.result.TOLD_AFTER_S", 0)  # however short it was
    monkeypatch.setattr("udpft.outcome.bottleneck.judge", lambda _: limit)
    (here / "served/large").write_bytes(bytes(100_000))
    (here / "out/file").write_bytes(bytes(100_000))
    assert run([*words, "-s", both.address, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    done = next(line for line in lines if line["event"] == "done")
    with udpft.connect(both.address) as client:
        result = getattr(client, method)(*arguments)
    assert done["cpu_seconds"] > 0
    assert result.cpu_seconds > 0
    assert result.limited_by == (done["limited_by"] or "")
    assert result.limited_by == ("" if result.mode == "plain" else Limit.DISK)
    assert (result.mode, result.bytes, result.slow) == (done["mode"], done["bytes"], done["slow"])
