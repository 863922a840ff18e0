"""Trees that clients store: reports of what is not taken, and notices of what was removed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from udpft.errors import DestinationExists, NoSuchFile, ServerBusy
from udpft.protocol.wire.hello import REPORT, Hello, Role
from udpft.protocol.wire.listing import (
    Entry,
    Reason,
    decode_report_untrusted,
    encode_entry,
    identity_of,
)
from udpft.server import tree_uploads as module
from udpft.server.tree_uploads import MAX_UPLOAD_LISTING_BYTES, TreeUploads
from udpft.storage.leftovers import ABANDONED_S
from udpft.storage.served_folder import ServedRoot

LISTING = b"".join(
    encode_entry(Entry(name, False, 0, 0, 0o644, 1)) for name in ("different", "new")
)


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def trees(tmp_path: Path, notices: list[str]) -> Iterator[TreeUploads]:
    with ServedRoot(tmp_path) as root:
        yield TreeUploads(root, notices.append)


def bring(trees: TreeUploads, listing: bytes = LISTING, flags: int = REPORT) -> Hello:
    identity = identity_of(listing)
    trees._keep(identity, None, listing)
    return Hello(1, 2, b"", 2048, 0, role=Role.PUT_TREE, identity=identity, flags=flags)


def test_what_is_not_taken_stands_in_a_report(trees: TreeUploads, tmp_path: Path) -> None:
    (tmp_path / "different").write_text("mine")
    hello = bring(trees)
    with pytest.raises(DestinationExists, match="different exists"):
        trees.open_tree(hello, "t")
    with trees.open_report(hello.identity) as source:
        data = bytearray(source.size)
        source.readv([memoryview(data)], 0)
    [refused] = decode_report_untrusted(bytes(data)).not_sent
    assert (refused.path, refused.reason) == ("different", Reason.DIFFERENT)
    assert os.listdir(tmp_path) == ["different"]


def test_what_appears_meanwhile_is_in_the_report_too(trees: TreeUploads, tmp_path: Path) -> None:
    hello = bring(trees)
    tree = trees.open_tree(hello, "t")
    (tmp_path / "different").write_text("mine")
    with pytest.raises(DestinationExists):
        tree.commit()
    tree.close()
    assert sorted(os.listdir(tmp_path)) == ["different", "new"]
    trees.open_report(hello.identity).close()


def test_there_is_no_report_of_another_tree_nor_for_who_asked_for_none(
    trees: TreeUploads, tmp_path: Path
) -> None:
    (tmp_path / "different").write_text("mine")
    hello = bring(trees, flags=0)
    with pytest.raises(DestinationExists):
        trees.open_tree(hello, "t")
    with pytest.raises(NoSuchFile):
        trees.open_report(hello.identity)


def test_only_so_many_reports_are_kept_and_for_so_long(
    trees: TreeUploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "different").write_text("mine")
    hello = bring(trees)
    monkeypatch.setattr(module, "MAX_REPORTS_BYTES", 10 * (256 + 49))
    for number in range(11):
        with pytest.raises(DestinationExists):
            trees._refuse(hello._replace(identity=number), trees_problems())
    with pytest.raises(NoSuchFile):
        trees.open_report(0)
    trees.open_report(10).close()
    monkeypatch.setattr(module, "LISTING_KEPT_S", -1.0)
    trees.forget()
    with pytest.raises(NoSuchFile):
        trees.open_report(10)


def test_one_host_leaves_room_for_the_listings_of_others(trees: TreeUploads) -> None:
    hello = Hello(1, 2, b"", 2048, 0, role=Role.PUT_LIST, size=MAX_UPLOAD_LISTING_BYTES)
    for _ in range(2):
        trees.open_listing(hello, "stranger")
    with pytest.raises(ServerBusy):
        trees.open_listing(hello._replace(size=1), "stranger")
    trees.open_listing(hello, "other")
    for host in ("stranger", "stranger", "other"):
        trees.note_listing_closed(host, hello.size, 0)
    assert not trees._coming_bytes
    trees.open_listing(hello, "stranger")


def trees_problems() -> list[module.Problem]:
    return [module.Problem("different", Reason.DIFFERENT)]


def test_what_nobody_came_back_for_is_removed_and_said_so(
    trees: TreeUploads, tmp_path: Path, notices: list[str]
) -> None:
    old = tmp_path / ".old.udpft-part"
    old.mkdir()
    os.utime(old, (time.time() - ABANDONED_S - 60,) * 2)
    trees.open_tree(bring(trees), "t").close()
    assert notices == [".old.udpft-part: removed, for nobody came back for it"]
