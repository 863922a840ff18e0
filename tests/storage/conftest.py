"""Fixtures and constants of the storage tests."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from udpft.errors import ExitCode, LocalWriteFailed
from udpft.storage.partfile import PartFile
from udpft.storage.source_file import SourceFile

OLD = b"the old file"
NEW = bytes(range(256)) * 40

_NOBODY = 65_534


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run as nobody where the tests run as root, whom no permission bit stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory, and that nobody may enter too.

    Nobody may not search the folders above it, so such tests use relative paths.
    """
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    """A destination where an old file is."""
    path = tmp_path / "file.bin"
    path.write_bytes(OLD)
    return path


def make_socket(path: Path) -> None:
    """By a relative path: an address of more than 108 bytes does not bind."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(before)


def make_device(path: Path) -> None:
    """A device takes root, and some containers forbid it; without one the name is missing."""
    try:
        os.mknod(path, 0o020_666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        return


def content(file: SourceFile) -> bytes:
    """Everything in a file, read as a burst is."""
    buffer = bytearray(file.size + 1)
    return bytes(buffer[: file.readv([memoryview(buffer)], 0)])


def write(part: PartFile, data: bytes, offset: int = 0, chunk: int = 1_000) -> None:
    """Write as a burst is: slots of one length, but for the last."""
    view = memoryview(data)
    part.writev([view[at : at + chunk] for at in range(0, len(view), chunk)] or [view], offset)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def parts(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.endswith(".udpft-part")]


@contextmanager
def refused(match: str) -> Iterator[pytest.ExceptionInfo[LocalWriteFailed]]:
    with pytest.raises(LocalWriteFailed, match=match) as caught:
        yield caught
    assert caught.value.exit_code == ExitCode.WRITE_FAILED
