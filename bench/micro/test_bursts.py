"""Microbenchmarks of DATA bursts: hashed and headed at one end, checked at the other."""

from __future__ import annotations

from typing import Any

import pytest

from udpft.protocol.contract import Batch
from udpft.protocol.params import CHUNK_SIZE, MAX_BURST_BYTES
from udpft.protocol.wire.data import BurstReader, BurstWriter, data_common
from udpft.testing.network import random_bytes

CONNECTION = 7
SMALL_CHUNK = 1448


def burst(chunk_size: int, packets: int) -> tuple[BurstWriter, list[memoryview]]:
    """A writer, and the filled slots of its next burst."""
    writer = BurstWriter(chunk_size, bytearray(MAX_BURST_BYTES))
    packets = min(packets, writer.capacity)
    slots = writer.slots(packets, chunk_size)
    content = random_bytes(packets * chunk_size)
    for at, slot in enumerate(slots):
        slot[:] = content[at * chunk_size : (at + 1) * chunk_size]
    return writer, slots


def seal(writer: BurstWriter, slots: list[memoryview]) -> memoryview:
    """Hash and write the headers."""
    common = data_common(CONNECTION)
    return writer.seal(common, common, 1_000, range(5_000, 5_000 + len(slots)), slots)[0]


@pytest.mark.parametrize("chunk_size", [CHUNK_SIZE, SMALL_CHUNK])
@pytest.mark.parametrize("sends", [1, 4])
def test_encode(benchmark: Any, chunk_size: int, sends: int) -> None:
    packets = sends * BurstWriter(chunk_size, bytearray(MAX_BURST_BYTES)).send_capacity
    writer, slots = burst(chunk_size, packets)
    data = benchmark(seal, writer, slots)
    assert len(data) == packets * writer.packet_size


@pytest.mark.parametrize("chunk_size", [CHUNK_SIZE, SMALL_CHUNK])
def test_parse(benchmark: Any, chunk_size: int) -> None:
    writer = BurstWriter(chunk_size, bytearray(MAX_BURST_BYTES))
    packet_size, packets = writer.packet_size, writer.send_capacity
    data = bytearray(seal(*burst(chunk_size, packets)))
    reader = BurstReader(CONNECTION, chunk_size)
    batch = benchmark(reader.read_untrusted, Batch(data, len(data), packet_size))
    assert [len(one.slots) for one in batch.bursts] == [packets]


def test_parse_out_of_order(benchmark: Any) -> None:
    """Every other packet is gone: the way that costs a loop."""
    writer = BurstWriter(CHUNK_SIZE, bytearray(MAX_BURST_BYTES))
    size, packets = writer.packet_size, writer.send_capacity
    data = bytes(seal(*burst(CHUNK_SIZE, packets)))
    kept = bytearray(b"".join(data[at * size : (at + 1) * size] for at in range(0, packets, 2)))
    reader = BurstReader(CONNECTION, CHUNK_SIZE)
    batch = benchmark(reader.read_untrusted, Batch(kept, len(kept), size))
    assert sum(len(one.slots) for one in batch.bursts) == (packets + 1) // 2
