"""Probes of paths that lose, delay and carry little, in memory and by a virtual clock."""

from __future__ import annotations

from collections import Counter
from math import inf
from statistics import StatisticsError
from typing import Any, cast

import pytest

from udpft.errors import TimedOut, VersionMismatch
from udpft.protocol.contract import Batch, Completed, Failed
from udpft.protocol.handshake.path_probe import PATH_PROBE_INTERVAL_S, PATH_PROBE_PINGS, PathProbe
from udpft.protocol.keyed.channel import ClientChannel
from udpft.protocol.keyed.noise import Suite
from udpft.protocol.params import PROBE_SIZES
from udpft.protocol.wire.hello import Hello
from udpft.protocol.wire.retry import Retry, encode_retry
from udpft.testing.network import Inbox, Shape, SimNet, SimulatedClient

HELLO = Hello(nonce=7, connection_id=8, name=b"", chunk_size=2048, receive_room=0)


def run_probe(key: bytes | None = None, **shape: Any) -> tuple[PathProbe, SimulatedClient, SimNet]:
    """Probe a path that has this shape both ways, to its end."""
    net = SimNet({}, seed=3, down=Shape(**shape), up=Shape(**shape), key=key)
    probe = PathProbe(HELLO, now=0.0, keyed=key is not None)
    channel = ClientChannel(key, Suite.AES_GCM, net.random.randbytes) if key else None
    inbox = Inbox(inf)
    client = SimulatedClient(cast(Any, probe), "client", inbox, channel)
    net.clients["client"], net._inboxes["client"] = client, inbox
    net.run()
    return probe, client, net


@pytest.mark.parametrize("key", [None, bytes(range(32))])
def test_a_good_path(key: bytes | None) -> None:
    probe, client, net = run_probe(key, delay_s=0.020)
    assert isinstance(client.outcome, Completed)
    assert (probe.sent, probe.lost) == (PATH_PROBE_PINGS, 0)
    assert probe.largest_answered == PROBE_SIZES[0]
    assert probe.round_trip_s == pytest.approx(0.040)
    assert client.ended_at < PATH_PROBE_PINGS * PATH_PROBE_INTERVAL_S + 0.1
    assert len(net.listener) == 0
    assert net.ended == []


def test_it_takes_a_second_and_leaves_the_path_to_others() -> None:
    _, client, net = run_probe()
    assert client.ended_at == pytest.approx(1.0, abs=0.1)
    pings = [datagram for datagram in net.up.sent if len(datagram) == PROBE_SIZES[-1]]
    assert len(pings) * len(pings[0]) == pytest.approx(24_000)
    sizes = Counter(map(len, net.up.sent))
    assert sizes == {**dict.fromkeys(PROBE_SIZES, 5), PROBE_SIZES[-1]: PATH_PROBE_PINGS}


@pytest.mark.parametrize("mtu_payload", PROBE_SIZES)
def test_the_largest_that_the_path_carries(mtu_payload: int) -> None:
    probe, _, _ = run_probe(mtu_payload=mtu_payload, loss=0.05)
    assert probe.largest_answered == mtu_payload


def test_loss_is_counted_once_for_each_ping() -> None:
    probe, client, _ = run_probe(loss=0.3, duplicate=0.5)
    assert isinstance(client.outcome, Completed)
    assert probe.sent == PATH_PROBE_PINGS
    assert 5 <= probe.lost <= 15
    assert len(probe.round_trips_s) == PATH_PROBE_PINGS - probe.lost


def test_a_long_path_is_waited_for() -> None:
    probe, _, _ = run_probe(delay_s=0.7)
    assert probe.lost == 0
    assert probe.round_trip_s == pytest.approx(1.4)


def test_where_pings_are_lost_it_waits_two_round_trips_for_the_last_one() -> None:
    probe, client, _ = run_probe(delay_s=0.7, loss=0.1)
    assert probe.lost
    assert client.ended_at == pytest.approx(probe._sent_at[-1] + 2 * 1.4)


def test_a_dead_path() -> None:
    probe, client, _ = run_probe(loss=1.0)
    assert isinstance(client.outcome, Failed)
    assert isinstance(client.outcome.error, TimedOut)
    assert client.ended_at == pytest.approx(5.0, abs=PATH_PROBE_INTERVAL_S)
    with pytest.raises(StatisticsError):
        _ = probe.round_trip_s


def answer(
    version: int = 1,
    nonce: int = 7,
    connection_id: int = 8,
    size: int = 1200,
    attempt: int = 0,
) -> bytearray:
    return bytearray(encode_retry(Retry(nonce, bytes(16), size, version, attempt), connection_id))


def test_round_trips_are_those_of_pings_that_have_left() -> None:
    probe = PathProbe(HELLO, now=0.0)
    assert probe.poll_transmit(0.0)
    for datagram in (answer(size=PROBE_SIZES[0]), answer(attempt=1)):
        probe.handle_datagrams(Batch.of(datagram), 0.1)
    assert probe.largest_answered == PROBE_SIZES[0]
    assert probe.round_trips_s == []
    probe.handle_datagrams(Batch.of(answer()), 0.2)
    assert probe.round_trips_s == [0.2]


def test_another_version_ends_it() -> None:
    probe = PathProbe(HELLO, now=0.0)
    assert probe.poll_transmit(0.0)
    datagram = answer(version=2)
    probe.handle_datagrams(Batch.of(datagram), 0.1)
    ended = probe.poll_event()
    assert isinstance(ended, Failed)
    assert isinstance(ended.error, VersionMismatch)


@pytest.mark.parametrize(
    "datagram",
    [answer(nonce=9), answer(connection_id=9), answer(size=1201), bytearray(44), answer()[:-1]],
    ids=["nonce", "connection", "size", "zeros", "short"],
)
def test_what_is_no_answer_is_ignored(datagram: bytearray) -> None:
    probe = PathProbe(HELLO, now=0.0)
    assert probe.poll_transmit(0.0)
    probe.handle_datagrams(Batch.of(datagram), 0.1)
    assert probe.poll_event() is None
    assert (probe.largest_answered, probe.round_trips_s) == (0, [])
