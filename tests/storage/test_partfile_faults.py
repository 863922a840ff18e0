"""Part files on disks that are full, limited, failing or not to be written to."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import failing_below, file_size_limit
from tests.storage.conftest import NEW, OLD, names, parts, refused, unprivileged, write
from udpft.storage import partfile, sync
from udpft.storage.journal import Journal, Label
from udpft.storage.partfile import PartFile
from udpft.storage.sync import BackgroundSync
from udpft.storage.system_calls import allocate


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "udpft-test", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_file_that_does_not_fit_is_refused_at_once(destination: Path) -> None:
    with refused(r"disk full: .*file\.bin needs 1152922 TB, .* has ") as caught:
        PartFile.open(destination, 2**60)
    assert "free some space" in caught.value.hint
    assert names(destination.parent) == ["file.bin"]
    assert destination.read_bytes() == OLD


def test_a_leftover_survives_a_full_disk(destination: Path) -> None:
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
        part.keep()
    with refused("disk full"):
        PartFile.open(destination, 2**60)
    assert part.part_path.read_bytes() == NEW


def test_what_a_leftover_holds_counts_as_room(small_disk: Path) -> None:
    size = 900_000
    for _ in range(2):
        with PartFile.open(small_disk / "file.bin", size) as part:
            write(part, bytes(size))
            part.keep()
    with refused("disk full: .* needs 2 MB, .* has 1.05 MB"):
        PartFile.open(small_disk / "file.bin", 2_000_000)


def test_a_disk_that_fills_up_meanwhile(small_disk: Path) -> None:
    path = small_disk / "file.bin"
    path.write_bytes(OLD)
    with PartFile.open(path, 900_000) as part:
        (small_disk / "other").write_bytes(bytes(500_000))
        with refused("disk full") as caught:
            for offset in range(0, 900_000, 60_000):
                write(part, b"x" * 60_000, offset)
        assert "free some space" in caught.value.hint
    assert path.read_bytes() == OLD
    assert names(small_disk) == ["file.bin", "other"]


def test_a_write_cut_short_by_a_limit(destination: Path) -> None:
    # The first call writes what fits, the next says why no more.
    with PartFile.open(destination, len(NEW)) as part:
        with file_size_limit(5_500), refused("File too large"):
            write(part, NEW)
        assert part.part_path.read_bytes()[:5_500] == NEW[:5_500]
    assert destination.read_bytes() == OLD
    assert names(destination.parent) == ["file.bin"]


def test_a_size_beyond_the_limit_is_refused_at_once(destination: Path) -> None:
    with file_size_limit(1_000), refused("File too large"):
        PartFile.open(destination, len(NEW))
    assert names(destination.parent) == ["file.bin"]


def test_short_writes_go_on(destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwritev", lambda fd, slots, at: pwrite(fd, b"".join(slots)[:700], at))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:300], at))
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
        part.writev([memoryview(NEW)[:10], memoryview(NEW)[10:2_000]], 0)
        part.commit()
    assert destination.read_bytes() == NEW


def test_a_disk_that_takes_nothing_more_is_an_error(
    destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwritev", lambda *_: 0)
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with PartFile.open(destination, len(NEW)) as part, refused("nothing more is taken"):
        write(part, NEW)
    assert destination.read_bytes() == OLD


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        (errno.EIO, "Input/output error", ""),
        (errno.EDQUOT, "disk quota exceeded", "free some space"),
        (errno.ENOSPC, "disk full", "free some space"),
        (errno.EROFS, "Read-only file system", "--output"),
    ],
)
@pytest.mark.parametrize("call", ["pwritev", "fsync", "rename"])
def test_errors_of_the_disk_leave_the_old_file(
    destination: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    message: str,
    hint: str,
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with PartFile.open(destination, len(NEW)) as part:
        with monkeypatch.context() as patch, refused(message) as caught:
            patch.setattr(os, call, failing)
            write(part, NEW)
            part.commit()
        assert str(caught.value) == f"cannot write {destination}: {message}"
        assert hint in caught.value.hint
        assert bool(hint) == bool(caught.value.hint)
    assert destination.read_bytes() == OLD
    assert names(destination.parent) == ["file.bin"]


def test_an_error_of_the_sync_in_the_background_reaches_the_commit(
    destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells it once: the syncs of the commit would not hear of it."""
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing_below("fdatasync", destination.parent))
            part._sync = BackgroundSync(part._fd, iter(range(100)).__next__)
            part._sync.poll()
            assert part._sync._thread
            part._sync._thread.join()
        with refused("Input/output error"):
            part.commit()
    assert destination.read_bytes() == OLD


def test_what_comes_is_synced_meanwhile_and_an_error_of_that_ends_it_there(
    destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PartFile.open(destination, len(NEW), Label(len(NEW), 1, 2, 2048)) as part:
        write(part, NEW)
        with monkeypatch.context() as patch:
            patch.setattr(sync, "MIN_SYNC_BYTES", 0)
            patch.setattr(os, "fdatasync", failing_below("fdatasync", destination.parent))
            part._sync = BackgroundSync(part._fd, iter(range(100)).__next__)
            part.note_hashes(0, bytes(8))
            assert part._sync._thread
            part._sync._thread.join()
        with refused("Input/output error"):
            part.note_hashes(0, bytes(8))


@pytest.mark.parametrize(("code", "stands"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_folder_that_does_not_sync(
    destination: Path, monkeypatch: pytest.MonkeyPatch, code: int, stands: bool
) -> None:
    fsync = os.fsync

    def no_folders(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(code, os.strerror(code))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", no_folders)
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
        if stands:
            part.commit()
        else:
            with refused("Input/output error"):
                part.commit()
    assert destination.read_bytes() == NEW  # renamed all the same, and not removed again
    assert names(destination.parent) == ["file.bin"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_sync_takes_files(
    destination: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(os, "fdatasync", refuse)
    with PartFile.open(destination, len(NEW), Label(len(NEW), 1, 2, 2048)) as part:
        write(part, NEW)
        part.commit()
    assert destination.read_bytes() == NEW
    with PartFile.open(destination, len(NEW), Label(len(NEW), 1, 2, 2048)) as part:
        part.keep()
    with PartFile.take_over(destination) or pytest.fail("it is gone") as part:
        assert part.journal


@pytest.mark.parametrize("mtime_ns", [-(2**63), 2**63 - 1, 2**100])
def test_a_time_that_cannot_be_does_not_spoil_the_file(destination: Path, mtime_ns: int) -> None:
    with PartFile.open(destination, len(NEW)) as part:
        write(part, NEW)
        part.commit(mtime_ns)
    assert destination.read_bytes() == NEW


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("missing/file.bin", "there is no folder missing", "mkdir -p"),
        ("file/file.bin", "cannot write file: Not a directory", "--output"),
        ("readonly/file.bin", "cannot write readonly/file.bin: Permission denied", "--output"),
        ("closed/file.bin", "cannot write closed: Permission denied", "--output"),
        ("n" * 256, f"cannot write {'n' * 256}: File name too long", ""),
        ("nul\0", "cannot write nul\0: .*embedded null", ""),
        ("nul\0/file.bin", "cannot write nul\0: .*embedded null", ""),
        ("\ud800", "cannot write \ud800: .*surrogates not allowed", ""),
    ],
    ids=ascii,
)
def test_a_place_that_cannot_be_written_to(here: Path, path: str, message: str, hint: str) -> None:
    (here / "file").touch()
    (here / "readonly").mkdir()
    (here / "readonly").chmod(0o555)
    (here / "closed").mkdir()
    (here / "closed").chmod(0)
    with unprivileged(), refused(message) as caught:
        PartFile.open(Path(path), 3)
    assert hint in caught.value.hint
    assert parts(here) == []


# --------------------------------------------------------------------------------------------- room


def test_no_pages_are_set_aside_in_memory(small_disk: Path) -> None:
    with PartFile.open(small_disk / "file.bin", 900_000) as part:
        status = part.part_path.stat()
        assert (status.st_size, status.st_blocks) == (900_000, 0)


@pytest.mark.parametrize("code", [errno.EDQUOT, errno.ENOSPC, errno.EOPNOTSUPP, errno.EINTR])
def test_what_setting_blocks_aside_may_say(
    destination: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    # A quota takes a file system made for it; here, its answer.
    asked: list[tuple[int, ...]] = []

    def answer(*arguments: int) -> int:
        asked.append(arguments[1:])
        ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(partfile, "_ALLOCATED_BYTES", 1)
    monkeypatch.setattr(allocate, "_libc_fallocate", answer)
    monkeypatch.setattr(allocate, "_is_in_memory", lambda _: False)
    if code in (errno.EDQUOT, errno.ENOSPC):
        full = refused("disk quota exceeded" if code == errno.EDQUOT else "disk full")
        with PartFile.open(destination, len(NEW)) as part, full:
            write(part, NEW)
    else:
        with PartFile.open(destination, len(NEW)) as part:
            write(part, NEW)
            part.commit()
        assert destination.read_bytes() == NEW
    assert asked == [(1, 0, len(NEW))]
    assert names(destination.parent) == ["file.bin"]


@pytest.fixture
def reserved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Ranges that are set aside, as (first, stop), in place of setting them aside."""
    ranges: list[tuple[int, int]] = []

    def note(_fd: int, size: int, offset: int = 0) -> None:
        ranges.append((offset, offset + size))

    monkeypatch.setattr(allocate, "allocate", note)
    return ranges


def bring(part: PartFile, megabytes: range) -> None:
    for at in megabytes:
        part.writev([memoryview(b"x" * 2**20)], at * 2**20)


def test_a_size_that_is_said_takes_no_disk_before_bytes_come(
    destination: Path, reserved: list[tuple[int, int]]
) -> None:
    # Whoever sends may say any size, and that of another file.
    with PartFile.open(destination, 2**30) as part:
        assert reserved == []
        assert part.part_path.stat().st_blocks == 0
        bring(part, range(1))
        came = 2**20
        assert reserved[-1][1] <= 2 * came + 16 * 2**20
        bring(part, range(1000, 1001))  # at the end, so that it seems nearly all here
        assert reserved[-1][1] <= 2 * 2 * came + 16 * 2**20


@pytest.mark.parametrize(("size", "set_aside"), [(2**20, True), (2**20 - 1, False)])
def test_small_files_do_without(
    destination: Path, reserved: list[tuple[int, int]], size: int, set_aside: bool
) -> None:
    # A full disk shows soon enough in them, and they need not load what sets aside.
    with PartFile.open(destination, size) as part:
        write(part, bytes(range(256)))
        assert reserved == ([(0, size)] if set_aside else [])


def test_what_is_set_aside_keeps_ahead_of_what_comes(
    destination: Path, reserved: list[tuple[int, int]]
) -> None:
    with PartFile.open(destination, 100 * 2**20) as part:
        for at in range(100):
            bring(part, range(at, at + 1))
            assert reserved[-1][1] >= min(100, at + 1 + 4) * 2**20
            assert reserved[-1][1] <= 2 * (at + 1) * 2**20 + 16 * 2**20
    assert [start for start, _ in reserved] == [0, *(stop for _, stop in reserved[:-1])]
    assert reserved[-1][1] == 100 * 2**20
    assert len(reserved) < 8


def test_what_was_set_aside_and_not_filled_is_given_back_with_what_is_kept(
    destination: Path,
) -> None:
    label = Label(64 * 2**20, 1, 2, 2048)
    part = PartFile.open(destination, 64 * 2**20, label)
    bring(part, range(3))
    blocks = part.part_path.stat().st_blocks
    path = part.part_path
    part.keep()
    left = path.stat().st_blocks * 512
    assert left <= 3 * 2**20 + 2**20  # with the journal
    if allocate._is_in_memory(os.open(destination.parent, os.O_RDONLY)):
        pytest.skip("the temporary folder is in memory, where nothing is set aside")
    assert left < blocks * 512
    assert path.read_bytes()[: 3 * 2**20] == b"x" * (3 * 2**20)
    with path.open("rb") as file:
        assert Journal.read_untrusted(file.fileno()).label == label


def test_blocks_are_set_aside_without_a_change_of_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        if allocate._is_in_memory(file.fileno()):
            pytest.skip("the temporary folder is in memory")
        try:
            os.posix_fallocate(file.fileno(), 0, 1)
        except OSError as error:
            pytest.skip(f"this file system sets no blocks aside: {error.strerror}")
        allocate.allocate(file.fileno(), 1_000_000)
        assert path.stat().st_blocks * 512 >= 1_000_000
        assert path.stat().st_size == 1
