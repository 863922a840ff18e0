"""Path MTU, found in the handshake for each direction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from udpft.protocol.params import DATA_HEADER_SIZE
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import Shape, SimNet, random_bytes

SIZE = 2**20 + 3
CONTENT = random_bytes(SIZE)

PATHS = [
    # payload that the way to the server carries, payload that the way back carries, chunk size
    (1472, 1472, 1448),
    (1280, 1280, 1176),
    (1200, 1200, 1176),
    (8972, 8972, 2048),
    (1280, 1472, 1176),
    (1472, 1280, 1176),
    (65_507, 1472, 1448),
    (65_507, 1200, 1176),
]


@pytest.mark.parametrize(("up_mtu", "down_mtu", "chunk_size"), PATHS)
def test_the_chunk_size_is_the_largest_usual_one_that_both_ways_carry(
    up_mtu: int, down_mtu: int, chunk_size: int
) -> None:
    net = SimNet({"file": CONTENT}, down=Shape(mtu_payload=down_mtu), up=Shape(mtu_payload=up_mtu))
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert client.chunk_size == chunk_size
    assert client.ended_at < 2.0, "it took long to find a size that passes"
    largest = max(map(len, net.down.packets(PacketType.DATA)[-100:]))
    assert largest == chunk_size + DATA_HEADER_SIZE <= down_mtu
    net.run_until_quiet()
    # What the client gave up, because its ACCEPT never came, ends when it begins again.
    assert [(ended.error, ended.confirmed) for ended in net.ended] == [(None, True)]
    assert net.now < client.ended_at + 1.0
    assert net.sources["file"].closed


@pytest.mark.parametrize(("wanted", "agreed"), [(16_344, 8_944), (8_000, 8_000), (1_000, 1_000)])
def test_a_jumbo_path_carries_what_is_asked_for_up_to_its_own_size(
    wanted: int, agreed: int
) -> None:
    jumbo = Shape(mtu_payload=8_972)
    net = SimNet({"file": CONTENT}, down=jumbo, up=jumbo)
    client = net.get("file", chunk_size=wanted)
    net.run()
    assert client.content == CONTENT
    assert client.chunk_size == agreed


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_lossy_handshake_finds_a_size_that_passes(seed: int) -> None:
    lossy = Shape(mtu_payload=1472, loss=0.3)
    net = SimNet({"file": CONTENT}, seed=seed, down=lossy, up=lossy)
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert client.chunk_size in (1448, 1424, 1368, 1176)


def test_after_the_handshake_nothing_larger_than_the_path_is_sent() -> None:
    ethernet = Shape(mtu_payload=1472)
    net = SimNet({"file": CONTENT}, down=ethernet, up=ethernet)
    net.get("file")
    net.run()
    assert all(len(datagram) <= 1472 for datagram in net.down.sent)
    after_hellos = [d for d in net.up.sent if d[0] != PacketType.HELLO]
    assert all(len(datagram) <= 1472 for datagram in after_hellos)


@pytest.mark.parametrize("upload", [False, True])
def test_a_path_that_becomes_narrower_right_before_the_end_is_found(upload: bool) -> None:
    # FIN passes, and what it draws; the last chunks do not.
    wide = Shape(rate_bytes_per_s=1e6, queue_bytes=50_000, mtu_payload=1_472)
    net = SimNet({"file": CONTENT}, seed=1, down=wide, up=wide)
    client = net.put("file", CONTENT) if upload else net.get("file")
    link = net.up if upload else net.down
    net.run_while(lambda: len(link.packets(PacketType.DATA)) < len(CONTENT) // 1_448 - 5)
    link.shape = replace(wide, mtu_payload=1_300)
    narrowed_at = net.now
    net.run()
    assert (net.stored["file"] if upload else client.content) == CONTENT
    assert client.ended_at <= narrowed_at + 6.0
