"""Plain fetches, from a foreign server of twenty lines and from none."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.loopback import address_of, meanwhile
from tests.plain_peers import answer
from tests.samples import LARGE, SIZES, sample, unless_lost
from tests.storage.conftest import names
from udpft.api import RunningServer, connect
from udpft.client.client import Client
from udpft.errors import (
    DestinationExists,
    ExitCode,
    PartialTransfer,
    TimedOut,
    UsageError,
    VersionMismatch,
)


def sending(sock: socket.socket, *datagrams: bytes) -> Callable[[], None]:
    """A server that answers one request with these datagrams, and says no more."""

    def send() -> None:
        _, client = sock.recvfrom(65_536)
        for datagram in datagrams:
            sock.sendto(datagram, client)

    return send


@pytest.mark.parametrize("size", SIZES)
def test_every_size_from_somebody_elses_server(
    stranger: socket.socket, samples: Path, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "out"

    def fetch() -> bytes:
        with (
            meanwhile(lambda: answer(stranger, samples)),
            connect(address_of(stranger), timeout=1) as client,
        ):
            try:
                result = client.fetch_plain(str(size), path, force=True)
            except PartialTransfer:
                return b""
        assert (result.mode, result.verified, result.complete) == ("plain", False, True)
        assert (result.digest, result.resent_packets) == ("", 0)
        return path.read_bytes()

    assert unless_lost(fetch, size) == sample(size)
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_from_our_own(server: RunningServer, tmp_path: Path, size: int) -> None:
    path = tmp_path / "out"

    def fetch() -> bytes:
        udpft.get(str(size), server=server.address, output=path, mode="plain", force=True)
        return path.read_bytes()

    assert unless_lost(fetch, size) == sample(size)


def test_the_request_is_the_name_and_nothing_else(stranger: socket.socket, tmp_path: Path) -> None:
    requests = []

    def serve() -> None:
        request, client = stranger.recvfrom(65_536)
        requests.append(request)
        stranger.sendto(b"", client)

    with meanwhile(serve), connect(address_of(stranger)) as client:
        client.fetch_plain("dir/näme with space.txt", tmp_path / "out")
    assert requests == ["dir/näme with space.txt".encode()]


def test_without_an_end_nothing_is_kept(stranger: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old")
    begun = sending(stranger, sample(4096)[:2048], sample(4096)[2048:])
    with (
        meanwhile(begun),
        connect(address_of(stranger), timeout=0.2) as client,
        pytest.raises(PartialTransfer, match="4096 bytes came, and not the end") as caught,
    ):
        client.fetch_plain("x", tmp_path / "out", force=True)
    assert caught.value.exit_code == ExitCode.PARTIAL
    assert "--allow-partial" in caught.value.hint
    assert (tmp_path / "out").read_bytes() == b"old"
    assert names(tmp_path) == ["out"]


def test_without_an_end_it_is_kept_on_wish(stranger: socket.socket, tmp_path: Path) -> None:
    begun = sending(stranger, sample(4096)[:2048])
    with meanwhile(begun), connect(address_of(stranger), timeout=0.2) as client:
        result = client.fetch_plain("x", tmp_path / "out", allow_partial=True)
    assert (result.complete, result.verified, result.bytes) == (False, False, 2048)
    assert (tmp_path / "out").read_bytes() == sample(4096)[:2048]


def test_a_server_that_dies_in_mid_transfer(stranger: socket.socket, tmp_path: Path) -> None:
    # Nothing is sent to it any more, so its closed port is not seen: it is silence like any.
    def begin_and_die() -> None:
        sending(stranger, bytes(2048))()
        stranger.close()

    with (
        meanwhile(begin_and_die),
        connect(address_of(stranger), timeout=0.2) as client,
        pytest.raises(PartialTransfer),
    ):
        client.fetch_plain("x", tmp_path / "out")


def test_nothing_at_all_is_not_even_kept_on_wish(stranger: socket.socket, tmp_path: Path) -> None:
    with (
        connect(address_of(stranger), connect_timeout=0.1) as client,
        pytest.raises(TimedOut) as caught,
    ):
        client.fetch_plain("x", tmp_path / "out", allow_partial=True)
    assert "no error messages" in caught.value.hint
    assert names(tmp_path) == []


def test_datagrams_longer_than_a_chunk_are_another_protocol(
    stranger: socket.socket, tmp_path: Path
) -> None:
    with (
        meanwhile(sending(stranger, bytes(2049))),
        connect(address_of(stranger)) as client,
        pytest.raises(VersionMismatch, match="2049 bytes came") as caught,
    ):
        client.fetch_plain("x", tmp_path / "out")
    assert caught.value.exit_code == ExitCode.VERSION
    assert names(tmp_path) == []


def test_a_file_that_is_there_is_not_compared(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(sample(2049))
    with pytest.raises(DestinationExists, match="out exists") as caught:
        client.fetch_plain("2049", path)
    assert caught.value.exit_code == ExitCode.EXISTS
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(DestinationExists):
        client.fetch_plain("2049", path)
    client.fetch_plain("2049", path, force=True)
    assert path.read_bytes() == sample(2049)
    assert not path.is_symlink()


@pytest.mark.parametrize(
    "name",
    ["", "\ud800", "\0x", "ends with a newline\n", "or with a return\r", "x" * 2000],
    ids=ascii,
)
def test_names_that_plain_cannot_carry(client: Client, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name that plain can ask for"):
        client.fetch_plain(name, tmp_path / "out")


@pytest.mark.parametrize("options", [{"limit_rate": 1000}, {"chunk_size": 1000}])
def test_options_that_plain_does_not_have(
    server: RunningServer, tmp_path: Path, options: Any
) -> None:
    with connect(server.address, **options) as client, pytest.raises(UsageError, match="plain"):
        client.fetch_plain("1", tmp_path / "out")


def test_progress_has_no_total_until_the_end(samples: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def fetch() -> bytes:
        told.clear()
        udpft.get(
            str(LARGE),
            server=server.address,
            output=tmp_path / "out",
            mode="plain",
            force=True,
            progress=lambda *now: told.append(now),
        )
        return (tmp_path / "out").read_bytes()

    with udpft.serve(samples, port=0) as server:
        assert unless_lost(fetch, LARGE) == sample(LARGE)
    assert len(told) > 1
    assert told == sorted(told)
    assert {total for _, total in told[:-1]} == {-1}
    assert told[-1] == (LARGE, LARGE)


def test_what_appears_meanwhile_is_not_replaced(stranger: socket.socket, tmp_path: Path) -> None:
    path = tmp_path / "out"

    def send() -> None:
        _, client = stranger.recvfrom(65_536)
        path.write_bytes(b"mine")
        stranger.sendto(b"theirs", client)

    with (
        meanwhile(send),
        connect(address_of(stranger), timeout=1) as client,
        pytest.raises(DestinationExists, match="out exists by now"),
    ):
        client.fetch_plain("file", path)
    assert path.read_bytes() == b"mine"
    assert names(tmp_path) == ["out"]
