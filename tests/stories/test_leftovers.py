"""A disk full of what others have left: whoever comes finds room, at both ends."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import udpft
from udpft.storage.journal import Label
from udpft.storage.leftovers import ABANDONED_S, IDLE_S
from udpft.storage.partfile import PartFile

DISK = 6 << 20
LEFT = 3_600_000
NEEDED = 4_500_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 6 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "udpft-test", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source/t"
    folder.mkdir(parents=True)
    (folder / "two").write_bytes(os.urandom(NEEDED))
    return folder


def leave_part(folder: Path, age_s: float, size: int = LEFT) -> Path:
    """What a file's transfer left that was killed so long ago."""
    folder.mkdir(exist_ok=True)
    label = Label(5_000_000, 1, 2, 2048)
    with PartFile.open(folder / "one", label.size, label) as part:
        part.writev([memoryview(os.urandom(size))], 0)
        part.keep()
    os.utime(part.part_path, (time.time() - age_s,) * 2)
    return part.part_path


def leave_staging(folder: Path, age_s: float) -> Path:
    """What a tree's transfer left that was killed so long ago."""
    left = folder / ".u.01234567.udpft-part"
    left.mkdir()
    (left / "0").write_bytes(os.urandom(LEFT))
    (left / "journal").touch()
    os.utime(left / "journal", (time.time() - age_s,) * 2)
    return left


@pytest.mark.parametrize("leave", [leave_part, leave_staging])
@pytest.mark.parametrize("recursive", [False, True])
def test_an_upload_finds_the_room_that_others_left_taken(
    disk: Path, source: Path, leave: object, recursive: bool
) -> None:
    assert callable(leave)
    left = leave(disk, IDLE_S - 60)
    notices: list[str] = []
    with udpft.serve(disk, port=0, writable=True, on_notice=notices.append) as server:
        path = source if recursive else source / "two"
        for _ in range(2):
            with pytest.raises(udpft.errors.UdpftError, match="disk is full"):
                udpft.put(path, server=server, recursive=recursive)
            assert left.exists()  # whoever left it may come back
        for one in [left, *(left.iterdir() if left.is_dir() else ())]:
            os.utime(one, (time.time() - IDLE_S - 60,) * 2)
        result = udpft.put(path, server=server, recursive=recursive)
    assert result.verified
    assert notices == [f"{left.name}: removed, for nobody came back for it"]
    assert os.listdir(disk) == (["t"] if recursive else ["two"])


def test_a_part_in_a_folder_of_the_tree_makes_room_too(disk: Path, source: Path) -> None:
    left = leave_part(disk / "t", IDLE_S + 60)
    notices: list[str] = []
    with udpft.serve(disk, port=0, writable=True, on_notice=notices.append) as server:
        udpft.put(source, server=server, recursive=True)
    assert notices == ["t/.one.udpft-part: removed, for nobody came back for it"]
    assert not left.exists()


def test_an_upload_to_a_folder_below_finds_the_room_of_a_tree(disk: Path, source: Path) -> None:
    left = leave_staging(disk, IDLE_S + 60)
    with udpft.serve(disk, port=0, writable=True) as server:
        udpft.put(source / "two", server=server, as_name="below/two")
    assert not left.exists()


@pytest.mark.parametrize("recursive", [False, True])
def test_a_disk_without_a_byte_left_takes_an_upload(
    disk: Path, source: Path, recursive: bool
) -> None:
    left = leave_staging(disk, IDLE_S + 60)
    with suppress(OSError), (left / "1").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0
    with udpft.serve(disk, port=0, writable=True) as server:
        udpft.put(source if recursive else source / "two", server=server, recursive=recursive)
    assert os.listdir(disk) == (["t"] if recursive else ["two"])


@pytest.mark.parametrize("size", [4, NEEDED])
@pytest.mark.parametrize("leave", [leave_part, leave_staging])
def test_an_upload_removes_what_is_abandoned_whatever_room_there_is(
    stored: Path, source: Path, leave: object, size: int
) -> None:
    assert callable(leave)
    left = leave(stored, ABANDONED_S + 60)
    notices: list[str] = []
    (source / "two").write_bytes(bytes(size))
    with udpft.serve(stored, port=0, writable=True, on_notice=notices.append) as server:
        udpft.put(source / "two", server=server)
    assert notices == [f"{left.name}: removed, for nobody came back for it"]
    assert os.listdir(stored) == ["two"]


@pytest.mark.parametrize("leave", [leave_part, leave_staging])
@pytest.mark.parametrize("recursive", [False, True])
def test_a_download_finds_the_room_that_others_left_taken(
    disk: Path, source: Path, leave: object, recursive: bool
) -> None:
    assert callable(leave)
    left = leave(disk, IDLE_S + 60)
    with (
        udpft.serve(source.parent, port=0) as server,
        pytest.warns(RuntimeWarning, match=f"{left.name}: removed, for nobody came back for it"),
    ):
        udpft.get("t" if recursive else "t/two", server=server, output=disk, recursive=recursive)
    assert os.listdir(disk) == (["t"] if recursive else ["two"])


@pytest.mark.parametrize("mode", ["reliable", "plain"])
def test_a_small_download_removes_what_is_abandoned(
    tmp_path: Path, source: Path, mode: str
) -> None:
    (source / "two").write_bytes(b"small")
    left = leave_part(tmp_path / "out", ABANDONED_S + 60)
    with (
        udpft.serve(source, port=0) as server,
        pytest.warns(RuntimeWarning, match=f"out/{left.name}: removed"),
    ):
        udpft.get("two", server=server, output=tmp_path / "out", mode=mode)  # type: ignore[arg-type]
    assert os.listdir(tmp_path / "out") == ["two"]


def test_a_download_goes_on_with_its_own_part_however_old(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def interrupt(done: int, _total: int) -> None:
        if done > 1 << 20:
            raise KeyboardInterrupt

    with udpft.serve(source, port=0) as server:
        with pytest.raises(KeyboardInterrupt):
            udpft.get("two", server=server, output=out, progress=interrupt, limit_rate=10_000_000)
        os.utime(out / ".two.udpft-part", (0, 0))
        assert udpft.get("two", server=server, output=out).resumed_bytes > 0
    assert os.listdir(out) == ["two"]
