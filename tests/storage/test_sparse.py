"""Sparse files over loopback: holes at one end are holes at the other."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

import udpft
from udpft.errors import LocalWriteFailed, UdpftError
from udpft.outcome.result import Result
from udpft.outcome.served import Served
from udpft.protocol.contract import NO_HOLES
from udpft.storage.journal import Label
from udpft.storage.partfile import PartFile
from udpft.storage.source_file import SourceFile
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


# ------------------------------------------------------------------------- holes are not sent

APPARENT = 1 << 30
DATA = Random(5).randbytes(350_000)
PLACES = {
    "beginning": [APPARENT - len(DATA)],
    "middle": [0, APPARENT // 2 + 1234, APPARENT - len(DATA)],
    "end": [0],
    "all": [],
}


def make_large(path: Path, places: list[int], size: int = APPARENT) -> None:
    """Make a file of a GiB of which a MB at most is data."""
    with path.open("wb") as file:
        for at in places:
            file.seek(at)
            file.write(DATA)
        file.truncate(size)
    if room(path) > 3 << 20:
        pytest.skip("no holes on this file system")


def is_same(one: Path, other: Path, places: list[int]) -> bool:
    """Compare the data, and the zeros around it."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        for at in [0, APPARENT // 3, *places]:
            for begin in (max(0, at - 5000), at + len(DATA) - 5000):
                a.seek(begin)
                b.seek(begin)
                if a.read(10_000) != b.read(10_000):
                    return False
    with SourceFile(os.open(other, os.O_RDONLY), other.stat()) as file:
        return file.sparse_map.data_bytes < 2 << 20


@pytest.mark.parametrize("layout", PLACES)
def test_a_gib_of_holes_is_fetched_and_stored_in_no_time(tmp_path: Path, layout: str) -> None:
    served, here = tmp_path / "served", tmp_path / "here"
    served.mkdir()
    make_large(served / "file", PLACES[layout])
    records: list[Served] = []
    with udpft.serve(served, port=0, writable=True, on_served=records.append) as server:
        result = udpft.get("file", server=server.address, output=here)
        stored = udpft.put(here, server=server.address, as_name="back")
    for path in (here, served / "back"):
        assert room(path) < 3 << 20
        assert is_same(served / "file", path, PLACES[layout])
    n_bytes = len(PLACES[layout]) * len(DATA)
    for one in (result, stored):
        assert one.verified
        assert not one.up_to_date
        assert (one.bytes, one.resumed_bytes) == (APPARENT, 0)
        assert one.new_bytes == APPARENT - one.hole_bytes
        assert n_bytes <= one.new_bytes < n_bytes + 100_000
    assert records[0].bytes_sent < 1.2 * n_bytes + 100_000
    assert n_bytes <= (records[1].bytes_received or 0) < n_bytes + 100_000


def test_what_was_broken_off_is_gone_on_with(tmp_path: Path) -> None:
    served, here = tmp_path / "served", tmp_path / "here"
    served.mkdir()
    places = PLACES["middle"]
    make_large(served / "file", places)

    class Enough(Exception):
        pass

    def stop(done_bytes: int, _total: int) -> None:
        if done_bytes > APPARENT - len(DATA):
            raise Enough

    with udpft.serve(served, port=0, writable=True) as server:
        with suppress(Enough):
            udpft.get(
                "file", server=server.address, output=here, progress=stop, limit_rate=2_000_000
            )
        [part] = tmp_path.glob(".here*")
        assert room(part) < 3 << 20
        result = udpft.get("file", server=server.address, output=here)
        assert result.resumed_bytes > len(DATA)
        assert result.new_bytes < 2 * len(DATA)
        assert result.hole_bytes > APPARENT - 2 * 1024**2
        with suppress(Enough):
            udpft.put(
                here, server=server.address, as_name="back", progress=stop, limit_rate=2_000_000
            )
        stored = udpft.put(here, server=server.address, as_name="back")
        assert stored.resumed_bytes > len(DATA)
        assert stored.new_bytes < 2 * len(DATA)
    for path in (here, served / "back"):
        assert room(path) < 3 << 20
        assert is_same(served / "file", path, places)


def test_a_disk_needs_room_for_the_data_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, here = tmp_path / "served", tmp_path / "here"
    served.mkdir()
    make_large(served / "file", PLACES["middle"])
    make_large(served / "large", [n * len(DATA) for n in range(8)])

    def with_2_mb(fd: int) -> os.statvfs_result:
        fields = list(vfs(fd))
        fields[4] = 2_000_000 // fields[1]
        return os.statvfs_result(fields)

    vfs = os.fstatvfs
    monkeypatch.setattr(os, "fstatvfs", with_2_mb)
    with udpft.serve(served, port=0, writable=True) as server:
        udpft.get("file", server=server.address, output=here)
        udpft.put(here, server=server.address, as_name="back")
        with pytest.raises(LocalWriteFailed, match=r"disk full: .* needs 2\.8"):
            udpft.get("large", server=server.address, output=tmp_path / "there")
        with pytest.raises(UdpftError, match="disk is full"):
            udpft.put(served / "large", server=server.address, as_name="there")


def test_a_quota_counts_the_data_alone(tmp_path: Path) -> None:
    served, here = tmp_path / "served", tmp_path / "here"
    served.mkdir()
    make_large(here, PLACES["middle"])
    with udpft.serve(served, port=0, writable=True, quota=3_000_000) as server:
        for name in ("one", "two"):
            udpft.put(here, server=server.address, as_name=name)
        with pytest.raises(UdpftError, match="quota"):
            udpft.put(here, server=server.address, as_name="three")


@pytest.mark.parametrize("upload", [False, True])
def test_what_comes_into_a_hole_while_it_is_sent_is_found(tmp_path: Path, upload: bool) -> None:
    served, here = tmp_path / "served", tmp_path / "here"
    served.mkdir()
    source = here if upload else served / "file"
    make_large(source, PLACES["middle"])

    def write_once(done_bytes: int, _total: int) -> None:
        if not written and done_bytes > 0:
            written.append(done_bytes)
            with source.open("r+b") as file:
                file.seek(APPARENT // 4)
                file.write(b"something")

    written: list[int] = []
    options = {"progress": write_once, "limit_rate": 1_000_000}

    def transfer(**more: object) -> Result:
        if upload:
            return udpft.put(here, server=server.address, as_name="back", **more)  # type: ignore[arg-type]
        return udpft.get("file", server=server.address, output=here, **more)  # type: ignore[arg-type]

    with udpft.serve(served, port=0, writable=True) as server:
        with pytest.raises(UdpftError, match="changed"):
            transfer(**options)
        assert written
        assert transfer().verified
    with (served / "back" if upload else here).open("rb") as file:
        file.seek(APPARENT // 4)
        assert file.read(12) == b"something\0\0\0"


def test_what_an_earlier_part_has_in_a_hole_is_zeros_in_the_end(tmp_path: Path) -> None:
    part = PartFile.open(tmp_path / "file", 1 << 20, Label(1 << 20, 0, 1, 2048))
    with part:
        part.writev([memoryview(b"x" * 50_000)], 4096)
        part.clear([(4096, 30_000), (30_000, 30_000)])
        part.commit()
    content = (tmp_path / "file").read_bytes()
    assert content == bytes(30_000) + b"x" * 24_096 + bytes((1 << 20) - 54_096)


def test_where_no_holes_can_be_made_it_is_written_as_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("udpft.storage.system_calls.allocate.punch", lambda *_: False)
    with PartFile.open(tmp_path / "file", 200_000) as part:
        part.writev([memoryview(b"x" * 200_000)], 0)
        part.clear([(5, 199_995)])
        part.commit()
    assert (tmp_path / "file").read_bytes() == b"x" * 5 + bytes(199_990) + b"x" * 5


def opened(path: Path) -> SourceFile:
    return SourceFile(os.open(path, os.O_RDWR), path.stat())


def test_the_map_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with opened(path) as source:
        assert source.sparse_map == NO_HOLES
    make_large(path, [10_000_000, 20_000_000])
    with opened(path) as source:
        found = source.sparse_map
        starts, stops = zip(*found.holes, strict=True)
        assert 2 * len(DATA) <= found.data_bytes <= 2 * len(DATA) + 4 * 65_536
        assert [at % 4096 for at in (*starts, *stops)] == [0] * 6
        assert (max(stops), min(starts)) == (APPARENT, 0)
        lengths = [stop - start for start, stop in found.holes]
        assert lengths == sorted(lengths, reverse=True)
        # As soon as something may have changed: all but what was a hole, and still is one
        assert source.suspects() == ()
        os.pwrite(source.fileno(), b"x", 15_000_000)
        suspects = source.suspects()
        assert any(start <= 15_000_000 < stop for start, stop in suspects)
        assert sum(stop - start for start, stop in suspects) < 30_000_000
    make_large(path, [10_000_000, 20_000_000], APPARENT + 77)
    with opened(path) as source:
        assert max(stop for _, stop in source.sparse_map.holes) == APPARENT + 4096
        monkeypatch.setattr("udpft.storage.source_file._MAX_EXTENTS", 1)
        assert source.sparse_map.data_bytes > APPARENT - 11_000_000

        def refuse(*_: object) -> int:
            raise OSError(22, "no such thing")

        monkeypatch.setattr(os, "lseek", refuse)
        assert source.sparse_map == NO_HOLES
