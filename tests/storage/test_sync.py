"""Syncing behind the writer's back: how often, and what becomes of its errors."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from udpft.storage.sync import SYNC_INTERVAL_S, BackgroundSync


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
