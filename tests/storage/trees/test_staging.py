"""Staging folders: their names, locks, and the room that a tree needs."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.storage.conftest import refused
from udpft.storage.claim import NOTE_NO_LOCKS
from udpft.storage.leftovers import IDLE_S, Leftovers
from udpft.storage.part_name import is_part_name, part_name
from udpft.storage.trees.staging import (
    Staging,
    make_room,
    staging_name,
)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def opened(fd: int, name: str = ".t.udpft-part") -> Staging:
    return Staging(fd, name, note=pytest.fail)


def abandon(folder: Path, name: str, age_s: float) -> Path:
    """A staging folder that was written to so long ago."""
    (folder / name).mkdir()
    (folder / name / "0").write_bytes(bytes(10_000))
    (folder / name / "journal").touch()
    for path in (folder / name / "journal", folder / name):
        os.utime(path, (time.time() - age_s,) * 2)
    return folder / name


def test_trees_of_one_name_have_folders_of_their_own_and_a_file_has_another_part() -> None:
    mine, yours = staging_name("photos", "mine"), staging_name("photos", "yours")
    assert len({mine, yours, part_name("photos")}) == 3
    assert all(is_part_name(os.fsencode(name)) for name in (mine, yours))
    assert staging_name("a/b/photos/", "mine") == mine
    assert len(os.fsencode(staging_name("ü" * 200, "k"))) <= 255


def test_two_do_not_have_one_folder(fd: int) -> None:
    first = opened(fd)
    with refused("another transfer is writing the same tree"):
        opened(fd)
    first.remove()
    first.close()
    opened(fd).close()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_of_once(
    fd: int, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    notes: list[str] = []
    Staging(fd, ".t.udpft-part", notes.append).close()
    assert notes == [NOTE_NO_LOCKS]


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (lambda ns: ns, 1),
        (lambda ns: ns // 100 * 100, 100),
        (lambda ns: ns // 1_000 * 1_000, 1_000),
        (lambda ns: ns // 10**7 * 10**7, 10**7),
        (lambda ns: ns // 10**9 * 10**9, 10**9),
        (lambda ns: ns // (2 * 10**9) * (2 * 10**9), 2 * 10**9),
        (None, 0),
    ],
)
def test_the_times_of_a_file_system_are_found_out(
    fd: int, monkeypatch: pytest.MonkeyPatch, kept: Callable[[int], int] | None, expected: int
) -> None:
    real = os.utime

    def coarse(path: int, *, ns: tuple[int, int] | None = None) -> None:
        if kept is None:
            raise PermissionError(errno.EPERM, "not yours")
        if ns:
            real(path, ns=(kept(ns[0]), kept(ns[1])))
        else:
            real(path)

    with_times = opened(fd)
    monkeypatch.setattr(os, "utime", coarse)
    assert with_times.time_granularity_ns() == expected
    with_times.close()


def full(free_bytes: int, files: int = 10**6) -> os.statvfs_result:
    return os.statvfs_result((1, 1, 10**9, free_bytes, free_bytes, 10**6, files, files, 0, 255))


def room_for(staging: Staging, fd: int, size: int, files: int) -> None:
    make_room(staging, size, files, Leftovers((staging.name,)), lambda: [(fd, "")])


def test_a_tree_that_does_not_fit_is_refused(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fstatvfs", lambda _: full(9_000))
    staging = opened(fd)
    room_for(staging, fd, 9_000, 1)
    with refused("disk full: the tree needs 50 kB, and there are 9 kB"):
        room_for(staging, fd, 50_000, 1)
    monkeypatch.setattr(os, "fstatvfs", lambda _: full(10**6, files=3))
    with refused("disk full: the tree needs 4 files, and there is room for 3"):
        room_for(staging, fd, 5_000, 4)
    staging.close()


def test_idle_leftovers_give_their_room_to_a_tree_that_needs_it(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = abandon(tmp_path, ".idle.udpft-part", IDLE_S + 60)
    monkeypatch.setattr(os, "fstatvfs", lambda _: full(100 if idle.exists() else 9_000))
    staging = opened(fd)
    with pytest.warns(RuntimeWarning, match="idle.udpft-part: removed"):
        room_for(staging, fd, 5_000, 1)
    staging.close()


def test_a_staging_folder_that_finds_no_room_leaves_none(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def no_room(path: str, flags: int, *arguments: int, **keywords: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, flags, *arguments, **keywords)

    monkeypatch.setattr(os, "open", no_room)
    with pytest.raises(OSError, match="No space"):
        opened(fd)
    assert os.listdir(tmp_path) == []


def test_what_is_staged_already_needs_no_more_room(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = opened(fd)
    (tmp_path / staging.name / "0").write_bytes(os.urandom(100_000))
    staged = staging.staged_bytes()
    assert staged >= 100_000
    monkeypatch.setattr(os, "fstatvfs", lambda _: full(1_000))
    room_for(staging, fd, staged + 1_000, 1)
    with refused("disk full"):
        room_for(staging, fd, staged + 1_001, 1)
    staging.close()


def test_nothing_of_it_is_believed_from_the_cache(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = opened(fd)
    (tmp_path / staging.name / "0").write_bytes(b"x")
    calls: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda _: calls.append("sync"))
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: calls.append("drop"))
    staging.distrust_cache()
    assert calls == ["sync", "drop"] * 2
    staging.close()
