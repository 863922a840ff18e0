"""Fetches into a file object and into memory: all of the file, or nothing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.faults import file_size_limit
from tests.samples import LARGE, sample
from udpft.api import RunningServer
from udpft.client.client import Client
from udpft.errors import DigestMismatch, LocalWriteFailed, NoSuchFile, UsageError


@pytest.mark.parametrize("mode", ["reliable", "plain"])
def test_a_file_object_gets_the_file(server: RunningServer, mode: Any) -> None:
    stream = io.BytesIO()
    result = udpft.get("2049", server=server, output=stream, mode=mode)
    assert stream.getvalue() == sample(2049)
    assert (result.bytes, result.local_path) == (2049, "-")


def test_what_is_not_verified_does_not_get_there(client: Client) -> None:
    stream = io.BytesIO()
    with pytest.raises(DigestMismatch):
        client.fetch("2049", stream, sha256="0" * 64)
    with pytest.raises(NoSuchFile):
        client.fetch("missing", stream)
    assert stream.getvalue() == b""


@pytest.mark.usefixtures("here")
def test_file_objects_that_take_no_bytes_are_told(client: Client) -> None:
    closed = io.BytesIO()
    closed.close()
    for nonsense, why in ((io.StringIO(), "takes text"), (closed, "is closed")):
        with pytest.raises(UsageError, match=why):
            client.fetch("1", nonsense)  # type: ignore[arg-type]
    read_only = pytest.raises(UsageError, match="open for reading")
    with Path("/dev/zero").open("rb") as zeros, read_only:
        client.fetch("1", zeros)
    told = pytest.raises(LocalWriteFailed, match="the file object: No space")
    with Path("/dev/full").open("wb", buffering=0) as full, told:
        client.fetch("1", full)
    with pytest.raises(UsageError):
        client.fetch_tree("1", io.BytesIO())  # type: ignore[arg-type]
    address = str(client.server)
    with pytest.raises(UsageError):
        udpft.get("1", server=address, output=io.BytesIO(), recursive=True)


def test_a_temporary_disk_that_is_full_is_blamed(client: Client) -> None:
    stream = io.BytesIO()
    with file_size_limit(1 << 19), pytest.raises(LocalWriteFailed, match="temporary") as failed:
        client.fetch(str(LARGE), stream)
    assert "TMPDIR" in failed.value.hint
    assert stream.getvalue() == b""


@pytest.mark.parametrize("size", [0, 1, 2048, 2049, LARGE])
def test_a_file_in_memory(server: RunningServer, here: Path, size: int) -> None:
    seen: list[tuple[int, int]] = []
    data = udpft.read_bytes(
        str(size), server=server, progress=lambda *figures: seen.append(figures)
    )
    assert data == sample(size)
    assert seen[-1] == (size, size)
    assert list(here.iterdir()) == []


def test_no_more_goes_into_memory_than_is_wanted(client: Client) -> None:
    assert client.read_bytes("2048", max_bytes=2048) == sample(2048)
    with pytest.raises(UsageError, match=r"has 2.05 kB, and 2.05 kB are wanted") as refused:
        client.read_bytes("2049", max_bytes="2Ki")
    assert "max_bytes" in refused.value.hint
    with pytest.raises(UsageError, match="max_bytes"):
        client.read_bytes("2049", max_bytes="much")
