"""The fixtures for other people's tests, and the bad network that they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import udpft
from tests.loopback import closed_port
from tests.samples import LARGE, PATIENCE_S, sample
from udpft.api import ServerOptions
from udpft.errors import TimedOut
from udpft.testing import LossyLink, ServedFolder

COUNT = 150
"""Datagrams: a receive buffer holds so many small ones."""


def test_a_transfer_over_all_faults_is_exact(
    udpft_server: ServedFolder, lossy_link: Callable[..., LossyLink], tmp_path: Path
) -> None:
    (udpft_server.folder / "file").write_bytes(sample(LARGE)[:500_000])
    link = lossy_link(udpft_server, loss=0.1, delay_s=0.002, reorder=0.05, duplicate=0.05, seed=3)
    result = udpft.get("file", server=link.address, output=tmp_path)
    assert result.path.read_bytes() == sample(LARGE)[:500_000]
    assert result.resent_packets > 0
    assert min(link.lost, link.reordered, link.duplicated) > 0


def test_links_may_be_chained_cut_and_mended(
    udpft_server: ServedFolder, lossy_link: Callable[..., LossyLink]
) -> None:
    link = lossy_link(lossy_link(udpft_server))
    assert udpft.ping(link.address) > 0
    link.loss = 1.0
    with pytest.raises(TimedOut):
        udpft.ping(link.address, connect_timeout=0.05)
    link.loss = 0.0
    assert udpft.ping(link.address) > 0


def test_a_closed_port_behind_it_is_silence(lossy_link: Callable[..., LossyLink]) -> None:
    link = lossy_link(closed_port())
    for _ in range(2):
        with pytest.raises(TimedOut):
            udpft.ping(link.address, connect_timeout=0.05)


class TestOptions:
    """Where the fixture is overridden."""

    @pytest.fixture
    def udpft_server_options(self) -> ServerOptions:
        return {"writable": True}

    def test_the_server_takes_them(self, udpft_server: ServedFolder, tmp_path: Path) -> None:
        (tmp_path / "new").write_bytes(b"new")
        udpft.put(tmp_path / "new", server=udpft_server.address)
        assert (udpft_server.folder / "new").read_bytes() == b"new"
        udpft_server.stop(drain=PATIENCE_S)
        assert [one.name for one in udpft_server.served] == ["new"]
