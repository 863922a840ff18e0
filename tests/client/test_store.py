"""Stored files, over loopback: a real server, a real client, real folders."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.cli.processes import run_udpft
from udpft.api import RunningServer, connect
from udpft.errors import (
    Denied,
    DestinationExists,
    LocalReadFailed,
    NoSuchFile,
    SourceChanged,
    UploadRefused,
)
from udpft.keys import new_key_file
from udpft.outcome.served import Served
from udpft.storage.partfile import PartFile

MB = random.Random(3).randbytes(1_000_000)


@pytest.fixture
def server(stored: Path) -> Iterator[RunningServer]:
    with udpft.serve(stored, port=0, writable=True) as server:
        yield server


def local(tmp_path: Path, content: bytes, name: str = "file") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2049, 4096, 5 * 2**20 + 3])
def test_a_file_arrives_as_it_is(
    server: RunningServer, stored: Path, tmp_path: Path, size: int
) -> None:
    content = (MB * 6)[:size]
    result = udpft.put(local(tmp_path, content), server=server.address)
    assert (stored / "file").read_bytes() == content
    assert (result.bytes, result.verified, result.resumed_bytes) == (size, True, 0)
    assert os.listdir(stored) == ["file"]


def test_without_writable_it_is_refused_and_leaves_nothing(stored: Path, tmp_path: Path) -> None:
    file = local(tmp_path, MB)
    with udpft.serve(stored, port=0) as server:
        with pytest.raises(UploadRefused):
            udpft.put(file, server=server.address)
        done = run_udpft("put", str(file), "-s", server.address)
    assert done.returncode == 25
    assert "--writable" in done.stderr
    assert os.listdir(stored) == []


def test_the_same_file_again_is_not_sent(server: RunningServer, tmp_path: Path) -> None:
    file = local(tmp_path, MB)
    assert not udpft.put(file, server=server.address).up_to_date
    again = udpft.put(file, server=server.address)
    assert again.up_to_date
    assert again.resumed_bytes == len(MB)


def test_a_different_file_is_replaced_by_force_only(
    server: RunningServer, stored: Path, tmp_path: Path
) -> None:
    (stored / "file").write_bytes(b"theirs")
    file = local(tmp_path, b"ours")
    with pytest.raises(DestinationExists):
        udpft.put(file, server=server.address)
    (stored / "same size").write_bytes(b"them")
    with pytest.raises(DestinationExists):
        udpft.put(file, server=server.address, as_name="same size")
    assert (stored / "file").read_bytes() == b"theirs"
    assert (stored / "same size").read_bytes() == b"them"
    udpft.put(file, server=server.address, force=True)
    assert (stored / "file").read_bytes() == b"ours"


@pytest.mark.parametrize("force", [False, True])
def test_what_appears_there_meanwhile_is_replaced_by_force_only(
    server: RunningServer,
    stored: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    force: bool,
) -> None:
    commit = PartFile.commit

    def appear_and_commit(part: PartFile, *args: Any, **kwargs: Any) -> None:
        if not (stored / "file").exists():
            (stored / "file").write_bytes(b"mine")
        commit(part, *args, **kwargs)

    monkeypatch.setattr(PartFile, "commit", appear_and_commit)
    file = local(tmp_path, MB + MB)
    with nullcontext() if force else pytest.raises(DestinationExists, match="'file' is on the"):
        udpft.put(file, server=server.address, force=force)
    assert (stored / "file").read_bytes() == (MB + MB if force else b"mine")
    # What came is kept for a put with force, which sends nothing then.
    assert len(os.listdir(stored)) == (1 if force else 2)
    result = udpft.put(file, server=server.address, force=True)
    assert (stored / "file").read_bytes() == MB + MB
    assert force or result.resumed_bytes == len(MB + MB)
    assert os.listdir(stored) == ["file"]


def test_the_same_file_that_appears_there_meanwhile_is_none_to_complain_about(
    server: RunningServer, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = PartFile.commit

    def appear_and_commit(part: PartFile, *args: Any, **kwargs: Any) -> None:
        (stored / "file").write_bytes(MB)
        commit(part, *args, **kwargs)

    monkeypatch.setattr(PartFile, "commit", appear_and_commit)
    udpft.put(local(tmp_path, MB), server=server.address)
    assert os.listdir(stored) == ["file"]


def test_files_that_do_not_know_their_sizes_are_stored_and_fetched(
    server: RunningServer, stored: Path, tmp_path: Path
) -> None:
    version = Path("/proc/version")
    assert version.stat().st_size == 0
    result = udpft.put(version, server=server.address)
    assert result.bytes == len(version.read_bytes())
    assert (stored / "version").read_bytes() == version.read_bytes()
    assert udpft.put(version, server=server.address).up_to_date
    with udpft.serve("/proc/sys/kernel", port=0) as proc:
        udpft.get("ostype", server=proc.address, output=tmp_path / "ostype")
    assert (tmp_path / "ostype").read_bytes() == Path("/proc/sys/kernel/ostype").read_bytes()


def test_a_log_that_grows_is_stored_as_it_was(
    server: RunningServer, stored: Path, tmp_path: Path
) -> None:
    file = local(tmp_path, MB * 3)

    def grow(*_: int) -> None:
        with file.open("ab") as log:
            log.write(b"one more line")

    udpft.put(file, server=server.address, progress=grow, limit_rate=8_000_000)
    assert file.stat().st_size > len(MB * 3)
    assert (stored / "file").read_bytes() == MB * 3


def test_a_file_that_is_written_to_inside_is_not_stored(
    server: RunningServer, stored: Path, tmp_path: Path
) -> None:
    file = local(tmp_path, MB * 3)

    def write(*_: int) -> None:
        with file.open("r+b") as changing:
            changing.write(b"changed")

    with pytest.raises(SourceChanged, match="changed while it was sent") as caught:
        udpft.put(file, server=server.address, progress=write, limit_rate=8_000_000)
    assert "nothing writes to it" in caught.value.hint
    assert os.listdir(stored) == [".file.udpft-part"]
    udpft.put(file, server=server.address)
    assert (stored / "file").read_bytes() == b"changed" + (MB * 3)[7:]
    assert os.listdir(stored) == ["file"]


def test_a_slash_behind_the_name_is_a_folder_there(
    server: RunningServer, stored: Path, tmp_path: Path
) -> None:
    result = udpft.put(local(tmp_path, b"x"), server=server.address, as_name="a/b/")
    assert (stored / "a/b/file").read_bytes() == b"x"
    assert result.name == "a/b/file"


def test_folders_on_the_way_are_made(server: RunningServer, stored: Path, tmp_path: Path) -> None:
    udpft.put(local(tmp_path, b"x"), server=server.address, as_name="a/b/ç.txt")
    assert (stored / "a/b/ç.txt").read_bytes() == b"x"


@pytest.mark.parametrize(
    "name", ["../up", "/abs", "a/../b", "a//b", ".hidden", ".x.udpft-part", "way out/x"]
)
def test_no_name_leads_out_of_the_folder(
    server: RunningServer, stored: Path, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (stored / "way out").symlink_to(outside)
    with pytest.raises(Denied):
        udpft.put(local(tmp_path, b"x"), server=server.address, as_name=name, force=True)
    assert os.listdir(outside) == []
    assert {p.name for p in tmp_path.iterdir()} == {"file", "outside", "stored"}


def test_a_symlink_is_replaced_and_never_followed(
    server: RunningServer, stored: Path, tmp_path: Path
) -> None:
    secret = local(tmp_path, b"same", "secret")
    (stored / "file").symlink_to(secret)
    file = local(tmp_path, b"same")
    with pytest.raises(DestinationExists):
        udpft.put(file, server=server.address)
    file.write_bytes(b"ours")
    udpft.put(file, server=server.address, force=True)
    assert secret.read_bytes() == b"same"
    assert not (stored / "file").is_symlink()


def test_what_is_left_of_an_interrupted_upload_is_not_sent_again(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = MB * 8
    file = local(tmp_path, content)
    written = 0
    real = PartFile.writev

    def counted(self: PartFile, slots: list[memoryview], offset: int) -> None:
        nonlocal written
        real(self, slots, offset)
        written += sum(map(len, slots))

    monkeypatch.setattr(PartFile, "writev", counted)

    def interrupt(_done: int, _total: int) -> None:
        if written > 2_000_000:
            raise KeyboardInterrupt

    told: list[Served] = []
    with udpft.serve(stored, port=0, writable=True, on_served=told.append) as server:
        with (
            connect(server.address, limit_rate=20_000_000) as client,
            pytest.raises(KeyboardInterrupt),
        ):
            client.store(file, progress=interrupt)
        assert not (stored / "file").exists()
    with udpft.serve(stored, port=0, writable=True, on_served=told.append) as server:
        result = udpft.put(file, server=server.address)
    assert (stored / "file").read_bytes() == content
    assert result.resumed_bytes > 1_000_000
    assert told[-1].bytes_received == len(content) - result.resumed_bytes
    assert os.listdir(stored) == ["file"]


def test_limits_are_kept(stored: Path, tmp_path: Path) -> None:
    file = local(tmp_path, MB)
    with (
        udpft.serve(stored, port=0, writable=True, max_upload=999_999) as server,
        pytest.raises(Denied, match="up to 1 MB"),
    ):
        udpft.put(file, server=server.address)
    with udpft.serve(stored, port=0, writable=True, quota=1_500_000) as server:
        udpft.put(file, server=server.address, as_name="one")
        with pytest.raises(Denied, match="quota"):
            udpft.put(file, server=server.address, as_name="two")
    assert os.listdir(stored) == ["one"]


def test_an_upload_with_a_key(stored: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    new_key_file(key)
    file = local(tmp_path, MB)
    with udpft.serve(stored, port=0, writable=True, key_file=key) as server:
        result = udpft.put(file, server=server.address, key_file=key)
    assert result.verified
    assert (stored / "file").read_bytes() == MB


def test_what_cannot_be_read_is_said_before_anybody_is_asked(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(LocalReadFailed):
            udpft.put(path, server="127.0.0.1:1")


def test_parts_are_neither_listed_nor_served_nor_replaced(stored: Path, tmp_path: Path) -> None:
    part = stored / ".file.udpft-part"
    part.write_bytes(b"half")
    with udpft.serve(stored, port=0, writable=True, hidden=True) as server:
        assert udpft.list_files(server=server.address) == []
        with pytest.raises(NoSuchFile):
            udpft.get(part.name, server=server.address, output=tmp_path / "mine")
        with pytest.raises(Denied):
            udpft.put(local(tmp_path, b"x"), server=server.address, as_name=part.name, force=True)
    assert part.read_bytes() == b"half"


def test_the_rate_is_limited_by_either_end(stored: Path, tmp_path: Path) -> None:
    file = local(tmp_path, MB)
    for options, limits in (({}, {"max_rate": 2_000_000}), ({"limit_rate": 2_000_000}, {})):
        with udpft.serve(stored, port=0, writable=True, **limits) as server:  # type: ignore[arg-type]
            result = udpft.put(file, server=server.address, force=True, **options)  # type: ignore[arg-type]
        assert result.seconds > 0.4


def test_what_uploads_bring_counts_and_what_they_give_back_does_not(
    stored: Path, tmp_path: Path
) -> None:
    file = local(tmp_path, MB)
    with udpft.serve(stored, port=0, writable=True, quota=1_500_000) as server:
        udpft.put(file, server=server.address)
        assert udpft.put(file, server=server.address).up_to_date  # nothing has to come for it
        with pytest.raises(Denied):
            udpft.put(file, server=server.address, as_name="two")
        udpft.put(local(tmp_path, MB[:400_000], "three"), server=server.address)
