"""Comparisons of single files of a tree, over loopback; and trees whose files have other times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import udpft
from tests.samples import sample
from udpft import Served
from udpft.api import RunningServer, connect
from udpft.client import fetch_tree, store_tree
from udpft.client.tree_comparison import LocalFile, compare_files
from udpft.errors import DestinationExists
from udpft.storage.trees.folders import FOLDER_FLAGS

SIZE = 200_000
A_TIME = 1_234_567_890_123_456_789


@pytest.fixture
def there(tmp_path: Path) -> Path:
    there = tmp_path / "served/t"
    (there / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (there / name).write_bytes(sample(SIZE))
    return there


@pytest.fixture
def served() -> list[Served]:
    return []


@pytest.fixture
def server(there: Path, served: list[Served]) -> Iterator[RunningServer]:
    with udpft.serve(there.parent, port=0, writable=True, on_served=served.append) as running:
        yield running


@pytest.fixture
def here(server: RunningServer, served: list[Served], tmp_path: Path) -> Path:
    """The tree, once fetched; a file has another time now, and one another content as well."""
    udpft.get("t", server=server, output=tmp_path / "out", recursive=True)
    served.clear()
    os.utime(tmp_path / "out/t/a", ns=(1, 1))
    return tmp_path / "out/t"


def spoil(path: Path) -> None:
    path.write_bytes(sample(SIZE)[::-1])
    os.utime(path, ns=(2, 2))


def test_files_are_compared_by_their_digests(
    server: RunningServer, served: list[Served], there: Path, here: Path
) -> None:
    spoil(here / "b")
    folder_fd = os.open(here, FOLDER_FLAGS)
    try:
        files = [(f"t/{name}", LocalFile(SIZE, name, lambda: folder_fd)) for name in "ab"]
        with connect(server.address) as client:
            gone = ("t/gone", LocalFile(SIZE, "a", lambda: folder_fd))
            empty = ("t/none", LocalFile(0, "none", lambda: folder_fd))
            found = compare_files(client._connection, [*files, gone, empty])
            assert found == {"t/a", "t/none"}
            assert compare_files(client._connection, files, limit=1) is None
            long = [("x" * 1_000, files[0][1])]
            assert compare_files(client._connection, long) is None
    finally:
        os.close(folder_fd)
    server.stop()
    assert sum(one.bytes_sent for one in served) < 10_000
    assert os.listdir(there.parent) == ["t"]


@pytest.mark.parametrize("limit", [256, 0])
def test_a_file_of_another_time_is_compared_and_gets_that_time(
    server: RunningServer,
    served: list[Served],
    there: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
) -> None:
    for module in (fetch_tree, store_tree):
        monkeypatch.setattr(module, "MAX_COMPARED", limit)
    result = udpft.get("t", server=server, output=here.parent, recursive=True)
    assert (result.files, result.up_to_date) == (3, True)
    assert (here / "a").stat().st_mtime_ns == (there / "a").stat().st_mtime_ns
    os.utime(here / "a", ns=(A_TIME, A_TIME))
    result = udpft.put(here, server=server, recursive=True)
    assert (result.files, result.up_to_date) == (3, True)
    assert (there / "a").stat().st_mtime_ns == A_TIME
    server.stop()
    assert sum(one.bytes_sent + (one.bytes_received or 0) for one in served) < 20_000


@pytest.mark.parametrize("limit", [256, 0])
def test_only_what_truly_differs_is_named(
    server: RunningServer,
    there: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
) -> None:
    for module in (fetch_tree, store_tree):
        monkeypatch.setattr(module, "MAX_COMPARED", limit)
    spoil(here / "b")
    with pytest.raises(DestinationExists, match=r"t/b differs, and has the same size$"):
        udpft.get("t", server=server, output=here.parent, recursive=True)
    os.utime(here / "a", ns=(A_TIME, A_TIME))
    same_size = r"t/b is on the server, and differs, and has the same size$"
    with pytest.raises(DestinationExists, match=same_size) as caught:
        udpft.put(here, server=server, recursive=True)
    assert "--as" in caught.value.hint
    assert (there / "b").read_bytes() == sample(SIZE)
    assert (there / "a").stat().st_mtime_ns == A_TIME


@pytest.mark.parametrize("checksum", [False, True])
def test_a_dry_run_says_what_would_come_and_what_differs(
    server: RunningServer, served: list[Served], there: Path, here: Path, checksum: bool
) -> None:
    options = {"recursive": True, "dry_run": True, "checksum": checksum}

    def get(**more: bool) -> udpft.Result:
        return udpft.get("t", server=server, output=here.parent, **options, **more)  # type: ignore[arg-type]

    def put(**more: bool) -> udpft.Result:
        return udpft.put(here, server=server, **options, **more)  # type: ignore[arg-type]

    for result in (get(), put()):
        assert (result.up_to_date, result.verified, result.files) == (True, checksum, 0)
    (here / "sub/c").unlink()
    result = get()
    assert result.tree
    assert (result.tree.listed, result.up_to_date) == ((("t/sub/c", SIZE),), False)
    assert put().tree.listed == ()  # type: ignore[union-attr]
    time_ns = (there / "b").stat().st_mtime_ns
    (here / "b").write_bytes(sample(SIZE)[::-1])
    os.utime(here / "b", ns=(time_ns, time_ns))
    for ask in (get, put):
        if checksum:
            with pytest.raises(DestinationExists, match=r"t/b .*differs, and has the same size"):
                ask()
            assert ("t/b", SIZE) in ask(force=True).tree.listed  # type: ignore[union-attr]
        else:
            ask()
    (here / "b").write_bytes(b"another size")
    for ask in (get, put):
        with pytest.raises(DestinationExists, match=r"t/b .*is a different file"):
            ask()
        assert "t/b" in dict(ask(force=True).tree.listed)  # type: ignore[union-attr]
    assert (here / "a").stat().st_mtime_ns == 1
    server.stop()
    assert sum(one.bytes_sent + (one.bytes_received or 0) for one in served) < SIZE


@pytest.mark.parametrize("checksum", [False, True])
def test_a_dry_run_says_what_it_would_compare_where_that_is_much(
    server: RunningServer, here: Path, monkeypatch: pytest.MonkeyPatch, checksum: bool
) -> None:
    for module in (fetch_tree, store_tree):
        monkeypatch.setattr(module, "MAX_COMPARED_DRY", 0)
    with connect(server.address) as client:
        for result in (
            client.fetch_tree("t", here.parent, dry_run=True, checksum=checksum),
            client.store_tree(here, dry_run=True, checksum=checksum),
        ):
            assert result.tree
            number = 3 if checksum else 1
            assert result.tree.notes == (
                f"{number} files of the same size would be compared by their contents",
            )


def test_a_server_that_lists_nothing_has_files_of_another_time_compared_too(
    server: RunningServer, there: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_tree, "_there", lambda *_: {})
    os.utime(here / "a", ns=(A_TIME, A_TIME))
    (here / "b").write_bytes(b"another size")
    with pytest.raises(DestinationExists, match=r"t/b is on the server, and is a different file$"):
        udpft.put(here, server=server, recursive=True)
    assert (there / "a").stat().st_mtime_ns == A_TIME
    spoil(here / "b")
    with pytest.raises(DestinationExists, match=r"t/b is on the server, and differs, and has"):
        udpft.put(here, server=server, recursive=True)
    assert (there / "b").read_bytes() == sample(SIZE)
