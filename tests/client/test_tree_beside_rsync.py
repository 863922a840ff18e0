"""Trees beside rsync: each row of the table in docs/trees.md."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import udpft
from udpft.api import RunningServer, connect
from udpft.cli.main import run
from udpft.errors import DestinationExists, LocalReadFailed, PartialTransfer
from udpft.protocol.wire.listing import Entry
from udpft.storage.served_folder import ServedRoot
from udpft.storage.source_file import SourceFile
from udpft.storage.trees import walk
from udpft.storage.trees.files import StagedTree


@pytest.fixture
def served(tmp_path: Path) -> Path:
    (tmp_path / "served/t/sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (tmp_path / "served/t" / name).write_text(name)
    return tmp_path / "served"


@pytest.fixture
def server(served: Path) -> Iterator[RunningServer]:
    with udpft.serve(served, port=0, writable=True) as server:
        yield server


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def get(server: RunningServer, out: Path) -> Callable[..., int]:
    return lambda *words: run(["get", "-r", "t", "-s", server.address, "-o", str(out), *words])


def omissions(error: BaseException | udpft.Result) -> dict[str, str]:
    """What did not come, with its kind."""
    result = error if isinstance(error, udpft.Result) else error.result  # type: ignore[attr-defined]
    return {Path(one.name).name: one.kind for one in result.tree.omissions}


def unreadable(monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    """Make a file one that we may not read, whoever we are."""
    real = os.access

    def refuses(path: bytes, mode: int, **options: Any) -> bool:
        return path != name and real(path, mode, **options)

    monkeypatch.setattr(walk.os, "access", refuses)


def test_what_cannot_be_read_is_named_and_the_rest_comes(
    server: RunningServer, served: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable(monkeypatch, b"b")
    with connect(server.address) as client:
        with pytest.raises(PartialTransfer, match="t/b: permission denied") as caught:
            client.fetch_tree("t", out)
        assert omissions(caught.value) == {"b": "failed"}
        with pytest.raises(PartialTransfer, match="t/b: permission denied"):
            client.store_tree(served / "t", "up")
    for there in (out / "t", served / "up"):
        assert (there / "sub/c").read_text() == "sub/c"
        assert not (there / "b").exists()


def test_a_read_error_is_found_when_it_is_its_turn(
    server: RunningServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("readv", "readv_now"):
        real = getattr(SourceFile, name)

        def fails(self: SourceFile, slots: list[memoryview], offset: int, real: Any = real) -> int:
            if os.readlink(f"/proc/self/fd/{self._fd}").endswith("/t/b"):
                cause = OSError(5, "Input/output error")
                raise LocalReadFailed("cannot read the file") from cause
            return int(real(self, slots, offset))

        monkeypatch.setattr(SourceFile, name, fails)
    read_error = "t/b: it cannot be read: input/output error"
    with connect(server.address) as client, pytest.raises(PartialTransfer, match=read_error):
        client.fetch_tree("t", out)
    assert sorted(os.listdir(out / "t")) == ["a", "sub"]


def test_a_file_that_is_gone_is_listed_again(
    server: RunningServer, served: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ServedRoot.open_at

    def gone(self: ServedRoot, components: list[bytes], resolve: int = 0) -> SourceFile:
        if components[-1] == b"b":
            (served / "t/b").unlink(missing_ok=True)
        return real(self, components, resolve)

    monkeypatch.setattr(ServedRoot, "open_at", gone)
    with connect(server.address) as client:
        assert client.fetch_tree("t", out).files == 2


def test_a_file_that_never_rests_is_named(
    server: RunningServer, served: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, path, times_ns = ServedRoot.open_at, served / "t/b", count(10**18, 10**9)

    def touched(self: ServedRoot, components: list[bytes], resolve: int = 0) -> SourceFile:
        if components[-1] == b"b":  # one that only grew would be sent as it was
            path.write_bytes(path.read_bytes()[::-1])
            os.utime(path, ns=(0, next(times_ns)))
        return real(self, components, resolve)

    monkeypatch.setattr(ServedRoot, "open_at", touched)
    changes = "t/b: it changes while it is sent"
    with connect(server.address) as client, pytest.raises(PartialTransfer, match=changes):
        client.fetch_tree("t", out)
    assert sorted(os.listdir(out / "t")) == ["a", "sub"]


def test_what_is_left_out_is_counted_and_named(
    get: Callable[..., int], served: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(served / "t/fifo")
    (served / "t/link").symlink_to("a")
    (served / "t/.env").touch()
    assert get() == 0
    assert re.search("left out: 1 hidden name, 1 FIFO, 1 symlink$", capsys.readouterr().err, re.M)
    assert get("--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [(line["name"], line["reason"]) for line in lines if line["event"] == "left_out"]
    assert found == [("t/.*", "hidden name"), ("t/fifo", "FIFO"), ("t/link", "symlink")]


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../x", "sub/../../../x"])
def test_symlinks_are_copied_where_they_stay_within(
    server: RunningServer, served: Path, out: Path, target: str
) -> None:
    (served / "t/sub/link").symlink_to("../a")
    with connect(server.address) as client:
        client.fetch_tree("t", out, links=True)
        assert os.readlink(out / "t/sub/link") == "../a"
        (served / "t/out").symlink_to(target)
        with pytest.raises(PartialTransfer, match="the symlink leads out of the tree"):
            client.fetch_tree("t", out, links=True)
        (served / "t/out").unlink()
        client.store_tree(out / "t", "up", links=True)
    assert os.readlink(served / "up/sub/link") == "../a"
    assert not (out / "t/out").is_symlink()


def test_hidden_names_are_left_out_and_counted(server: RunningServer, served: Path) -> None:
    (served / "t/.env").touch()
    with connect(server.address) as client:
        result = client.store_tree(served / "t", "up")
    assert omissions(result) == {".*": "left_out"}
    assert not (served / "up/.env").exists()


def test_a_name_that_is_refused_is_named(
    server: RunningServer, served: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from udpft.storage.trees import placement

    real = placement.rename_new

    def vfat(name: str, new_name: str, **fds: int) -> None:
        if ":" in new_name:
            raise OSError(22, "Invalid argument")
        real(name, new_name, **fds)

    monkeypatch.setattr(placement, "rename_new", vfat)
    (served / "t/a:b").touch()
    with connect(server.address) as client:
        with pytest.raises(PartialTransfer, match="a:b: no such name can be there"):
            client.fetch_tree("t", out)
        (out / "t/a:b").touch()
        with pytest.raises(PartialTransfer, match="up/a:b: no such name can be there") as caught:
            client.store_tree(out / "t", "up")
    assert omissions(caught.value) == {"a:b": "failed"}
    assert (served / "up/sub/c").read_text() == (out / "t/sub/c").read_text() == "sub/c"


def test_what_differs_is_named_and_what_is_new_comes(
    get: Callable[..., int], served: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get() == 0
    (served / "t/a").write_text("another")
    (served / "t/new").write_text("new")
    assert get("--json") == 13
    assert '"event": "different"' in capsys.readouterr().out
    assert ((out / "t/new").read_text(), (out / "t/a").read_text()) == ("new", "a")
    assert get("--force") == 0
    assert (out / "t/a").read_text() == "another"


def test_what_appears_meanwhile_is_left_alone(
    server: RunningServer, served: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = StagedTree.finish

    def appears(self: StagedTree, number: int, finish: Callable[[int, Entry], None]) -> None:
        for there in (out / "t", served / "up"):
            there.mkdir(parents=True, exist_ok=True)
            (there / "a").write_text("an hour's work")
        real(self, number, finish)

    monkeypatch.setattr(StagedTree, "finish", appears)
    with connect(server.address) as client:
        with pytest.raises(DestinationExists, match="t/a exists and is a different file"):
            client.fetch_tree("t", out)
        with pytest.raises(DestinationExists, match="up/a is on the server"):
            client.store_tree(served / "t", "up")
    for there in (out / "t", served / "up"):
        assert (there / "a").read_text() == "an hour's work"
        assert (there / "sub/c").read_text() == "sub/c"


def test_contents_are_compared_where_that_is_asked_for(
    get: Callable[..., int], served: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime(served / "t/a", ns=(1, 1))
    assert get() == 0
    (served / "t/a").write_text("A")
    os.utime(served / "t/a", ns=(1, 1))
    assert get() == 0
    assert get("--checksum") == 13
    assert "t/a differs, and has the same size" in capsys.readouterr().err
    assert (out / "t/a").read_text() == "a"
    assert get("--force") == 0
    assert (out / "t/a").read_text() == "A"


def test_a_folder_that_is_there_keeps_its_permissions(
    server: RunningServer, served: Path, out: Path
) -> None:
    (served / "t").chmod(0o777)
    out.mkdir(mode=0o700)
    with connect(server.address) as client:
        client.fetch_tree("t/", out)
        assert out.stat().st_mode & 0o777 == 0o700
        (out / "t").mkdir()
        (out / "t").chmod(0o500)
        client.store_tree(out / "t", force=True)
    assert (served / "t").stat().st_mode & 0o777 == 0o777


def test_rules_leave_out_what_they_match(get: Callable[..., int], out: Path) -> None:
    assert get("--exclude", "/t/b", "--exclude", "sub/") == 0
    assert os.listdir(out / "t") == ["a"]


def test_a_dry_run_touches_nothing(
    get: Callable[..., int],
    server: RunningServer,
    served: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert get("--dry-run") == 0
    assert "t/sub/c: 5 B" in capsys.readouterr().err
    assert not out.exists()
    words = ["put", "-r", str(served / "t"), "--as", "up", "-s", server.address, "--dry-run"]
    assert run(words) == 0
    assert "up/sub/c: 5 B" in capsys.readouterr().err
    assert not (served / "up").exists()


def test_a_tree_that_does_not_fit_is_refused_before_it_begins(
    get: Callable[..., int],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    full = os.statvfs_result((1, 1, 10**9, 3, 3, 10**6, 10**6, 10**6, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda _: full)
    assert get() == 23
    assert "disk full: the tree needs 7 B" in capsys.readouterr().err
    assert os.listdir(out) == []
