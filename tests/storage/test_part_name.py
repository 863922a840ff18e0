"""Names of part files, and that they fit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.storage.conftest import names, write
from udpft.storage.part_name import is_part_name, part_name
from udpft.storage.partfile import PartFile


@pytest.mark.parametrize(
    "name", ["n" * 243, "n" * 244, "n" * 255, "文" * 85, "x" + "文" * 84, "\udcff" * 255], ids=ascii
)
def test_long_names_have_shorter_part_names(tmp_path: Path, name: str) -> None:
    part = part_name(name)
    assert len(os.fsencode(part)) <= 255
    assert part.startswith(".")
    assert part.endswith(".udpft-part")
    assert part != part_name(name[:-1] + "y")
    if "\udcff" not in name:
        part.encode()  # no character was cut in two
    with PartFile.open(tmp_path / name, 3) as file:
        write(file, b"abc")
        assert names(tmp_path) == [part]
        file.commit()
    assert names(tmp_path) == [name]


def test_names_that_are_part_files() -> None:
    assert is_part_name(part_name("file").encode())
    assert not is_part_name(b"file.udpft-part")
    assert not is_part_name(b".file")
