"""Files on a server as file objects: they read, seek and end as those on a disk do."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import udpft
from tests.samples import LARGE, sample
from udpft.client.client import Client
from udpft.client.parts.remote_file import FIRST_READ_BYTES
from udpft.errors import NoSuchFile, SourceChanged, UsageError

CONTENT = sample(LARGE)
NAME = str(LARGE)

steps = st.lists(
    st.tuples(st.just("read"), st.integers(0, 200_000))
    | st.tuples(st.just("seek"), st.integers(0, LARGE + 10))
    | st.tuples(st.just("back"), st.integers(0, LARGE))
    | st.tuples(st.just("line"), st.just(0)),
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_it_reads_as_a_file_in_memory_does(client: Client, steps: list[tuple[str, int]]) -> None:
    other = io.BytesIO(CONTENT)
    with client.open(NAME, read_ahead=100_000) as file:
        for what, number in steps:
            if what == "read":
                assert file.read(number) == other.read(number)
            elif what == "line":
                assert file.readline() == other.readline()
            else:
                arguments = (number, 0) if what == "seek" else (-number, 2)
                assert file.seek(*arguments) == other.seek(*arguments)
            assert file.tell() == other.tell()
        assert file.read() == other.read()


def test_it_says_what_it_is(client: Client) -> None:
    with client.open(NAME) as file:
        assert (file.size, file.name) == (LARGE, NAME)
        assert file.identity == client.open(NAME).identity
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        with pytest.raises(ValueError, match="negative"):
            file.raw.seek(-1)
        with pytest.raises(ValueError, match="whence"):
            file.raw.seek(0, 9)
    for call in (file.read, file.tell, file.raw.tell):
        with pytest.raises(ValueError, match="closed"):
            call()


@pytest.mark.parametrize("name", ["0", "1", "2049"])
def test_small_files_too(client: Client, name: str) -> None:
    with client.open(name) as file:
        assert file.read() == sample(int(name))
        assert file.read() == b""
        assert file.seek(-min(1, file.size), io.SEEK_END) >= 0
        assert file.read(9) == sample(int(name))[-1:]


def test_what_is_not_there_is_told_when_it_is_opened(client: Client) -> None:
    with pytest.raises(NoSuchFile):
        client.open("missing")
    with client.open("1") as file:
        client.close()
        assert file.read() == sample(1)  # which is here
    with pytest.raises(UsageError, match="closed"):
        client.open("1")


@contextmanager
def counted(samples: Path, sizes: list[int]) -> Iterator[Client]:
    """A client of a server that tells what it has sent, all of it once the block has ended."""

    def note(one: udpft.Served) -> None:
        sizes.append(one.bytes)

    with udpft.serve(samples, port=0, on_served=note) as server, udpft.connect(server) as client:
        yield client


def test_who_reads_on_is_ahead_and_who_jumps_is_not(samples: Path) -> None:
    sizes: list[int] = []
    with (
        counted(samples, sizes) as client,
        client.open(NAME, read_ahead=8 * FIRST_READ_BYTES) as file,
    ):
        while file.read(10_000):
            pass
        file.seek(LARGE // 2)
        file.read(10)
    assert sizes[:4] == [FIRST_READ_BYTES * factor for factor in (1, 2, 4, 8)]
    assert max(sizes) == 8 * FIRST_READ_BYTES
    assert sizes[-1] == FIRST_READ_BYTES


def test_all_that_is_left_comes_as_one(samples: Path) -> None:
    sizes: list[int] = []
    with counted(samples, sizes) as client, client.open(NAME) as file:
        file.read(10)
        assert file.read() == CONTENT[10:]
    assert sizes == [FIRST_READ_BYTES, LARGE - FIRST_READ_BYTES]


@pytest.mark.parametrize("change", ["other", "shorter", "gone"])
def test_another_version_is_no_part_of_it(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with (
        udpft.serve(tmp_path, port=0) as server,
        udpft.connect(server) as client,
        client.open("file") as file,
    ):
        assert file.read(10) == CONTENT[:10]
        file.seek(LARGE - 10)
        if change == "gone":
            path.unlink()
        else:
            path.write_bytes(bytes(LARGE if change == "other" else 100))
            os.utime(path, (1, 1))
        with pytest.raises(NoSuchFile if change == "gone" else SourceChanged):
            file.read()


def test_a_zip_file_is_read_from_its_end(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("noise", os.urandom(1 << 20))
        archive.writestr("hello.txt", "Hello over UDP.\n")
    with (
        udpft.serve(tmp_path, port=0) as server,
        udpft.connect(server) as client,
        client.open("a.zip") as file,
        zipfile.ZipFile(file) as archive,
    ):
        assert archive.read("hello.txt") == b"Hello over UDP.\n"
