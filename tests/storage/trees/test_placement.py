"""Placements: names that something has, permissions and times, folders that are read-only."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.conftest import unprivileged
from udpft.protocol.wire.listing import Entry, Reason
from udpft.storage.trees.folders import FOLDER_FLAGS, Folders
from udpft.storage.trees.placement import NOTE_NO_TIMES, WORDS_NO_SYMLINKS, Placement, umask
from udpft.storage.trees.survey import Link, Placed, Problem, Survey

MTIME_NS = 1_234_567_890_123_456_789


class Trial:
    """A destination, a staging folder beside it, and a placement in it."""

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        self.out, self.staging = folder / "out", folder / "staging"
        self.out.mkdir()
        self.staging.mkdir()
        self.fds = [os.open(path, FOLDER_FLAGS) for path in (self.out, self.staging)]
        self.folders = Folders(self.fds[0])
        self.found = Survey.empty(set())
        self.notes: list[str] = []
        self.files: list[Placed] = []
        self.placement = Placement(
            self.fds[1], self.folders, self.files, self.found, force=force, note=self.notes.append
        )
        self.number = 0

    def place(self, path: str, content: bytes = b"new") -> None:
        number, self.number = self.number, self.number + 1
        (self.staging / str(number)).write_bytes(content)
        entry = Entry(path, False, len(content), MTIME_NS, 0o644)
        self.files.append(Placed(entry, tuple(path.split("/"))))
        self.placement.place_file(number, self.files[-1])

    def link(self, path: str, target: str) -> None:
        self.placement.place_link(self.number, Link(path, tuple(path.split("/")), target))

    def finish(self, path: str, mode: int = 0o777) -> None:
        place = tuple(path.split("/")) if path else ()
        entry = Entry(path or "top", True, 0, MTIME_NS, mode)
        self.placement.finish_folder(Placed(entry, place))

    def close(self) -> None:
        self.folders.close()
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    trial = Trial(tmp_path)
    yield trial
    trial.close()


@pytest.fixture
def forced(tmp_path: Path) -> Iterator[Trial]:
    trial = Trial(tmp_path, force=True)
    yield trial
    trial.close()


def test_a_file_that_appeared_meanwhile_is_left_alone(trial: Trial) -> None:
    (trial.out / "f").write_text("an hour's work")
    trial.place("f")
    assert trial.found.problems == [Problem("f", Reason.DIFFERENT)]
    assert (trial.out / "f").read_text() == "an hour's work"


def test_one_that_appeared_and_is_the_same_is_no_problem(trial: Trial) -> None:
    (trial.out / "f").write_text("new")
    inode = (trial.out / "f").stat().st_ino
    before = len(os.listdir("/proc/self/fd"))
    trial.place("f")
    assert len(os.listdir("/proc/self/fd")) == before
    assert trial.found.problems == []
    assert (trial.out / "f").stat().st_ino == inode
    assert os.listdir(trial.staging) == []


def test_with_force_it_is_replaced_and_a_folder_never(forced: Trial) -> None:
    (forced.out / "f").write_text("old")
    (forced.out / "folder").mkdir()
    forced.place("f")
    forced.place("folder")
    assert (forced.out / "f").read_text() == "new"
    assert forced.found.problems == [Problem("folder", Reason.DIFFERENT)]


def test_what_was_placed_before_the_first_conflict_and_after_it_is_known(forced: Trial) -> None:
    for path in ("a/x", "b/x", "c"):
        forced.place(path, path.encode())
    forced.link("link", "c")
    (forced.out / "other").write_text("old")
    forced.place("other")
    forced.place("d/late", b"d/late")
    for path in ("a/x", "c", "d/late"):
        os.link(forced.out / path, forced.out / "b" / path.replace("/", "-"))
        forced.place(f"b/{path.replace('/', '-')}", b"second")
    os.link(forced.out / "link", forced.out / "LINK", follow_symlinks=False)
    forced.place("LINK", b"second")
    assert forced.found.problems == [
        Problem(path, Reason.FOLDED) for path in ("b/a-x", "b/c", "b/d-late", "LINK")
    ]
    assert (forced.out / "other").read_bytes() == b"new"
    assert all((forced.out / path).read_text() == path for path in ("a/x", "b/x", "c", "d/late"))


def test_a_second_name_of_one_file_never_replaces_the_first(forced: Trial) -> None:
    forced.place("README", b"first")
    os.link(forced.out / "README", forced.out / "readme")  # as where both names are one
    forced.place("readme", b"second")
    assert forced.found.problems == [Problem("readme", Reason.FOLDED)]
    assert (forced.out / "README").read_bytes() == b"first"


def test_a_name_that_the_disk_refuses_is_named_and_the_next_one_comes(trial: Trial) -> None:
    trial.place("x" * 300)
    trial.place("x" * 300 + "/f")
    trial.place("fine")
    assert [problem.reason for problem in trial.found.problems] == [Reason.REFUSED] * 2
    assert os.listdir(trial.out) == ["fine"]


def test_only_what_was_made_gets_permissions_and_only_what_was_touched_times(
    trial: Trial,
) -> None:
    for name, mode in (("home", 0o700), ("idle", 0o700)):
        (trial.out / name).mkdir()
        (trial.out / name).chmod(mode)
        os.utime(trial.out / name, ns=(1, 1))
    trial.out.chmod(0o700)
    trial.place("home/f")
    trial.place("made/f")
    before = trial.out.stat().st_mtime_ns
    for name in ("made", "idle", "home", ""):
        trial.finish(name)
    assert (trial.out / "home").stat().st_mode & 0o777 == 0o700
    assert (trial.out / "home").stat().st_mtime_ns == MTIME_NS
    assert (trial.out / "made").stat().st_mode & 0o777 == 0o777 & ~umask()
    assert (trial.out / "idle").stat().st_mode & 0o777 == 0o700
    assert (trial.out / "idle").stat().st_mtime_ns == 1
    assert trial.out.stat().st_mode & 0o777 == 0o700
    assert trial.out.stat().st_mtime_ns == before


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_umask_counts(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        assert umask() == mask
        trial = Trial(tmp_path)
        (trial.staging / "0").touch()
        fd = os.open(trial.staging / "0", os.O_RDWR)
        trial.placement.give_mode(fd, Entry("f", False, 0, MTIME_NS, 0o777))
        assert os.fstat(fd).st_mode & 0o777 == 0o777 & ~mask
        os.close(fd)
        trial.close()
    finally:
        os.umask(before)


def test_a_read_only_folder_of_ours_is_opened_up_for_the_moment(here: Path) -> None:
    here.chmod(0o777)
    with unprivileged():
        trial = Trial(Path())
        (trial.out / "pkg").mkdir()
        (trial.out / "pkg").chmod(0o555)
        trial.place("pkg/f")
        trial.place("pkg/below/g")
        assert trial.found.problems == []
        assert (trial.out / "pkg").stat().st_mode & 0o777 == 0o755  # to its owner alone
        trial.finish("pkg", 0o700)
        assert (trial.out / "pkg").stat().st_mode & 0o777 == 0o555
        (trial.out / "pkg").chmod(0o755)
        trial.close()


def test_times_that_are_refused_are_told_of_once(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuses)
    monkeypatch.setattr(os, "fchmod", refuses)
    for number in range(2):
        (trial.staging / str(number)).touch()
        fd = os.open(trial.staging / str(number), os.O_RDWR)
        trial.placement.give_mode(fd, Entry("f", False, 0, MTIME_NS, 0o644))
        trial.placement.give_time(fd, Entry("f", False, 0, MTIME_NS, 0o644))
        os.close(fd)
    assert trial.notes == [NOTE_NO_TIMES]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_there_are_no_symlinks_each_is_named(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "symlink", refuse)
    trial.link("one", "x")
    trial.link("two", "x")
    trial.place("f")
    assert trial.found.problems == [
        Problem(name, Reason.REFUSED, WORDS_NO_SYMLINKS) for name in ("one", "two")
    ]
    assert os.listdir(trial.out) == ["f"]


def test_symlinks_are_made_where_they_stay_within(trial: Trial) -> None:
    (trial.out / "taken").write_text("mine")
    trial.link("a/link", "../b/file")
    trial.link("a/link", "../b/file")
    trial.link("taken", "b")
    for target in ("../../out", "/etc/passwd", "x/../../..", ""):
        trial.link("bad", target)
    assert os.readlink(trial.out / "a/link") == "../b/file"
    assert (trial.out / "taken").read_text() == "mine"
    assert [problem.reason for problem in trial.found.problems] == [
        Reason.DIFFERENT,
        *[Reason.SYMLINK] * 4,
    ]
    assert not (trial.out / "bad").is_symlink()
