"""Faulty disks, as real as they can be without one that fails."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from udpft.storage.system_calls.allocate import punch


def failing_below(call: str, folder: Path) -> Callable[..., int]:
    """A call of `os` that fails for the files in a folder, as on a broken disk."""
    real = getattr(os, call)

    def fail_or_not(fd: int, *arguments: Any) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").startswith(str(folder)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        done: int = real(fd, *arguments)
        return done

    return fail_or_not


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process grows beyond a size; Python ignores the SIGXFSZ that comes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class FailingDisk:
    """An ext4 of its own whose device fails to write back chosen blocks, until it is repaired.

    Its image lies in a tmpfs that is full: blocks that were punched out of the image find no room.

    Attributes:
        folder: where the ext4 is mounted.
    """

    SIZE = 64 << 20

    def __init__(self, base: Path) -> None:
        self._backing = base / "backing"
        self._image = self._backing / "image"
        self.folder = base / "ext4"

    def mount(self) -> None:
        for folder in (self._backing, self.folder):
            folder.mkdir()
        room = f"size={self.SIZE + (1 << 20)}"
        _run("mount", "-t", "tmpfs", "-o", room, "udpft-test", str(self._backing))
        eager = "nodiscard,lazy_itable_init=0,lazy_journal_init=0"
        with self._image.open("wb") as image:
            image.truncate(self.SIZE)
            _run("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", eager, str(self._image))
            os.posix_fallocate(image.fileno(), 0, self.SIZE)  # all but what is punched has room
        _run("mount", "-o", "loop,nodiscard", str(self._image), str(self.folder))

    def fail(self, path: Path, offset: int, length: int) -> None:
        """From now on these bytes of a file, which has its blocks already, cannot be written."""
        os.sync()
        extents = _run("filefrag", "-e", str(path))
        fd = os.open(self._image, os.O_RDWR)
        for line in extents.splitlines():
            if found := re.match(r" *\d+: +(\d+)\.\. +(\d+): +(\d+)\.\.", line):
                first, last, physical = (4096 * int(number) for number in found.groups())
                start, stop = max(first, offset), min(last + 4096, offset + length)
                if start < stop:
                    assert punch(fd, physical + start - first, stop - start)
        os.close(fd)
        filler = self._backing / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def repair(self) -> None:
        """Let everything be written again; what was not is lost."""
        (self._backing / "filler").unlink()

    def remount(self) -> None:
        """Forget what is cached, as a reboot does."""
        _run("umount", str(self.folder))
        _run("mount", "-o", "loop,nodiscard", str(self._image), str(self.folder))

    def unmount(self) -> None:
        for folder in (self.folder, self._backing):
            if folder.is_mount():
                _run("umount", "--lazy", str(folder))


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"there is no {command[0]} here")
    if done.returncode:
        pytest.skip(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def failing_disk(base: Path) -> Iterator[FailingDisk]:
    """A disk that fails to write back: see `FailingDisk`. Skips where it cannot be made."""
    disk = FailingDisk(base)
    try:
        disk.mount()
        yield disk
    finally:
        disk.unmount()
