"""Background sync: its interval, and its errors."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from pathlib import Path

import pytest

from udpft.storage.sync import (
    MIN_SYNC_BYTES,
    SYNC_INTERVAL_S,
    BackgroundSync,
    reread_from_disk,
    sync_data,
    sync_file,
    sync_file_system,
)


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_syncs_once_an_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    clock = Clock()
    with (tmp_path / "file").open("wb") as file:
        sync = BackgroundSync(file.fileno(), clock)
        for _ in range(40):
            sync.poll()
            sync.finish()
            clock.now += SYNC_INTERVAL_S / 10
        assert len(synced) == 3
        assert file.fileno() not in synced  # by a descriptor of its own


def test_where_little_was_written_the_next_sync_waits_for_more_or_for_five_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    begun_at: list[float] = []
    monkeypatch.setattr(os, "fdatasync", lambda _: begun_at.append(clock.now))
    written = 0

    def play(bytes_per_quarter: int, seconds: int) -> int:
        nonlocal written
        before = len(begun_at)
        for _ in range(4 * seconds):
            clock.now += 0.25
            written += bytes_per_quarter
            sync.poll(written)
            sync.finish()
        return len(begun_at) - before

    with (tmp_path / "file").open("wb") as file:
        sync = BackgroundSync(file.fileno(), clock)
        assert play(MIN_SYNC_BYTES // 8, 8) == 4  # each two seconds
        assert play(1_000, 20) == 4  # each five
        assert play(MIN_SYNC_BYTES, 8) == 8


def test_an_error_is_told_to_whoever_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fdatasync", fail)
    clock = Clock()
    with (tmp_path / "file").open("wb") as file:
        sync = BackgroundSync(file.fileno(), clock)
        clock.now = SYNC_INTERVAL_S
        sync.poll()
        with pytest.raises(OSError, match="broken"):
            sync.finish()
        clock.now = 2 * SYNC_INTERVAL_S
        with pytest.raises(OSError, match="broken"):
            sync.poll()


def test_without_a_task_it_is_left_to_the_end_and_nothing_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    clock = Clock()
    with (tmp_path / "file").open("wb") as file:
        sync = BackgroundSync(file.fileno(), clock)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            clock.now += SYNC_INTERVAL_S
            sync.poll()
        assert len(os.listdir("/proc/self/fd")) == before
        sync.finish()


def test_a_slow_sync_is_not_joined_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    go_on = threading.Event()

    def slow(fd: int) -> None:
        begun.append(fd)
        go_on.wait(30)

    monkeypatch.setattr(os, "fdatasync", slow)
    clock = Clock()
    with (tmp_path / "file").open("wb") as file:
        sync = BackgroundSync(file.fileno(), clock)
        for clock.now in (SYNC_INTERVAL_S, 2 * SYNC_INTERVAL_S, 3 * SYNC_INTERVAL_S):
            sync.poll()
        go_on.set()
        sync.finish()
        assert len(begun) == 1
        sync.poll()
        sync.finish()
        assert len(begun) == 2


def test_a_file_system_is_synced_by_any_of_its_folders(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    sync_file_system(fd)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_file_system(fd)


def test_a_file_that_is_to_be_read_from_the_disk_is_synced_before_its_pages_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda _: calls.append("sync"))

    def refuse(_fd: int, offset: int, length: int, advice: int) -> None:
        assert (offset, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        calls.append("drop")
        raise OSError(errno.EINVAL, "no advice is taken here")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    with (tmp_path / "file").open("wb") as file:
        reread_from_disk(file.fileno())
    assert calls == ["sync", "drop"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_that_has_no_sync_is_no_error_and_a_broken_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(os, "fdatasync", refuse)

    class Libc:
        @staticmethod
        def syncfs(_fd: int) -> int:
            ctypes.set_errno(code)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Libc)
    with (tmp_path / "file").open("wb") as file:
        for sync in (sync_file, sync_data, sync_file_system, reread_from_disk, _in_background):
            if code == errno.EIO:
                with pytest.raises(OSError, match="Input/output error"):
                    sync(file.fileno())
            else:
                sync(file.fileno())


def _in_background(fd: int) -> None:
    clock = Clock()
    sync = BackgroundSync(fd, clock)
    clock.now = SYNC_INTERVAL_S
    sync.poll()
    sync.finish()
