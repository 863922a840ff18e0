"""Files of every size arrive as they are, and both ends agree that they have."""

from __future__ import annotations

import pytest

from udpft.errors import NoSuchFile
from udpft.protocol.params import MAX_CHUNK_SIZE
from udpft.testing.network import Shape, SimNet, random_bytes

SIZES = [0, 1, 2047, 2048, 2049, 4096, 5 * 2**20 + 3]


@pytest.mark.parametrize("size", SIZES)
def test_a_file_arrives_whole_and_is_confirmed(size: int) -> None:
    content = random_bytes(size)
    net = SimNet({"file": content})
    client = net.get("file")
    net.run()
    net.run_until_quiet()
    assert client.content == content
    [ended] = net.ended
    assert (ended.name, ended.size, ended.error, ended.confirmed) == ("file", size, None, True)
    assert net.sources["file"].closed


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_file_arrives_whole_over_a_bad_link(size: int, seed: int) -> None:
    bad = Shape(loss=0.1, reorder=0.1, duplicate=0.1, corrupt=0.05)
    content = random_bytes(size)
    net = SimNet({"file": content}, seed=seed, down=bad, up=bad)
    client = net.get("file")
    net.run()
    assert client.content == content


@pytest.mark.parametrize("chunk_size", [64, 72, 1176, 8192, MAX_CHUNK_SIZE])
@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_any_chunk_size_carries_a_file_that_ends_at_or_near_a_chunk(
    chunk_size: int, excess: int
) -> None:
    content = random_bytes(7 * chunk_size + excess)
    net = SimNet({"file": content}, down=Shape(loss=0.1), up=Shape(loss=0.1))
    client = net.get("file", chunk_size=chunk_size)
    net.run()
    assert client.content == content
    assert client.chunk_size == chunk_size


def test_a_file_that_is_not_there_is_refused_at_once_with_the_servers_hint() -> None:
    net = SimNet({"file": b""})
    client = net.get("flie")
    net.run()
    assert isinstance(client.error, NoSuchFile)
    assert client.error.hint == "did you mean 'file'?"
    assert client.ended_at < 0.1
    assert not net.ended


def test_the_same_seed_replays_the_same_transfer() -> None:
    def story() -> tuple[list[bytes], float]:
        bad = Shape(loss=0.1, reorder=0.2, jitter_s=0.003)
        net = SimNet({"file": random_bytes(200_000)}, seed=5, down=bad, up=bad)
        client = net.get("file")
        net.run()
        return net.down.sent, client.ended_at

    assert story() == story()
