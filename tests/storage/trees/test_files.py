"""A tree's files, read and written as one."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import DigestMismatch, SourceChanged
from udpft.protocol.wire.listing import Entry
from udpft.storage.served_folder import ServedRoot
from udpft.storage.source_file import SourceFile
from udpft.storage.system_calls.allocate import punch
from udpft.storage.trees.files import (
    MAX_OPEN_FILES,
    PACKED_BYTES,
    Layout,
    StagedTree,
    TreeSource,
)
from udpft.storage.trees.walk import entries_of

MTIME_NS = 1_234_567_890_123_456_789
SIZES = (0, 1, 2_048, 5_000, 0, 0, 7, 4_096, 100_000, 3)
CONTENTS = [random.Random(size).randbytes(size) for size in SIZES]
WHOLE = b"".join(CONTENTS)


def entry(name: str, size: int, mode: int = 0o644) -> Entry:
    return Entry(name, False, size, MTIME_NS, mode)


ENTRIES = [Entry("d", True, 0, 0, 0o755)]
ENTRIES += [entry(f"d/{number}", size) for number, size in enumerate(SIZES)]


def slots_of(data: bytes | bytearray, chunk: int) -> list[memoryview]:
    view = memoryview(data)
    return [view[at : at + chunk] for at in range(0, len(view), chunk)]


# --------------------------------------------------------------------------------------- layout


@pytest.mark.parametrize(
    ("ranges", "count"),
    [
        ([], 0),
        ([(0, 0)], 1),  # the empty one at the beginning
        ([(0, 1)], 2),
        ([(0, 2_048)], 2),
        ([(0, 2_049)], 3),
        ([(1, 2_049)], 1),
        ([(10, 2_000), (2_100, 7_000)], 0),
        ([(0, 1), (2_049, 7_049)], 5),
        ([(0, len(WHOLE))], len(SIZES)),
        ([(0, 3_000), (3_000, len(WHOLE))], len(SIZES) - 1),
    ],
)
def test_files_that_lie_whole_in_ranges_are_counted(
    ranges: list[tuple[int, int]], count: int
) -> None:
    assert Layout(ENTRIES).count_files(ranges) == count


@pytest.mark.parametrize("chunk", [1, 7, 1_448, 2_048, 60_000])
@pytest.mark.parametrize("burst", [1, 3, 40])
def test_every_byte_of_a_tree_lies_in_one_file(chunk: int, burst: int) -> None:
    layout = Layout(ENTRIES)
    assert layout.size == len(WHOLE)
    found = [bytearray() for _ in SIZES]
    slots = slots_of(WHOLE, chunk)
    for first in range(0, len(slots), burst):
        for number, own, at in layout.parts(slots[first : first + burst], first * chunk):
            assert at == len(found[number])
            found[number] += b"".join(own)
    assert found == CONTENTS


def test_a_burst_within_a_file_is_not_cut() -> None:
    slots = slots_of(bytes(20_000), 2_000)
    large = SIZES.index(100_000)
    start = sum(SIZES[:large])
    [(number, own, at)] = Layout(ENTRIES).parts(slots, start + 1_000)
    assert (number, at) == (large, 1_000)
    assert [id(slot.obj) for slot in own] == [id(slot.obj) for slot in slots]
    assert [len(slot) for slot in own] == [2_000] * 10


# -------------------------------------------------------------------------------------- sending


class Served(NamedTuple):
    """A served folder with the tree ``d``, and its listing."""

    folder: Path
    root: ServedRoot
    entries: list[Entry]

    def source(self) -> TreeSource:
        def open_file(one: Entry) -> SourceFile:
            return self.root.open_at([os.fsencode(part) for part in one.path.split("/")])

        return TreeSource(self.entries, 7, open_file)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "d").mkdir()
    for number, content in enumerate(CONTENTS):
        (tmp_path / f"d/{number}").write_bytes(content)
    with ServedRoot(tmp_path) as root:
        yield Served(tmp_path, root, list(entries_of(root, "d", recursive=True)))


def read(source: TreeSource, chunk: int = 2_048) -> bytes:
    """All of a tree, burst by burst as it is sent."""
    found = bytearray()
    while len(found) < source.size:
        buffer = bytearray(min(16 * chunk, source.size - len(found)))
        assert source.readv(slots_of(buffer, chunk), len(found)) == len(buffer)
        found += buffer
    return bytes(found)


def test_what_need_not_wait_for_a_disk_is_read_with_files_opened_here(served: Served) -> None:
    opened: list[str] = []

    def open_here(one: Entry) -> SourceFile:
        opened.append(one.path)
        return served.source()._open_file(one)

    for here in (None, open_here):
        source = TreeSource(served.entries, 7, served.source()._open_file, open_here=here)
        buffer = bytearray(source.size)
        assert source.readv_now(slots_of(buffer, 4_096), 0) in (source.size, -1)
        source.close()
        assert bool(opened) == bool(here)


def test_a_tree_is_read_as_the_files_one_after_another(served: Served) -> None:
    source = served.source()
    assert (source.size, source.identity, source.mtime_ns) == (len(WHOLE), 7, 0)
    before = len(os.listdir("/proc/self/fd"))
    assert read(source) == WHOLE
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert not source.changed()
    source.close()
    source.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_part_is_read_again_from_anywhere(served: Served) -> None:
    source = served.source()
    for offset in (100_000, 0, 2_049, len(WHOLE) - 10):
        buffer = bytearray(min(5_000, len(WHOLE) - offset))
        assert source.readv(slots_of(buffer, 1_000), offset) == len(buffer)
        assert buffer == WHOLE[offset : offset + len(buffer)]
    source.close()


@pytest.mark.parametrize("what", ["shorter", "rewritten", "gone"])
def test_a_file_that_is_not_what_was_listed_ends_it(served: Served, what: str) -> None:
    path = served.folder / "d/8"
    if what == "gone":
        path.unlink()
    elif what == "shorter":
        path.write_bytes(bytes(99_999))
    else:
        replaced = served.folder / "new"
        replaced.write_bytes(bytes(100_000))
        replaced.rename(path)
    source = served.source()
    with pytest.raises(SourceChanged, match="a file of the tree changed") as caught:
        read(source)
    assert caught.value.hint == "try again"
    source.close()


def test_a_file_that_grew_since_it_was_listed_comes_as_long_as_it_was(served: Served) -> None:
    for number in (7, 8):
        with (served.folder / f"d/{number}").open("ab") as file:
            file.write(b"one more line")
    source = served.source()
    assert read(source) == WHOLE
    assert (source.changed(), source.suspects()) == (False, [])
    source.close()


def test_a_file_that_is_written_to_while_it_is_read_is_to_be_compared(served: Served) -> None:
    source = served.source()
    large = sum(SIZES[:8])
    source.readv(slots_of(bytearray(4_096), 2_048), large)
    with open(served.folder / "d/8", "r+b") as file:
        file.write(b"changed")
    os.utime(served.folder / "d/8", ns=(1, 1))
    source.readv(slots_of(bytearray(3), 3), large + 100_000)
    assert not source.changed()
    assert source.suspects() == [(large, large + 100_000)]
    buffer = bytearray(100_000)
    source.readv(slots_of(buffer, 100_000), large)  # though it is not what was listed
    assert buffer == b"changed" + CONTENTS[8][7:]
    os.truncate(served.folder / "d/8", 5)
    assert source.changed()
    source.close()


def test_a_file_that_is_replaced_while_it_is_read_is_read_on(served: Served) -> None:
    source = served.source()
    large = sum(SIZES[:8])
    source.readv(slots_of(bytearray(4_096), 2_048), large)
    (served.folder / "new").write_bytes(bytes(100_000))
    (served.folder / "new").rename(served.folder / "d/8")
    buffer = bytearray(100_000)
    source.readv(slots_of(buffer, 100_000), large)
    assert buffer == CONTENTS[8]
    assert (source.changed(), source.suspects()) == (False, [])
    source.close()


# ------------------------------------------------------------------------------------ receiving


class Staging(NamedTuple):
    """A folder that a tree is written into, and one with the files that are there already."""

    folder: Path
    fd: int
    elsewhere: Path

    def tree(
        self,
        entries: Sequence[Entry] = ENTRIES,
        elsewhere: frozenset[int] = frozenset(),
        skipped: frozenset[int] = frozenset(),
    ) -> StagedTree:
        def open_elsewhere(number: int) -> int:
            return os.open(self.elsewhere / str(number), os.O_RDONLY)

        return StagedTree(self.fd, entries, elsewhere, open_elsewhere, skipped)

    def content(self, number: int) -> bytes:
        return (self.folder / str(number)).read_bytes()


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    (tmp_path / "staging").mkdir()
    (tmp_path / "elsewhere").mkdir()
    fd = os.open(tmp_path / "staging", os.O_RDONLY)
    yield Staging(tmp_path / "staging", fd, tmp_path / "elsewhere")
    os.close(fd)


def write_all_of(tree: StagedTree, content: bytes, *, seed: int = 1, burst: int = 9_000) -> None:
    """Write a tree as bursts arrive: out of order."""
    starts = list(range(0, len(content), burst))
    random.Random(seed).shuffle(starts)
    for at in starts:
        tree.writev(slots_of(content[at : at + burst], 1_000), at)


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    chunk=st.integers(1, 7),
    data=st.data(),
)
def test_parts_cover_every_byte_once_and_in_order(
    sizes: list[int], chunk: int, data: st.DataObject
) -> None:
    whole = bytes(range(sum(sizes)))
    if not whole:
        return
    offset = data.draw(st.integers(0, len(whole) - 1))
    length = data.draw(st.integers(1, len(whole) - offset))
    layout = Layout([entry(str(number), size) for number, size in enumerate(sizes)])
    slots = slots_of(whole[offset : offset + length], chunk)
    seen, last = b"", -1
    for number, own, at in layout.parts(slots, offset):
        assert number > last
        assert layout.starts[number] + at == offset + len(seen)
        part = b"".join(own)
        assert 0 < len(part) <= sizes[number] - at
        seen, last = seen + part, number
    assert seen == whole[offset : offset + length]


class Finisher:
    """Gives files what their entries say."""

    def mode_of(self, entry: Entry) -> int:
        return entry.mode & 0o777

    def give_mode(self, fd: int, entry: Entry) -> None:
        os.fchmod(fd, self.mode_of(entry))

    def give_time(self, fd: int, entry: Entry) -> None:
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))


def finish_all(tree: StagedTree) -> None:
    for number in range(len(tree.layout.files)):
        tree.finish(number, Finisher())
    tree.close()


def test_bursts_in_any_order_make_the_files(staging: Staging) -> None:
    tree = staging.tree()
    write_all_of(tree, WHOLE)
    finish_all(tree)
    assert [staging.content(number) for number in range(len(SIZES))] == CONTENTS


def test_what_was_written_can_be_read(staging: Staging) -> None:
    tree = staging.tree()
    write_all_of(tree, WHOLE)
    buffer = bytearray(len(WHOLE) - 500)
    assert tree.readv(slots_of(buffer, 1_000), 500) == len(buffer)
    assert buffer == WHOLE[500:]
    tree.close()


def test_a_finished_file_has_size_time_and_permissions(staging: Staging) -> None:
    (staging.folder / "0").write_bytes(b"left by another tree, and longer")
    tree = staging.tree([entry("script", 3, 0o4755)])
    tree.writev([memoryview(b"abc")], 0)
    finish_all(tree)
    status = (staging.folder / "0").stat()
    assert staging.content(0) == b"abc"
    assert status.st_mtime_ns == MTIME_NS
    assert status.st_mode & 0o7777 == 0o755  # and never what makes a program another user's


def test_small_files_share_one_up_to_a_gigabyte(staging: Staging) -> None:
    count = 2**30 // PACKED_BYTES  # just as many as fit
    size = PACKED_BYTES
    tree = staging.tree([entry(f"{number:05}", size) for number in range(count + 1)])
    for number in (count - 1, count):
        tree.writev([memoryview(b"x" * size)], number * size)
    tree.close()
    assert sorted(path.name for path in staging.folder.iterdir()) == [str(count), "pack"]
    assert (staging.folder / "pack").stat().st_size == 2**30


def test_what_is_staged_is_its_owners_alone_until_it_is_whole(staging: Staging) -> None:
    before = os.umask(0)
    try:
        tree = staging.tree([entry("small", 3), entry("large", 100_000)])
        write_all_of(tree, bytes(range(1, 251)) * 400 + b"abc")
    finally:
        os.umask(before)
    staged = [path for path in staging.folder.iterdir() if path.is_file()]
    assert len(staged) == 2
    assert {path.stat().st_mode & 0o777 for path in staged} == {0o600}
    finish_all(tree)


@pytest.mark.parametrize("in_order", [False, True])
def test_zeros_become_a_hole(staging: Staging, tmp_path: Path, in_order: bool) -> None:
    size = 4 << 20
    content = b"x" * 4_096 + bytes(size - 8_192) + b"x" * 4_096
    tree = staging.tree([entry("sparse", size)])
    if in_order:
        for at in range(0, size, 1_024):  # a kilobyte is enough for a look
            tree.writev([memoryview(content)[at : at + 1_024]], at)
    else:
        write_all_of(tree, content, burst=1 << 16)
    finish_all(tree)
    assert staging.content(0) == content
    sparse = tmp_path / "sparse"
    with open(sparse, "wb") as file:
        file.truncate(size)
    if sparse.stat().st_blocks == 0:  # a disk that has holes at all
        assert (staging.folder / "0").stat().st_blocks * 512 < size // 2


def test_a_tree_of_many_files_keeps_few_open(staging: Staging) -> None:
    count = 3 * MAX_OPEN_FILES
    size = PACKED_BYTES + 10
    tree = staging.tree([entry(f"{number:03}", size) for number in range(count)])
    before = len(os.listdir("/proc/self/fd"))
    content = random.Random(3).randbytes(size * count)
    for at in range(0, len(content), size):
        tree.writev([memoryview(content)[at : at + size]], at)
        assert len(os.listdir("/proc/self/fd")) <= before + MAX_OPEN_FILES
    finish_all(tree)
    assert len(os.listdir("/proc/self/fd")) == before
    assert b"".join(staging.content(number) for number in range(count)) == content


def test_a_file_that_lies_elsewhere_is_read_there_and_never_written(staging: Staging) -> None:
    (staging.elsewhere / "8").write_bytes(CONTENTS[8])
    tree = staging.tree(elsewhere=frozenset({8}))
    write_all_of(tree, WHOLE)
    buffer = bytearray(len(WHOLE))
    assert tree.readv(slots_of(buffer, 5_000), 0) == len(WHOLE)
    assert buffer == WHOLE
    tree.close()
    assert not (staging.folder / "8").exists()


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o444, 0o755, 0o000])
@pytest.mark.parametrize("left", [False, True])
def test_a_small_file_is_made_with_its_permissions(
    staging: Staging, mode: int, *, left: bool
) -> None:
    if left:
        (staging.folder / "0").write_bytes(b"longer than it is")
        (staging.folder / "0").chmod(0o640)
    tree = staging.tree([entry("small", 5, mode)])
    tree.writev([memoryview(b"small")], 0)
    finish_all(tree)
    status = (staging.folder / "0").stat()
    assert (status.st_mode & 0o7777, status.st_size) == (mode, 5)
    assert status.st_mtime_ns == MTIME_NS


def test_small_files_of_a_burst_are_written_by_one_call(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = os.pwritev

    def counted(fd: int, slots: list[memoryview], offset: int) -> int:
        calls.append(offset)
        return real(fd, slots, offset)

    tree = staging.tree([entry(f"{number:03}", 100) for number in range(100)])
    content = random.Random(6).randbytes(10_000)
    monkeypatch.setattr(os, "pwritev", counted)
    for at in range(0, len(content), 2_500):
        tree.writev(slots_of(content[at : at + 2_500], 1_000), at)
    assert calls == [0, 2_500, 5_000, 7_500]
    finish_all(tree)
    assert b"".join(staging.content(number) for number in range(100)) == content


def test_what_is_skipped_or_held_among_small_files_is_left_alone(staging: Staging) -> None:
    (staging.elsewhere / "5").write_bytes(bytes(100))
    entries = [entry(f"{number:03}", 100) for number in range(10)]
    tree = staging.tree(entries, elsewhere=frozenset({5}), skipped=frozenset({7}))
    content = bytearray(random.Random(7).randbytes(1_000))
    content[500:600] = bytes(100)
    write_all_of(tree, bytes(content))
    for number in (0, 1, 2, 3, 4, 6, 8, 9):
        tree.finish(number, Finisher())
        assert staging.content(number) == content[number * 100 : (number + 1) * 100]
    pack = (staging.folder / "pack").read_bytes()
    assert content[700:800] not in pack
    tree.close()


def test_a_file_elsewhere_that_is_another_one_is_noticed(staging: Staging) -> None:
    (staging.elsewhere / "8").write_bytes(CONTENTS[8][:-1] + b"!")
    tree = staging.tree(elsewhere=frozenset({8}))
    with pytest.raises(DigestMismatch, match="a file that is here is not the one that was sent"):
        write_all_of(tree, WHOLE)
    tree.close()
    with pytest.raises(FileNotFoundError):
        staging.tree(elsewhere=frozenset({0})).finish(0, Finisher())


def test_a_symlink_in_the_staging_folder_is_not_written_through(
    staging: Staging, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_bytes(b"untouched")
    (staging.folder / "3").symlink_to(tmp_path / "victim")
    tree = staging.tree()
    write_all_of(tree, WHOLE)
    with pytest.raises(OSError, match="symbolic links"):
        finish_all(tree)
    tree.close()
    assert (tmp_path / "victim").read_bytes() == b"untouched"


def test_small_files_share_one_until_they_are_finished_and_give_its_room_back(
    staging: Staging, tmp_path: Path
) -> None:
    size, count = 20_000, 200
    content = random.Random(5).randbytes(size * count)
    tree = staging.tree([entry(f"{number:03}", size) for number in range(count)])
    write_all_of(tree, content)
    assert os.listdir(staging.folder) == ["pack"]
    buffer = bytearray(30_000)
    assert tree.readv(slots_of(buffer, 1_000), 15_000) == len(buffer)
    assert buffer == content[15_000:45_000]
    finish_all(tree)
    assert b"".join(staging.content(number) for number in range(count)) == content
    with open(tmp_path / "hole", "wb") as file:
        file.truncate(1 << 20)
        if punch(file.fileno(), 0, 1 << 20):
            assert (staging.folder / "pack").stat().st_blocks * 512 < 2 << 20
