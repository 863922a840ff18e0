"""Microbenchmarks of a sender, and of whole transfers on a simulated network."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from udpft.protocol.contract import TransferIds
from udpft.protocol.params import CHUNK_SIZE, MAX_BURST_BYTES
from udpft.protocol.transfer.chunk_queue import ChunkQueue
from udpft.protocol.transfer.sender import Sender
from udpft.protocol.wire.data import BurstWriter
from udpft.testing.network import MemorySource, Shape, SimNet, random_bytes

CONTENT = random_bytes(2_000_000)

PATHS = {
    "perfect": Shape(),
    "1 % loss": Shape(loss=0.01),
    "100 Mbit/s": Shape(rate_bytes_per_s=12.5e6, queue_bytes=250_000),
    "reordered": Shape(reorder=0.05),
}


def sender() -> tuple[tuple[Sender], dict[str, Any]]:
    """A sender with all of its file to send; as arguments, for `benchmark.pedantic`."""
    fresh = Sender(
        TransferIds(1, 2, 3),
        ChunkQueue(
            MemorySource(CONTENT), len(CONTENT), BurstWriter(CHUNK_SIZE, bytearray(MAX_BURST_BYTES))
        ),
        now=0.0,
        random=Random(1),
    )
    return (fresh,), {}


def test_poll_transmit(benchmark: Any) -> None:
    """The first burst, as the window then allows."""
    burst = benchmark.pedantic(
        lambda one: one.poll_transmit(0.0), setup=sender, rounds=500 if benchmark.enabled else 1
    )
    assert len(burst.data) > CHUNK_SIZE


@pytest.mark.parametrize("path", PATHS)
def test_a_transfer(benchmark: Any, path: str) -> None:
    content = CONTENT if benchmark.enabled else CONTENT[:100_000]

    def transfer() -> bytes:
        net = SimNet({"file": content}, seed=1, down=PATHS[path])
        client = net.get("file")
        net.run()
        return client.content

    assert benchmark(transfer) == content
