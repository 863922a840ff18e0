"""Trees of which a file fails or changes midway: what came stays, and the rest comes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.samples import sample
from tests.trees import row
from udpft import Served
from udpft.api import RunningServer, connect
from udpft.errors import LocalReadFailed, PartialTransfer
from udpft.storage.source_file import SourceFile
from udpft.storage.trees.files import StagedTree

LARGE = 3_000_000
SMALL = 300


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree whose file ``m`` is in the middle: large and small ones before and after it."""
    tree = tmp_path / "served/t"
    tree.mkdir(parents=True)
    for name in ("a", "x"):
        (tree / name).write_bytes(sample(LARGE))
    for number in range(SMALL):
        (tree / f"b{number:03}").write_bytes(sample(1000 + number))
        (tree / f"y{number:03}").write_bytes(sample(1500 + number))
    (tree / "m").write_bytes(sample(5_000))
    return tree


@pytest.fixture
def served() -> list[Served]:
    return []


@pytest.fixture
def server(tree: Path, served: list[Served]) -> Iterator[RunningServer]:
    with udpft.serve(tree.parent, port=0, writable=True, on_served=served.append) as running:
        yield running


def fail_at_m(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reading ``m`` fail, whoever does."""
    for name in ("readv", "readv_now"):
        real = getattr(SourceFile, name)

        def fails(self: SourceFile, slots: list[memoryview], offset: int, real: Any = real) -> int:
            if os.readlink(f"/proc/self/fd/{self._fd}").endswith("/t/m"):
                raise LocalReadFailed("cannot read the file") from OSError(5, "Input/output error")
            return int(real(self, slots, offset))

        monkeypatch.setattr(SourceFile, name, fails)


def size_of(tree: Path) -> int:
    return sum(path.stat().st_size for path in tree.iterdir())


def check_all_but_m(tree: Path, copy: Path) -> None:
    assert sorted(os.listdir(copy)) == sorted(set(os.listdir(tree)) - {"m"})
    for name in os.listdir(copy):
        assert (copy / name).read_bytes() == (tree / name).read_bytes()


@row("a read error in the middle")
def test_a_fetched_tree_with_a_file_that_fails_is_not_sent_again(
    server: RunningServer,
    served: list[Served],
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_at_m(monkeypatch)
    with pytest.raises(PartialTransfer, match="t/m: it cannot be read: input/output error"):
        udpft.get("t", server=server, output=tmp_path / "out", recursive=True)
    check_all_but_m(tree, tmp_path / "out/t")
    assert os.listdir(tmp_path / "out") == ["t"]
    server.stop()
    assert sum(one.bytes_sent for one in served) < 1.3 * size_of(tree)


def test_a_stored_tree_with_a_file_that_fails_is_not_sent_again(
    server: RunningServer, served: list[Served], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at_m(monkeypatch)
    with pytest.raises(PartialTransfer, match="t/m: it cannot be read: input/output error"):
        udpft.put(tree, server=server, as_name="up", recursive=True)
    check_all_but_m(tree, tree.parent / "up")
    assert sorted(os.listdir(tree.parent)) == ["t", "up"]
    server.stop()
    trees = [one.bytes_received or 0 for one in served if one.bytes > 1_000_000]
    assert len(trees) == 2
    assert sum(trees) < 1.1 * size_of(tree)


def interrupt(monkeypatch: pytest.MonkeyPatch, after_bytes: int) -> None:
    real: Callable[..., None] = StagedTree.writev
    written = 0

    def interrupted(self: StagedTree, slots: list[memoryview], offset: int) -> None:
        nonlocal written
        if written > after_bytes:
            raise KeyboardInterrupt
        written += sum(map(len, slots))
        real(self, slots, offset)

    monkeypatch.setattr(StagedTree, "writev", interrupted)


@pytest.mark.parametrize("change", ["new", "gone", "other"])
def test_a_tree_that_changed_since_it_was_broken_off_is_gone_on_with(
    server: RunningServer, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    with connect(server.address) as client:
        with monkeypatch.context() as patched:
            interrupt(patched, 4_000_000)
            with pytest.raises(KeyboardInterrupt):
                client.fetch_tree("t", tmp_path / "out")
        if change == "new":
            (tree / "aa").write_bytes(sample(7_000))
        elif change == "gone":
            (tree / "b000").unlink()
        else:
            (tree / "b001").write_bytes(sample(9_000))
        result = client.fetch_tree("t", tmp_path / "out")
    assert result.resumed_bytes > 3_500_000
    assert result.verified
    for name in os.listdir(tree):
        assert (tmp_path / "out/t" / name).read_bytes() == (tree / name).read_bytes()
    assert os.listdir(tmp_path / "out") == ["t"]


def test_what_the_disk_spoiled_of_an_earlier_listing_comes_again(
    server: RunningServer, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with connect(server.address) as client:
        with monkeypatch.context() as patched:
            interrupt(patched, 4_000_000)
            with pytest.raises(KeyboardInterrupt):
                client.fetch_tree("t", out)
        [staging] = out.iterdir()
        with open(staging / "0", "r+b") as file:
            file.write(b"spoiled")
        with open(staging / "listing", "r+b") as file:
            file.seek(200)
            file.write(b"spoiled")
        (tree / "aa").write_bytes(b"new")
        result = client.fetch_tree("t", out)
    assert result.verified
    for name in os.listdir(tree):
        assert (out / "t" / name).read_bytes() == (tree / name).read_bytes()


@row("a file that grows, as a log")
@pytest.mark.parametrize("upload", [False, True])
def test_a_log_that_grows_comes_as_it_was_when_the_tree_was_listed(
    server: RunningServer,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    upload: bool,
) -> None:
    before = {path.name: path.read_bytes() for path in tree.iterdir()}
    real: Callable[..., None] = StagedTree.writev

    def grow(self: StagedTree, slots: list[memoryview], offset: int) -> None:
        if not grown:
            for name in ("a", "m", "y299"):
                with open(tree / name, "ab") as file:
                    file.write(b"one more line")
                grown.append(name)
        real(self, slots, offset)

    grown: list[str] = []
    monkeypatch.setattr(StagedTree, "writev", grow)
    if upload:
        result = udpft.put(tree, server=server, as_name="up", recursive=True)
        copy = tree.parent / "up"
    else:
        result = udpft.get("t", server=server, output=tmp_path / "out", recursive=True)
        copy = tmp_path / "out/t"
    assert result.verified
    assert len(grown) == 3
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
