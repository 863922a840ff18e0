"""Served folder: its files are opened, and nothing outside or hidden ever is."""

from __future__ import annotations

import errno
import os
import re
import resource
import threading
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest

from tests.storage.conftest import content, make_device, make_socket, unprivileged
from udpft.errors import ExitCode, LocalReadFailed, NoSuchFile, ServerBusy
from udpft.storage import served_folder as module
from udpft.storage.served_folder import MAX_DEPTH, NEAREST_MAX_ENTRIES, ServedRoot

SECRET = b"the secret outside"

# Names of files in `served`, and what each holds. All are plain names, however odd they look.
SERVED = {
    "hello.txt": b"hello",
    "empty": b"",
    "sub/deep/file.bin": b"deep",
    "sub/fine.txt": b"fine",
    "with space": b"space",
    " leading": b"leading",
    "ünï.txt": b"unicode",
    "文件.txt": b"han",
    "new\nline": b"newline",
    "esc\x1b[31m": b"escape",
    "bidi\u202etxt": b"bidi",
    "back\\slash": b"backslash",
    "%2e%2e%2fsecret.txt": b"percent",
    "~root": b"tilde",
    "$HOME": b"dollar",
    "-rf": b"dash",
    "a..b": b"dots inside",
    "ends..": b"dots at the end",
    "CON": b"con",
    "file:stream": b"colon",
    "|id": b"pipe",
    "*": b"star",
    "\u2025": b"two dot leader",
    "\uff0e\uff0e": b"fullwidth dots",
    "n" * 255: b"longest",
}

HOSTILE = [
    # Nothing there.
    "missing",
    "HELLO.TXT",
    "hello.txt.bak",
    "hello",
    "sub/missing",
    "missing/hello.txt",
    "hello.txt/",
    "hello.txt/hello.txt",
    "hello.txt/..",
    # Out of the folder.
    "..",
    "../",
    "../secret.txt",
    "../outside/secret.txt",
    "../served/hello.txt",
    "../../../../../../etc/passwd",
    "sub/../hello.txt",
    "sub/../../outside/secret.txt",
    "sub/deep/../../../outside/secret.txt",
    "sub/..",
    "./../outside/secret.txt",
    "..//outside/secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "//",
    "/hello.txt",
    "/proc/self/environ",
    "/dev/zero",
    "/dev/stdin",
    "{outside}/secret.txt",
    "{served}/hello.txt",
    "file:///etc/passwd",
    "\\\\host\\share\\secret.txt",
    "..\\outside\\secret.txt",
    "%2e%2e/outside/secret.txt",
    "..%2foutside%2fsecret.txt",
    "..;/outside/secret.txt",
    "\uff0e\uff0e/outside/secret.txt",
    "..\u2215outside\u2215secret.txt",
    "~/secret.txt",
    # Another way to write a name that is served.
    "",
    ".",
    "./",
    "./hello.txt",
    "sub//fine.txt",
    "sub/./fine.txt",
    "sub/fine.txt/.",
    " hello.txt",
    "hello.txt ",
    "hello.txt\n",
    "u\u0308ni\u0308.txt",
    # Bytes that end or break a name.
    "\0",
    "hello.txt\0",
    "hello.txt\0.png",
    "../outside/secret.txt\0hello.txt",
    "\ud800",
    "hello\udcff.txt",
    # Too long, too deep.
    "n" * 256,
    "n" * 5_000,
    "n" * 100_000,
    "sub/" + "n" * 256,
    "a/" * 2_000 + "a",
    "a/" * 50_000,
    "../" * 1_000 + "etc/passwd",
    "文" * 86,
    # Hidden.
    ".hidden",
    ".git/config",
    "sub/.env",
    ".hello.txt.udpft-part",
    "...",
    "..hidden",
    # Symlinks, wherever they lead.
    "link_inside",
    "link_outside",
    "link_absolute",
    "link_folder/fine.txt",
    "link_out_folder/secret.txt",
    "link_out_folder/../served/hello.txt",
    "link_up/outside/secret.txt",
    "link_loop",
    "link_dangling",
    "link_proc",
    "link_device",
    "sub/link_deep",
    # No regular files.
    "sub",
    "sub/",
    "sub/deep",
    "fifo",
    "socket",
    "device",
    # No permission.
    "unreadable",
    "unsearchable/file.txt",
]
assert len(HOSTILE) == len(set(HOSTILE)) >= 60


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A folder with everything in it that could go wrong, and secrets beside it."""
    outside, folder = tmp_path / "outside", tmp_path / "served"
    outside.mkdir()
    folder.mkdir()
    (outside / "secret.txt").write_bytes(SECRET)
    (tmp_path / "secret.txt").write_bytes(SECRET)
    hidden = [".hidden", ".git/config", "sub/.env", ".hello.txt.udpft-part", "...", "..hidden"]
    for name, data in {**SERVED, **dict.fromkeys(hidden, b"hidden")}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.bin")).write_bytes(b"not UTF-8")
    for name, target in {
        "link_inside": "hello.txt",
        "link_outside": "../outside/secret.txt",
        "link_absolute": str(outside / "secret.txt"),
        "link_folder": "sub",
        "link_out_folder": "../outside",
        "link_up": "..",
        "link_loop": "link_loop",
        "link_dangling": "nowhere",
        "link_proc": "/proc/self/root",
        "link_device": "/dev/zero",
        "sub/link_deep": "../../outside/secret.txt",
    }.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "fifo")
    make_socket(folder / "socket")
    make_device(folder / "device")
    (folder / "unreadable").write_bytes(b"private")
    (folder / "unreadable").chmod(0)
    (folder / "unsearchable").mkdir()
    (folder / "unsearchable" / "file.txt").write_bytes(b"private")
    (folder / "unsearchable").chmod(0o600)
    return folder


@pytest.fixture(params=["openat2", "walking"])
def confined(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Confinement by either way; `test_openat2` shows a kernel that forces the second."""

    def missing(*_: object) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    if request.param == "walking":
        monkeypatch.setattr(module, "openat2", missing)


@pytest.fixture
def root(served: Path, confined: None) -> Iterator[ServedRoot]:  # noqa: ARG001  # set up before it
    with ServedRoot(served) as root:
        yield root


# -------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", SERVED, ids=ascii)
def test_files_beneath_are_served(root: ServedRoot, name: str) -> None:
    with root.open_file(name) as file:
        assert content(file) == SERVED[name]


def test_a_name_that_is_no_utf8_is_the_bytes_that_it_is(root: ServedRoot) -> None:
    with root.open_file("\udcff.bin") as source:
        assert source.size == len(b"not UTF-8")


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:40])
def test_hostile_names_are_all_simply_missing(root: ServedRoot, served: Path, name: str) -> None:
    name = name.replace("{outside}", str(served.parent / "outside"))
    name = name.replace("{served}", str(served))
    with unprivileged(), pytest.raises(NoSuchFile) as caught:
        root.open_file(name)
    assert str(caught.value) == "no such file on the server"
    assert caught.value.hint == ""
    assert caught.value.exit_code == ExitCode.NO_SUCH_FILE


@pytest.mark.usefixtures("confined")
def test_refusals_leave_no_descriptor_open(served: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with ServedRoot(served) as root:
        for name in HOSTILE:
            with unprivileged(), pytest.raises(NoSuchFile):
                root.open_file(name)
            root.nearest(name)
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("confined")
def test_hidden_files_are_served_where_asked_for(served: Path) -> None:
    with ServedRoot(served, hidden=True) as root:
        for name in (".hidden", ".git/config", "sub/.env", "...", "..hidden"):
            with root.open_file(name) as file:
                assert content(file) == b"hidden"
        for name in (".", "..", "./hello.txt", "../outside/secret.txt", "sub/.."):
            with pytest.raises(NoSuchFile):
                root.open_file(name)


@pytest.mark.usefixtures("confined")
def test_the_served_folder_may_be_a_symlink_and_may_be_moved(served: Path) -> None:
    link = served.parent / "link"
    link.symlink_to("served")
    with ServedRoot(link) as root:
        served.rename(served.parent / "moved")
        with root.open_file("hello.txt") as file:
            assert content(file) == b"hello"


def test_symlinks_swapped_in_meanwhile_lead_nowhere(root: ServedRoot, served: Path) -> None:
    # One thread turns a folder and a file into symlinks to the outside and back again.
    (served / "swap").mkdir()
    (served / "swap" / "secret.txt").write_bytes(b"inside")
    (served / "swap.txt").write_bytes(b"inside")
    (served / "swap.evil").symlink_to("../outside")
    (served / "swap.txt.evil").symlink_to("../outside/secret.txt")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for name in ("swap", "swap.txt"):
                here, evil, aside = served / name, served / f"{name}.evil", served / f"{name}.aside"
                here.rename(aside)
                evil.rename(here)
                here.rename(evil)
                aside.rename(here)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: dict[bytes | None, int] = {}
    try:
        for attempt in range(50_000):
            if attempt >= 3_000 and len(seen) > 1:
                break
            try:
                with root.open_file(("swap/secret.txt", "swap.txt")[attempt % 2]) as file:
                    got: bytes | None = content(file)
            except NoSuchFile:
                got = None
            seen[got] = seen.get(got, 0) + 1
    finally:
        done.set()
        swapper.join()
    assert set(seen) == {b"inside", None}


def test_running_out_of_descriptors_is_no_missing_file(root: ServedRoot) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(ServerBusy):
            root.open_file("hello.txt")
        assert root.nearest("helo.txt") is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ------------------------------------------------------------------------------------ folders


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("missing", "there is no folder missing", "mkdir"),
        ("file", "file is not a folder", "serve the folder"),
        ("closed", "cannot serve closed: Permission denied", "chmod u+rx"),
        ("unsearchable", "cannot serve unsearchable: Permission denied", "chmod u+rx"),
        ("nul\0", "cannot serve nul\0: .*embedded null .*", ""),
    ],
)
@pytest.mark.usefixtures("confined")
def test_what_is_no_readable_folder_is_not_served(
    here: Path, name: str, message: str, hint: str
) -> None:
    (here / "file").touch()
    (here / "closed").mkdir(mode=0)
    (here / "unsearchable").mkdir()
    (here / "unsearchable").chmod(0o444)
    with unprivileged(), pytest.raises(LocalReadFailed) as caught:
        ServedRoot(name)
    assert re.fullmatch(message, str(caught.value))
    assert hint in caught.value.hint
    assert caught.value.exit_code == ExitCode.READ_FAILED


def test_closing_twice_is_harmless(served: Path) -> None:
    root = ServedRoot(served)
    file = root.open_file("hello.txt")
    root.close()
    root.close()
    assert content(file) == b"hello"
    file.close()
    file.close()


def test_the_folder_of_a_name_opens_confined(root: ServedRoot, served: Path) -> None:
    for name, folder, last in (("new.txt", served, "new.txt"), ("sub/ü", served / "sub", "ü")):
        fd, component = root.open_parent(name)
        assert os.path.samestat(os.fstat(fd), folder.stat())
        assert component == last
        os.close(fd)
    for name in ("../new", "link_folder/new", "link_out_folder/new", ".git/new", "hello.txt/new"):
        with pytest.raises(NoSuchFile):
            root.open_parent(name)


@pytest.mark.usefixtures("confined")
def test_the_way_to_a_new_name_is_made(root: ServedRoot, served: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in ("new/way/file", "new/way/file", "sub/new/file", "top"):
        fd, last = root.make_parent(name)
        folder = (served / name).parent
        assert os.path.samestat(os.fstat(fd), folder.stat())
        assert last == (served / name).name
        os.close(fd)
    assert not (served / "new/way/file").exists()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("confined")
@pytest.mark.parametrize(
    "name",
    [
        "../new/file",
        "/new/file",
        ".new/file",
        "hello.txt/file",
        "link_folder/file",
        "link_out_folder/new/file",
        "n" * 256,
        "n" * 256 + "/file",
        "d/" * (MAX_DEPTH + 1) + "file",
        ".file.udpft-part",
    ],
    ids=lambda name: name[:20],
)
def test_no_way_is_made_to_a_name_that_would_not_be_served(
    root: ServedRoot, served: Path, name: str
) -> None:
    before = len(os.listdir("/proc/self/fd")), sorted(served.parent.rglob("*"))
    with pytest.raises(NoSuchFile):
        root.make_parent(name)
    assert (len(os.listdir("/proc/self/fd")), sorted(served.parent.rglob("*"))) == before


@pytest.mark.usefixtures("confined")
def test_a_folder_that_cannot_be_made_is_an_error_of_the_disk(served: Path) -> None:
    served.chmod(0o555)
    with ServedRoot(served) as root, unprivileged(), pytest.raises(PermissionError):
        root.make_parent("new/file")
    served.chmod(0o755)


@pytest.mark.usefixtures("confined")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub", True),
        ("sub/", True),
        ("sub/deep", True),
        ("hello.txt", False),
        ("missing", False),
        ("link_folder", False),
        ("link_out_folder", False),
    ],
)
def test_a_folder_is_told_from_a_file(root: ServedRoot, name: str, expected: bool) -> None:
    assert root.is_folder(name) is expected


# -------------------------------------------------------------------------------------------- hints


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("helo.txt", "hello.txt"),
        ("HELLO.TXT", "hello.txt"),
        ("hello.txt ", "hello.txt"),
        ("sub/fin.txt", "sub/fine.txt"),
        ("sub/deep/fil.bin", "sub/deep/file.bin"),
        ("./hello.txt", "hello.txt"),
        ("/hello.txt", "hello.txt"),
        ("sub//fine.txt", "sub/fine.txt"),
        ("uni.txt", "ünï.txt"),
        ("fine.txt", None),  # it lies in another folder
        ("nothing like it", None),
        ("hidden", None),
        (".hiddn", None),
        ("sub/env", None),
        (".git/confi", None),
        ("link_insid", None),
        ("link_folder/fin.txt", None),
        ("link_out_folder/secre.txt", None),
        ("../outside/secre.txt", None),
        ("fifo", None),
        ("fif", None),
        ("socke", None),
        ("unreadabl", None),
        ("unreadable", None),
        ("\udcff.bin", None),
        ("_.bin", None),
        ("", None),
        ("/", None),
        ("hello.txt\0", None),
        ("h" * 101, None),
        ("n" * 99, None),  # names beyond the length that is compared are none
    ],
    ids=ascii,
)
def test_the_nearest_name_is_one_that_would_be_served(
    root: ServedRoot, name: str, nearest: str | None
) -> None:
    with unprivileged():
        assert root.nearest(name) == nearest


@pytest.mark.usefixtures("confined")
def test_the_nearest_name_may_be_hidden_where_those_are_served(served: Path) -> None:
    with ServedRoot(served, hidden=True) as root:
        assert root.nearest(".hiddn") == ".hidden"


def test_a_hint_is_worth_a_bounded_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    real = module._most_alike

    def counting(wanted: str, names: list[str]) -> list[str]:
        looked_at.extend(names)
        return real(wanted, names)

    monkeypatch.setattr(module, "_most_alike", counting)
    for number in range(NEAREST_MAX_ENTRIES + 50):
        (tmp_path / f"file_{number:04}.txt").touch()
    with ServedRoot(tmp_path) as root:
        assert root.nearest("file_x.txt") is not None
    assert len(looked_at) == NEAREST_MAX_ENTRIES == 1_000


def test_names_of_up_to_a_hundred_characters_are_compared(root: ServedRoot, served: Path) -> None:
    for letter, length in (("m", 100), ("o", 101)):
        (served / (letter * length)).touch()
    assert root.nearest("m" * 99 + "x") == "m" * 100
    assert root.nearest("m" * 100 + "x") is None
    assert root.nearest("o" * 99 + "x") is None


def test_of_names_that_are_alike_eight_are_compared_in_full(
    root: ServedRoot, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two milliseconds each, where names are made for it.
    compared: list[str] = []

    class Counting(SequenceMatcher[str]):
        def ratio(self) -> float:
            compared.append(str(self.a))
            return super().ratio()

    monkeypatch.setattr(module, "SequenceMatcher", Counting)
    for number in range(50):
        (served / f"alike_{number:02}.txt").touch()
    assert root.nearest("alike_x.txt") is not None
    assert len(compared) == 8


def test_a_folder_that_cannot_be_listed_gives_no_hint(
    root: ServedRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> Iterator[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "scandir", failing)
    assert root.nearest("helo.txt") is None


def test_no_hint_takes_long_however_the_names_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        (tmp_path / f"{number:02}{'ab' * 20}").touch()
    now, compared = 0.0, []
    real = module.SequenceMatcher.quick_ratio

    def slow(matcher: Any) -> float:
        nonlocal now
        now += 0.001
        compared.append(matcher)
        return float(real(matcher))

    monkeypatch.setattr(module.SequenceMatcher, "quick_ratio", slow)
    monkeypatch.setattr(module, "thread_time", lambda: now)
    with ServedRoot(tmp_path) as root:
        assert root.nearest("ab" * 20)
    assert len(compared) <= module.NEAREST_MAX_S * 1000 + 1
