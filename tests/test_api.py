"""udpft as a library: what a program that imports it can rely on."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.samples import sample
from udpft.api import RunningServer, connect, destination_of
from udpft.errors import HostNotFound, UsageError
from udpft.net.address import Address


def test_a_folder_served_and_a_file_fetched(samples: Path, tmp_path: Path) -> None:
    with udpft.serve(samples, port=0) as server:
        assert (server.host, server.address) == ("127.0.0.1", f"127.0.0.1:{server.port}")
        assert udpft.ping(server.address) > 0
        result = udpft.get("4096", server=server.address, output=tmp_path)
    assert isinstance(result, udpft.Result)
    assert result.path == tmp_path / "4096"
    assert result.path.read_bytes() == sample(4096)
    assert result.rate_bytes_per_s == 4096 / result.seconds


def test_a_result_cannot_be_changed(server: RunningServer, tmp_path: Path) -> None:
    result = udpft.get("1", server=server.address, output=tmp_path)
    with pytest.raises(AttributeError):
        result.verified = False  # type: ignore[misc]


def test_the_public_names_are_there() -> None:
    for name in udpft.__all__:
        assert getattr(udpft, name)
    with pytest.raises(AttributeError):
        udpft.nothing_of_that_name  # noqa: B018


def test_a_server_stops_from_any_thread_and_twice(samples: Path) -> None:
    server = udpft.serve(samples, port=0)
    threads = [threading.Thread(target=server.stop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.stop()


@pytest.mark.parametrize(
    ("name", "output", "path"),
    [
        ("a.txt", None, "a.txt"),
        ("dir/a.txt", None, "a.txt"),
        ("/dir/a.txt", None, "a.txt"),
        ("../a.txt", None, "a.txt"),
        ("dir/a.txt", "b.txt", "b.txt"),
        ("dir/a.txt", "folder", "folder/a.txt"),
        ("dir/a.txt", "folder/", "folder/a.txt"),
        ("dir/a.txt", "missing/", "missing/a.txt"),
        ("..", "b.txt", "b.txt"),
        ("dir/", "b.txt", "b.txt"),
        (".hidden", None, ".hidden"),
    ],
)
def test_where_a_file_goes(here: Path, name: str, output: str | None, path: str) -> None:
    (here / "folder").mkdir()
    assert destination_of(name, output) == Path(path)


def test_a_folder_may_be_a_path(here: Path) -> None:
    assert destination_of("dir/a.txt", here) == here / "a.txt"
    assert destination_of("dir/a.txt", here / "b.txt") == here / "b.txt"


@pytest.mark.parametrize("name", ["", "dir/", ".", "..", "dir/..", "nul\0"])
def test_names_that_name_no_file(here: Path, name: str) -> None:
    for output in (None, here):
        with pytest.raises(UsageError, match="names no file"):
            destination_of(name, output)


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


def test_a_word_that_is_no_option_is_an_error_of_the_program(samples: Path) -> None:
    wrong: Any = {"chunksize": 1}
    with pytest.raises(TypeError):
        udpft.get("1", server="127.0.0.1", **wrong)
    with pytest.raises(TypeError):
        udpft.serve(samples, **wrong)
