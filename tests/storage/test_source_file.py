"""Files opened for sending: bursts read, changes noticed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.storage.conftest import content
from udpft.errors import LocalReadFailed
from udpft.storage import source_file
from udpft.storage.served_folder import ServedRoot
from udpft.storage.source_file import SourceFile, open_source


def test_a_burst_is_read_into_its_slots(tmp_path: Path) -> None:
    data = os.urandom(10_000)
    (tmp_path / "a").write_bytes(data)
    with ServedRoot(tmp_path) as root, root.open_file("a") as file:
        assert file.size == 10_000
        assert file.mtime_ns == (tmp_path / "a").stat().st_mtime_ns
        buffer = bytearray(4 * 1_024)
        slots = [memoryview(buffer)[at : at + 1_024] for at in range(0, 4_096, 1_024)]
        assert file.readv(slots, 0) == 4_096
        assert buffer == data[:4_096]
        assert file.readv(slots[:3], 9_000) == 1_000  # the end
        assert buffer[:1_000] == data[9_000:]
        assert file.readv(slots[:1], 10_000) == 0
        assert file.readv(slots[:1], 99_999) == 0


def preadv2(
    outcomes: list[int], monkeypatch: pytest.MonkeyPatch
) -> Callable[[SourceFile, int], int]:
    """Reading that fails as told where it must not wait, and so many bytes at once."""
    monkeypatch.setattr(source_file, "_WITHOUT_NOWAIT", set())
    real = os.preadv

    def read(fd: int, slots: list[memoryview], offset: int, flags: int = 0) -> int:
        if flags and outcomes:
            code = outcomes.pop(0)
            raise OSError(code, os.strerror(code))
        return real(fd, slots, offset)

    def burst(file: SourceFile, offset: int) -> int:
        return file.readv_now([memoryview(bytearray(1_000)) for _ in range(3)], offset)

    monkeypatch.setattr(os, "preadv", read)
    return burst


def test_what_would_wait_for_a_disk_is_told_from_what_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(bytes(5_000))
    outcomes = [errno.EAGAIN, errno.EIO]
    burst = preadv2(outcomes, monkeypatch)
    with ServedRoot(tmp_path) as root, root.open_file("a") as file:
        assert burst(file, 0) == -1
        with pytest.raises(LocalReadFailed, match="Input/output error"):
            burst(file, 0)
        assert burst(file, 0) == 3_000
        assert burst(file, 3_000) == 2_000  # the end


def test_where_nobody_can_tell_it_is_read_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(bytes(5_000))
    outcomes = [errno.EOPNOTSUPP] * 2
    burst = preadv2(outcomes, monkeypatch)
    with ServedRoot(tmp_path) as root, root.open_file("a") as file:
        for _ in range(3):
            assert burst(file, 0) == 3_000
        with root.open_file("a") as another:
            assert burst(another, 0) == 3_000
    assert len(outcomes) == 1  # it is not asked again, for no file of that file system


def test_a_short_read_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As network file systems read when a signal comes; here, 700 bytes at a time.
    data = os.urandom(5_000)
    (tmp_path / "a").write_bytes(data)
    real = os.preadv

    def short(fd: int, slots: list[memoryview], offset: int) -> int:
        buffer = bytearray(700)
        got = real(fd, [memoryview(buffer)[: sum(map(len, slots))]], offset)
        at = 0
        for slot in slots:
            part = buffer[at : min(at + len(slot), got)]
            slot[: len(part)] = part
            at += len(part)
        return got

    monkeypatch.setattr(os, "preadv", short)
    with ServedRoot(tmp_path) as root, root.open_file("a") as file:
        buffer = bytearray(6_000)
        slots = [memoryview(buffer)[at : at + 1_000] for at in range(0, 6_000, 1_000)]
        assert file.readv(slots, 0) == 5_000
        assert buffer[:5_000] == data
        assert file.readv(slots[:2], 100) == 2_000
        assert buffer[:2_000] == data[100:2_100]


def test_a_file_cut_short_reads_short_and_has_changed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(5_000))
    with ServedRoot(tmp_path) as root, root.open_file("a") as file:
        os.truncate(tmp_path / "a", 3_000)
        assert file.readv([memoryview(bytearray(5_000))], 0) == 3_000
        assert file.changed()


def test_a_file_that_grows_is_as_it_was_and_is_to_be_compared(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with ServedRoot(tmp_path) as root, root.open_file("a") as file:
        assert not file.suspects()
        with (tmp_path / "a").open("ab") as more:
            more.write(b"6")
        assert not file.changed()
        assert file.changed_or_written()[1]
        assert file.suspects() == ((0, 5),)
        assert file.size == 5


@pytest.mark.parametrize("change", ["rename", "link", "chmod", "replace", "unlink"])
def test_what_becomes_of_the_name_is_no_change(tmp_path: Path, change: str) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"old")
    with ServedRoot(tmp_path) as root, root.open_file("a") as file:
        if change == "rename":
            path.rename(other)
        elif change == "link":
            other.hardlink_to(path)
        elif change == "chmod":
            path.chmod(0o600)
        elif change == "replace":
            other.write_bytes(b"newer")
            other.rename(path)
        else:
            path.unlink()
        assert content(file) == b"old"
        assert not file.changed()
        assert not file.changed_or_written()[1]


def test_a_write_whose_time_was_put_back_is_to_be_compared(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    os.utime(path, ns=(0, 10**18))
    with ServedRoot(tmp_path) as root, root.open_file("a") as file:
        before = path.stat().st_ctime_ns
        while path.stat().st_ctime_ns == before:  # a tick of the kernel's clock
            with path.open("r+b") as again:
                again.write(b"new")
            os.utime(path, ns=(0, 10**18))
        assert not file.changed_or_written()[1]
        assert file.suspects() == ((0, 3),)


def test_the_identity_outlasts_a_move_to_another_device(tmp_path: Path) -> None:
    """As after a remount, or in a container that is made anew."""
    for path in (tmp_path / "a", tmp_path / "b"):
        path.write_bytes(b"12345")
        os.utime(path, ns=(0, 10**18))
    (tmp_path / "a").chmod(0o600)
    with (
        ServedRoot(tmp_path) as root,
        root.open_file("a") as file,
        root.open_file("b") as copy,
    ):
        assert copy.identity == file.identity


def test_the_identity_stays_and_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    with ServedRoot(tmp_path) as root:

        def identity() -> int:
            with root.open_file("a") as file:
                return file.identity

        first = identity()
        assert 0 <= first < 2**64
        assert identity() == first
        os.utime(path, ns=(0, 1))
        touched = identity()
        os.truncate(path, 3)
        os.utime(path, ns=(0, 1))
        assert len({first, touched, identity()}) == 3


@pytest.mark.parametrize(("year_s", "clamped"), [(253_370_764_800, True), (-1, False)])
def test_times_beyond_64_bits_are_clamped(tmp_path: Path, year_s: int, clamped: bool) -> None:
    path = tmp_path / "a"
    path.touch()
    os.utime(path, ns=(0, year_s * 10**9))
    kept_ns = path.stat().st_mtime_ns  # what the file system makes of it
    with ServedRoot(tmp_path) as root, root.open_file("a") as file:
        assert -(2**63) <= file.mtime_ns < 2**63
        assert file.mtime_ns == (min(kept_ns, 2**63 - 1) if clamped else kept_ns)
        assert not file.changed()


def test_a_closed_file_does_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with ServedRoot(tmp_path) as root:
        file = root.open_file("a")
    file.close()
    assert file.changed()
    with pytest.raises(LocalReadFailed, match="cannot read the file"):
        file.readv([memoryview(bytearray(1))], 0)


@pytest.mark.parametrize("path", ["/proc/version", "/proc/self/status", "/sys/kernel/fscaps"])
def test_a_file_that_does_not_know_its_size_is_read_to_its_end(path: str) -> None:
    """Of 0 bytes in /proc, of a page in /sys."""
    if not Path(path).exists():
        pytest.skip(f"there is no {path} here")
    expected = Path(path).read_bytes()
    fd = os.open(path, os.O_RDONLY)
    said = os.fstat(fd)
    with open_source(fd, said) as file:
        if said.st_size == len(expected):
            pytest.skip(f"{path} knows its size here")
        assert file.size > 0
        if path != "/proc/self/status":  # which counts the reads
            assert content(file) == expected
        assert not file.suspects()


def test_the_copy_of_a_file_without_a_size_has_an_identity_of_its_content() -> None:
    identities = set()
    for _ in range(2):
        fd = os.open("/proc/version", os.O_RDONLY)
        with open_source(fd, os.fstat(fd)) as file:
            identities.add(file.identity)
    assert len(identities) == 1


def test_a_file_without_a_size_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_file, "MAX_UNSIZED_BYTES", 10)
    before = len(os.listdir("/proc/self/fd"))
    fd = os.open("/proc/version", os.O_RDONLY)
    with pytest.raises(LocalReadFailed, match="does not know its size, and is too long"):
        open_source(fd, os.fstat(fd))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_empty_and_sparse_files_know_their_sizes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a"
    path.touch()
    os.truncate(path, size)
    fd = os.open(path, os.O_RDONLY)
    with open_source(fd, os.fstat(fd)) as file:
        assert file.size == size
        assert content(file) == bytes(size)
        assert file._fd == fd
