"""The server's end of a download: terms, limits, and the file given back at the end."""

from __future__ import annotations

from random import Random

import pytest

from udpft.errors import SourceChanged
from udpft.protocol.params import (
    CHUNK_SIZE,
    DATA_HEADER_SIZE,
    INITIAL_RECEIVE_ROOM,
    MAX_BURST_BYTES,
)
from udpft.protocol.server.download import Shared, Terms, begin_download
from udpft.protocol.transfer.work_budget import WorkBudget
from udpft.protocol.wire.accept import Accept, decode_accept_untrusted
from udpft.protocol.wire.hello import Hello
from udpft.protocol.wire.packet import PacketType, decode_untrusted
from udpft.testing.network import MemorySource, Shape, SimNet, random_bytes

CONTENT = random_bytes(300_000)


def test_accept_probes_the_way_back_with_a_datagram_as_large_as_those_to_come() -> None:
    net = SimNet({"file": CONTENT}, seed=1)
    net.get("file", chunk_size=1024)
    net.run()
    datagram = net.down.packets(PacketType.ACCEPT)[0]
    accept = decode_accept_untrusted(decode_untrusted(memoryview(datagram)))
    assert (accept.size, accept.chunk_size) == (len(CONTENT), 1024)
    assert len(datagram) == max(map(len, net.down.packets(PacketType.DATA)))


def test_only_what_is_not_held_of_that_file_is_sent() -> None:
    half = 70 * CHUNK_SIZE
    for have_of, expected in ((1, len(CONTENT) - half), (2, len(CONTENT))):
        net = SimNet({"file": CONTENT}, seed=1)
        net.get("file", have=((0, half),), have_of=have_of)
        net.run_to(5)
        data = net.down.packets(PacketType.DATA)
        assert len(data) == -(-expected // CHUNK_SIZE)


@pytest.mark.parametrize(("own", "clients"), [(100_000, 0), (0, 100_000), (100_000, 400_000)])
def test_the_slower_of_both_limits_holds(own: int, clients: int) -> None:
    net = SimNet({"file": CONTENT}, seed=1, max_rate_bytes_per_s=own)
    client = net.get("file", max_rate_bytes_per_s=clients)
    net.run()
    assert client.content == CONTENT
    assert 0.9 <= client.ended_at / (len(CONTENT) / 100_000) <= 1.2


@pytest.mark.parametrize(("told", "room"), [(0, INITIAL_RECEIVE_ROOM), (50_000, 50_000)])
def test_the_room_that_a_client_tells_counts_from_the_first_burst_on(told: int, room: int) -> None:
    hello = Hello(1, 2, b"file", CHUNK_SIZE, told)
    accept = Accept(1, 3, CHUNK_SIZE, len(CONTENT), 0, 1)
    shared = Shared(bytearray(MAX_BURST_BYTES), WorkBudget().share_of(None))
    terms = Terms(hello, accept, 1_200, 0, 30.0)
    sender = begin_download(terms, MemorySource(CONTENT), shared, Random(1), 0.0)
    assert sender._flow._receive_room == room


def test_without_a_limit_the_path_sets_the_pace() -> None:
    net = SimNet({"file": CONTENT}, seed=1, down=Shape(rate_bytes_per_s=1e6, queue_bytes=30_000))
    client = net.get("file")
    net.run_to(0.2)
    [sender] = net.listener.senders()
    assert sender._flow.rate * (CHUNK_SIZE + DATA_HEADER_SIZE) > 500_000
    net.run()
    assert client.content == CONTENT
    assert net.down.sent_bytes < 1.3 * len(CONTENT)


def test_a_file_that_changes_ends_it_and_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    net = SimNet({"file": CONTENT}, seed=1, down=Shape(rate_bytes_per_s=200_000))
    client = net.get("file")
    net.run_to(0.5)
    monkeypatch.setattr(MemorySource, "changed", lambda _: True)
    net.run()
    assert isinstance(client.error, SourceChanged)
    net.run_until_quiet()
    assert net.sources["file"].closed
    assert [type(ended.error) for ended in net.ended] == [SourceChanged]
