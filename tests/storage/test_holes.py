"""Zeros that take no room, and nothing else that is lost to holes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from udpft.storage.holes import Holes
from udpft.storage.system_calls import allocate

SIZE = 4 << 20


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"\xff" * SIZE, 0)  # what an earlier attempt may have left
    yield fd
    os.close(fd)


def put(holes: Holes, fd: int, data: bytes, offset: int, chunk: int) -> None:
    """Write as `PartFile.writev` does."""
    view = memoryview(data)
    slots = [view[at : at + chunk] for at in range(0, len(view), chunk)]
    if not data[0] and holes.dig(fd, slots, offset, len(data)):
        return
    assert os.pwrite(fd, data, offset) == len(data)


def taken(fd: int) -> int:
    return os.fstat(fd).st_blocks * 512


def punches(fd: int) -> bool:
    return allocate.punch(fd, 0, 4096)


@pytest.mark.parametrize(("burst", "chunk"), [(380_928, 2048), (2_896, 1448), (4096, 2048)])
def test_a_hole_stays_one_whatever_the_pieces(fd: int, burst: int, chunk: int) -> None:
    if not punches(fd):
        pytest.skip("no holes on this file system")
    draw = random.Random(1)
    content = draw.randbytes(300_000) + bytes(3_000_000) + draw.randbytes(SIZE - 3_300_000)
    holes = Holes()
    for at in range(0, SIZE, burst):
        put(holes, fd, content[at : at + burst], at, chunk)
    assert os.pread(fd, SIZE, 0) == content
    assert taken(fd) < SIZE - 3_000_000 + 2 * burst + 8192


def test_pieces_in_any_order_and_of_any_kind_are_written_right(fd: int) -> None:
    draw = random.Random(2)
    pieces = [
        draw.choice([bytes(1000), draw.randbytes(1000), bytes(999) + b"x"]) for _ in range(4000)
    ]
    content = b"".join(pieces)
    order = [(at, min(at + draw.randrange(1, 9), 4000)) for at in range(0, 4000, 8)]
    order += [(stop, start + 8) for start, stop in order if stop < start + 8]
    draw.shuffle(order)
    holes = Holes()
    for start, stop in order:
        put(holes, fd, content[start * 1000 : stop * 1000], start * 1000, 1000)
    assert os.pread(fd, len(content), 0) == content


def test_a_hole_at_the_end_makes_the_file_as_long(fd: int) -> None:
    os.ftruncate(fd, 0)
    put(Holes(), fd, bytes(100_000), 50_000, 2000)
    assert os.pread(fd, 200_000, 0) == bytes(150_000)


def test_another_file_is_another_run(fd: int, tmp_path: Path) -> None:
    holes = Holes()
    zeros = [memoryview(bytes(5000))]
    assert holes.dig(fd, zeros, 0, 5000, file=1) == punches(fd)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    os.pwrite(other, b"\xff" * 5000, 0)
    if not holes.dig(other, zeros, 5000, 5000, file=2):
        os.pwrite(other, bytes(5000), 5000)
    assert os.pread(other, 20_000, 0) == b"\xff" * 5000 + bytes(5000)
    os.close(other)


def test_less_than_a_block_is_not_worth_a_call(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    punched: list[tuple[int, int]] = []

    def note(_fd: int, offset: int, length: int) -> bool:
        punched.append((offset, length))
        return True

    monkeypatch.setattr(allocate, "punch", note)
    holes = Holes()
    assert not holes.dig(fd, [memoryview(bytes(4_000))], 10_000, 4_000)
    assert holes.dig(fd, [memoryview(bytes(4_000))], 14_000, 4_000)  # with the end of the last
    assert not holes.dig(fd, [memoryview(bytes(4_095))], 40_000, 4_095)
    assert punched == [(3 * 4_096, 18_000 - 3 * 4_096)]


def test_where_there_are_no_holes_it_is_left_to_be_written(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocate, "punch", lambda *_: False)
    holes = Holes()
    put(holes, fd, bytes(100_000), 0, 2000)
    put(holes, fd, bytes(100_000), 100_000, 2000)
    assert os.pread(fd, 200_000, 0) == bytes(200_000)
