"""Limit of what one address says that belongs to no transfer."""

from __future__ import annotations

from tests.protocol.server.test_listener import HELLO, Served
from udpft.protocol.contract import Batch
from udpft.protocol.server.greeting_limit import (
    GREETINGS_BURST,
    GREETINGS_PER_S,
    MAX_ADDRESSES,
    MAX_IN_A_BATCH,
    GreetingLimit,
)
from udpft.protocol.wire.hello import encode_hello
from udpft.protocol.wire.packet import PacketType


def test_an_address_has_a_burst_and_then_a_rate() -> None:
    limit = GreetingLimit()
    batches = GREETINGS_BURST // MAX_IN_A_BATCH
    assert [limit.take("a", 100, 0.0) for _ in range(batches)] == [MAX_IN_A_BATCH] * batches
    assert limit.take("a", 1, 0.0) == 0
    assert limit.take("b", 1, 0.0) == 1
    taken = sum(limit.take("a", 100, n / 1_000) for n in range(1, 10_001))
    assert taken == 10 * GREETINGS_PER_S
    assert sum(limit.take("a", 100, 100.0) for _ in range(100)) == GREETINGS_BURST


def test_a_clock_that_stands_still_or_is_asked_often_loses_no_fraction() -> None:
    limit = GreetingLimit()
    for _ in range(GREETINGS_BURST):
        limit.take("a", 1, 0.0)
    assert sum(limit.take("a", 1, n / 10_000) for n in range(1, 10_001)) == GREETINGS_PER_S


def test_forged_sources_take_no_more_memory_than_there_is_for_them() -> None:
    limit = GreetingLimit()
    for n in range(2 * MAX_ADDRESSES):
        assert limit.take(n, 1, 0.0) == 1
    assert len(limit._buckets) == MAX_ADDRESSES


def test_a_flood_from_one_address_draws_so_many_answers_and_another_hears_its_own() -> None:
    net = Served()
    hello = encode_hello(HELLO, 1_200)
    flood = hello * 20
    for _ in range(100):
        net.listener.handle_datagrams(Batch(bytearray(flood), len(flood), 1_200, "stranger"), 0.0)
    answers = 0
    while addressed := net.listener.poll_transmit(0.0):
        assert addressed.address == "stranger"
        answers += 1
    assert answers == GREETINGS_BURST
    net.receive(hello)
    assert [packet.type for packet in net.answers()] == [PacketType.RETRY]


def test_what_belongs_to_a_transfer_is_not_counted() -> None:
    net = Served()
    accept = net.accept()
    for _ in range(2 * GREETINGS_BURST):
        net.receive(encode_hello(HELLO._replace(nonce=9), 1_200))
    net.answers()
    net.cancel(accept)
    assert len(net.listener) == 0
