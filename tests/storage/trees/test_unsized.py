"""Files that do not know their size, in trees: listed and sent as they are read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.trees import row
from udpft.errors import LocalReadFailed, PartialTransfer
from udpft.protocol.wire.listing import Entry, NotSent, Reason
from udpft.storage import source_file
from udpft.storage.served_folder import ServedRoot
from udpft.storage.trees.unsized import as_read
from udpft.storage.trees.walk import UnsizedEntry

CONTENT = b"what a kernel says\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree in which ``proc`` says to be empty, and ``sys`` to have a page."""
    tree = tmp_path / "served/t"
    tree.mkdir(parents=True)
    (tree / "empty").touch()
    (tree / "page").write_bytes(bytes(4096))
    (tree / "proc").touch()
    (tree / "sys").touch()
    os.truncate(tree / "sys", 4096)  # without a block on the disk, as those of /sys
    real = source_file.open_source

    def reads(fd: int, status: os.stat_result) -> source_file.SourceFile:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(("/t/proc", "/t/sys")):
            os.close(fd)
            return source_file._source_of(CONTENT)
        return real(fd, status)

    monkeypatch.setattr("udpft.storage.served_folder.open_source", reads)
    return tree


@pytest.fixture
def root(tree: Path) -> Iterator[ServedRoot]:
    with ServedRoot(str(tree)) as root:
        yield root


def listed(*sizes: int) -> list[Entry]:
    names = ("empty", "page", "proc", "sys")
    found = zip(names, sizes, strict=True)
    return [UnsizedEntry(name, False, size, 7, 0o644, 1) for name, size in found]


def test_they_get_the_size_of_what_is_read(root: ServedRoot) -> None:
    found = list(as_read(root, [*listed(0, 4096, 0, 4096), None]))
    assert found[:2] == listed(0, 4096, 0, 0)[:2]
    assert found[-1] is None
    for one in found[2:4]:
        assert isinstance(one, Entry)
        assert (one.size, one.mtime_ns) == (len(CONTENT), 7)
        assert one.version != 1


def test_one_that_cannot_be_read_is_not_sent_and_one_that_is_gone_is_left_to_the_sender(
    root: ServedRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = UnsizedEntry("gone", False, 0, 7, 0o644, 1)
    assert list(as_read(root, [gone])) == [gone]

    def refuses(*_: Any) -> None:
        raise LocalReadFailed("cannot read the file") from OSError(5, "Input/output error")

    monkeypatch.setattr("udpft.storage.served_folder.open_source", refuses)
    assert next(as_read(root, listed(0, 9, 9, 9))) == NotSent("empty", Reason.READ_ERROR)


@row("a file that does not know its size, as in /proc")
def test_trees_with_them_are_exact_in_both_directions(tree: Path, tmp_path: Path) -> None:
    with udpft.serve(tree.parent, port=0, writable=True) as server:
        udpft.get("t", server=server, output=tmp_path / "out", recursive=True)
        udpft.put(tree, server=server, as_name="up", recursive=True)
    for copy in (tmp_path / "out/t", tree.parent / "up"):
        assert (copy / "proc").read_bytes() == (copy / "sys").read_bytes() == CONTENT
        assert (copy / "empty").read_bytes() == b""
        assert (copy / "page").read_bytes() == bytes(4096)


RANDOM = Path("/proc/sys/kernel/random")


@pytest.mark.skipif(not RANDOM.is_dir(), reason="there is no /proc")
def test_a_folder_of_proc_comes_and_what_is_another_each_time_is_named(tmp_path: Path) -> None:
    changes = "uuid: it changes while it is sent"
    with (
        udpft.serve(RANDOM, port=0) as server,
        pytest.raises(PartialTransfer, match=changes),
    ):
        udpft.get("", server=server, output=tmp_path / "out", recursive=True)
    for name in ("poolsize", "boot_id"):
        assert (tmp_path / "out" / name).read_bytes() == (RANDOM / name).read_bytes()
