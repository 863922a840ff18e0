"""A limit on what a client fetches: nothing of what is larger is kept, or even asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from queue import Queue

import pytest

import udpft
import udpft.aio
from tests.samples import LARGE, PATIENCE_S, sample
from tests.storage.conftest import names
from udpft.api import RunningServer, connect
from udpft.cli.main import run
from udpft.errors import ExitCode, TooLarge
from udpft.outcome.served import Served


@pytest.mark.parametrize("mode", ["reliable", "plain"])
def test_what_is_larger_is_refused_and_leaves_nothing(
    server: RunningServer, tmp_path: Path, mode: str
) -> None:
    with pytest.raises(TooLarge, match=r"'4096' has .* more than the .* --max-size") as refused:
        udpft.get("4096", server=server.address, output=tmp_path, mode=mode, max_size=4095)  # type: ignore[arg-type]
    assert refused.value.exit_code == ExitCode.TOO_LARGE == 63
    assert names(tmp_path) == []
    udpft.get("4096", server=server.address, output=tmp_path, mode=mode, max_size=4096)  # type: ignore[arg-type]
    assert (tmp_path / "4096").read_bytes() == sample(4096)


def test_nothing_of_it_was_sent(samples: Path, tmp_path: Path) -> None:
    served: Queue[Served] = Queue()
    with udpft.serve(samples, port=0, on_served=served.put) as server:
        with pytest.raises(TooLarge):
            udpft.get(str(LARGE), server=server.address, output=tmp_path, max_size=LARGE - 1)
        one = served.get(timeout=PATIENCE_S)
    assert one.error is not None
    assert one.bytes_sent < 500_000  # the first flights, at most


def test_a_tree_is_refused_by_all_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "served" / "tree").mkdir(parents=True)
    for name in "abc":
        (tmp_path / "served" / "tree" / name).write_bytes(bytes(1_000))
    with (
        udpft.serve(tmp_path / "served", port=0) as server,
        connect(server.address, max_size=2_999) as client,
    ):
        with pytest.raises(TooLarge):
            client.fetch_tree("tree", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert len(client.list_files("tree")) == 3  # a listing is not what is limited
    with (
        udpft.serve(tmp_path / "served", port=0) as server,
        connect(server.address, max_size=3_000) as client,
    ):
        assert client.fetch_tree("tree", tmp_path / "out").bytes == 3_000


def test_asyncio_has_it_too(server: RunningServer, tmp_path: Path) -> None:
    async def fetch() -> None:
        async with udpft.aio.connect(server.address, max_size=100) as client:
            await client.fetch("2048", tmp_path / "out")

    with pytest.raises(TooLarge):
        asyncio.run(fetch())
    assert names(tmp_path) == []


def test_the_command_goes_on_with_what_is_small_enough(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["get", "4096", "1", "-s", server.address, "-o", str(tmp_path), "--max-size", "4K"]
    assert run([*words[:-1], "4k"]) == ExitCode.TOO_LARGE
    assert names(tmp_path) == ["1"]
    assert "--max-size" in capsys.readouterr().err
