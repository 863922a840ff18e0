"""Microbenchmarks of acknowledgements, and of the range sets behind them."""

from __future__ import annotations

from typing import Any

import pytest

from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.ack import Ack, decode_ack_untrusted, encode_ack
from udpft.protocol.wire.packet import decode_untrusted


def ack(ranges: int) -> Ack:
    """An ACK with a hole between each two ranges."""
    newest = [(at * 10, at * 10 + 8) for at in reversed(range(ranges))]
    return Ack(0.001, 200_000, 5, 0, newest)


@pytest.mark.parametrize("ranges", [1, 32])
def test_encode_an_ack(benchmark: Any, ranges: int) -> None:
    said = ack(ranges)
    assert benchmark(encode_ack, said, 7, 0)


@pytest.mark.parametrize("ranges", [1, 32])
def test_read_an_ack(benchmark: Any, ranges: int) -> None:
    said = ack(ranges)
    datagram = encode_ack(said, 7, 0)
    read = benchmark(lambda: decode_ack_untrusted(decode_untrusted(memoryview(datagram))))
    assert read.ranges == said.ranges


def test_add_in_order(benchmark: Any) -> None:
    def fill() -> RangeSet:
        numbers = RangeSet()
        for at in range(0, 31_000, 31):
            numbers.add(at, at + 31)
        return numbers

    assert benchmark(fill).newest(64) == [(0, 31_000)]


def test_add_with_holes_and_fill_them(benchmark: Any) -> None:
    def fill() -> RangeSet:
        numbers = RangeSet()
        for at in range(0, 10_000, 10):
            numbers.add(at, at + 9)
        for at in range(9, 10_000, 10):
            numbers.add(at, at + 1)
        return numbers

    assert benchmark(fill).newest(64) == [(0, 10_000)]
