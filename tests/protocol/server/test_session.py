"""Records of finished transfers: bytes, time, errors."""

from __future__ import annotations

import pytest

from udpft.errors import PartialTransfer
from udpft.protocol.params import CHUNK_SIZE
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import Shape, SimNet, random_bytes

CONTENT = random_bytes(300_000)


@pytest.mark.parametrize("key", [None, bytes(32)], ids=["open", "keyed"])
def test_a_fetch_is_told_with_its_bytes_and_its_time(key: bytes | None) -> None:
    net = SimNet({"file": CONTENT}, seed=1, key=key)
    client = net.get("file", max_rate_bytes_per_s=1_000_000)
    net.run()
    net.run_until_quiet()
    [told] = net.ended
    assert (told.name, told.address, told.size) == ("file", client.address, len(CONTENT))
    assert (told.error, told.confirmed, told.traffic.bytes_received) == (None, True, None)
    assert (told.traffic.chunk_size, told.traffic.client_rate) == (client.chunk_size, 1_000_000)
    assert told.traffic.packets_resent == told.traffic.receiver_drops == 0
    assert len(CONTENT) < told.traffic.bytes_sent <= net.down.sent_bytes
    assert 0.3 <= told.seconds <= client.ended_at + 1


def test_an_upload_is_told_with_what_was_new() -> None:
    net = SimNet({}, seed=1)
    net.put("file", CONTENT)
    net.run()
    net.run_until_quiet()
    [told] = net.ended
    assert (told.name, told.size, told.traffic.bytes_received) == (
        "file",
        len(CONTENT),
        len(CONTENT),
    )
    assert (told.error, told.confirmed, told.traffic.chunk_size) == (None, True, CHUNK_SIZE)
    [accept] = net.down.packets(PacketType.ACCEPT)
    assert len(accept) < told.traffic.bytes_sent <= net.down.sent_bytes


def test_what_is_resent_is_counted() -> None:
    net = SimNet({"file": CONTENT}, seed=1, down=Shape(loss=0.1))
    net.get("file")
    net.run()
    net.run_until_quiet()
    assert net.ended[0].traffic.packets_resent >= 10


def test_one_that_failed_says_why() -> None:
    net = SimNet({"file": CONTENT}, seed=1, down=Shape(rate_bytes_per_s=200_000))
    client = net.get("file")
    net.run_to(0.5)
    client.download.abort(PartialTransfer("enough"))
    net.run_until_quiet()
    [told] = net.ended
    assert isinstance(told.error, PartialTransfer)
    assert not told.confirmed
    assert net.sources["file"].closed


def test_usage_is_what_it_was_at_the_beginning() -> None:
    meter = iter(range(100))
    net = SimNet({"file": CONTENT}, seed=1)
    net.listener._usage = lambda: next(meter)
    for _ in range(3):
        net.get("file")
        net.run()
    net.run_until_quiet()
    assert [told.usage for told in net.ended] == [0, 1, 2]
