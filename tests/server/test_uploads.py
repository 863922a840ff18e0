"""Places for uploads, without a network: refused, kept and given up."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from udpft.errors import Denied, LocalWriteFailed, ServerBusy, SourceChanged, TimedOut
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.server.session_creation import Asker
from udpft.protocol.wire.accept import Accept
from udpft.protocol.wire.hello import Hello, Role
from udpft.protocol.wire.listing import Entry, encode_entry, identity_of
from udpft.server import uploads as module
from udpft.server.tree_uploads import MAX_UPLOAD_LISTING_BYTES
from udpft.server.uploads import (
    ABANDONED_AFTER_S,
    MAX_OPENING,
    MAX_OPENING_A_HOST,
    Quota,
    UploadPlace,
    Uploads,
)
from udpft.storage.partfile import PartFile
from udpft.storage.served_folder import ServedRoot

PATIENCE_S = 20.0
BLOCK = module.BLOCK_BYTES
HANDSHAKE = HandshakeResult(Accept(1, 2, 1024, 5, 0, 7), 0, b"", 0.0)


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    with ServedRoot(tmp_path) as root:
        uploads = Uploads(root)
        yield uploads
        uploads.close()


def hello(role: Role = Role.PUT, size: int = 5, identity: int = 7) -> Hello:
    return Hello(1, 2, b"", 2048, 0, role=role, size=size, identity=identity)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Looking for leftovers takes until this is set."""
    go = threading.Event()
    real = PartFile.take_over.__func__  # type: ignore[attr-defined]

    def slow(cls: type[PartFile], *args: object) -> object:
        assert go.wait(PATIENCE_S)
        return real(cls, *args)

    monkeypatch.setattr(PartFile, "take_over", classmethod(slow))
    return go


def test_who_comes_back_finds_the_place_open(uploads: Uploads, held: threading.Event) -> None:
    with pytest.raises(ServerBusy) as caught:
        uploads.open(hello(), "file")
    assert caught.value.retry_after_s < 1
    held.set()
    place = None
    while place is None:
        try:
            place = uploads.open(hello(), "file")
        except ServerBusy:
            continue
    place.close()


def test_only_so_many_are_looked_at_at_once(uploads: Uploads, held: threading.Event) -> None:
    for n in range(MAX_OPENING):
        with pytest.raises(ServerBusy, match="still looks"):
            uploads.open(hello(), f"file {n}")
    with pytest.raises(ServerBusy, match="too many"):
        uploads.open(hello(), "one more")
    held.set()


STRANGER, OTHER = Asker(("10.0.0.1", 1), "10.0.0.1"), Asker(("10.0.0.2", 1), "10.0.0.2")


def test_one_host_leaves_room_for_the_others(uploads: Uploads, held: threading.Event) -> None:
    for n in range(MAX_OPENING_A_HOST):
        with pytest.raises(ServerBusy, match="still looks"):
            uploads.open(hello(), f"file {n}", STRANGER)
    with pytest.raises(ServerBusy, match="too many"):
        uploads.open(hello(), "one more", STRANGER)
    with pytest.raises(ServerBusy, match="still looks"):
        uploads.open(hello(), "one more", OTHER)
    held.set()


@pytest.mark.parametrize("most", [MAX_OPENING_A_HOST, MAX_OPENING])
def test_a_place_whose_client_stays_away_makes_way(
    uploads: Uploads, held: threading.Event, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    askers = [STRANGER if n < MAX_OPENING_A_HOST else OTHER for n in range(most)]
    for n, asker in enumerate(askers):
        with pytest.raises(ServerBusy, match="still looks"):
            uploads.open(hello(), f"file {n}", asker)
    now += ABANDONED_AFTER_S
    with pytest.raises(ServerBusy, match="still looks"):
        uploads.open(hello(), "file 0", STRANGER)  # comes back, and so keeps its place
    now += 0.1
    newcomer = STRANGER if most == MAX_OPENING_A_HOST else Asker(("10.0.0.3", 1), "10.0.0.3")
    with pytest.raises(ServerBusy):
        uploads.open(hello(), "one more", newcomer)
    assert [one.stop.is_set() for one in uploads._leaving] == [True]
    names = [key[2] for key in uploads._opening]
    assert ("file 0" in names, "file 1" in names) == (True, False)
    held.set()
    assert uploads._leaving[0].job.wait(PATIENCE_S)
    assert uploads.next_timeout() < inf
    uploads.forget()
    assert not uploads._leaving


def test_what_nobody_comes_back_for_is_given_up(
    uploads: Uploads, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ServerBusy):
        uploads.open(hello(), "file")
    held.set()
    [opening] = uploads._opening.values()
    assert opening.job.wait(PATIENCE_S)
    monkeypatch.setattr(module, "PLACE_KEPT_S", -1.0)
    uploads.open(hello(), "other").close()
    assert len(os.listdir("/proc/self/fd")) == before


def opened(uploads: Uploads, hello: Hello, name: str) -> UploadPlace:
    """The place, however long it takes to look at it."""
    while True:
        try:
            return uploads.open(hello, name)
        except ServerBusy:
            continue


def test_a_quota_counts_what_came_of_an_upload_that_broke_off(tmp_path: Path) -> None:
    with ServedRoot(tmp_path) as root:
        uploads = Uploads(root, quota=Quota(100 * BLOCK))
        opened(uploads, hello(size=89 * BLOCK), "broken off").close(TimedOut("gone"), 59 * BLOCK)
        with pytest.raises(Denied, match="quota"):
            opened(uploads, hello(size=39 * BLOCK + 1), "one too many")
        at_work = opened(uploads, hello(size=29 * BLOCK), "at work")
        with pytest.raises(Denied, match="quota"):  # what is at work may still bring it all
            opened(uploads, hello(size=9 * BLOCK + 1), "another")
        at_work.close(TimedOut("gone too"), 0)
        opened(uploads, hello(size=39 * BLOCK), "as much as is left").close()


def test_a_quota_counts_blocks_and_inodes(tmp_path: Path) -> None:
    with ServedRoot(tmp_path) as root:
        uploads = Uploads(root, quota=Quota(10 * BLOCK))
        for n in range(5):
            opened(uploads, hello(size=1, identity=n + 1), f"file {n}").close(None, 1)
        with pytest.raises(Denied, match="quota"):
            opened(uploads, hello(size=0, identity=9), "empty")
        uploads = Uploads(root, quota=Quota(4 * BLOCK))
        with pytest.raises(Denied, match="quota"):
            opened(uploads, hello(), "a/b/c/file")  # three folders, a file, and a block
        opened(uploads, hello(), "a/b/file").close(None, 5)
        with pytest.raises(Denied, match="quota"):
            opened(uploads, hello(), "file")


def test_a_tree_counts_each_file_and_folder(tmp_path: Path) -> None:
    listing = b"".join(
        encode_entry(Entry(path, path == "t", 0 if path == "t" else 1, 5, 0o755))
        for path in ("t", "t/one", "t/two")
    )
    tree = hello(Role.PUT_TREE, 2, identity_of(listing))
    for blocks, is_enough in ((4, False), (5, True)):
        with ServedRoot(tmp_path) as root:
            uploads = Uploads(root, quota=Quota(blocks * BLOCK))
            uploads._trees._keep(tree.identity, None, listing)
            if is_enough:
                opened(uploads, tree, "t").close()
            else:
                with pytest.raises(Denied, match="quota"):
                    opened(uploads, tree, "t")
    assert os.listdir(tmp_path) == []


def test_what_is_refused_leaves_nothing_not_even_folders(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").mkdir()
    with ServedRoot(tmp_path) as root:
        uploads = Uploads(root, quota=Quota(9 * BLOCK))
        for name in ("new/deep/file", "there/new/file"):
            with pytest.raises(Denied, match="quota"):
                opened(uploads, hello(size=9 * BLOCK), name)
        opened(uploads, hello(), "gone/file").close(TimedOut("gone"))
        opened(uploads, hello(), "brought/file").close(TimedOut("gone"), 1)
        with pytest.raises(LocalWriteFailed):
            opened(uploads, hello(), "there/file").open_sink(HANDSHAKE)
        with pytest.raises((Denied, LocalWriteFailed)):
            opened(uploads, hello(), "also new/" + 300 * "x")
    assert sorted(os.listdir(tmp_path)) == ["brought", "there"]
    assert os.listdir(tmp_path / "there") == ["file"]


def test_where_a_quota_is_used_up_nothing_is_looked_at(tmp_path: Path) -> None:
    with ServedRoot(tmp_path) as root:
        uploads = Uploads(root, quota=Quota(2 * BLOCK))
        opened(uploads, hello(), "file").close(None, 5)
        with pytest.raises(Denied, match="quota"):
            uploads.open(hello(), "another")  # at once


def test_a_tree_without_its_listing_is_asked_for_again(uploads: Uploads) -> None:
    with pytest.raises(SourceChanged):
        uploads.open(hello(Role.PUT_TREE), "tree")


def test_listings_take_so_much_memory_and_no_more(uploads: Uploads) -> None:
    with pytest.raises(Denied):
        uploads.open(hello(Role.PUT_LIST, MAX_UPLOAD_LISTING_BYTES + 1), "tree")
    places = [
        uploads.open(hello(Role.PUT_LIST, MAX_UPLOAD_LISTING_BYTES, n), "tree") for n in range(3)
    ]
    with pytest.raises(ServerBusy):
        uploads.open(hello(Role.PUT_LIST, 1), "tree")
    for place in places:
        place.close()
    uploads.open(hello(Role.PUT_LIST, 1), "tree").close()


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 300, "a/" * 400 + "x", "\ud800", "..", "/"])
def test_names_that_are_none_are_refused_and_leave_no_file(
    uploads: Uploads, tmp_path: Path, name: str
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises((Denied, LocalWriteFailed)):
        uploads.open(hello(), name).open_sink(None)  # type: ignore[arg-type]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_what_waits_is_looked_at_now_and_then_and_nothing_is_where_nothing_waits(
    uploads: Uploads, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert uploads.next_timeout() == inf
    with pytest.raises(ServerBusy):
        uploads.open(hello(), "file")
    held.set()
    [opening] = uploads._opening.values()
    assert opening.job.wait(PATIENCE_S)
    uploads.forget()
    assert module.monotonic() < uploads.next_timeout() < inf
    monkeypatch.setattr(module, "PLACE_KEPT_S", -1.0)
    uploads.forget()
    assert uploads.next_timeout() == inf
