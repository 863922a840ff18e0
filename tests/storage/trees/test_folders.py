"""Folders below a folder: one in the other, and through no symlink."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from udpft.storage.trees import folders as module
from udpft.storage.trees.folders import Folders, remove_folder


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def folders(fd: int) -> Iterator[Folders]:
    folders = Folders(fd)
    yield folders
    folders.close()


def led_to(fd: int, path: Path) -> bool:
    return os.path.samestat(os.fstat(fd), path.stat())


def test_they_are_found_or_made_in_any_order(folders: Folders, tmp_path: Path) -> None:
    for place in (["a", "b", "c"], ["a"], ["a", "b", "d"], ["a", "b"], [], ["b"], ["a", "b", "c"]):
        assert led_to(folders.open(place, make=True), tmp_path.joinpath(*place))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "b", "c", "d"]


def test_what_is_missing_is_made_only_where_asked(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        folders.open(["a", "b"])
    assert os.listdir(tmp_path) == []


def test_neither_symlinks_nor_files_are_gone_through(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("x")
    for name in ("link", "file"):
        for make in (False, True):
            with pytest.raises(NotADirectoryError):
                folders.open([name, "below"], make=make)
    assert os.listdir(tmp_path / "real") == []


def test_nothing_stays_open_behind_it(folders: Folders) -> None:
    before = len(os.listdir("/proc/self/fd"))
    folders.open(["a"] * 20, make=True)
    assert len(os.listdir("/proc/self/fd")) == before + 20
    folders.open(["a"])
    assert len(os.listdir("/proc/self/fd")) == before + 1
    folders.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("hidden", [".fuse_hidden0000000100000001", ".nfs0000000001"])
def test_a_folder_is_removed_once_its_removed_files_are_gone(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / hidden).touch()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            (tmp_path / "t" / hidden).unlink()

    monkeypatch.setattr(module, "sleep", wait)
    remove_folder("t", fd)
    assert not (tmp_path / "t").exists()
    assert len(waits) == 3


def test_one_that_is_not_empty_is_not_waited_for(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t/.nfs1").touch()
    waits: list[float] = []
    monkeypatch.setattr(module, "sleep", waits.append)
    with pytest.raises(OSError, match="not empty"):
        remove_folder("t", fd)
    assert sum(waits) < 1
    (tmp_path / "t/file").touch()
    waits.clear()
    with pytest.raises(OSError, match="not empty"):
        remove_folder("t", fd)
    assert waits == []
