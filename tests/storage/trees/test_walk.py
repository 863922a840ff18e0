"""Patterns: the files and folders that they name beneath a served folder, and never do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from udpft.errors import Denied, NoSuchFile
from udpft.protocol.wire.listing import Entry, decode_listing_untrusted, encode_entry
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
    real = os.listdir

    def gone_after(fd: int) -> list[str]:
        found = real(fd)
        (served / "a.txt").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(os, "listdir", gone_after)
    assert named(root, "*.txt") == ["logs.txt"]


def test_a_folder_that_goes_while_a_pattern_is_matched_names_nothing(
    root: ServedRoot, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.listdir

    def replaced_after(fd: int) -> list[str]:
        found = real(fd)
        if (served / "empty").exists():
            (served / "empty").rmdir()
        return found

    monkeypatch.setattr(os, "listdir", replaced_after)
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
