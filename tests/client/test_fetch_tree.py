"""Listings and fetched trees, over loopback: a real server, a real client, real folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import udpft
from tests.cli.processes import run_udpft
from tests.trees import make_tree, seen
from udpft.api import RunningServer, connect
from udpft.cli.main import run
from udpft.client import fetch_tree
from udpft.errors import (
    DestinationExists,
    LocalWriteFailed,
    NoSuchFile,
    PartialTransfer,
    UsageError,
)
from udpft.protocol.wire.listing import Report
from udpft.storage.trees.files import StagedTree


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "served")


@pytest.fixture
def server(served: Path) -> Iterator[RunningServer]:
    with udpft.serve(served, port=0) as server:
        yield server


def test_a_tree_arrives_as_it_is(server: RunningServer, served: Path, tmp_path: Path) -> None:
    result = udpft.get("tree", server=server.address, output=tmp_path / "out", recursive=True)
    assert seen(tmp_path / "out/tree") == seen(served / "tree")
    assert result.verified
    assert result.files == 307
    assert os.listdir(tmp_path / "out") == ["tree"]


@pytest.mark.parametrize(("output", "place"), [([], ""), (["-o", "out"], " in out")])
def test_it_is_told_by_its_name(
    server: RunningServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output: list[str],
    place: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["get", "-r", "tree", "-s", server.address, *output]) == 0
    assert capsys.readouterr().err.startswith(f"tree{place}: 307 files: ")


@pytest.mark.usefixtures("here")
def test_an_empty_tree_is_verified_and_a_resumed_one_is_named(
    server: RunningServer, served: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (served / "void").mkdir()
    for words in (["void"], ["void", "-o", "out"]):
        assert run(["get", "-r", *words, "-s", server.address]) == 0
        assert capsys.readouterr().err.rstrip().endswith(", verified")
    with pytest.MonkeyPatch.context() as patched:
        real = StagedTree.writev

        def full(self: StagedTree, slots: list[memoryview], offset: int) -> None:
            if offset > 2_500_000:
                raise OSError(28, "No space left on device")
            real(self, slots, offset)

        patched.setattr(StagedTree, "writev", full)
        assert run(["get", "-r", "tree", "-s", server.address, "-o", "out"]) == 23
    capsys.readouterr()
    assert run(["get", "-r", "tree", "-s", server.address, "-o", "out"]) == 0
    assert capsys.readouterr().err.startswith("tree in out: resumed at ")


def test_a_slash_behind_the_name_leaves_the_name_out(
    server: RunningServer, served: Path, tmp_path: Path
) -> None:
    udpft.get("tree/", server=server.address, output=tmp_path / "out", recursive=True)
    assert seen(tmp_path / "out") == seen(served / "tree")


def test_a_tree_that_is_here_is_not_fetched_again(server: RunningServer, tmp_path: Path) -> None:
    for _ in range(2):
        result = udpft.get("tree", server=server.address, output=tmp_path / "out", recursive=True)
    assert result.up_to_date
    assert result.rate_bytes_per_s == 0


def test_a_different_file_is_kept_unless_forced(
    server: RunningServer, served: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    udpft.get("tree", server=server.address, output=out, recursive=True)
    (out / "tree/large").write_text("mine")
    (out / "tree/many/001").unlink()
    with pytest.raises(DestinationExists, match="large"):
        udpft.get("tree", server=server.address, output=out, recursive=True)
    assert (out / "tree/large").read_text() == "mine"
    result = udpft.get("tree", server=server.address, output=out, recursive=True, force=True)
    assert seen(out / "tree") == seen(served / "tree")
    assert result.resumed_bytes > 0


def test_what_is_left_of_an_interrupted_tree_is_not_sent_again(
    server: RunningServer, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, written = tmp_path / "out", 0
    real = StagedTree.writev

    def interrupted(self: StagedTree, slots: list[memoryview], offset: int) -> None:
        nonlocal written
        if written > 1_500_000:
            raise KeyboardInterrupt
        written += sum(map(len, slots))
        real(self, slots, offset)

    with connect(server.address) as client, monkeypatch.context() as patched:
        patched.setattr(StagedTree, "writev", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            client.fetch_tree("tree", out)
        assert any("resume" in note for note in caught.value.__notes__)
        assert not (out / "tree").exists()
    with connect(server.address) as client:
        result = client.fetch_tree("tree", out)
    assert result.resumed_bytes >= 1_000_000
    assert seen(out / "tree") == seen(served / "tree")


def test_a_destination_far_from_any_folder_is_told_so(
    server: RunningServer, tmp_path: Path
) -> None:
    with pytest.raises(LocalWriteFailed, match=r"there is no folder .*far/from$") as told:
        udpft.get("tree", server=server, output=tmp_path / "far/from/any", recursive=True)
    assert "mkdir -p" in told.value.hint


def test_a_symlink_at_the_destination_is_not_followed(
    server: RunningServer, tmp_path: Path
) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    (out / "tree").mkdir(parents=True)
    (out / "tree/a").symlink_to(elsewhere)
    with pytest.raises(PartialTransfer, match="tree/a: a symlink is in the way"):
        udpft.get("tree", server=server.address, output=out, recursive=True)
    assert os.listdir(elsewhere) == []
    assert (out / "tree/large").exists()


def test_wildcards_fetch_what_matches(server: RunningServer, tmp_path: Path) -> None:
    done = run_udpft("get", "*.txt", "-s", server.address, "-o", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "one.txt").read_text() == "1"
    assert (tmp_path / "two.txt").read_text() == "22"
    assert not (tmp_path / "other.bin").exists()
    done = run_udpft("get", "*.nothing", "-s", server.address, "-o", str(tmp_path))
    assert done.returncode == 78


def test_a_name_with_wildcards_in_it_is_found_first(
    server: RunningServer, served: Path, tmp_path: Path
) -> None:
    (served / "o*.txt").write_text("literally")
    mine = tmp_path / "mine.txt"
    assert run_udpft("get", "o*.txt", "-s", server.address, "-o", str(mine)).returncode == 0
    assert mine.read_text() == "literally"


def test_a_folder_is_not_fetched_by_accident(server: RunningServer, tmp_path: Path) -> None:
    done = run_udpft("get", "tree", "-s", server.address, "-o", str(tmp_path))
    assert done.returncode == 78
    assert "get -r" in done.stderr
    with pytest.raises(UsageError):
        udpft.get("tree", server=server.address, recursive=True, mode="plain")


def test_a_listing_names_what_is_served_and_nothing_else(server: RunningServer) -> None:
    def names(*args: str, **options: bool) -> list[str]:
        return [e.path for e in udpft.list_files(*args, server=server.address, **options)]

    assert names() == ["one.txt", "other.bin", "tree", "two.txt"]
    assert names("t*") == ["tree", "two.txt"]
    assert names("tree/ün*/*") == ["tree/ünï/文件"]
    assert names("one.txt") == ["one.txt"]
    assert names("tree/empty") == ["tree/empty/inner"]
    below = names("tree", recursive=True)
    assert below[:3] == ["tree", "tree/a", "tree/a/deep"]
    assert not [name for name in below if "leak" in name or "out" in name or "hidden" in name]
    for nowhere in ("nope", "../", "..", "tree/.hidden", "tree/leak", "tree/way out/", "/etc"):
        with pytest.raises(NoSuchFile):
            names(nowhere)


def test_a_listing_longer_than_a_client_takes_is_refused(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("udpft.client.fetch_tree.MAX_LISTING_BYTES", 40)
    with pytest.raises(PartialTransfer, match="the listing is too long"):
        udpft.list_files(server=server.address)
    with pytest.raises(PartialTransfer, match="the listing is too long"):
        udpft.get("tree", server=server.address, recursive=True, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_changes_between_listing_and_sending_is_listed_again(
    server: RunningServer, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = fetch_tree.fetch_report, 0

    def meddling(*args: object, **options: object) -> tuple[Report, int]:
        nonlocal calls
        listed = real(*args, **options)  # type: ignore[arg-type]
        calls += 1
        if calls == 1:
            (served / "tree/many/007").write_text("changed meanwhile")
        return listed

    monkeypatch.setattr(fetch_tree, "fetch_report", meddling)
    udpft.get("tree", server=server.address, output=tmp_path / "out", recursive=True)
    assert calls == 2
    assert seen(tmp_path / "out/tree") == seen(served / "tree")


def test_a_file_of_the_same_size_and_time_that_differs_is_noticed(
    server: RunningServer, served: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    udpft.get("tree", server=server.address, output=out, recursive=True)
    mine = out / "tree/many/200"
    time_ns = mine.stat().st_mtime_ns
    mine.write_bytes(bytes(1400))
    os.utime(mine, ns=(time_ns, time_ns))
    (out / "tree/many/201").unlink()  # or nothing would have to come, and nothing be compared
    with pytest.raises(DestinationExists, match="differs"):
        udpft.get("tree", server=server.address, output=out, recursive=True)
    assert mine.read_bytes() == bytes(1400)
    udpft.get("tree", server=server.address, output=out, recursive=True, force=True)
    assert seen(out / "tree") == seen(served / "tree")


def test_what_is_left_of_another_tree_does_no_harm(
    server: RunningServer, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    real = StagedTree.writev

    def interrupted(self: StagedTree, slots: list[memoryview], offset: int) -> None:
        real(self, slots, offset)
        if offset > 1_500_000:
            raise KeyboardInterrupt

    with connect(server.address) as client, monkeypatch.context() as patched:
        patched.setattr(StagedTree, "writev", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.fetch_tree("tree", out)
    for path in (served / "tree").rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.write_bytes(path.read_bytes()[:-1][::-1])  # each of them shorter
    udpft.get("tree", server=server.address, output=out, recursive=True)
    assert seen(out / "tree") == seen(served / "tree")


def test_a_listing_that_took_its_time_is_made_anew_for_the_next_one(
    server: RunningServer, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("udpft.server.listings.SLICE_S", -1.0)  # so that it is kept for its tree
    for content in ("first", "second"):
        (served / "tree/many/007").write_text(content)
        out = tmp_path / content
        udpft.get("tree", server=server.address, output=out, recursive=True)
        assert seen(out / "tree") == seen(served / "tree")
