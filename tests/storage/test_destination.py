"""What is at a file's destination already: the same, another one, what is no file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import udpft
from tests.faults import failing_below
from tests.samples import LARGE, SIZES, sample
from tests.storage.conftest import names, unprivileged
from udpft.api import connect
from udpft.client.client import Client
from udpft.errors import (
    DestinationExists,
    ExitCode,
    LocalReadFailed,
    LocalWriteFailed,
)
from udpft.outcome.result import Served


def state(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def test_the_same_file_is_up_to_date_and_nothing_is_sent(samples: Path, tmp_path: Path) -> None:
    served: list[Served] = []
    with (
        udpft.serve(samples, port=0, on_served=served.append) as server,
        connect(server.address) as client,
    ):
        for size in SIZES:
            path = tmp_path / str(size)
            path.write_bytes(sample(size))
            before = state(path)
            result = client.fetch(str(size), path)
            assert result.up_to_date
            assert result.verified
            assert (result.bytes, result.resumed_bytes) == (size, size)
            assert state(path) == before
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
    (tmp_path / "1").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for force in (False, True):
        for output, why in (("", "it is a folder"), ("fifo", "it is no regular file")):
            with pytest.raises(LocalWriteFailed, match=why):
                client.fetch("1", tmp_path / output, force=force)
            with pytest.raises(LocalWriteFailed, match=why):
                client.fetch_plain("1", tmp_path / output, force=force)
    assert names(tmp_path) == ["1", "fifo"]


def test_a_file_that_cannot_be_read_cannot_be_compared(client: Client, here: Path) -> None:
    (here / "out").write_bytes(b"secret")
    (here / "out").chmod(0)
    with unprivileged(), pytest.raises(DestinationExists, match="cannot be read to compare it"):
        client.fetch("1", Path("out"))
    (here / "out").chmod(0o600)
    assert (here / "out").read_bytes() == b"secret"


def test_a_disk_that_fails_while_comparing(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").write_bytes(sample(LARGE))
    monkeypatch.setattr(os, "preadv", failing_below("preadv", tmp_path))
    with pytest.raises(LocalReadFailed, match="cannot read the file that is here: Input/output"):
        client.fetch(str(LARGE), tmp_path / "out")
