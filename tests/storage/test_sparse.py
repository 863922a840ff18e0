"""Sparse files over loopback: holes at one end are holes at the other."""

from __future__ import annotations

from pathlib import Path

import pytest

import udpft
from udpft.storage.system_calls.allocate import punch

HOLE = 24 << 20
EDGES = b"begin" * 50_000, b"end" * 50_000


def make_sparse(path: Path) -> bytes:
    with path.open("wb") as file:
        file.write(EDGES[0])
        file.seek(HOLE, 1)
        file.write(EDGES[1])
        if not punch(file.fileno(), len(EDGES[0]) + 4096, 4096):
            pytest.skip("no holes on this file system")
    return EDGES[0] + bytes(HOLE) + EDGES[1]


def room(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.parametrize("recursive", [False, True])
def test_sparse_files_stay_sparse(tmp_path: Path, recursive: bool) -> None:
    served, out = tmp_path / "served", tmp_path / "out"
    for folder in (served / "tree", out):
        folder.mkdir(parents=True)
    content = make_sparse(served / "tree/file")
    with udpft.serve(served, port=0, writable=True) as server:
        name = "tree" if recursive else "tree/file"
        udpft.get(name, server=server.address, output=out, recursive=recursive)
        here = out / name if recursive else out
        udpft.put(here, server=server.address, as_name="back", recursive=True)
    for path in (here / "file", served / "back/file"):
        assert path.read_bytes() == content
        assert room(path) < 3 << 20
