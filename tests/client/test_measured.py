"""A client's transfers, with what they took; the ends are real, the delays are the limits."""

from __future__ import annotations

from pathlib import Path

import udpft
from tests.samples import LARGE
from udpft.api import RunningServer, connect
from udpft.client.measured import measured
from udpft.outcome.bottleneck import Limit


def test_a_transfer_at_its_limit_says_so(server: RunningServer, tmp_path: Path) -> None:
    result = udpft.get(
        str(LARGE), server=server.address, output=tmp_path, limit_rate=LARGE * 4 // 3
    )
    assert result.seconds > 0.5
    assert result.limited_by == Limit.RATE
    assert result.limit.startswith("--limit-rate, ")
    assert not result.slow  # it was over soon enough
    assert 0 < result.cpu_seconds < result.seconds
    assert result.cpu_seconds_per_gb is not None


def test_what_is_here_already_was_limited_by_nothing(server: RunningServer, tmp_path: Path) -> None:
    for _ in range(2):
        result = udpft.get("4096", server=server.address, output=tmp_path)
    assert result.up_to_date
    assert result.limited_by == ""
    assert result.cpu_seconds_per_gb is None


def test_an_upload_is_measured_too(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    file = tmp_path / "file"
    file.write_bytes(bytes(2_000_000))
    with udpft.serve(tmp_path / "there", port=0, writable=True) as server:
        result = udpft.put(file, server=server.address, limit_rate=3_000_000)
    assert result.limited_by == Limit.RATE
    assert result.dropped_packets == 0


def test_the_loops_waiting_is_counted(server: RunningServer, tmp_path: Path) -> None:
    with connect(server.address, limit_rate=LARGE * 4 // 3) as client:
        result = measured(client, lambda: client.fetch(str(LARGE), tmp_path / "file"))
        assert 0.3 * result.seconds < client.waited_s < result.seconds
