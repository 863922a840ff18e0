"""Files of a trace: bounded, and told of where they are full or cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from udpft.errors import LocalWriteFailed
from udpft.trace.files import TraceFile


def test_what_passes_the_limit_is_not_written_and_that_is_told_once(tmp_path: Path) -> None:
    said: list[str] = []
    file = TraceFile(str(tmp_path / "t"), 10, said.append)
    assert file.write(b"12345", 0)
    assert not file.write(b"123456", 1.5)
    assert file.full
    assert not file.write(b"1", 2)
    file.write_last(b"the end")
    file.close()
    assert (tmp_path / "t").read_bytes() == b"12345the end"
    [words] = said
    assert "1.5 s" in words
    assert "10 B" in words


def test_flushed_is_there_for_others_to_read(tmp_path: Path) -> None:
    file = TraceFile(str(tmp_path / "t"), 10, lambda _: None)
    file.write(b"12345")
    file.flush()
    assert (tmp_path / "t").read_bytes() == b"12345"
    file.close()


def test_a_full_disk_is_told_in_words() -> None:
    file = TraceFile("/dev/full", 1 << 30, lambda _: None)
    with pytest.raises(LocalWriteFailed, match="/dev/full: No space left"):
        file.write(bytes(1 << 20))
    file = TraceFile("/dev/full", 1 << 30, lambda _: None)
    file.write(b"a little")
    with pytest.raises(LocalWriteFailed, match="No space left"):
        file.flush()
