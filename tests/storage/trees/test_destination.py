"""The place of a tree: what is there, what an earlier transfer left, how names are given."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults import failing_below
from tests.storage.conftest import names, parts, refused, unprivileged
from udpft.errors import (
    DigestMismatch,
    NetworkError,
    SourceChanged,
)
from udpft.protocol.handshake.initiator import HandshakeResult
from udpft.protocol.params import MAX_BURST_BYTES
from udpft.protocol.wire.accept import Accept
from udpft.protocol.wire.data import chunk_hashes
from udpft.protocol.wire.listing import Entry, Reason
from udpft.storage.destination import RESUME_HINT
from udpft.storage.trees.destination import TreeDestination
from udpft.storage.trees.staging import staging_name
from udpft.storage.trees.survey import PlacedEntries, Problem, TreeOptions

IDENTITY = 0xABCD
STAGING = staging_name("tree", "tree")
CHUNK = 2048
STEP = MAX_BURST_BYTES // CHUNK * CHUNK
"""Bytes of what was left that are checked at once."""

COME = 2 * STEP
SIZE = 3 * STEP
MTIME_NS = 1_234_567_890_123_456_789
FOLDER_MTIME_NS = 987_654_321_000_000_000

CONTENTS = {"a/1": b"first", "a/b/2": random.Random(1).randbytes(SIZE), "a/empty": b"", "z": b"z"}
WHOLE = b"".join(CONTENTS.values())
ENTRIES = [
    Entry("a", True, 0, FOLDER_MTIME_NS, 0o750),
    Entry("a/1", False, 5, MTIME_NS, 0o640),
    Entry("a/b", True, 0, FOLDER_MTIME_NS, 0o755),
    Entry("a/b/2", False, SIZE, MTIME_NS, 0o644),
    Entry("a/empty", False, 0, MTIME_NS, 0o600),
    Entry("z", False, 1, MTIME_NS, 0o755),
]
PLACED = PlacedEntries(ENTRIES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"


def open_tree(
    folder: Path,
    *,
    on_resume: Callable[[int, int], None] | None = None,
    folder_fd: int = -1,
    **options: Any,
) -> TreeDestination:
    chosen = TreeOptions(**options)
    return TreeDestination(
        folder, "tree", PLACED, IDENTITY, chosen, on_resume=on_resume, folder_fd=folder_fd
    )


def agreed(
    have: tuple[tuple[int, int], ...] = (), *, size: int = len(WHOLE), identity: int = IDENTITY
) -> HandshakeResult:
    return HandshakeResult(Accept(1, 2, CHUNK, size, 0, identity), 0, b"", 0.0, have)


def receive(tree: TreeDestination, start: int = 0, stop: int = len(WHOLE)) -> list[int]:
    """Take what the server sends of a tree, chunk by chunk; return the chunks that were held."""
    opened = tree.open_sink(agreed(tree.have))
    held = [first + n for first, hashes in opened.present for n in range(len(hashes) // 8)]
    assert opened.note_hashes
    for at in range(start, stop, CHUNK):
        if at // CHUNK not in held:
            slots = [memoryview(WHOLE)[at : at + CHUNK]]
            opened.sink.writev(slots, at)
            opened.note_hashes(at // CHUNK, chunk_hashes(slots))
    return held


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


def place(folder: Path, *, but: tuple[str, ...] = ()) -> None:
    """Put the tree's files where they belong, with their times."""
    for name in CONTENTS.keys() - set(but):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(CONTENTS[name])
        os.utime(folder / name, ns=(MTIME_NS, MTIME_NS))


# ----------------------------------------------------------------------------------- the places


def test_a_tree_gets_names_times_and_permissions_when_it_is_whole(folder: Path) -> None:
    with open_tree(folder) as tree:
        assert (tree.size, tree.file_count, tree.trusted) == (len(WHOLE), 4, 0)
        assert tree.is_needed
        assert not tree.is_up_to_date
        assert receive(tree) == []
        assert names(folder) == [STAGING]
        tree.commit()
    assert content(folder) == dict(sorted(CONTENTS.items()))
    for entry in ENTRIES:
        status = (folder / entry.path).stat()
        assert (status.st_mtime_ns, status.st_mode & 0o777) == (entry.mtime_ns, entry.mode)
    assert names(folder) == ["a", "z"]


@pytest.mark.parametrize(("there", "mode"), [(False, 0o750), (True, 0o700)])
def test_the_folder_itself_has_the_trees_permissions_where_it_was_made(
    folder: Path, there: bool, mode: int
) -> None:
    if there:
        folder.mkdir(mode=0o700)
    top = Entry("d", True, 0, FOLDER_MTIME_NS, 0o750)
    below = [entry._replace(path=f"d/{entry.path}") for entry in ENTRIES]
    placed = PlacedEntries([top, *below], skipped=1)
    with TreeDestination(folder, "tree", placed, IDENTITY) as tree:
        receive(tree)
        tree.commit()
    assert folder.stat().st_mode & 0o777 == mode


def test_what_is_there_already_is_not_asked_for(folder: Path) -> None:
    place(folder, but=("z",))
    inode = (folder / "a/1").stat().st_ino
    with open_tree(folder) as tree:
        assert tree.trusted == 3
        assert tree.have == ((0, SIZE + 5),)
        assert not tree.is_up_to_date
        tree.open_sink(agreed(tree.have)).sink.writev([memoryview(b"z")], SIZE + 5)
        tree.commit()
    assert content(folder) == dict(sorted(CONTENTS.items()))
    assert (folder / "a/1").stat().st_ino == inode


def test_a_tree_that_is_there_is_up_to_date(folder: Path) -> None:
    place(folder)
    with open_tree(folder) as tree:
        assert tree.is_up_to_date
        assert not tree.is_needed
    assert parts(folder) == []


def test_without_trust_every_file_comes_anew(folder: Path) -> None:
    place(folder)
    with open_tree(folder, force=True, trust=False) as tree:
        assert tree.trusted == 0
        assert tree.have == ()
        assert tree.is_needed


@pytest.mark.parametrize("how", ["size", "time", "symlink", "fifo"])
def test_a_different_file_is_kept_unless_forced(folder: Path, how: str) -> None:
    place(folder)
    path = folder / "z"
    if how == "size":
        path.write_bytes(b"other")
    elif how == "time":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
        path.symlink_to("a/1") if how == "symlink" else os.mkfifo(path)
    with open_tree(folder) as tree:
        assert tree.problems == [Problem("z", Reason.DIFFERENT)]
        assert not tree.is_needed
        tree.commit()
    assert parts(folder) == []
    assert path.is_fifo() or path.is_symlink() or path.stat().st_mtime_ns != MTIME_NS
    with open_tree(folder, force=True) as tree:
        receive(tree)
        tree.commit()
    assert content(folder) == dict(sorted(CONTENTS.items()))
    assert not path.is_symlink()


def test_several_different_files_are_named(folder: Path) -> None:
    place(folder)
    for name in ("a/1", "a/b/2", "z"):
        (folder / name).write_bytes(b"something else")
    with open_tree(folder) as tree:
        assert [problem.path for problem in tree.problems] == ["a/1", "a/b/2", "z"]


def test_the_error_of_a_file_that_only_looks_the_same_names_the_folder(folder: Path) -> None:
    with open_tree(folder) as tree:
        assert str(tree.is_different()) == f"a file in {folder} differs"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("name", "problems"),
    [
        ("a/b", {"a/b": "a file has its name", "a/b/2": "no folder leads there"}),
        ("z", {"z": "a folder has its name"}),
    ],
)
def test_a_file_does_not_replace_a_folder_nor_a_folder_a_file_and_the_rest_comes(
    folder: Path, name: str, problems: dict[str, str], force: bool
) -> None:
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(b"x") if name == "a/b" else (folder / name).mkdir()
    with open_tree(folder, force=force) as tree:
        receive(tree)
        tree.commit()
        found = {one.path: one.words for one in tree.problems}
        assert tree.file_count == len(CONTENTS) - 1
    assert found == problems
    expected = {path: data for path, data in sorted(CONTENTS.items()) if path not in problems}
    expected |= {name: b"x"} if name == "a/b" else {}
    assert content(folder) == dict(sorted(expected.items()))


def test_nothing_is_written_through_a_symlink(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    with open_tree(folder) as tree:
        receive(tree)
        (folder / "a").symlink_to(tmp_path / "outside")
        tree.commit()
        assert [problem.path for problem in tree.problems] == [
            "a",
            "a/b",
            "a/1",
            "a/b/2",
            "a/empty",
        ]
    assert content(folder) == {"z": b"z"}
    assert names(tmp_path / "outside") == []


def test_a_folder_that_may_not_be_searched_is_an_error(here: Path) -> None:
    here.chmod(0o777)
    (here / "out/a").mkdir(parents=True)
    (here / "out/a").chmod(0)
    (here / "out").chmod(0o777)
    with unprivileged(), refused("Permission denied"):
        open_tree(Path("out"))
    (here / "out/a").chmod(0o755)


def test_a_destination_that_is_a_file_is_an_error(folder: Path) -> None:
    folder.write_bytes(b"x")
    with refused("File exists"):
        open_tree(folder)


# ------------------------------------------------------------------------------- going on with it


def broken_off(folder: Path, error: BaseException, **options: Any) -> None:
    """A transfer that ends with an error when the first bytes have come."""
    with suppress(type(error)), open_tree(folder, **options) as tree:
        receive(tree, stop=COME)
        raise error


def test_what_an_earlier_transfer_left_is_gone_on_with(folder: Path) -> None:
    error = NetworkError("the network went away")
    broken_off(folder, error)
    assert error.hint == RESUME_HINT
    told: list[tuple[int, int]] = []
    with open_tree(folder, on_resume=lambda *counts: told.append(counts)) as tree:
        assert tree.have == ((0, COME),)
        assert receive(tree) == list(range(COME // CHUNK))
        tree.commit()
    assert told == [(COME, len(WHOLE))]
    assert content(folder) == dict(sorted(CONTENTS.items()))


def test_what_was_held_is_still_held_though_nothing_more_came(folder: Path) -> None:
    broken_off(folder, NetworkError("the network went away"))
    with suppress(NetworkError), open_tree(folder) as tree:
        receive(tree, stop=COME)
        raise NetworkError("it went away again")
    with open_tree(folder) as tree:
        assert tree.have == ((0, COME),)


def test_what_the_disk_spoiled_comes_again(folder: Path) -> None:
    broken_off(folder, NetworkError("gone"))
    staged = folder / STAGING / "1"
    with open(staged, "r+b") as file:
        file.seek(10 * CHUNK)
        file.write(b"?")
    with open_tree(folder) as tree:
        assert len(tree.have) == 2
        held = receive(tree)
        assert len(held) == COME // CHUNK - 1
        tree.commit()
    assert content(folder) == dict(sorted(CONTENTS.items()))


def test_an_error_that_makes_it_worthless_leaves_nothing(folder: Path) -> None:
    error = DigestMismatch("wrong")
    broken_off(folder, error)
    assert names(folder) == []
    assert RESUME_HINT not in error.hint


def test_what_was_left_stays_where_the_next_transfer_does_not_begin(folder: Path) -> None:
    broken_off(folder, NetworkError("gone"))
    error = NetworkError("gone again")
    open_tree(folder).close(error)
    assert RESUME_HINT in error.hint
    with open_tree(folder) as tree:
        assert tree.have


def test_of_another_listing_what_both_have_is_taken_over(folder: Path) -> None:
    broken_off(folder, SourceChanged("it changed"))
    listed = [entry for entry in ENTRIES if entry.path not in ("a/1", "a/empty")]
    with TreeDestination(folder, "tree", PlacedEntries(listed), IDENTITY + 1) as tree:
        assert tree.have == ((0, COME - len(CONTENTS["a/1"])),)


def test_of_another_staging_folder_what_both_have_is_taken_over(folder: Path) -> None:
    broken_off(folder, SourceChanged("it changed"), key="one")
    earlier = staging_name("tree", "one")
    assert names(folder) == [earlier]
    options = TreeOptions(key="other", earlier=earlier)
    with TreeDestination(folder, "tree", PlacedEntries(ENTRIES[2:]), IDENTITY + 1, options) as tree:
        assert tree.have
        assert names(folder) == [staging_name("tree", "other")]
    options = TreeOptions(key="other", earlier=staging_name("tree", "nobody's"))
    with TreeDestination(folder, "tree", PlacedEntries(ENTRIES), IDENTITY, options) as tree:
        assert not tree.have
    assert names(folder) == []


def test_without_resume_nothing_is_left_and_nothing_gone_on_with(folder: Path) -> None:
    broken_off(folder, NetworkError("gone"), resume=False)
    assert names(folder) == []
    broken_off(folder, NetworkError("gone"))
    with open_tree(folder, resume=False) as tree:
        assert tree.have == ()


def test_what_is_left_of_another_tree_is_thrown_away(folder: Path) -> None:
    broken_off(folder, NetworkError("gone"))
    others = [entry._replace(version=7) for entry in ENTRIES]
    with TreeDestination(folder, "tree", PlacedEntries(others), IDENTITY + 1) as tree:
        assert tree.have == ()
        assert names(folder / STAGING) == ["journal", "listing"]


def test_a_tree_that_changed_since_it_was_listed_is_not_taken(folder: Path) -> None:
    for changed in (agreed(identity=IDENTITY + 1), agreed(size=1)):
        with open_tree(folder) as tree, pytest.raises(SourceChanged, match="changed on the server"):
            tree.open_sink(changed)


def test_two_transfers_do_not_write_one_tree(folder: Path) -> None:
    with open_tree(folder), refused("another transfer is writing"):
        open_tree(folder)
    open_tree(folder).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away takes root")
def test_the_part_folder_of_another_user_is_not_used(folder: Path) -> None:
    (folder / STAGING).mkdir(parents=True)
    os.chown(folder / STAGING, 65_534, 65_534)
    with refused("is somebody else's"):
        open_tree(folder)


def test_a_folder_that_is_open_already_is_taken_over(folder: Path) -> None:
    folder.mkdir()
    before = len(os.listdir("/proc/self/fd"))
    fd = os.open(folder, os.O_RDONLY)
    with open_tree(Path("as it is called"), folder_fd=fd) as tree:
        receive(tree)
        tree.commit()
    assert content(folder) == dict(sorted(CONTENTS.items()))
    assert len(os.listdir("/proc/self/fd")) == before


# --------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("call", ["pwritev", "pwrite", "ftruncate", "fchmod"])
def test_a_disk_that_fails_is_this_machines_fault(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with open_tree(folder) as tree:
        monkeypatch.setattr(os, call, failing_below(call, folder))
        with refused("Input/output error"):
            receive(tree)
            tree.commit()
    assert content(folder) == {}


def test_a_full_disk_says_so_and_what_came_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwritev

    def fills_up(fd: int, slots: list[memoryview], offset: int) -> int:
        if offset >= COME - len(CONTENTS["a/1"]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, slots, offset)

    monkeypatch.setattr(os, "pwritev", fills_up)
    with refused("disk full") as caught, open_tree(folder) as tree:
        receive(tree)
    assert RESUME_HINT in caught.value.hint
    with open_tree(folder) as tree:
        assert tree.have == ((0, COME),)
