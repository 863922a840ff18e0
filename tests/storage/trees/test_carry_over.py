"""Carrying over: staged files of one listing under the numbers and offsets of another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.data import chunk_hashes
from udpft.protocol.wire.listing import Entry
from udpft.storage.journal import Journal, Label, MalformedJournal
from udpft.storage.trees.carry_over import carry_over, write_listing
from udpft.storage.trees.files import PACKED_BYTES, StagedTree
from udpft.storage.trees.staging import Staging

CHUNK = 1024
CONTENTS = {
    "a": b"a" * 3_000,
    "big": bytes(range(256)) * (PACKED_BYTES // 256 + 8),
    "c": b"c" * 5_000,
    "d": b"d" * 500,
}


def entries(*names: str) -> list[Entry]:
    return [Entry(name, False, len(CONTENTS.get(name, b"")), 1, 0o644, 1) for name in names]


def none_held(_number: int) -> int:
    raise AssertionError


@pytest.fixture
def folder_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def staging(folder_fd: int) -> Iterator[Staging]:
    staging = Staging(folder_fd, ".t", lambda _: None)
    yield staging
    staging.close()


def stage(staging: Staging, listed: list[Entry], identity: int = 1) -> None:
    """Stage all of a listing, as a transfer does that then ends."""
    tree = StagedTree(staging.fd, listed, (), none_held)
    whole = b"".join(CONTENTS[entry.path] for entry in listed)
    tree.writev([memoryview(whole)], 0)
    tree.close()
    write_listing(staging, identity, listed)
    label = Label(len(whole), 0, identity, CHUNK)
    os.ftruncate(staging.journal_fd, label.total_bytes)
    journal = Journal.begin(staging.journal_fd, label)
    chunks = [memoryview(whole)[at : at + CHUNK] for at in range(0, len(whole), CHUNK)]
    journal.note(0, chunk_hashes(chunks))


def carried(staging: Staging, listed: list[Entry], earlier: Staging | None = None) -> bytes:
    """Carry over, and read all ranges that are held: the content in them."""
    tree = StagedTree(staging.fd, listed, (), none_held)
    wanted = range(len(listed))
    held = carry_over(earlier or staging, staging, tree, wanted, lambda read: read)
    content = bytearray()
    for start, stop in held:
        piece = bytearray(stop - start)
        assert tree.readv([memoryview(piece)], start) == stop - start
        content += piece
    tree.close()
    return bytes(content)


def test_files_get_their_new_numbers_and_offsets(staging: Staging) -> None:
    stage(staging, entries("a", "big", "c", "d"))
    assert carried(staging, entries("big", "c", "new", "z")) == CONTENTS["big"] + CONTENTS["c"]
    assert sorted(os.listdir(staging.fd)) == ["0", "journal", "pack"]


def test_a_file_of_another_version_is_left(staging: Staging) -> None:
    stage(staging, entries("a", "big", "c"))
    listed = [entries("a")[0]._replace(version=2), *entries("c")]
    assert carried(staging, listed) == CONTENTS["c"]


def test_a_part_of_a_file_is_taken_over_too(staging: Staging) -> None:
    stage(staging, entries("a", "big"))
    with open(f"/proc/self/fd/{staging.fd}/1", "r+b") as file:
        file.seek(20_000)
        file.write(b"?")
    content = carried(staging, entries("big"))
    assert len(CONTENTS["big"]) - 2 * CHUNK < len(content) < len(CONTENTS["big"])


def test_of_another_folder_too(staging: Staging, folder_fd: int) -> None:
    other = Staging(folder_fd, ".other", lambda _: None)
    stage(other, entries("a", "big"))
    assert carried(staging, entries("big"), other) == CONTENTS["big"]
    other.close()


@pytest.mark.parametrize("spoil", ["listing", "journal"])
def test_without_a_listing_that_is_the_journals_nothing_is_taken_over(
    staging: Staging, spoil: str
) -> None:
    stage(staging, entries("a", "big"))
    if spoil == "listing":
        write_listing(staging, 2, entries("a", "big"))
        assert carried(staging, entries("a")) == b""
        assert os.listdir(staging.fd) == ["journal"]
    else:
        os.ftruncate(staging.journal_fd, 5)
        with pytest.raises(MalformedJournal):
            carried(staging, entries("a"))


def test_a_listing_is_written_once(staging: Staging) -> None:
    write_listing(staging, 1, entries("a"))
    before = os.stat("listing", dir_fd=staging.fd)
    write_listing(staging, 1, entries("a"))
    assert os.stat("listing", dir_fd=staging.fd).st_mtime_ns == before.st_mtime_ns


def test_ranges_are_those_of_the_new_tree(staging: Staging) -> None:
    stage(staging, entries("a", "big", "d"))
    tree = StagedTree(staging.fd, entries("d", "z"), (), none_held)
    held = carry_over(staging, staging, tree, {0}, lambda read: read)
    assert held == RangeSet([(0, 500)])
    tree.close()
