"""Trees beside rsync: each row of the table in docs/trees.md."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.documents.test_documents import ROOT, rows
from tests.storage.conftest import unprivileged
from tests.trees import row
from udpft.api import RunningServer, connect
from udpft.cli.main import run
from udpft.errors import DestinationExists, LocalReadFailed, PartialTransfer
from udpft.protocol.wire.listing import Entry
from udpft.storage.served_folder import ServedRoot
from udpft.storage.source_file import SourceFile
from udpft.storage.trees import walk
from udpft.storage.trees.files import StagedTree
from udpft.storage.trees.placement import umask
from udpft.storage.trees.staging import Staging


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


def files_in(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if not one.is_dir())


def unreadable(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Make a file one that we may not read, whoever we are."""
    path.chmod(0)
    name, real = os.fsencode(path.name), os.access

    def refuses(path: bytes, mode: int, **options: Any) -> bool:
        return path != name and real(path, mode, **options)

    monkeypatch.setattr(walk.os, "access", refuses)


@row("a file or folder that cannot be read")
def test_what_cannot_be_read_is_named_and_the_rest_comes(
    server: RunningServer, served: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable(monkeypatch, served / "t/b")
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


@row("a file that is gone since it was listed")
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


@row("a file that changes while it is sent")
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


@row("a FIFO, socket or device")
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
@row("a symlink")
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


@row("a hidden name")
def test_hidden_names_are_left_out_and_counted(server: RunningServer, served: Path) -> None:
    (served / "t/.env").touch()
    with connect(server.address) as client:
        result = client.store_tree(served / "t", "up")
        assert omissions(result) == {".*": "left_out"}
        assert not (served / "up/.env").exists()
    with udpft.serve(served, port=0, writable=True, hidden=True) as showing:
        udpft.put(served / "t", server=showing, as_name="all", recursive=True, hidden=True)
        udpft.get("t", server=showing, output=served / "back", recursive=True)
    assert (served / "all/.env").exists()
    assert (served / "back/t/.env").exists()


@row("a name that the file system refuses")
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
        words = "up/a:b: no such name can be there"
        with pytest.raises(PartialTransfer, match=words) as caught:
            client.store_tree(out / "t", "up")
        first = caught.value.result
        assert (first.files, first.bytes, first.resumed_bytes) == (3, 7, 0)
        assert not first.up_to_date
        with pytest.raises(PartialTransfer, match=words) as again:
            client.store_tree(out / "t", "up")
        assert again.value.result.up_to_date
        with pytest.raises(PartialTransfer) as fetched:
            client.fetch_tree("t", out.with_name("again"))
        assert not fetched.value.result.up_to_date
        with pytest.raises(PartialTransfer) as fetched:
            client.fetch_tree("t", out.with_name("again"))
        assert fetched.value.result.up_to_date
    assert omissions(caught.value) == {"a:b": "failed"}
    assert (served / "up/sub/c").read_text() == (out / "t/sub/c").read_text() == "sub/c"


@row("a different file of that name")
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


@row("a folder in a file's place, or the reverse")
def test_a_folder_in_a_files_place_is_named_and_the_rest_comes(
    server: RunningServer, served: Path, out: Path
) -> None:
    (out / "t/a").mkdir(parents=True)
    (out / "t/sub").write_text("mine")
    (served / "up/b").mkdir(parents=True)
    with connect(server.address) as client:
        for force in (False, True):
            with pytest.raises(
                PartialTransfer, match="t/a: a folder has its name, and 2 more"
            ) as one:
                client.fetch_tree("t", out, force=force)
            assert omissions(one.value) == {"a": "failed", "sub": "failed", "c": "failed"}
        with pytest.raises(PartialTransfer, match="up/b: a folder has its name"):
            client.store_tree(served / "t", "up")
        (served / "other/b").mkdir(parents=True)
        (served / "other/sub").write_text("mine")
        with pytest.raises(PartialTransfer, match="other/b: a folder has its name") as one:
            client.store_tree(served / "t", "other", dry_run=True)
        assert omissions(one.value) == {"b": "failed", "sub": "failed", "c": "failed"}
    assert files_in(out) == ["t/b", "t/sub"]
    assert (out / "t/sub").read_text() == "mine"
    assert files_in(served / "up") == ["a", "sub/c"]


@row("a file that appears meanwhile")
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
        with pytest.raises(DestinationExists, match="up/a is on the server") as caught:
            client.store_tree(served / "t", "up")
        came = caught.value.result
        assert (came.files, came.bytes, came.resumed_bytes, came.up_to_date) == (2, 6, 0, False)
    for there in (out / "t", served / "up"):
        assert (there / "a").read_text() == "an hour's work"
        assert (there / "sub/c").read_text() == "sub/c"


@row("the same size and time, another content")
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


@row("the same size, another time")
def test_a_file_of_another_time_is_the_same_if_its_content_is(
    get: Callable[..., int], out: Path, served: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get() == 0
    for name in ("a", "b"):
        os.utime(out / "t" / name, ns=(1, 1))
    (out / "t/b").write_text("B")
    capsys.readouterr()
    assert get() == 13
    told = capsys.readouterr().err
    assert "t/b differs, and has the same size" in told
    assert "t/a" not in told
    assert (out / "t/a").stat().st_mtime_ns == (served / "t/a").stat().st_mtime_ns


@row("permissions")
def test_a_folder_that_is_there_keeps_its_permissions(
    server: RunningServer, served: Path, out: Path
) -> None:
    (served / "t").chmod(0o777)
    (served / "t/a").chmod(0o751)
    out.mkdir(mode=0o700)
    with connect(server.address) as client:
        client.fetch_tree("t/", out)
        assert out.stat().st_mode & 0o777 == 0o700
        assert (out / "a").stat().st_mode & 0o777 == 0o751 & ~umask()
        (out / "t").mkdir()
        (out / "t").chmod(0o500)
        client.store_tree(out / "t", force=True)
    assert (served / "t").stat().st_mode & 0o777 == 0o777


@row("`--exclude`, `--include`")
def test_rules_leave_out_what_they_match(get: Callable[..., int], out: Path) -> None:
    assert get("--include", "c", "--include", "sub/", "--include", "t/", "--exclude", "*") == 0
    assert files_in(out) == ["t/sub/c"]
    shutil.rmtree(out)
    assert get("--exclude", "/t/b", "--exclude", "sub/") == 0
    assert os.listdir(out / "t") == ["a"]


@row("`--dry-run`")
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
    assert get() == 0
    (out / "t/sub/c").unlink()
    (served / "t/b").write_text("longer")
    capsys.readouterr()
    assert get("--dry-run", "--json") == 13
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = [(one["event"], Path(one["name"]).name) for one in events if "reason" in one]
    assert told == [("different", "b")]
    would = [one["name"] for one in events if one["event"] == "would_come"]
    assert would == ["t/sub/c"]
    assert not (out / "t/sub/c").exists()


@row("a disk without the room")
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


@row("two names that the file system takes for one")
def test_the_first_of_two_names_that_are_one_stays(
    server: RunningServer, served: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from udpft.storage.trees import placement

    real = placement.rename_new

    def folding(name: str, new_name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        real(name, new_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if new_name == "README":  # as where both names are one
            os.link(new_name, "readme", src_dir_fd=dst_dir_fd, dst_dir_fd=dst_dir_fd)

    for name in ("README", "readme"):
        (served / "t" / name).write_text(name)
    monkeypatch.setattr(placement, "rename_new", folding)
    with connect(server.address) as client:
        for force in (False, True):
            with pytest.raises(
                PartialTransfer, match="readme: the file system takes it for"
            ) as one:
                client.fetch_tree("t", out.with_name(str(force)), force=force)
            assert omissions(one.value) == {"readme": "failed"}
            assert (out.with_name(str(force)) / "t/README").read_text() == "README"


@row("times")
@pytest.mark.parametrize("step_ns", [1, 2 * 10**9])
def test_times_are_kept_as_exactly_as_the_file_system_keeps_them(
    get: Callable[..., int],
    served: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step_ns: int,
) -> None:
    told_ns = 1_234_567_891_123_456_789
    monkeypatch.setattr(Staging, "time_granularity_ns", lambda _: step_ns)
    for path in (served / "t/a", served / "t/sub"):
        os.utime(path, ns=(told_ns, told_ns))
    assert get() == 0
    for path in (out / "t/a", out / "t/sub"):
        assert path.stat().st_mtime_ns == told_ns
        os.utime(path, ns=(0, told_ns - told_ns % step_ns))  # FAT keeps no more of it
    capsys.readouterr()
    assert get() == 0
    assert "up to date" in capsys.readouterr().err
    (out / "t/a").write_text("A")
    os.utime(out / "t/a", ns=(0, told_ns - 3 * 10**9))
    assert get() == 13


@row("a folder of mode 0555")
def test_a_folder_that_nobody_may_write_to_is_filled(
    server: RunningServer, served: Path, here: Path
) -> None:
    here.chmod(0o777)
    (served / "t/sub").chmod(0o555)
    with unprivileged(), connect(server.address) as client:
        client.fetch_tree("t", "o")
        assert Path("o/t/sub").stat().st_mode & 0o777 == 0o555
        Path("o/t/sub").chmod(0o755)
        Path("o/t/sub/c").unlink()
        Path("o/t/sub").chmod(0o555)
        client.fetch_tree("t", "o")
        assert Path("o/t/sub").stat().st_mode & 0o777 == 0o555
    assert (here / "o/t/sub/c").read_text() == "sub/c"


@row("broken off")
def test_what_is_broken_off_is_gone_on_with_or_removed_in_time(
    server: RunningServer, served: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (served / "t/large").write_bytes(bytes(range(256)) * 12_000)
    real, written = StagedTree.writev, 0

    def interrupted(self: StagedTree, slots: list[memoryview], offset: int) -> None:
        nonlocal written
        if written > 1_500_000:
            raise KeyboardInterrupt
        written += sum(map(len, slots))
        real(self, slots, offset)

    with connect(server.address) as client:
        with monkeypatch.context() as patched:
            patched.setattr(StagedTree, "writev", interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.fetch_tree("t", out)
        [left] = out.iterdir()
        assert re.fullmatch(r"\.t\.[0-9a-f]{8}\.udpft-part", left.name)
        old = out / ".other.01234567.udpft-part"
        old.mkdir()
        os.utime(old, ns=(0, 0))
        assert client.fetch_tree("t", out).resumed_bytes > 1_000_000
    assert os.listdir(out) == ["t"]


def test_every_row_of_the_page_has_a_test() -> None:
    page = (ROOT / "docs/trees.md").read_text()
    titles = [cells[0] for cells in rows(page)]
    tests = (ROOT / "tests").rglob("test_*.py")
    marked = [
        title.replace("`", "")
        for test in tests
        for title in re.findall(r'^@row\("(.+)"\)$', test.read_text(), re.M)
    ]
    assert len(titles) > 15
    assert sorted(set(marked)) == sorted(titles)
