"""A fetch that the local disk or its user breaks off."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import udpft
from tests.faults import failing_below, file_size_limit
from tests.samples import LARGE
from tests.storage.conftest import names, unprivileged
from udpft.api import connect
from udpft.client.client import Client
from udpft.errors import (
    ExitCode,
    LocalWriteFailed,
)
from udpft.outcome.served import Served


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


def test_interrupted_it_leaves_a_part_and_tells_the_server(samples: Path, tmp_path: Path) -> None:
    served: list[Served] = []

    def interrupt(_done: int, _total: int) -> None:
        assert names(tmp_path) == [".out.udpft-part"]
        raise KeyboardInterrupt

    with (
        udpft.serve(samples, port=0, on_served=served.append, max_rate=1_000_000) as server,
        pytest.raises(KeyboardInterrupt),
    ):
        udpft.get(str(LARGE), server=server.address, output=tmp_path / "out", progress=interrupt)
    assert [str(one.error) for one in served] == ["the client gave up: it was interrupted"]
    assert names(tmp_path) == [".out.udpft-part"]
