"""Claims on part files: locks, leftovers, and other files of their name."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.samples import PATIENCE_S
from tests.storage.conftest import NEW, OLD, make_socket, names, parts, refused, unprivileged, write
from udpft.storage import sync
from udpft.storage.part_name import part_name
from udpft.storage.partfile import PartFile


def test_a_killed_download_leaves_a_part_that_the_next_takes_over(destination: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from udpft.storage.partfile import PartFile\n"
        "part = PartFile.open(Path(sys.argv[1]), 1_000_000)\n"
        "part.writev([memoryview(b'half')], 0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, destination], timeout=30, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert destination.read_bytes() == OLD
    assert parts(destination.parent) == [".file.bin.udpft-part"]
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
        part.commit()
    assert destination.read_bytes() == NEW
    assert parts(destination.parent) == []


def test_two_processes_do_not_write_one_file(destination: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from udpft.storage.partfile import PartFile\n"
        "with PartFile.open(Path(sys.argv[1]), 3) as part:\n"
        "    part.writev([memoryview(b'abc')], 0)\n"
        "    print('open', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    part.commit()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, destination],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "open\n"
        with refused("another get is writing"):
            PartFile.open(destination, len(NEW))
        assert parts(destination.parent) == [".file.bin.udpft-part"]
        other.communicate("go on\n", timeout=30)
        assert other.returncode == 0
    assert destination.read_bytes() == b"abc"


@pytest.mark.parametrize("end", ["rename", "unlink"])
def test_a_part_that_ends_between_opening_and_locking_is_left_alone(
    destination: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    part_path = destination.parent / part_name(destination.name)
    part_path.write_bytes(b"of another process")
    flock, calls = fcntl.flock, 0

    def end_first(fd: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1 and end == "rename":
            part_path.rename(destination)
        elif calls == 1:
            part_path.unlink()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", end_first)
    with PartFile.open(destination, len(NEW)) as part:
        assert calls == 2
        assert destination.read_bytes() == (b"of another process" if end == "rename" else OLD)
        write(part, NEW)
        part.commit()
    assert destination.read_bytes() == NEW


def test_a_part_that_goes_before_it_is_opened_is_created(
    destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part_path = destination.parent / part_name(destination.name)
    part_path.touch()
    real = os.open

    def gone_after_exclusive(path: Any, flags: int, *arguments: Any, **keywords: Any) -> int:
        try:
            return real(path, flags, *arguments, **keywords)
        except FileExistsError:
            part_path.unlink()
            raise

    monkeypatch.setattr(os, "open", gone_after_exclusive)
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
        part.commit()
    assert destination.read_bytes() == NEW


def test_a_part_that_ends_each_time_is_given_up(
    destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part_path = destination.parent / part_name(destination.name)
    monkeypatch.setattr(fcntl, "flock", lambda *_: part_path.unlink())
    with refused("another get is writing"):
        PartFile.open(destination, len(NEW))
    assert destination.read_bytes() == OLD


def _symlink(path: Path) -> None:
    path.symlink_to("file.bin")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [_symlink, _dangling, Path.mkdir, os.mkfifo, make_socket])
def test_what_is_no_file_at_the_part_name_is_an_error(here: Path, make: Any) -> None:
    (here / "file.bin").write_bytes(OLD)
    make(here / ".file.bin.udpft-part")
    with refused(r"\.file\.bin\.udpft-part beside it is no regular file") as caught:
        PartFile.open(Path("file.bin"), 3)
    assert caught.value.hint == "remove it"
    assert names(here) == [".file.bin.udpft-part", "file.bin"]
    assert (here / "file.bin").read_bytes() == OLD


def test_a_part_that_may_not_be_opened_is_an_error(here: Path) -> None:
    (here / ".file.bin.udpft-part").touch(mode=0)
    here.chmod(0o777)
    with unprivileged(), refused("Permission denied"):
        PartFile.open(Path("file.bin"), 3)
    assert names(here) == [".file.bin.udpft-part"]


def test_a_part_linked_from_elsewhere_is_not_written_to(destination: Path) -> None:
    # Who planted the link could otherwise change the file after it was verified.
    planted = destination.parent / "planted"
    planted.write_bytes(b"planted")
    (destination.parent / part_name("file.bin")).hardlink_to(planted)
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
        part.commit()
    assert planted.read_bytes() == b"planted"
    assert destination.read_bytes() == NEW
    assert destination.stat().st_nlink == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")
def test_a_part_of_another_user_is_replaced(destination: Path) -> None:
    part_path = destination.parent / part_name("file.bin")
    part_path.write_bytes(b"planted")
    os.chown(part_path, 65_534, 65_534)
    with PartFile.open(destination, len(NEW)) as part:
        assert part_path.stat().st_uid == 0
        write(part, NEW)
        part.commit()
    assert destination.stat().st_uid == 0


@pytest.mark.parametrize("act", ["removed", "replaced"])
def test_only_what_was_written_is_committed(destination: Path, act: str) -> None:
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
        part.part_path.unlink()
        if act == "replaced":
            part.part_path.write_bytes(b"another's")
        with refused("was moved or removed meanwhile"):
            part.commit()
    assert destination.read_bytes() == OLD
    assert (part.part_path.read_bytes() if act == "replaced" else b"another's") == b"another's"


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_written_to_without_one(
    destination: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(RuntimeWarning, match="has no locks: let no two transfers"):
        part = PartFile.open(destination, len(NEW))
    with part:
        write(part, NEW)
        part.commit()
    assert destination.read_bytes() == NEW


def test_a_lock_that_fails_otherwise_is_an_error(
    destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with refused("Input/output error"):
        PartFile.open(destination, len(NEW))


def test_a_part_that_was_kept_is_free_though_a_sync_is_at_work(
    destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing, done = threading.Event(), threading.Event()

    def slow(_fd: int) -> None:
        syncing.set()
        assert done.wait(PATIENCE_S)

    monkeypatch.setattr(sync, "SYNC_INTERVAL_S", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", slow)
        part = PartFile.open(destination, len(NEW))
        write(part, NEW)
        part._sync.poll()  # as hashes are noted
        assert syncing.wait(PATIENCE_S)
        part.keep()
    PartFile.open(destination, len(NEW)).discard()  # nobody else writes it
    done.set()
