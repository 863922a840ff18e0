"""Reliable fetches from real servers on loopback, and their records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest

import udpft
from tests.samples import LARGE, SIZES, sample
from tests.storage.conftest import names
from tests.trees import A_TIME
from udpft.api import RunningServer, connect
from udpft.cli.main import run
from udpft.client.client import Client
from udpft.testing import LossyLink


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
    monkeypatch.setattr("udpft.server.server.DRAIN_S", 0)  # the client's last word may be lost
    files = tmp_path / "files"
    files.mkdir()
    content = sample(LARGE)[: LARGE if loss < 0.1 else 500_000]
    (files / name).write_bytes(content)
    (files / "empty").touch()
    with (
        udpft.serve(files, port=0) as server,
        LossyLink(server, loss=loss, seed=7) as link,
        connect(link.address) as client,
    ):
        client.fetch("empty", tmp_path / "empty")
        result = client.fetch(name, tmp_path / "out")
        assert link.lost > 0
    assert (tmp_path / "out").read_bytes() == content
    assert (tmp_path / "empty").read_bytes() == b""
    assert result.resent_packets > 0


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


def test_a_file_gets_the_time_of_its_source(tmp_path: Path) -> None:
    (tmp_path / "served/t").mkdir(parents=True)
    source = tmp_path / "served/t/file"
    source.write_text("x")
    os.utime(source, ns=(A_TIME, A_TIME))
    out = tmp_path / "out"
    with udpft.serve(tmp_path / "served", port=0) as server, connect(server.address) as client:
        kept = client.fetch("t/file", tmp_path / "kept").path
        left = client.fetch("t/file", tmp_path / "left", times=False).path
        plain = client.fetch_plain("t/file", tmp_path / "plain").path
        out.joinpath("t").mkdir(parents=True)
        client.fetch("t/file", out / "t")
        assert client.fetch_tree("t", out).up_to_date  # it is the same, by size and time
    assert kept.stat().st_mtime_ns == A_TIME
    for path in (left, plain):
        assert path.stat().st_mtime > A_TIME / 1e9 + 1


def test_no_times_is_of_single_files(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-s", server.address, "-o", str(tmp_path), "--no-times"]
    assert run(["get", "4096", *words]) == 0
    assert (tmp_path / "4096").exists()
    assert run(["get", "-r", "", *words]) == 2
    assert "--no-times is of single files" in capsys.readouterr().err
