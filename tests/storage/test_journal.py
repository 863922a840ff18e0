"""Journals: chunks of a leftover part file that are held, and those that are fetched again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults import failing_below
from tests.storage.conftest import names, refused
from udpft.protocol.params import MAX_CHUNKS
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.data import chunk_hashes
from udpft.storage.journal import (
    LABEL_SIZE,
    Label,
    MalformedJournal,
    decode_label_untrusted,
    encode_label,
)
from udpft.storage.partfile import PartFile, read_hashes
from udpft.testing.network import random_bytes

CHUNK = 64
SIZE = 100 * CHUNK + 3
CONTENT = random_bytes(SIZE)
LABEL = Label(size=SIZE, mtime_ns=-5, identity=2**64 - 1, chunk_size=CHUNK)

labels = st.builds(
    Label,
    size=st.integers(0, 2**36),
    mtime_ns=st.integers(-(2**63), 2**63 - 1),
    identity=st.integers(0, 2**64 - 1),
    chunk_size=st.integers(8, 2043).map(lambda words: 8 * words),
)


def fill(part: PartFile, first: int, stop: int) -> None:
    """Write chunks, and note them, as a receiver does."""
    view = memoryview(CONTENT)
    slots = [view[at * CHUNK : min((at + 1) * CHUNK, SIZE)] for at in range(first, stop)]
    part.writev(slots, first * CHUNK)
    part.note_hashes(first, chunk_hashes(slots))


@contextmanager
def left_behind(path: Path, *runs: tuple[int, int]) -> Iterator[Path]:
    """A part file that holds these chunks, and nobody at work on it."""
    with PartFile.open(path, SIZE, LABEL) as part:
        for first, stop in runs:
            fill(part, first, stop)
        part.keep()
    yield part.part_path


def found(path: Path) -> RangeSet | None:
    """Chunks that the next transfer holds, or None where there is no journal."""
    part = PartFile.take_over(path)
    assert part
    checked = part.journal.check() if part.journal else None
    part.keep()
    return checked


# ------------------------------------------------------------------------------------- the label


@given(labels)
def test_a_label_reads_as_it_was_written(label: Label) -> None:
    assert decode_label_untrusted(encode_label(label)) == label
    assert len(encode_label(label)) == LABEL_SIZE


@given(st.binary(max_size=2 * LABEL_SIZE))
def test_any_bytes_are_refused_with_one_exception(data: bytes) -> None:
    with pytest.raises(MalformedJournal):
        decode_label_untrusted(data)


@given(labels, st.integers(0, LABEL_SIZE - 1), st.integers(1, 255))
def test_a_damaged_label_is_none(label: Label, at: int, flip: int) -> None:
    data = bytearray(encode_label(label))
    data[at] ^= flip
    with pytest.raises(MalformedJournal):
        decode_label_untrusted(bytes(data))


@pytest.mark.parametrize(
    "label",
    [
        LABEL._replace(chunk_size=0),
        LABEL._replace(chunk_size=63),
        LABEL._replace(chunk_size=16_352),
        LABEL._replace(chunk_size=100),
        LABEL._replace(size=2**63),
        LABEL._replace(size=MAX_CHUNKS * CHUNK),
    ],
    ids=str,
)
def test_a_label_of_what_cannot_be_is_none(label: Label) -> None:
    packed = encode_label(LABEL._replace(chunk_size=64))
    with pytest.raises(MalformedJournal):
        decode_label_untrusted(packed[:-1])
    if label.chunk_size:
        with pytest.raises(MalformedJournal):
            decode_label_untrusted(encode_label(label))


def test_a_label_may_be_of_the_longest_file_there_can_be() -> None:
    label = LABEL._replace(size=MAX_CHUNKS * CHUNK - 1)
    assert decode_label_untrusted(encode_label(label)) == label


# ---------------------------------------------------------------------------- what is gone on with


def test_what_was_written_is_found(tmp_path: Path) -> None:
    with left_behind(tmp_path / "file", (0, 10), (50, 101), (20, 21)):
        assert names(tmp_path) == [".file.udpft-part"]
        assert found(tmp_path / "file") == RangeSet([(0, 10), (20, 21), (50, 101)])


def test_a_part_gone_on_with_becomes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with left_behind(path, (0, 60)), refused("another get is writing"):
        part = PartFile.take_over(path)
        assert part
        assert part.resumable
        PartFile.take_over(path)
    fill(part, 60, 101)
    part.commit()
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["file"]


def test_where_nothing_was_left_there_is_nothing(tmp_path: Path) -> None:
    assert PartFile.take_over(tmp_path / "file") is None
    assert PartFile.take_over(tmp_path / "missing" / "file") is None
    assert names(tmp_path) == []


def test_a_part_without_a_journal_is_not_gone_on_with(tmp_path: Path) -> None:
    with PartFile.open(tmp_path / "file", SIZE) as part:
        part.writev([memoryview(CONTENT)], 0)
        part.note_hashes(0, bytes(8))  # goes nowhere
        assert not part.resumable
        part.keep()
    assert found(tmp_path / "file") is None


def test_its_label_may_change_to_chunks_of_another_size(tmp_path: Path) -> None:
    with left_behind(tmp_path / "file", (0, 101)):
        part = PartFile.take_over(tmp_path / "file")
        assert part
        part.relabel(LABEL._replace(chunk_size=128))
        for first, hashes in read_hashes(part.readv, SIZE, 128, RangeSet([(0, 20)])):
            part.note_hashes(first, hashes)
        part.keep()
        assert found(tmp_path / "file") == RangeSet([(0, 20)])


# --------------------------------------------------------------------------- what is not believed


@given(
    at=st.integers(0, LABEL.total_bytes - 1),
    garbage=st.binary(min_size=1, max_size=200),
)
def test_whatever_is_garbled_is_fetched_again(at: int, garbage: bytes) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        left_behind(Path(folder, "file"), (0, 101)) as at_,
    ):
        with at_.open("r+b") as file:
            file.seek(at)
            file.write(garbage[: LABEL.total_bytes - at])
        chunks = found(Path(folder, "file"))
        if chunks is None:
            assert at + len(garbage) > LABEL.total_bytes - LABEL_SIZE
            return
        here = at_.read_bytes()[:SIZE]
        for first, stop in chunks:
            assert here[first * CHUNK : stop * CHUNK] == CONTENT[first * CHUNK : stop * CHUNK]
        assert chunks.total >= 101 - len(garbage) // 8 - 2


@given(st.integers(0, LABEL.total_bytes + 100))
def test_a_part_of_another_length_has_no_journal(length: int) -> None:
    if length == LABEL.total_bytes:
        return
    with tempfile.TemporaryDirectory() as folder, left_behind(Path(folder, "file"), (0, 50)) as at:
        os.truncate(at, length)
        assert found(Path(folder, "file")) is None


def test_data_without_its_entry_and_entries_without_data(tmp_path: Path) -> None:
    with left_behind(tmp_path / "file", (0, 10)) as at:
        with at.open("r+b") as file:  # as after a power cut
            file.write(bytes(3 * CHUNK))
            file.seek(LABEL.table_at + 8 * 9)
            file.write(bytes(8))
        assert found(tmp_path / "file") == RangeSet([(3, 9)])


def test_a_part_that_cannot_be_read_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with left_behind(tmp_path / "file", (0, 101)):
        monkeypatch.setattr(os, "preadv", failing_below("preadv", tmp_path))
        assert found(tmp_path / "file") == RangeSet()


def test_a_journal_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PartFile.open(tmp_path / "file", SIZE, LABEL) as part:
        fill(part, 0, 5)
        monkeypatch.setattr(os, "pwrite", failing_below("pwrite", tmp_path))
        with refused("Input/output error"):
            fill(part, 5, 6)
        assert part.resumable
