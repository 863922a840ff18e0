"""Places for uploads, without a network: refused, kept and given up."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from udpft.errors import Denied, LocalWriteFailed, ServerBusy, SourceChanged
from udpft.protocol.wire.hello import Hello, Role
from udpft.server import uploads as module
from udpft.server.tree_uploads import MAX_UPLOAD_LISTING_BYTES
from udpft.server.uploads import MAX_OPENING, Uploads
from udpft.storage.partfile import PartFile
from udpft.storage.served_folder import ServedRoot

PATIENCE_S = 20.0


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


def test_what_nobody_comes_back_for_is_given_up(
    uploads: Uploads, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ServerBusy):
        uploads.open(hello(), "file")
    held.set()
    [job] = uploads._opening.values()
    assert job.wait(PATIENCE_S)
    monkeypatch.setattr(module, "PLACE_KEPT_S", -1.0)
    uploads.open(hello(), "other").close()
    assert len(os.listdir("/proc/self/fd")) == before


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
