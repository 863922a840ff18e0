"""Blocks set aside and holes made, by the disk that is here and by one that refuses."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from udpft.storage.system_calls import allocate

SIZE = 1 << 20


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def failing(code: int) -> Callable[..., int]:
    """A fallocate(2) that fails."""

    def fallocate(*_: int) -> int:
        ctypes.set_errno(code)
        return -1

    return fallocate


@pytest.fixture
def on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the tests run, the file is not on a file system in memory."""
    monkeypatch.setattr(allocate, "_IN_MEMORY", ())


def test_a_file_does_not_grow_by_what_is_set_aside(fd: int) -> None:
    allocate.allocate(fd, SIZE)
    assert os.fstat(fd).st_size == 0


@pytest.mark.usefixtures("on_a_disk")
def test_what_is_set_aside_is_taken_from_the_disk(fd: int) -> None:
    allocate.allocate(fd, SIZE)
    assert os.fstat(fd).st_blocks * 512 >= SIZE


@pytest.mark.usefixtures("on_a_disk")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_so_at_once(monkeypatch: pytest.MonkeyPatch, fd: int, code: int) -> None:
    monkeypatch.setattr(allocate, "_libc_fallocate", failing(code))
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        allocate.allocate(fd, SIZE)
    assert caught.value.errno == code


@pytest.mark.usefixtures("on_a_disk")
def test_a_disk_that_cannot_set_aside_is_written_to_all_the_same(
    monkeypatch: pytest.MonkeyPatch, fd: int
) -> None:
    monkeypatch.setattr(allocate, "_libc_fallocate", failing(errno.EOPNOTSUPP))
    allocate.allocate(fd, SIZE)
    assert os.fstat(fd).st_blocks == 0


def test_neither_an_empty_file_nor_memory_is_asked(
    monkeypatch: pytest.MonkeyPatch, fd: int
) -> None:
    monkeypatch.setattr(allocate, "_libc_fallocate", failing(errno.ENOSPC))
    allocate.allocate(fd, 0)
    monkeypatch.setattr(allocate, "_IN_MEMORY", (allocate._IN_MEMORY[0],))
    memory = os.memfd_create("file")  # a file of tmpfs, on every Linux
    try:
        allocate.allocate(memory, SIZE)
    finally:
        os.close(memory)


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_file_systems_in_memory_are_known(tmp_path: Path, kind: str) -> None:
    mounted = subprocess.run(
        ["mount", "-t", kind, "udpft-test", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a {kind}: {mounted.stderr.decode().strip()}")
    try:
        fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        assert allocate._is_in_memory(fd)
        os.close(fd)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_hole_reads_as_zeros_and_gives_its_room_back(fd: int) -> None:
    os.pwrite(fd, b"x" * SIZE, 0)
    before = os.fstat(fd).st_blocks
    if not allocate.punch(fd, 4096, SIZE - 8192):
        pytest.skip("no holes on this file system")
    content = os.pread(fd, SIZE + 1, 0)
    assert content == b"x" * 4096 + bytes(SIZE - 8192) + b"x" * 4096
    assert os.fstat(fd).st_blocks < before


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_a_disk_without_holes_is_told_from_one_that_fails(
    monkeypatch: pytest.MonkeyPatch, fd: int, code: int
) -> None:
    monkeypatch.setattr(allocate, "_libc_fallocate", failing(code))
    assert not allocate.punch(fd, 0, 4096)
    monkeypatch.setattr(allocate, "_libc_fallocate", failing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        allocate.punch(fd, 0, 4096)
