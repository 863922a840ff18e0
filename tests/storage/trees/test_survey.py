"""Surveys of a destination: what is held, what comes, what cannot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from udpft.protocol.wire.listing import Entry, Reason
from udpft.storage.trees.folders import FOLDER_FLAGS, Folders
from udpft.storage.trees.survey import (
    Placed,
    PlacedEntries,
    Problem,
    Survey,
    TreeOptions,
    is_same_time,
    survey,
)

MTIME_NS = 1_234_567_891_500_000_000


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    fd = os.open(tmp_path, FOLDER_FLAGS)
    folders = Folders(fd)
    yield folders
    folders.close()
    os.close(fd)


def look(
    folders: Folders, *names: str, granularity_ns: int = 1, size: int = 5, **options: object
) -> Survey:
    placed = [
        Placed(Entry(name, False, size, MTIME_NS, 0o644), tuple(name.split("/"))) for name in names
    ]
    return survey(folders, Path("out"), placed, TreeOptions(**options), granularity_ns)  # type: ignore[arg-type]


def put(path: Path, content: bytes = b"12345", mtime_ns: int = MTIME_NS) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))


@pytest.mark.parametrize(
    ("mtime_ns", "granularity_ns", "held"),
    [
        (MTIME_NS, 1, True),
        (MTIME_NS - 500_000_000, 1, False),
        (MTIME_NS - 500_000_000, 10**9, True),
        (MTIME_NS - 1_500_000_000, 10**9, False),
        (MTIME_NS - 1_500_000_000, 2 * 10**9, True),
        (1, 0, True),
    ],
)
def test_times_agree_as_far_as_the_file_system_keeps_them(
    folders: Folders, tmp_path: Path, mtime_ns: int, granularity_ns: int, held: bool
) -> None:
    put(tmp_path / "f", mtime_ns=mtime_ns)
    assert (0 in look(folders, "f", granularity_ns=granularity_ns).held) is held


def test_nothing_is_looked_for_below_a_folder_that_is_missing(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    real = Folders.open

    def noted(self: Folders, components: tuple[str, ...], *, make: bool = False) -> int:
        asked.append(tuple(components))
        return real(self, components, make=make)

    monkeypatch.setattr(Folders, "open", noted)
    (tmp_path / "there").mkdir()
    put(tmp_path / "there/f", b"123456")
    put(tmp_path / "missing-no-more")
    entries = [
        Entry("missing", True, 0, MTIME_NS, 0o755),
        Entry("missing/below", True, 0, MTIME_NS, 0o755),
        *(Entry(f"missing/below/{number}", False, 5, MTIME_NS, 0o644) for number in range(100)),
        Entry("missing-no-more", False, 5, MTIME_NS, 0o644),
        Entry("there", True, 0, MTIME_NS, 0o755),
        Entry("there/f", False, 5, MTIME_NS, 0o644),
    ]
    options = TreeOptions(unwanted=frozenset({"missing/below/7"}))
    found = survey(folders, Path("out"), PlacedEntries(entries), options, 1)
    assert asked == [(), (), (), ("there",)]
    assert (found.skipped, found.held) == ({7, 101}, {100})
    assert found.problems == [Problem("there/f", Reason.DIFFERENT)]


def test_places_of_two_folders_may_be_one(folders: Folders) -> None:
    entries = [Entry(path, False, 5, MTIME_NS, 0o644) for path in ("a/Name", "b/name", "b/other")]
    found = survey(folders, Path("out"), PlacedEntries(entries, skipped=1), TreeOptions(), 1)
    assert found.twins == {("Name",), ("name",)}


def test_what_differs_is_named_and_what_is_forced_comes(folders: Folders, tmp_path: Path) -> None:
    put(tmp_path / "f", b"123456")
    found = look(folders, "f", "new")
    assert (found.problems, found.skipped) == ([Problem("f", Reason.DIFFERENT)], {0})
    found = look(folders, "f", "new", force=True)
    assert (found.problems, found.skipped) == ([], set())


def test_contents_are_compared_where_size_and_time_are_not_trusted(
    folders: Folders, tmp_path: Path
) -> None:
    put(tmp_path / "f")
    put(tmp_path / "g", mtime_ns=1)
    assert look(folders, "f", "g", trust=False).compared == {0, 1}
    assert look(folders, "f", "g", checksum=True).held == {0, 1}
    assert look(folders, "f", "g").held == {0}


def test_a_name_that_cannot_be_is_named_and_the_rest_comes(folders: Folders) -> None:
    found = look(folders, "x" * 300, "fine")
    assert found.problems == [Problem("x" * 300, Reason.REFUSED, "the name is too long there")]
    assert found.skipped == {0}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("README", "readme"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u00e9", "e\u0301"),
        ("a", "a."),
        ("A/b", "a/B"),
    ],
)
def test_names_that_some_file_systems_take_for_one_are_twins(
    folders: Folders, first: str, second: str
) -> None:
    assert len(look(folders, first, second).twins) == 2
    assert look(folders, first, "another").twins == set()


def test_a_twin_whose_name_is_not_in_the_folder_is_another_ones(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "README")
    put(tmp_path / "readme")
    monkeypatch.setattr(os, "listdir", lambda _: ["README"])  # as where both are one
    found = look(folders, "README", "readme")
    assert found.held == {0}
    assert found.problems == [Problem("readme", Reason.FOLDED)]


@pytest.mark.parametrize(
    ("there_ns", "same"),
    [
        (MTIME_NS + 123, True),
        (MTIME_NS + 122, False),
        (MTIME_NS + 100, True),  # as NTFS keeps it
        (MTIME_NS - 500_000_000, True),  # as ext3 does
        (MTIME_NS - 1_500_000_000, True),  # as FAT does
        (MTIME_NS - 3_500_000_000, False),
    ],
)
def test_without_a_probe_times_are_as_coarse_as_they_look(there_ns: int, same: bool) -> None:
    assert is_same_time(there_ns, MTIME_NS + 123) is same


def test_what_has_another_time_is_compared_if_there_is_a_way(
    folders: Folders, tmp_path: Path
) -> None:
    for name in "ab":
        put(tmp_path / name, mtime_ns=1)
    put(tmp_path / "c", b"123", mtime_ns=1)
    found = look(folders, "a", "b", "c", compare=lambda _, files: {files[0].entry.path})
    assert (found.held, found.retimed, found.unproven, found.skipped) == ({0}, {0}, set(), {1, 2})
    assert [one.words for one in found.problems] == ["", "differs, and has the same size"]
    found = look(folders, "a", "b", "c", compare=lambda *_: None)
    assert (found.held, found.retimed, found.unproven, found.skipped) == (
        {0, 1},
        {0, 1},
        {0, 1},
        {2},
    )
