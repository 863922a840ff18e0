"""Renaming to a new name, by the kernel and by each way that is taken where it refuses."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.conftest import names
from udpft.storage.system_calls import rename
from udpft.storage.system_calls.rename import rename_new, rename_new_file


def refuse_link(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.fixture(params=["renameat2", "link", "look"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the file is renamed: other ways fail as they do on file systems that lack them."""
    way = request.param
    assert isinstance(way, str)
    if way != "renameat2":
        monkeypatch.setattr(rename, "_renameat2", lambda *_: errno.EINVAL)
    if way == "look":
        monkeypatch.setattr(rename.os, "link", refuse_link)
    return way


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_a_file_gets_a_new_name(tmp_path: Path, fd: int, way: str) -> None:
    (tmp_path / "old").write_bytes(b"data")
    rename_new("old", "new", src_dir_fd=fd, dst_dir_fd=fd)
    assert names(tmp_path) == ["new"], way
    assert (tmp_path / "new").read_bytes() == b"data"
    assert (tmp_path / "new").stat().st_nlink == 1


@pytest.mark.parametrize("kind", ["file", "folder", "dangling symlink"])
def test_what_has_the_name_keeps_it(tmp_path: Path, fd: int, way: str, kind: str) -> None:
    (tmp_path / "old").write_bytes(b"data")
    there = tmp_path / "there"
    if kind == "file":
        there.write_bytes(b"mine")
    elif kind == "folder":
        there.mkdir()
    else:
        there.symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        rename_new("old", "there", src_dir_fd=fd, dst_dir_fd=fd)
    assert names(tmp_path) == ["old", "there"], way
    assert there.is_symlink() or there.is_dir() or there.read_bytes() == b"mine"


def test_a_folder_gets_a_new_name(tmp_path: Path, fd: int, way: str) -> None:
    (tmp_path / "old" / "in it").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    other_fd = os.open(tmp_path / "other", os.O_RDONLY | os.O_DIRECTORY)
    try:
        rename_new("old", "new", src_dir_fd=fd, dst_dir_fd=other_fd)
    finally:
        os.close(other_fd)
    assert names(tmp_path) == ["other"], way
    assert names(tmp_path / "other" / "new") == ["in it"]


def test_a_missing_file_is_an_error(tmp_path: Path, fd: int, way: str) -> None:
    with pytest.raises(FileNotFoundError):
        rename_new("missing", "new", src_dir_fd=fd, dst_dir_fd=fd)
    assert names(tmp_path) == [], way


def test_the_kernel_itself_is_asked(tmp_path: Path, fd: int) -> None:
    """Where it has the call: links would be seen, for the file would keep both names a moment."""
    (tmp_path / "old").write_bytes(b"")
    if code := rename._renameat2(fd, b"old", fd, b"new"):
        pytest.skip(f"no renameat2 here: {os.strerror(code)}")
    assert names(tmp_path) == ["new"]


def test_a_single_file_is_renamed_without_ctypes_and_replaces_nothing(tmp_path: Path) -> None:
    script = (
        "import os, sys; from udpft.storage.system_calls.rename import rename_new_file as move\n"
        "fd = os.open('.', os.O_RDONLY); move('old', 'new', src_dir_fd=fd, dst_dir_fd=fd)\n"
        "open('old', 'w').close()\n"
        "try: move('old', 'new', src_dir_fd=fd, dst_dir_fd=fd)\n"
        "except FileExistsError: print('ctypes' in sys.modules)"
    )
    (tmp_path / "old").write_text("content")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
    assert (tmp_path / "new").read_text() == "content"
    assert (tmp_path / "old").exists()


def test_where_there_are_no_links_a_single_file_is_renamed_all_the_same(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rename.os, "link", refuse_link)
    (tmp_path / "old").write_text("content")
    rename_new_file("old", "new", src_dir_fd=fd, dst_dir_fd=fd)
    assert os.listdir(tmp_path) == ["new"]
