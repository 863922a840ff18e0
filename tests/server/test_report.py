"""Report on finished transfers: which bytes, drops and limits a record has, of either direction."""

from __future__ import annotations

import pytest

from udpft.errors import PartialTransfer
from udpft.outcome.bottleneck import Limit
from udpft.outcome.usage import Usage
from udpft.protocol.server.outcome import Outcome, Traffic
from udpft.server.report import report

BEGUN = Usage(at=100.0, cpu_s=5.0, busy_s=4.0, queued_s=1.0, waited_s=90.0, moved=7_000, drops=3)
NOW = Usage(
    at=110.0, cpu_s=6.0, busy_s=4.1, queued_s=1.0, waited_s=99.9, moved=2_000_007_000, drops=13
)
SENT = Traffic(
    bytes_sent=1_100_000,
    packets_resent=2,
    bytes_received=None,
    receiver_drops=6,
    chunk_size=1_000,
    client_rate=0,
    sent_singly=False,
)


def outcome(traffic: Traffic = SENT, error: PartialTransfer | None = None) -> Outcome:
    address = ("192.0.2.1", 4_000)
    return Outcome("a", address, 1_000_000, 4.0, error, error is None, traffic, BEGUN)


def test_a_download_has_the_client_s_drops() -> None:
    record = report(outcome(), NOW, max_rate=0)
    assert (record.name, record.mode, record.bytes) == ("a", "reliable", 1_000_000)
    assert record.peer == "192.0.2.1:4000"
    assert (record.bytes_sent, record.bytes_received) == (1_100_000, None)
    assert (record.resent_packets, record.dropped_packets) == (2, 6)
    assert (record.seconds, record.verified, record.error) == (4.0, True, None)
    assert record.cpu_seconds == pytest.approx(1.0)
    assert record.cpu_seconds_per_gb == pytest.approx(0.5)


def test_an_upload_has_the_server_s_drops() -> None:
    record = report(outcome(SENT._replace(bytes_received=600_000)), NOW, max_rate=0)
    assert record.bytes_received == 600_000
    assert record.dropped_packets == 10


@pytest.mark.parametrize(
    ("max_rate", "client_rate", "named"),
    [
        (250_000, 0, "--max-rate"),
        (0, 250_000, "the client's --limit-rate"),
        (250_000, 900_000, "--max-rate"),
        (900_000, 250_000, "the client's --limit-rate"),
    ],
)
def test_the_lower_rate_limit_is_named(max_rate: int, client_rate: int, named: str) -> None:
    traffic = SENT._replace(client_rate=client_rate, receiver_drops=0)
    record = report(outcome(traffic), NOW, max_rate=max_rate)
    assert record.limited_by == Limit.RATE
    assert named in record.limit


def test_a_failed_transfer_has_no_bottleneck() -> None:
    error = PartialTransfer("gone")
    record = report(outcome(error=error), NOW, max_rate=250_000)
    assert (record.error, record.verified) == (error, False)
    assert (record.limited_by, record.limit, record.slow) == ("", "", False)
