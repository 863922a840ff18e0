"""Trees that come to file systems of user space: without symlinks, or that hide what is removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import udpft
from udpft.cli.main import run
from udpft.errors import ExitCode, PartialTransfer
from udpft.storage.trees.placement import WORDS_NO_SYMLINKS

Mounts = Callable[..., Path]


@pytest.fixture
def served(tmp_path: Path) -> Path:
    tree = tmp_path / "served/t"
    (tree / "sub").mkdir(parents=True)
    (tree / "small").write_bytes(b"some")
    (tree / "sub/large").write_bytes(os.urandom(300_000))
    (tree / "link").symlink_to("small")
    return tree.parent


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mounts]:
    """Mounts a file system of user space on an empty folder."""
    done: list[Path] = []

    def mount(*command: object) -> Path:
        if not shutil.which(str(command[0])) or os.geteuid() != 0:
            pytest.skip(f"needs {command[0]} and root")
        folder = tmp_path / "mounted"
        folder.mkdir()
        ended = subprocess.run([*map(str, command), str(folder)], capture_output=True, check=False)
        if ended.returncode:
            pytest.skip(f"no {command[0]} here: {ended.stderr.decode()}")
        done.append(folder)
        return folder

    yield mount
    for folder in done:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def exfat(mounted: Mounts, tmp_path: Path) -> Iterator[Path]:
    """An exFAT of its own."""
    image = tmp_path / "image"
    image.write_bytes(bytes(8 << 20))
    if not shutil.which("mkfs.exfat"):
        pytest.skip("needs mkfs.exfat")
    subprocess.run(["mkfs.exfat", image], check=True, capture_output=True)
    loop = subprocess.run(
        ["losetup", "-f", "--show", image], capture_output=True, text=True, check=False
    )
    if loop.returncode:
        pytest.skip(f"no loop device here: {loop.stderr}")
    device = loop.stdout.strip()
    try:
        yield mounted("mount.exfat-fuse", device)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def test_a_tree_leaves_nothing_beside_it_where_removed_files_are_hidden(
    served: Path, mounted: Mounts, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    disk = mounted("bindfs", tmp_path / "real")
    with (
        udpft.serve(served, port=0) as source,
        udpft.serve(disk, port=0, writable=True) as sink,
    ):
        udpft.get("t", server=source, output=disk / "out", recursive=True)
        udpft.put(served / "t", server=sink, recursive=True)
    assert sorted(os.listdir(disk)) == ["out", "t"]
    assert os.listdir(disk / "out") == ["t"]
    for copy in (disk / "out/t", disk / "t"):
        assert (copy / "sub/large").read_bytes() == (served / "t/sub/large").read_bytes()


def test_where_there_are_no_symlinks_the_files_come_and_each_symlink_is_named(
    served: Path, exfat: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        udpft.serve(served, port=0) as source,
        udpft.serve(exfat, port=0, writable=True) as sink,
    ):
        (exfat / "out").mkdir()
        where = ["-s", source.address, "-r", "--links", "t", "-o", str(exfat / "out")]
        assert run(["get", *where, "--json"]) == ExitCode.PARTIAL
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        failed = [(line["name"], line["reason"]) for line in lines if line["event"] == "failed"]
        assert failed == [("t/link", WORDS_NO_SYMLINKS)]
        assert run(["get", *where]) == ExitCode.PARTIAL
        assert f"t/link: {WORDS_NO_SYMLINKS}\n" in capsys.readouterr().err
        with pytest.raises(PartialTransfer, match=f"t/link: {WORDS_NO_SYMLINKS}"):
            udpft.put(served / "t", server=sink, recursive=True, links=True)
    assert sorted(os.listdir(exfat)) == ["out", "t"]
    assert os.listdir(exfat / "out") == ["t"]
    for copy in (exfat / "out/t", exfat / "t"):
        assert sorted(os.listdir(copy)) == ["small", "sub"]
        assert (copy / "sub/large").read_bytes() == (served / "t/sub/large").read_bytes()
