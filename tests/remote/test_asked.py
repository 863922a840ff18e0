"""Request of a session: the path it is found at, and that nothing else is served."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from tests.storage.conftest import unprivileged
from udpft.client.client import Client
from udpft.errors import Denied, NoSuchFile, UdpftError, UsageError
from udpft.keys import Key
from udpft.remote.asked import (
    AskedPlace,
    AskedServer,
    OfferedFolders,
    Place,
    expanded,
    home,
    label_of,
    offer_of,
    place_of,
)
from udpft.remote.messages import PathsAsked, PlaceAsked, PutItem
from udpft.storage.served_folder import ServedRoot


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Home folder of an account, with some files in it."""
    folder = (tmp_path / "home").resolve()
    (folder / "dir" / "sub").mkdir(parents=True)
    (folder / "dir" / "sub" / "deep.txt").write_text("deep")
    (folder / "a.txt").write_text("a")
    (folder / "b.txt").write_text("b")
    (folder / "to_dir").symlink_to("dir")
    (folder / "to_file").symlink_to("dir/sub/deep.txt")
    (folder / "nowhere").symlink_to("missing")
    monkeypatch.setenv("HOME", str(folder))
    return folder


# ---------------------------------------------------------------------------------------- paths


def test_a_relative_path_is_in_the_home_folder(account: Path) -> None:
    for path in ("a.txt", "~/a.txt", "./a.txt", f"{account}/a.txt", "dir/../a.txt"):
        assert os.path.samefile(expanded(path), account / "a.txt")
    for path in ("", "~", "~/", "."):
        assert os.path.samefile(expanded(path), account)


def test_sudo_may_leave_anothers_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/of/somebody/else")
    assert home() == "/of/somebody/else"
    monkeypatch.setenv("SUDO_UID", "12345")
    assert home() == pwd.getpwuid(os.getuid()).pw_dir


@pytest.mark.parametrize(
    ("path", "folder", "name", "kind"),
    [
        ("a.txt", ".", "a.txt", "file"),
        ("dir", ".", "dir", "folder"),
        ("dir/", ".", "dir", "folder"),
        ("dir/sub/..", ".", "dir", "folder"),
        ("to_dir", ".", "dir", "folder"),
        ("to_dir/sub", "dir", "sub", "folder"),
        ("to_file", "dir/sub", "deep.txt", "file"),
        ("*.txt", ".", "*.txt", "pattern"),
        ("to_dir/*/d*", "dir", "*/d*", "pattern"),
    ],
)
def test_what_a_path_leads_to(account: Path, path: str, folder: str, name: str, kind: str) -> None:
    offer = offer_of(path)
    assert offer.folder == str((account / folder).resolve())
    assert offer.found.name == f"{label_of(offer.folder)}/{name}"
    assert (offer.found.kind, offer.found.error) == (kind, "")


def test_a_file_with_wildcards_in_its_name_is_that_file(account: Path) -> None:
    (account / "[ab].txt").write_text("odd")
    assert offer_of("[ab].txt").found.kind == "file"
    assert offer_of("[ab]*").found.kind == "pattern"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("missing", "no such file"),
        ("missing/*.txt", "no such file"),
        ("nowhere", "no such file"),
        ("a.txt/", "it is no folder"),
        ("a.txt/x", "Not a directory"),
        ("fifo", "it is no regular file"),
        ("/", "the root folder is not fetched whole"),
    ],
)
def test_why_a_path_is_not_served(account: Path, path: str, error: str) -> None:
    os.mkfifo(account / "fifo")
    offer = offer_of(path)
    assert (offer.folder, offer.found.kind) == ("", "none")
    assert offer.found.error == error


def test_a_near_name_is_a_hint(account: Path) -> None:
    (account / "report.pdf").touch()
    assert offer_of("reprot.pdf").found.hint == "did you mean 'report.pdf'?"


def test_a_file_that_the_account_may_not_read(account: Path) -> None:
    (account / "a.txt").chmod(0)
    account.chmod(0o755)
    with unprivileged():
        assert offer_of("a.txt").found.error == "Permission denied"


def test_a_folder_has_the_same_label_in_each_session() -> None:
    assert label_of("/home/ada") == label_of("/home/ada") != label_of("/home/bob")


# --------------------------------------------------------------------------------------- places


def put(path: str, *items: str, force: bool = False) -> PlaceAsked:
    """Ask to store files; a name with a slash behind it is a tree, with two, what is in it."""
    made = (PutItem(one.rstrip("/"), one.endswith("/"), one.endswith("//")) for one in items)
    return PlaceAsked(path, tuple(made), force)


@pytest.mark.parametrize(
    ("path", "items", "folder", "names", "shown"),
    [
        ("", ["x"], ".", ["x"], ["x"]),
        ("new", ["x"], ".", ["new"], ["new"]),
        ("a.txt", ["x"], ".", ["a.txt"], ["a.txt"]),
        ("to_file", ["x"], "dir/sub", ["deep.txt"], ["to_file"]),
        ("nowhere", ["x"], ".", ["missing"], ["nowhere"]),
        ("dir", ["x"], "dir", ["x"], ["dir/x"]),
        ("dir/", ["x"], "dir", ["x"], ["dir/x"]),
        ("new/", ["x"], ".", ["new/x"], ["new/x"]),
        ("new/er/x", ["y"], ".", ["new/er/x"], ["new/er/x"]),
        ("new", ["x", "y"], ".", ["new/x", "new/y"], ["new/x", "new/y"]),
        ("new", ["t/"], ".", ["new/t"], ["new/t"]),
        ("new", ["t//"], ".", ["new"], ["new"]),
        ("dir", ["t//"], "dir", [""], ["dir"]),
        ("dir/sub", ["t/", "x"], "dir/sub", ["t", "x"], ["dir/sub/t", "dir/sub/x"]),
        ("new", [""], ".", ["new"], ["new"]),
    ],
)
def test_where_files_are_brought(
    account: Path, path: str, items: list[str], folder: str, names: list[str], shown: list[str]
) -> None:
    place = place_of(put(path, *items))
    assert place.folder == str((account / folder).resolve())
    assert [one.name for one in place.found] == names
    assert [one.path for one in place.found] == shown


def test_standard_input_needs_a_files_name(account: Path) -> None:
    with pytest.raises(UsageError):
        place_of(put("dir", ""))
    with pytest.raises(UsageError):
        place_of(put("new", "", "x"))
    assert account.exists()


def test_a_place_takes_what_was_asked_for(account: Path) -> None:
    def taken(asked: PlaceAsked, names: list[str]) -> list[str]:
        with AskedPlace(place_of(asked)) as root:
            return [name for name in names if root.takes(name)]

    names = ["x", "y", "t", "t/x", "tx", "new/x"]
    assert taken(put("", "x", "t/"), names) == ["x", "t", "t/x"]
    assert taken(put("", "t//"), names) == names
    assert taken(put("new", "t//"), names) == ["new/x"]
    assert account.exists()


# --------------------------------------------------------------------------------------- server


@contextmanager
def serving(
    root: ServedRoot, names: set[str], asked: PathsAsked | PlaceAsked
) -> Iterator[Callable[[], Client]]:
    """A far end's server in a thread; makes clients that have the key."""
    key = Key()
    with AskedServer(root, names, asked, port=0, plain="never", key_file=key) as server:
        thread = Thread(target=server.run)
        thread.start()
        try:
            yield lambda: Client(f"127.0.0.1:{server.port}", key_file=key)
        finally:
            server.stop(0.0)
            thread.join()


def offered(*paths: str, recursive: bool = True) -> tuple[ServedRoot, set[str], PathsAsked]:
    offers = [offer_of(path) for path in paths]
    root = OfferedFolders([one.folder for one in offers])
    return root, {one.found.name for one in offers}, PathsAsked(paths, recursive)


def test_what_was_asked_for_is_served_and_nothing_else(account: Path, here: Path) -> None:
    label, inner = label_of(str(account)), label_of(str(account / "dir" / "sub"))
    with serving(*offered("a.txt", "dir/sub/deep.txt")) as connect, connect() as client:
        assert client.read_bytes(f"{label}/a.txt") == b"a"
        assert client.read_bytes(f"{inner}/deep.txt") == b"deep"
        assert client.fetch_range(f"{inner}/deep.txt", 1, 3) == b"ee"
        with pytest.raises(NoSuchFile):
            client.fetch_range(f"{label}/b.txt")
        for name in ("b.txt", "a.txt/", f"{label}/b.txt", f"{label}/../a.txt", f"{inner}/a.txt"):
            with pytest.raises(NoSuchFile):
                client.read_bytes(name)
        for name in ("", label, f"{label}/", f"{label}/*", f"{label}/dir"):
            with pytest.raises(NoSuchFile):
                client.list_files(name, recursive=True)
            with pytest.raises(UdpftError):
                client.fetch_tree(name, here / "out")
        with pytest.raises(UdpftError):
            client.store(account / "b.txt", f"{label}/a.txt", force=True)
    assert (account / "a.txt").read_text() == "a"


def test_a_folder_is_served_whole_only_where_that_was_asked_for(account: Path, here: Path) -> None:
    name = f"{label_of(str(account))}/dir"
    with serving(*offered("dir")) as connect, connect() as client:
        client.fetch_tree(name, here)
        assert (here / "dir/sub/deep.txt").read_text() == "deep"
        with pytest.raises(NoSuchFile):
            client.list_files(f"{name}/sub")
    shallow = offered("dir", recursive=False)
    with serving(*shallow) as connect, connect() as client, pytest.raises(NoSuchFile):
        client.list_files(name, recursive=True)


def storing(place: Place, asked: PlaceAsked) -> tuple[ServedRoot, set[str], PlaceAsked]:
    return AskedPlace(place), set(place.names), asked


def test_uploads_go_where_they_were_asked_to_and_nowhere_else(account: Path, here: Path) -> None:
    (here / "t" / "in").mkdir(parents=True)
    (here / "t" / "in" / "x").write_text("x")
    asked = put("new", "t/", "y")
    with serving(*storing(place_of(asked), asked)) as connect, connect() as client:
        client.store_tree(here / "t", "new/t")
        client.store(here / "t/in/x", "new/y")
        for name in ("other", "new/z", "new/t/../z", "a.txt", "new"):
            with pytest.raises(UdpftError):
                client.store(here / "t/in/x", name)
        for name in ("other", "new", "new/u"):
            with pytest.raises(UdpftError):
                client.store_tree(here / "t", name)
        for read in (client.read_bytes, client.fetch_range):
            with pytest.raises(NoSuchFile):
                read("new/y")
    found = {str(path.relative_to(account)) for path in (account / "new").rglob("*")}
    assert found == {"new/t", "new/t/in", "new/t/in/x", "new/y"}


def test_a_listing_that_leads_out_of_its_tree_is_refused(account: Path, here: Path) -> None:
    (here / "t").mkdir()
    (here / "t" / "evil").write_text("x")
    asked = put("", "t/")
    with serving(*storing(place_of(asked), asked)) as connect, connect() as client:
        # The name is the one that was asked for, and the listing is of another folder.
        from udpft.client import store_tree

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store_tree, "_names", lambda *_: ("elsewhere", "t"))
            with pytest.raises(Denied):
                client.store_tree(here / "t", "t")
    assert not (account / "elsewhere").exists()


def test_a_file_is_replaced_only_where_that_was_asked_for(account: Path, here: Path) -> None:
    (here / "x").write_text("other")
    asked = put("a.txt", "x")
    refusing = storing(place_of(asked), asked)
    with serving(*refusing) as connect, connect() as client, pytest.raises(Denied):
        client.store(here / "x", "a.txt", force=True)
    assert (account / "a.txt").read_text() == "a"
    asked = put("a.txt", "x", force=True)
    with serving(*storing(place_of(asked), asked)) as connect, connect() as client:
        client.store(here / "x", "a.txt", force=True)
    assert (account / "a.txt").read_text() == "other"


def test_nobody_without_the_key_hears_anything(account: Path) -> None:
    name = f"{label_of(str(account))}/a.txt"
    with serving(*offered("a.txt")) as connect, connect() as client:
        for key in (None, Key()):
            with (
                Client(str(client.server), key_file=key, connect_timeout=0.3) as stranger,
                pytest.raises(UdpftError, match=r"no answer|key"),
            ):
                stranger.read_bytes(name)
