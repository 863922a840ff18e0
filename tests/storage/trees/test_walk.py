"""Patterns: the files and folders that they name beneath a served folder, and never do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import Denied, NoSuchFile
from udpft.protocol.wire.listing import (
    Entry,
    NotSent,
    Reason,
    decode_listing_untrusted,
    encode_entry,
)
from udpft.storage.served_folder import MAX_DEPTH, ServedRoot
from udpft.storage.trees import walk

FILES = ("a.txt", "b.bin", "logs/1.gz", "logs/2.gz", "logs/old/3.gz", "logs.txt", "odd/[x].txt")
HIDDEN = (".secret", "logs/.hidden.gz", ".git/config")


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    for name in (*FILES, *HIDDEN, "logs/.4.gz.udpft-part"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "empty").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file.txt").write_text("outside")
    (folder / "link.txt").symlink_to(tmp_path / "outside/file.txt")
    (folder / "way").symlink_to(tmp_path / "outside")
    os.mkfifo(folder / "fifo.txt")
    return folder


@pytest.fixture
def root(served: Path) -> Iterator[ServedRoot]:
    with ServedRoot(served) as root:
        yield root


def named(root: ServedRoot, pattern: str, *, recursive: bool = False) -> list[str]:
    entries = walk.entries_of(root, pattern, recursive=recursive)
    return [entry.path + "/" * entry.is_folder for entry in entries]


LOGS_BELOW = ["logs/1.gz", "logs/2.gz", "logs/old/", "logs/old/3.gz"]


@pytest.mark.parametrize(
    ("pattern", "flat", "recursive"),
    [
        ("a.txt", ["a.txt"], ["a.txt"]),
        ("./a.txt", ["a.txt"], ["a.txt"]),
        ("logs", ["logs/1.gz", "logs/2.gz", "logs/old/"], ["logs/", *LOGS_BELOW]),
        ("logs/", ["logs/1.gz", "logs/2.gz", "logs/old/"], ["logs/", *LOGS_BELOW]),
        ("empty", ["empty/"], ["empty/"]),
        ("*.txt", ["a.txt", "logs.txt"], ["a.txt", "logs.txt"]),
        ("logs/*.gz", ["logs/1.gz", "logs/2.gz"], ["logs/1.gz", "logs/2.gz"]),
        ("l*s/o*", ["logs/old/"], ["logs/old/", "logs/old/3.gz"]),
        ("*/*/3.gz", ["logs/old/3.gz"], ["logs/old/3.gz"]),
        ("odd/[x].txt", ["odd/[x].txt"], ["odd/[x].txt"]),  # a file of that very name comes first
        ("odd/[[]x].tx?", ["odd/[x].txt"], ["odd/[x].txt"]),
    ],
)
def test_a_pattern_names_files_and_folders(
    root: ServedRoot, pattern: str, flat: list[str], recursive: list[str]
) -> None:
    assert named(root, pattern) == flat
    assert named(root, pattern, recursive=True) == recursive


def test_no_name_is_the_served_folder(root: ServedRoot) -> None:
    top = ["a.txt", "b.bin", "empty/", "logs/", "logs.txt", "odd/"]
    assert named(root, "") == top
    assert named(root, ".") == top
    everything = ["a.txt", "b.bin", "empty/", "logs/", *LOGS_BELOW]
    everything += ["logs.txt", "odd/", "odd/[x].txt"]
    assert named(root, "", recursive=True) == everything


@pytest.mark.parametrize(
    "pattern",
    [
        "missing",
        "missing/*",
        "*.missing",
        "a.txt/below",
        "../outside/file.txt",
        "logs/../../outside",
        "nul\0",
        ".secret",
        ".git/config",
        "logs/.hidden.gz",
        "link.txt",
        "way",
        "way/*",
        "way/file.txt",
        "fifo.txt",
    ],
)
def test_what_is_not_served_is_no_such_file(root: ServedRoot, pattern: str) -> None:
    for recursive in (False, True):
        with pytest.raises(NoSuchFile, match="no such file on the server"):
            named(root, pattern, recursive=recursive)


def test_what_is_not_sent_has_nothing_below_it(root: ServedRoot) -> None:
    report = list(walk.report_of(root, "*/*.txt", recursive=False))
    assert [entry.path for entry in report] == ["odd/[x].txt"]


def test_hidden_files_are_listed_where_they_are_served_and_part_files_never(served: Path) -> None:
    with ServedRoot(served, hidden=True) as root:
        assert named(root, ".secret") == [".secret"]
        assert named(root, "logs/.*") == ["logs/.hidden.gz"]
        assert ".git/config" in named(root, "", recursive=True)


def test_a_listing_is_in_the_order_that_its_reader_demands(root: ServedRoot) -> None:
    entries = list(walk.entries_of(root, "", recursive=True))
    assert decode_listing_untrusted(b"".join(map(encode_entry, entries))) == [
        entry._replace(mode=entry.mode & 0o777) for entry in entries
    ]


def test_whether_a_file_can_be_read_is_asked_where_its_permissions_do_not_say(
    root: ServedRoot, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (served / "a.txt").chmod(0o644)
    (served / "mine").write_text("mine")
    (served / "mine").chmod(0o600)
    (served / "closed").write_text("closed")
    (served / "closed").chmod(0o200)
    asked: list[bytes] = []

    def refuses(_folder_fd: int, name: bytes) -> bool:
        asked.append(name)
        return False

    monkeypatch.setattr(walk, "_is_readable", refuses)
    found = list(walk.report_of(root, "", recursive=False, refuse=lambda _: None))
    assert asked == [b"closed"]
    assert NotSent("closed", Reason.DENIED) in found


def test_an_entry_has_the_files_size_time_and_permissions(root: ServedRoot, served: Path) -> None:
    path = served / "a.txt"
    path.chmod(0o640)
    os.utime(path, ns=(5, 1_234_567_890_123_456_789))
    [entry] = walk.entries_of(root, "a.txt", recursive=False)
    assert entry == Entry("a.txt", False, 5, 1_234_567_890_123_456_789, 0o640, entry.version)
    path.write_text("b.txt")
    [changed] = walk.entries_of(root, "a.txt", recursive=False)
    assert changed.version != entry.version


def test_folders_too_deep_are_denied_and_not_walked_forever(root: ServedRoot, served: Path) -> None:
    fd = os.open(served / "empty", os.O_RDONLY)
    for _ in range(MAX_DEPTH + 1):  # further than a path may be long
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    with pytest.raises(Denied, match=f"more than {MAX_DEPTH} deep"):
        named(root, "empty", recursive=True)


def test_what_goes_while_it_is_listed_is_left_out(
    root: ServedRoot, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = walk._Names.read

    def gone_after(names: walk._Names, fd: int) -> Iterator[None]:
        yield from real(names, fd)
        (served / "a.txt").unlink(missing_ok=True)

    monkeypatch.setattr(walk._Names, "read", gone_after)
    assert named(root, "*.txt") == ["logs.txt"]


def test_a_folder_that_goes_while_a_pattern_is_matched_names_nothing(
    root: ServedRoot, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = walk._Walk.entries

    def gone_after(self: walk._Walk, *args: Any, **options: Any) -> Iterator[walk.Step]:
        for step in real(self, *args, **options):
            if (served / "empty").exists():
                (served / "empty").rmdir()
            yield step

    monkeypatch.setattr(walk._Walk, "entries", gone_after)
    with pytest.raises(NoSuchFile):
        named(root, "empt?/*")


def test_nothing_stays_open_behind_a_listing_broken_off(root: ServedRoot) -> None:
    before = len(os.listdir("/proc/self/fd"))
    walked = walk.entries_of(root, "", recursive=True)
    for _ in range(5):
        next(walked)
    walked.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(("name", "expected"), [("a", False), ("a*", True), ("a?", True)])
def test_wildcards_make_a_pattern(name: str, expected: bool) -> None:
    assert walk.is_pattern(name) is expected
    assert walk.is_pattern(f"[{name}]")


def test_a_walk_pauses_whatever_it_finds(tmp_path: Path) -> None:
    for n in range(2_000):
        (tmp_path / f"{n:04}").touch()
    with ServedRoot(tmp_path) as root:
        steps = walk.steps_of(root, "*nomatch*", recursive=False)
        pauses = [next(steps) for _ in range(2_000 // 16)]
        assert set(pauses) == {None}
        with pytest.raises(NoSuchFile):
            list(steps)
        assert named(root, "") == [f"{n:04}" for n in range(2_000)]
        found = [step for step in walk.report_of(root, "", recursive=True) if step]
    assert len(found) == 2_000


def test_a_folder_of_a_report_is_paused_in_before_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for n in range(40):
        (tmp_path / "folder" / f"{n:02}").touch()
    with ServedRoot(tmp_path) as root:
        steps = list(walk.report_of(root, "", recursive=True))
    assert steps[:2] == [None, None]
    assert [step.path for step in steps if step][:2] == ["folder", "folder/00"]


@pytest.mark.parametrize("parts", [[b"*" * 256], [b"*"] * 300])
def test_a_pattern_longer_than_any_name_matches_none(root: ServedRoot, parts: list[bytes]) -> None:
    with pytest.raises(NoSuchFile):
        named(root, b"/".join(parts).decode())


@given(
    st.text("ab*?[]!-x\udcef", min_size=1, max_size=12),
    st.text("ab-]x\udcef", min_size=1, max_size=6),
)
def test_components_match_as_fnmatch_does(part: str, name: str) -> None:
    raw = name.encode(errors="surrogateescape")
    matches = walk.Pattern([part.encode(errors="surrogateescape")]).matcher(0)
    assert matches(raw) == (name == part or fnmatchcase(name, part))


def test_compiled_patterns_are_kept_by_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    purged = []
    monkeypatch.setattr(walk.re, "purge", lambda: purged.append(True))
    monkeypatch.setattr(walk.Pattern, "_kept", 0)
    for n in range(3 * walk.MAX_PATTERNS_KEPT):
        pattern = walk.Pattern([b"*%d*" % n])
        assert pattern.matcher(0) is pattern.matcher(0)
    assert len(purged) == 3
