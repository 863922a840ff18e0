"""Sessions through shells that reach this machine, told of by the names that were typed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.remote.shells import as_exec, as_ssh, far_ends, options_of
from tests.samples import LARGE, sample
from udpft.errors import (
    DestinationExists,
    NoSuchFile,
    RangeNotThere,
    ShellFailed,
    TimedOut,
    UdpftError,
)
from udpft.remote import session
from udpft.remote.commands import ShellOptions
from udpft.remote.names import parse_remote
from udpft.remote.session import RemoteClient, fetching, storing

ODD = [
    "x y",
    "it's",
    '"quoted"',
    "$HOME",
    "`id`",
    "new\nline",
    "-dash",
    "*",
    "bad\udcff",
    "ü",
    "%20",
]
"""Names that a shell, a pattern or a URL would take for something else."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Home of the account over there."""
    folder = (tmp_path / "home").resolve()
    folder.mkdir()
    return folder


@pytest.fixture(params=[as_ssh, as_exec], ids=["ssh", "exec"])
def shell(request: pytest.FixtureRequest, tmp_path: Path, home: Path) -> ShellOptions:
    return options_of(request.param(tmp_path / "rsh", home))


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory here."""
    folder = tmp_path / "local"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def fetch(shell: ShellOptions, *names: str, recursive: bool = False, **more: Any) -> RemoteClient:
    parsed = [parse_remote(one) for one in names]
    return fetching(parsed, shell, lambda _: None, recursive=recursive, **more)


def store(
    shell: ShellOptions, place: str, *files: str, recursive: bool = False, force: bool = False
) -> RemoteClient:
    return storing(
        parse_remote(place), files, shell, lambda _: None, recursive=recursive, force=force
    )


def test_files_of_odd_names_come_and_go(home: Path, shell: ShellOptions, local: Path) -> None:
    for number, name in enumerate(ODD):
        (home / name).write_bytes(sample(2049 + number))
    with fetch(shell, *(f"lab:{name}" for name in ODD)) as client:
        for name in ODD:
            result = client.fetch(f"lab:{name}")
            assert (result.name, result.local_path) == (f"lab:{name}", name)
            assert (local / name).read_bytes() == (home / name).read_bytes()
    with store(shell, "lab:there/", *ODD) as client:
        for name in ODD:
            assert client.store(name).name == f"lab:there/{name}"
            assert (home / "there" / name).read_bytes() == (local / name).read_bytes()
    assert far_ends(home) == []


def test_paths_from_the_home_and_from_the_root(
    home: Path, shell: ShellOptions, local: Path
) -> None:
    (home / "dir").mkdir()
    (home / "dir" / "a").write_bytes(sample(4096))
    names = ["lab:dir/a", "lab:~/dir/a", f"lab:{home}/dir/a", "lab:dir/../dir/a"]
    with fetch(shell, *names) as client:
        for number, name in enumerate(names):
            client.fetch(name, str(number))
            assert (local / str(number)).read_bytes() == sample(4096)


def test_a_range_comes_by_the_name_that_was_typed(
    home: Path, shell: ShellOptions, local: Path
) -> None:
    (home / "a").write_bytes(sample(4096))
    with fetch(shell, "lab:a") as client:
        assert client.fetch("lab:a", byte_range=(1_000, 2_000)).name == "lab:a"
        assert (local / "a").read_bytes() == sample(4096)[1_000:2_000]
        with pytest.raises(RangeNotThere, match="'lab:a'"):
            client.fetch("lab:a", "b", byte_range=(5_000, None))


def test_a_tree_comes_and_goes(home: Path, shell: ShellOptions, local: Path) -> None:
    (home / "t" / "in side").mkdir(parents=True)
    (home / "t" / "in side" / "x").write_bytes(sample(2048))
    (home / "t" / ".hidden").write_bytes(sample(1))
    (home / "link").symlink_to("t")
    shape = [".hidden", "in side", "in side/x"]

    def tree(folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))

    names = ["lab:t", "lab:t/", "lab:link", "lab:t/."]
    with fetch(shell, *names, recursive=True) as client:
        for name, folder in zip(names, ["out/t", "flat", "out/link", "dot"], strict=True):
            result = client.fetch_tree(name, folder.partition("/")[0])
            assert (result.name, tree(local / folder)) == (name, shape)
    with store(shell, "lab:new", "out/t", recursive=True) as client:
        assert client.store_tree("out/t", hidden=True).name == "lab:new/t"
        assert tree(home / "new" / "t") == shape
    for place in ("lab:flat", "lab:flat/"):
        with store(shell, place, "out/t/", recursive=True) as client:
            assert client.store_tree("out/t/", hidden=True).name == place
            assert tree(home / "flat") == shape


def test_wildcards_are_matched_over_there(home: Path, shell: ShellOptions, local: Path) -> None:
    for name in ("a.log", "b.log", "c.txt"):
        (home / name).write_bytes(sample(1))
    with fetch(shell, "lab:*.log") as client:
        assert not client.is_one_file("lab:*.log")
        client.fetch_tree("lab:*.log", recursive=False)
    assert sorted(os.listdir(local)) == ["a.log", "b.log"]


def test_a_missing_file_is_told_by_its_name(home: Path, shell: ShellOptions, local: Path) -> None:
    (home / "dir").mkdir()
    (home / "report.txt").touch()
    with fetch(shell, "lab:reprot.txt", "lab:dir") as client:
        with pytest.raises(NoSuchFile, match=r"'lab:reprot\.txt': no such file") as caught:
            client.fetch("lab:reprot.txt")
        assert caught.value.hint == "did you mean 'report.txt'?"
        with pytest.raises(NoSuchFile, match="'lab:dir' is a folder"):
            client.fetch("lab:dir")
    assert os.listdir(local) == []


def test_errors_over_there_are_told_by_typed_names(
    home: Path, shell: ShellOptions, local: Path
) -> None:
    (local / "x").write_bytes(sample(2048))
    (home / "x").write_bytes(sample(2049))
    with store(shell, "lab:", "x") as client:
        with pytest.raises(DestinationExists, match=r"^'lab:x' is on the server") as caught:
            client.store("x")
        assert caught.value.hint == "--force replaces it"
    with fetch(shell, "lab:x") as client:
        (home / "x").unlink()
        with pytest.raises(NoSuchFile, match="'lab:x'"):
            client.fetch("lab:x", "y")


def test_what_does_not_come_of_a_tree_is_told_by_typed_names(
    home: Path, shell: ShellOptions, local: Path
) -> None:
    (home / "t").mkdir()
    (home / "t" / "fifo").symlink_to("/dev/null")
    (home / "t" / "x").write_bytes(sample(1))
    with fetch(shell, "lab:t", recursive=True) as client:
        planned = client.fetch_tree("lab:t", dry_run=True).tree
        assert planned
        assert planned.listed == (("lab:t/x", 1),)
        done = client.fetch_tree("lab:t").tree
        assert done
        assert [one.name for one in done.omissions] == ["lab:t/fifo"]
    assert (local / "t" / "x").exists()


def test_an_interrupted_fetch_is_gone_on_with_by_another_session(
    home: Path, shell: ShellOptions, local: Path
) -> None:
    (home / "big").write_bytes(sample(LARGE))

    class Enough(Exception):
        pass

    def enough(done: int, _total: int) -> None:
        if done > LARGE // 4:
            raise Enough

    with fetch(shell, "lab:big", limit_rate="4M") as client, pytest.raises(Enough):
        client.fetch("lab:big", progress=enough)
    with fetch(shell, "lab:big") as client:
        assert client.fetch("lab:big").resumed_bytes > 0
    assert (local / "big").read_bytes() == sample(LARGE)


def test_a_far_end_that_is_killed_ends_the_transfer_and_not_its_part(
    home: Path, shell: ShellOptions, local: Path
) -> None:
    (home / "big").write_bytes(sample(LARGE))

    def kill(done: int, _total: int) -> None:
        if done > LARGE // 4:
            for pid in far_ends(home):
                os.kill(pid, 9)

    with fetch(shell, "lab:big", limit_rate="4M") as client:
        with pytest.raises(ShellFailed, match="rsh to lab ended in mid-transfer") as caught:
            client.fetch("lab:big", progress=kill)
        assert caught.value.hint == "run the same command again to resume"
    with fetch(shell, "lab:big") as client:
        assert client.fetch("lab:big").resumed_bytes > 0
    assert (local / "big").read_bytes() == sample(LARGE)


def test_a_far_end_that_no_datagram_reaches(
    home: Path, shell: ShellOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "addresses_to_try", lambda *_: [])
    with pytest.raises(TimedOut, match=r"up on lab, .* its UDP port \d+$") as caught:
        fetch(shell, "ada@lab:x")
    assert "--ports 60000-60010" in caught.value.hint
    with pytest.raises(TimedOut) as caught:
        fetch(shell._replace(ports=(60000, 60020)), "lab:x")
    assert "60000 to 60020" in caught.value.hint
    assert far_ends(home) == []


def test_a_shell_that_fails_is_told_in_its_words(home: Path, tmp_path: Path) -> None:
    from tests.remote.shells import script

    rsh = script(tmp_path / "bad", "#!/bin/sh\necho no way to $1 >&2; exit 255\n")
    with pytest.raises(UdpftError, match="bad to lab failed: no way to lab"):
        fetch(options_of(rsh), "lab:x")
    assert far_ends(home) == []
