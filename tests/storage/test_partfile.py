"""Part files: the destination is the old file or the whole new one, at each moment."""

from __future__ import annotations

import os
import tempfile
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.conftest import NEW, OLD, names, refused, write
from udpft.errors import LocalWriteFailed
from udpft.storage.journal import Label
from udpft.storage.partfile import PartFile


def test_a_file_comes_to_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    part = PartFile.open(path, len(NEW))
    assert names(tmp_path) == [".file.bin.udpft-part"]
    assert part.part_path == tmp_path / ".file.bin.udpft-part"
    write(part, NEW[5_000:], 5_000)
    write(part, NEW[:5_000])
    assert not path.exists()
    part.commit(mtime_ns=1_234_567_890_123_456_789)
    assert names(tmp_path) == ["file.bin"]
    assert path.read_bytes() == NEW
    assert path.stat().st_mtime_ns == 1_234_567_890_123_456_789


def test_the_old_file_is_there_until_the_new_one_is(destination: Path) -> None:
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
        assert destination.read_bytes() == OLD
        part.commit()
    assert destination.read_bytes() == NEW
    assert names(destination.parent) == ["file.bin"]


def test_an_empty_file(tmp_path: Path) -> None:
    with PartFile.open(tmp_path / "empty", 0) as part:
        part.writev([memoryview(b"")], 0)
        part.commit()
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_size_that_only_the_end_tells(destination: Path) -> None:
    with PartFile.open(destination, None) as part:
        for offset in range(0, 3_000, 1_000):
            write(part, NEW[offset : offset + 1_000], offset)
        part.commit()
    assert destination.read_bytes() == NEW[:3_000]


def test_a_path_without_a_folder_is_in_this_one(here: Path) -> None:
    with PartFile.open(Path("file.bin"), 3) as part:
        write(part, b"abc")
        part.commit()
    assert (here / "file.bin").read_bytes() == b"abc"


def test_what_is_written_beyond_the_size_is_cut_off(tmp_path: Path) -> None:
    with PartFile.open(tmp_path / "file.bin", 3) as part:
        write(part, b"abcdef")
        part.commit()
    assert (tmp_path / "file.bin").read_bytes() == b"abc"


def test_discarding_leaves_what_was(destination: Path) -> None:
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
    assert names(destination.parent) == ["file.bin"]
    assert destination.read_bytes() == OLD
    part.discard()
    with refused("Bad file descriptor"):
        write(part, NEW)


def test_an_error_in_between_discards(destination: Path) -> None:
    with pytest.raises(KeyboardInterrupt), PartFile.open(destination, len(NEW)):
        raise KeyboardInterrupt
    assert names(destination.parent) == ["file.bin"]


def test_a_kept_part_stays_and_can_be_taken_over(destination: Path) -> None:
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
        part.keep()
        part.keep()
    assert part.part_path.read_bytes() == NEW
    with PartFile.open(destination, 3) as again:
        assert again.part_path == part.part_path
        assert again.part_path.read_bytes() == bytes(3)  # nothing of it shows through
        write(again, b"abc")
        again.commit()
    assert destination.read_bytes() == b"abc"
    assert names(destination.parent) == ["file.bin"]


def test_data_reaches_the_disk_before_the_name_and_the_name_before_the_end(
    destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(fd: int) -> None:
        calls.append("sync folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "sync file")
        fsync(fd)

    def note_rename(*arguments: Any, **keywords: Any) -> None:
        calls.append("rename")
        rename(*arguments, **keywords)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
        part.commit()
    assert calls == ["sync file", "rename", "sync folder"]


def test_no_descriptor_stays_open(destination: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for end in (PartFile.commit, PartFile.keep, PartFile.discard):
        end(PartFile.open(destination, 3))
    (destination.parent / ".other.udpft-part").mkdir()
    for bad in ("missing/file.bin", "other", "n" * 256, "."):
        with pytest.raises(LocalWriteFailed):
            PartFile.open(destination.parent / bad, 3)
    with pytest.raises(LocalWriteFailed):
        PartFile.open(destination, 2**60)
    assert set(os.listdir("/proc/self/fd")) == before


@given(data=st.data())
def test_writes_in_any_order_make_the_file(data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 5_000), label="size")
    cuts = data.draw(st.lists(st.integers(0, size), max_size=12), label="cuts")
    content = Random(size).randbytes(size)
    bounds = sorted({0, size, *cuts})
    runs = list(pairwise(bounds))
    repeated = data.draw(st.lists(st.sampled_from(runs)) if runs else st.just([]), label="twice")
    order = data.draw(st.permutations(runs + repeated), label="order")
    chunk = data.draw(st.integers(64, 2_048), label="chunk")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.bin")
        with PartFile.open(path, size) as part:
            for first, stop in order:
                write(part, content[first:stop], first, chunk)
            part.commit()
        assert path.read_bytes() == content
        assert names(Path(folder)) == ["file.bin"]


# ------------------------------------------------------------------------------ what is at the name


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444, 0o000, 0o4755])
def test_the_permission_bits_of_the_old_file_are_kept(destination: Path, mode: int) -> None:
    destination.chmod(mode)
    with PartFile.open(destination, len(NEW)) as part:
        # Private while it is written, if the old one was; and the owner can open it again.
        assert part.part_path.stat().st_mode & 0o7777 == (mode & 0o777) | 0o600
        write(part, NEW)
        part.commit()
    assert destination.stat().st_mode & 0o7777 == mode & 0o777


def test_a_new_file_has_the_bits_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with PartFile.open(tmp_path / "file.bin", 0) as part:
            part.commit()
    finally:
        os.umask(before)
    assert (tmp_path / "file.bin").stat().st_mode & 0o7777 == 0o640


def test_a_symlink_is_replaced_and_its_target_stays(destination: Path) -> None:
    for name, target in (("link", "file.bin"), ("dangling", "nowhere"), ("loop", "loop")):
        link = destination.parent / name
        link.symlink_to(target)
        with PartFile.open(link, len(NEW)) as part:
            write(part, NEW)
            part.commit()
        assert not link.is_symlink()
        assert link.read_bytes() == NEW
    assert destination.read_bytes() == OLD
    assert not (destination.parent / "nowhere").exists()


@pytest.mark.parametrize("name", ["folder", "link_to_folder", "folder/..", ".", "/"])
def test_a_folder_is_no_destination(here: Path, name: str) -> None:
    (here / "folder").mkdir()
    (here / "link_to_folder").symlink_to("folder")
    with refused("it is a folder") as caught:
        PartFile.open(Path(name), 3)
    assert "--output" in caught.value.hint
    assert names(here) == ["folder", "link_to_folder"]


def test_a_folder_that_appears_there_meanwhile_is_not_replaced_either(destination: Path) -> None:
    PartFile.open(destination, len(NEW), Label(len(NEW), 1, 2, 2048)).keep()
    part = PartFile.take_over(destination)
    assert part
    destination.unlink()
    destination.mkdir()
    with refused("it is a folder"):
        part.begin(len(NEW))
    assert destination.is_dir()


@pytest.mark.parametrize("name", ["fifo", "link_to_fifo", "link_to_null"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link_to_fifo").symlink_to("fifo")
    (tmp_path / "link_to_null").symlink_to("/dev/null")
    before = names(tmp_path)
    with refused("it is no regular file"):
        PartFile.open(tmp_path / name, 3)
    assert names(tmp_path) == before


def test_a_folder_put_at_the_name_meanwhile_stays(tmp_path: Path) -> None:
    with PartFile.open(tmp_path / "file.bin", 3) as part:
        (tmp_path / "file.bin").mkdir()
        with refused("Is a directory"):
            part.commit()
    assert names(tmp_path) == ["file.bin"]
