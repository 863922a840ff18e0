"""Ranges over loopback: into memory and into files, and what is refused of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import udpft
from tests.samples import LARGE, sample
from udpft.api import RunningServer
from udpft.client.client import Client
from udpft.client.parts.ranges import wanted_of
from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    NoSuchFile,
    RangeNotThere,
    TooLarge,
    UsageError,
    VersionMismatch,
)
from udpft.protocol.server import session_creation
from udpft.protocol.wire.hello import TO_THE_END, Role

CONTENT = sample(LARGE)
NAME = str(LARGE)


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 10), (5, 6), (10_001, LARGE - 1), (LARGE - 3, None), (LARGE - 3, 2 * LARGE), (-7, None)],
)
def test_a_range_is_what_a_slice_is(client: Client, start: int, stop: int | None) -> None:
    told: list[tuple[int, int]] = []
    data = client.fetch_range(NAME, start, stop, progress=lambda *pair: told.append(pair))
    assert data == CONTENT[start:stop]
    assert isinstance(data, bytes)
    assert told[-1] == (len(data), len(data))


def test_all_of_a_file_is_a_range_of_it(client: Client) -> None:
    assert client.fetch_range("2049") == sample(2049)
    assert client.fetch_range("0") == b""


def test_what_is_not_there_is_told(client: Client) -> None:
    with pytest.raises(RangeNotThere, match=f"'{NAME}'") as caught:
        client.fetch_range(NAME, LARGE)
    assert caught.value.hint == f"its bytes are 0 to {LARGE - 1}"
    with pytest.raises(NoSuchFile):
        client.fetch_range("missing", 5)
    assert client.fetch_range("1") == sample(1)  # and nothing is the worse for it


@pytest.mark.parametrize(
    ("start", "stop"), [(5, 5), (5, 3), (0, 0), (-5, 3), (2**63, None), (0, 2**65)]
)
def test_a_range_that_makes_no_sense_is_refused_here(
    client: Client, start: int, stop: int | None
) -> None:
    with pytest.raises(UsageError):
        client.fetch_range("1", start, stop)


def test_what_is_no_number_is_no_range(client: Client) -> None:
    with pytest.raises(UsageError, match="whole numbers"):
        client.fetch_range("1", 0.5)  # type: ignore[arg-type]
    assert wanted_of(3, None) == (3, TO_THE_END)


def test_more_than_is_wanted_in_memory_is_refused(client: Client) -> None:
    with pytest.raises(UsageError, match="the range has 100 B, and 99 B are wanted"):
        client.fetch_range(NAME, 0, 100, max_bytes=99)


def test_a_range_in_a_file(client: Client, here: Path) -> None:
    result = client.fetch(NAME, "part", byte_range=(1_000, 50_000))
    assert (here / "part").read_bytes() == CONTENT[1_000:50_000]
    assert result.bytes == 49_000
    assert result.part
    assert (result.part.first, result.part.file_size) == (1_000, LARGE)
    again = client.fetch(NAME, "part", byte_range=(1_000, 50_000))
    assert again.up_to_date
    assert again.part == result.part
    with pytest.raises(DestinationExists):
        client.fetch(NAME, "part", byte_range=(1_001, 50_001))
    with pytest.raises(DestinationExists):
        client.fetch(NAME, "part", byte_range=(1_000, 50_001))
    assert (here / "part").read_bytes() == CONTENT[1_000:50_000]
    client.fetch(NAME, "part", byte_range=(1_001, 50_001), force=True)
    assert (here / "part").read_bytes() == CONTENT[1_001:50_001]
    assert client.fetch(NAME, "whole").part is None


def test_a_range_has_a_sha_256_and_a_limit_of_its_own(client: Client, here: Path) -> None:
    with pytest.raises(DigestMismatch):
        client.fetch(NAME, "part", byte_range=(0, 10), sha256="0" * 64)
    assert not (here / "part").exists()


def test_a_limit_is_of_the_range(server: RunningServer, here: Path) -> None:
    with udpft.connect(server, max_size=1_000) as client:
        client.fetch(NAME, here / "part", byte_range=(0, 1_000))
        with pytest.raises(TooLarge):
            client.fetch(NAME, here / "more", byte_range=(0, 1_001))


@pytest.mark.parametrize("options", [{"recursive": True}, {"mode": "plain"}])
def test_a_range_is_of_a_single_file_and_reliable(
    server: RunningServer, options: dict[str, str]
) -> None:
    with pytest.raises(UsageError, match="a range is of a single file"):
        udpft.get("1", server=server, byte_range=(0, 1), **options)  # type: ignore[arg-type]


def test_a_server_that_is_too_old_is_named_as_that(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tuple(role for role in session_creation._ROLES if role != Role.RANGE)
    monkeypatch.setattr(session_creation, "_ROLES", known)
    with pytest.raises(VersionMismatch, match="too old to send a range") as caught:
        client.fetch_range("1")
    assert "without a range" in caught.value.hint
    assert client.read_bytes("1") == sample(1)


def test_one_mebibyte_out_of_four_gibibytes_costs_one(tmp_path: Path) -> None:
    size, mib = 4 << 30, 1 << 20
    piece = os.urandom(mib)
    served: list[udpft.Served] = []
    with open(tmp_path / "big", "wb") as file:
        file.truncate(size)
        for at in (0, size // 2 + 5, size - mib):
            file.seek(at)
            file.write(piece)
    with (
        udpft.serve(tmp_path, port=0, on_served=served.append) as server,
        udpft.connect(server) as client,
    ):
        for at in (0, size // 2 + 5, size - mib):
            assert client.fetch_range("big", at, at + mib) == piece
        assert client.fetch_range("big", size - 99, size + mib) == piece[-99:]
    assert [one.bytes for one in served] == [mib] * 3 + [99]
    for one in served[:3]:
        assert one.error is None
        assert one.verified
        assert one.bytes_sent + 28 * 520 <= 1.1 * mib  # with the headers of IP and UDP


class Enough(Exception):
    """Raised out of a fetch when enough is here."""


def test_a_range_is_resumed_and_not_by_another_one(tmp_path: Path) -> None:
    content, out = os.urandom(6 << 20), tmp_path / "part"
    (tmp_path / "file").write_bytes(content)

    def break_off(done: int, total: int) -> None:
        if done > 0.4 * total:
            raise Enough

    with udpft.serve(tmp_path, port=0, max_rate=6_000_000) as server:
        for wanted, resumes in (((1_000_001, 5_000_001), True), ((1_000_003, 5_000_003), False)):
            with udpft.connect(server) as client:
                with pytest.raises(Enough):
                    client.fetch("file", out, byte_range=(1_000_001, 5_000_001), progress=break_off)
                result = client.fetch("file", out, byte_range=wanted)
            assert out.read_bytes() == content[slice(*wanted)]
            assert (result.resumed_bytes > 0) == resumes
            out.unlink()
