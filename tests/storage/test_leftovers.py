"""Leftovers: which are removed, when, and which never are."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.conftest import names
from udpft.storage import claim
from udpft.storage.claim import other_parts
from udpft.storage.journal import Label
from udpft.storage.leftovers import ABANDONED_S, IDLE_S, Leftovers, missing_bytes
from udpft.storage.part_name import part_name
from udpft.storage.partfile import PartFile

SIZE = 100_000
LABEL = Label(SIZE, 1, 2, 2048)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def age(path: Path, age_s: float) -> None:
    os.utime(path, (time.time() - age_s,) * 2)


def leave_part(folder: Path, name: str, age_s: float) -> Path:
    """A part with a journal that was written to so long ago."""
    with PartFile.open(folder / name, SIZE, LABEL) as part:
        part.writev([memoryview(os.urandom(SIZE))], 0)
        part.keep()
    age(part.part_path, age_s)
    return part.part_path


def leave_staging(folder: Path, name: str, age_s: float) -> Path:
    """A staging folder that was written to so long ago."""
    (folder / name).mkdir()
    for staged in ("0", "pack", "carried-1", "link-2", "listing", "journal"):
        (folder / name / staged).write_bytes(bytes(10_000))
    age(folder / name / "journal", age_s)
    return folder / name


class Trial:
    """Leftovers of one folder, and what was said of them."""

    def __init__(self, fd: int, *spared: str, on_server: bool = True) -> None:
        self.said: list[str] = []
        self._folders = lambda: [(fd, "sub")]
        self.leftovers = Leftovers(spared, self.said.append if on_server else None)

    def remove_abandoned(self) -> None:
        self.leftovers.remove_abandoned(self._folders)

    def make_room(self, *missing: int) -> None:
        """Make room, where so many bytes are missing, by turns."""
        self.leftovers.make_room(self._folders, iter(missing).__next__)


def test_what_nobody_came_back_for_is_removed_and_said(tmp_path: Path, fd: int) -> None:
    leave_part(tmp_path, "old", ABANDONED_S + 60)
    leave_staging(tmp_path, ".oldtree.udpft-part", ABANDONED_S + 60)
    leave_part(tmp_path, "recent", ABANDONED_S - 3600)
    leave_part(tmp_path, "mine", ABANDONED_S + 60)
    (tmp_path / "file").touch()
    age(tmp_path / "file", ABANDONED_S + 60)
    trial = Trial(fd, part_name("mine"))
    trial.remove_abandoned()
    assert sorted(trial.said) == [
        f"sub/{name}: removed, for nobody came back for it"
        for name in (".old.udpft-part", ".oldtree.udpft-part")
    ]
    assert names(tmp_path) == [".mine.udpft-part", ".recent.udpft-part", "file"]


def test_idle_ones_make_room_the_oldest_first_and_no_more_than_is_needed(
    tmp_path: Path, fd: int
) -> None:
    leave_part(tmp_path, "young", IDLE_S - 60)
    leave_part(tmp_path, "newer", IDLE_S + 60)
    leave_part(tmp_path, "older", IDLE_S + 90)
    leave_staging(tmp_path, ".oldest.udpft-part", IDLE_S + 120)
    trial = Trial(fd)
    trial.make_room(0)
    assert trial.said == []
    trial.make_room(10_000_000)  # all of them are not enough: they stay for those who come back
    assert trial.said == []
    trial.make_room(SIZE, 1, 0)
    assert [line.split(":")[0] for line in trial.said] == [
        "sub/.oldest.udpft-part",
        "sub/.older.udpft-part",
    ]
    trial.make_room(1, 1)
    assert names(tmp_path) == [".young.udpft-part"]


def test_what_is_locked_or_no_leftover_stays(tmp_path: Path, fd: int) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "0").write_text("mine")
    (tmp_path / ".link.udpft-part").symlink_to(outside)
    (tmp_path / ".file.udpft-part").symlink_to(outside / "0")
    os.mkfifo(tmp_path / ".fifo.udpft-part")
    other = leave_staging(tmp_path, ".work.udpft-part", 10 * ABANDONED_S)
    (other / "thesis.tex").write_text("mine")
    deep = leave_staging(tmp_path, ".deep.udpft-part", 10 * ABANDONED_S)
    (deep / "7").mkdir()
    busy = [
        os.open(leave_staging(tmp_path, ".busytree.udpft-part", 10 * ABANDONED_S), os.O_RDONLY),
        os.open(leave_part(tmp_path, "busy", 10 * ABANDONED_S), os.O_RDONLY),
    ]
    for locked in busy:
        fcntl.flock(locked, fcntl.LOCK_EX)
    before = names(tmp_path)
    trial = Trial(fd)
    trial.remove_abandoned()
    trial.make_room(1, 1)
    for locked in busy:
        os.close(locked)
    assert (names(tmp_path), trial.said) == (before, [])
    assert (outside / "0").read_text() == "mine"
    assert sorted(os.listdir(other)) == sorted(
        ["0", "pack", "carried-1", "link-2", "listing", "journal", "thesis.tex"]
    )
    assert len(os.listdir(deep)) == 7


def test_one_whose_owner_comes_back_in_that_moment_stays(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [
        leave_part(tmp_path, "old", 10 * ABANDONED_S),
        leave_staging(tmp_path, ".tree.udpft-part", 10 * ABANDONED_S) / "journal",
    ]
    real = fcntl.flock

    def come_back(locked: int, how: int) -> None:
        for path in left:
            os.utime(path)
        real(locked, how)

    monkeypatch.setattr(fcntl, "flock", come_back)
    trial = Trial(fd)
    trial.remove_abandoned()
    for path in left:
        age(path, 10 * ABANDONED_S)

    def be_replaced(locked: int, how: int) -> None:
        if left[0].stat().st_ino == os.fstat(locked).st_ino:
            left[0].rename(tmp_path / "old")
            left[0].write_text("another")
        real(locked, how)

    monkeypatch.setattr(fcntl, "flock", be_replaced)
    (tmp_path / ".tree.udpft-part/keep").touch()
    trial.remove_abandoned()
    assert trial.said == []
    assert left[0].read_text() == "another"


def test_what_is_somebody_elses_stays(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_part(tmp_path, "theirs", 10 * ABANDONED_S)
    real = os.fstat

    def of_another(descriptor: int) -> os.stat_result:
        status = list(real(descriptor))
        status[4] += 1 if descriptor == fd else 2
        return os.stat_result(status)

    trial = Trial(fd)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", of_another)
        trial.remove_abandoned()
    assert trial.said == []
    trial.remove_abandoned()
    assert len(trial.said) == 1


def test_a_client_removes_only_what_has_a_journal(tmp_path: Path, fd: int) -> None:
    (tmp_path / ".notes.udpft-part").write_text("somebody's own")
    age(tmp_path / ".notes.udpft-part", 10 * ABANDONED_S)
    leave_part(tmp_path, "old", 10 * ABANDONED_S)
    with pytest.warns(RuntimeWarning, match=r"^sub/\.old\.udpft-part: removed, for nobody"):
        Trial(fd, on_server=False).remove_abandoned()
    assert names(tmp_path) == [".notes.udpft-part"]
    Trial(fd).remove_abandoned()  # a server gives such names to nobody
    assert names(tmp_path) == []


def test_without_locks_nothing_is_removed(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = leave_part(tmp_path, "old", 10 * ABANDONED_S)

    def no_locks(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    trial = Trial(fd)
    trial.remove_abandoned()
    assert left.exists()


def test_nothing_stays_open(tmp_path: Path, fd: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    leave_part(tmp_path, "old", ABANDONED_S + 60)
    leave_staging(tmp_path, ".tree.udpft-part", IDLE_S + 60)
    leave_part(tmp_path, "young", 0)
    trial = Trial(fd)
    trial.remove_abandoned()
    trial.make_room(1, 0)
    assert len(trial.said) == 2
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_a_full_disk_refused_is_made_once_there_is_room(tmp_path: Path, fd: int) -> None:
    trial = Trial(fd)
    left = leave_part(tmp_path, "old", IDLE_S + 60)

    def make() -> str:
        if left.exists():
            raise OSError(28, "No space left on device")
        return "made"

    assert trial.leftovers.with_room(lambda: [(fd, "")], make) == "made"
    left.touch()
    with pytest.raises(OSError, match="No space"):
        trial.leftovers.with_room(lambda: [(fd, "")], make)

    def deny() -> None:
        raise PermissionError

    with pytest.raises(PermissionError):
        trial.leftovers.with_room(lambda: [(fd, "")], deny)


def test_how_many_bytes_are_missing(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = leave_part(tmp_path, "own", 0)
    blocks = own.stat().st_blocks * 512

    def disk(blocks: int, free: int, files: int = 9) -> None:
        status = os.statvfs_result((1, 1, blocks, free, free, files and 10, files, files, 0, 255))
        monkeypatch.setattr(os, "fstatvfs", lambda _: status)

    disk(10**9, 5_000)
    assert missing_bytes(fd, own.name, 5_000 + blocks) == 0
    assert missing_bytes(fd, own.name, 5_001 + blocks) == 1
    assert missing_bytes(fd, ".none.udpft-part", 6_000) == 1_000
    disk(0, 0)  # a file system that does not know
    assert missing_bytes(fd, own.name, 10**12) == 0
    status = os.statvfs_result((1, 1, 10**9, 10**9, 10**9, 10, 0, 0, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda _: status)
    assert missing_bytes(fd, own.name, 1) == 1


def test_a_large_folder_is_looked_through_a_hundredth_of_the_time(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 50.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr(claim, "monotonic", clock)
    monkeypatch.setattr(claim, "_MANY_NAMES", 3)
    claim._due_at.clear()
    (tmp_path / ".a.udpft-part").touch()
    for _ in range(2):
        assert other_parts(fd) == [".a.udpft-part"]
    for name in "bcd":
        (tmp_path / name).touch()
    assert other_parts(fd, ".b.udpft-part") == [".a.udpft-part"]  # took a second
    assert other_parts(fd) == []
    assert other_parts(fd, always=True) == [".a.udpft-part"]
    now += 100.0
    assert other_parts(fd, ".a.udpft-part") == []
    claim._due_at.clear()
