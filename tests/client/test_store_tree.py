"""Stored trees, over loopback: a real server, a real client, real folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import udpft
from tests.trees import make_tree, seen
from udpft.api import RunningServer, connect
from udpft.client.store import send
from udpft.client.store_tree import _source_of
from udpft.errors import Denied, DestinationExists, PartialTransfer, UploadRefused
from udpft.outcome.served import Served
from udpft.protocol.wire.hello import Role
from udpft.protocol.wire.listing import Entry, encode_entry, identity_of
from udpft.storage.trees.files import StagedTree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = make_tree(tmp_path / "here") / "tree"
    time_ns = tree.stat().st_mtime_ns
    (tree / ".hidden").unlink()
    os.utime(tree, ns=(time_ns, time_ns))
    return tree


@pytest.fixture
def server(stored: Path) -> Iterator[RunningServer]:
    with udpft.serve(stored, port=0, writable=True) as server:
        yield server


def put(tree: Path | str, server: RunningServer, **options: object) -> udpft.Result:
    return udpft.put(tree, server=server.address, recursive=True, **options)  # type: ignore[arg-type]


def test_a_tree_arrives_as_it_is(server: RunningServer, stored: Path, tree: Path) -> None:
    result = put(tree, server)
    assert seen(stored / "tree") == seen(tree)
    assert (result.files, result.verified, result.resumed_bytes) == (307, True, 0)
    assert os.listdir(stored) == ["tree"]
    assert (stored / "tree").stat().st_mtime_ns == tree.stat().st_mtime_ns


@pytest.mark.parametrize(
    ("slash", "as_name", "where"),
    [("/", None, ""), ("/", "a/b", "a/b"), ("", "a", "a"), ("", "a/", "a/tree"), ("/", "a/", "a")],
)
def test_slashes_say_what_becomes_of_the_name(
    server: RunningServer, stored: Path, tree: Path, slash: str, as_name: str | None, where: str
) -> None:
    put(f"{tree}{slash}", server, as_name=as_name)
    assert seen(stored / where) == seen(tree)


def test_a_tree_that_is_there_is_not_sent_again(server: RunningServer, tree: Path) -> None:
    assert not put(tree, server).up_to_date
    again = put(tree, server)
    assert again.up_to_date
    assert again.resumed_bytes == again.bytes


def test_without_writable_it_is_refused_and_leaves_nothing(stored: Path, tree: Path) -> None:
    with udpft.serve(stored, port=0) as server, pytest.raises(UploadRefused):
        put(tree, server)
    assert os.listdir(stored) == []


def test_a_different_file_is_kept_unless_forced(
    server: RunningServer, stored: Path, tree: Path
) -> None:
    put(tree, server)
    (stored / "tree/large").write_text("theirs")
    (stored / "tree/many/001").unlink()
    with pytest.raises(DestinationExists, match="tree/large"):
        put(tree, server)
    assert (stored / "tree/large").read_text() == "theirs"
    assert (stored / "tree/many/001").exists()  # the rest comes
    (stored / "tree/many/001").unlink()
    result = put(tree, server, force=True)
    assert seen(stored / "tree") == seen(tree)
    assert result.resumed_bytes > 0


def test_a_file_of_the_same_size_and_time_that_differs_is_noticed(
    server: RunningServer, stored: Path, tree: Path
) -> None:
    put(tree, server)
    there = stored / "tree/many/200"
    time_ns = there.stat().st_mtime_ns
    there.write_bytes(bytes(1400))
    os.utime(there, ns=(time_ns, time_ns))
    with pytest.raises(DestinationExists, match="differs"):
        put(tree, server)
    assert there.read_bytes() == bytes(1400)
    put(tree, server, force=True)
    assert there.read_bytes() == (tree / "many/200").read_bytes()


def test_what_is_left_of_an_interrupted_tree_is_not_sent_again(
    stored: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    real = StagedTree.writev

    def counted(self: StagedTree, slots: list[memoryview], offset: int) -> None:
        nonlocal written
        written += sum(map(len, slots))
        real(self, slots, offset)

    monkeypatch.setattr(StagedTree, "writev", counted)

    def interrupt(_done: int, _total: int) -> None:
        if written > 1_500_000:
            raise KeyboardInterrupt

    told: list[Served] = []
    with (
        udpft.serve(stored, port=0, writable=True, on_served=told.append) as server,
        connect(server.address, limit_rate=5_000_000) as client,
        pytest.raises(KeyboardInterrupt) as caught,
    ):
        client.store_tree(tree, progress=interrupt)
    assert any("resume" in note for note in caught.value.__notes__)
    assert not (stored / "tree").exists()
    with udpft.serve(stored, port=0, writable=True, on_served=told.append) as server:
        assert udpft.list_files(server=server.address) == []
        result = put(tree, server)
    assert result.resumed_bytes > 1_000_000
    assert told[-1].bytes_received == result.bytes - result.resumed_bytes
    assert seen(stored / "tree") == seen(tree)
    assert os.listdir(stored) == ["tree"]


def test_what_is_left_of_another_tree_does_no_harm(
    server: RunningServer, stored: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(server.address) as client, monkeypatch.context() as patched:
        real = StagedTree.writev

        def fail_at_last(self: StagedTree, slots: list[memoryview], offset: int) -> None:
            real(self, slots, offset)
            if offset > self.layout.size // 2:
                raise OSError(28, "No space left on device")

        patched.setattr(StagedTree, "writev", fail_at_last)
        with pytest.raises(PartialTransfer, match="disk is full"):
            client.store_tree(tree)
    for path in tree.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1][::-1])  # each of them shorter
    put(tree, server)
    assert seen(stored / "tree") == seen(tree)


def test_nothing_is_put_through_a_symlink(
    server: RunningServer, stored: Path, tree: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (stored / "tree").mkdir()
    (stored / "tree/a").symlink_to(elsewhere)
    with pytest.raises(PartialTransfer, match="tree/a: a symlink is in the way"):
        put(tree, server, force=True)
    (stored / "tree/a").unlink()
    secret = tmp_path / "elsewhere/secret"
    secret.write_bytes(b"mine")
    (stored / "tree/large").unlink()
    (stored / "tree/large").symlink_to(secret)
    put(tree, server, force=True)
    assert secret.read_bytes() == b"mine"
    assert not (stored / "tree/large").is_symlink()


def test_hidden_names_are_for_servers_that_take_them(
    server: RunningServer, stored: Path, tree: Path
) -> None:
    (tree / ".git").mkdir()
    (tree / ".git/config").write_text("x")
    (tree / "a/.env").touch()
    words = r"tree/\.git: the server takes no names that begin with a dot, and 1 more"
    with connect(server.address) as client, pytest.raises(PartialTransfer, match=words) as caught:
        client.store_tree(tree, hidden=True)
    omitted = {one.name: one.kind for one in caught.value.result.tree.omissions}
    assert omitted["tree/.git"] == omitted["tree/a/.env"] == "failed"
    assert (caught.value.result.files, caught.value.result.up_to_date) == (307, False)
    names = {str(one.relative_to(tree)) for one in tree.rglob("*")}
    came = {str(one.relative_to(stored / "tree")) for one in (stored / "tree").rglob("*")}
    assert names - came == {".git", ".git/config", "a/.env", "leak", "way out", "fifo"}
    with connect(server.address) as client, pytest.raises(Denied, match=r"\.git") as denied:
        client.store_tree(tree / ".git", hidden=True)
    assert "--hidden" in denied.value.hint
    shutil.rmtree(stored / "tree")
    with (
        udpft.serve(stored, port=0, writable=True, hidden=True) as open_server,
        connect(open_server.address) as client,
    ):
        client.store_tree(tree, hidden=True)
    assert (stored / "tree/.git/config").read_text() == "x"


@pytest.mark.parametrize(
    "listing",
    [
        encode_entry(Entry("../x", False, 1, 0, 0o644, 1)),
        encode_entry(Entry("/x", False, 1, 0, 0o644, 1)),
        encode_entry(Entry("a/.x.udpft-part", False, 1, 0, 0o644, 1)),
        encode_entry(Entry("/".join(["a"] * 300), False, 1, 0, 0o644, 1)),
        b"no listing at all, and a long one",
    ],
)
def test_a_listing_that_leads_elsewhere_is_refused(
    server: RunningServer, tmp_path: Path, listing: bytes
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with connect(server.address) as client, _source_of(listing) as source:
        with pytest.raises(Denied):
            send(client._connection, source, "x", Role.PUT_LIST)
        source.identity = identity_of(listing) ^ 1
        with pytest.raises((Denied, PartialTransfer)):
            send(client._connection, source, "x", Role.PUT_LIST)
    assert sorted(tmp_path.rglob("*")) == before
