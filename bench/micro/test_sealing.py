"""Microbenchmarks of sealing: a burst of DATA encrypted at one end and opened at the other."""

from __future__ import annotations

from typing import Any

import pytest

from udpft.protocol.contract import Batch, Transmit
from udpft.protocol.keyed.noise import Suite
from udpft.protocol.keyed.sealing import Opener, Sealer, SealingBuffers
from udpft.protocol.params import CHUNK_SIZE, SEAL_OVERHEAD
from udpft.testing.network import random_bytes

KEY = bytes(range(32))
PACKETS = 30

SUITES = pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: suite.name)


def ends(suite: Suite) -> tuple[Sealer, Opener]:
    """One direction."""
    sealer = Sealer(suite, KEY, 7, SealingBuffers.for_sealing())
    return sealer, Opener(suite, KEY, 7, SealingBuffers.for_opening())


def burst() -> Transmit:
    """As many packets as one send takes."""
    return Transmit(memoryview(bytearray(random_bytes(PACKETS * CHUNK_SIZE))), CHUNK_SIZE)


@SUITES
def test_seal(benchmark: Any, suite: Suite) -> None:
    sealer, _ = ends(suite)
    sealed = benchmark(sealer.seal, burst())
    assert len(sealed.data) == PACKETS * (CHUNK_SIZE + SEAL_OVERHEAD)


@SUITES
def test_open(benchmark: Any, suite: Suite) -> None:
    """A burst is opened once, as a later one would be a repetition: each round has its own."""
    sealer, opener = ends(suite)

    def received() -> tuple[tuple[Batch], dict[str, Any]]:
        sealed = sealer.seal(burst())
        data = bytearray(sealed.data)
        return (Batch(data, len(data), sealed.segment_size),), {}

    opened = benchmark.pedantic(
        opener.open_untrusted, setup=received, rounds=500 if benchmark.enabled else 1
    )
    assert opened.length == PACKETS * CHUNK_SIZE
