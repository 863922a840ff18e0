"""Limit of what one address says that belongs to no transfer."""

from __future__ import annotations

from random import Random

import pytest

from tests.protocol.server.test_listener import HELLO, Served
from udpft.protocol.contract import Batch
from udpft.protocol.server.greeting_limit import (
    ALL_GREETINGS_BURST,
    ALL_GREETINGS_PER_S,
    GREETINGS_BURST,
    GREETINGS_PER_S,
    HOST_GREETINGS_BURST,
    HOST_GREETINGS_PER_S,
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
        assert limit.take(n, 1, n / ALL_GREETINGS_PER_S) == 1
    assert len(limit._buckets) == MAX_ADDRESSES


def test_a_host_has_no_more_for_all_its_ports() -> None:
    limit = GreetingLimit(lambda address: str(address).partition(":")[0])
    taken = sum(limit.take(f"host:{port}", 1, 0.0) for port in range(2 * HOST_GREETINGS_BURST))
    assert taken == HOST_GREETINGS_BURST
    assert limit.take("other:1", 1, 0.0) == 1
    taken = sum(limit.take(f"host:{n % 999}", 1, n / 10_000) for n in range(1, 50_001))
    assert taken == pytest.approx(5 * HOST_GREETINGS_PER_S, abs=1)
    for n in range(2 * MAX_ADDRESSES):
        limit.take(f"{n}:1", 1, 10.0 + n / ALL_GREETINGS_PER_S)
    assert len(limit._host_buckets) == MAX_ADDRESSES


def test_all_together_have_half_of_a_core_and_a_ping_among_them_is_answered() -> None:
    limit = GreetingLimit()
    assert sum(limit.take(n, 1, 0.0) for n in range(9_999)) == ALL_GREETINGS_BURST
    taken = sum(limit.take(n, 1, n / 100_000) for n in range(1, 500_001))
    assert taken == pytest.approx(5 * ALL_GREETINGS_PER_S, abs=1)
    # Repeated a few times, as a client does, a HELLO finds a token.
    assert limit.take("client", 1, 5.0 + 1 / ALL_GREETINGS_PER_S) == 1


def test_ten_thousand_hellos_of_forged_sources_leave_nothing_and_others_their_answers() -> None:
    net = Served()
    random = Random(1)
    hellos = [encode_hello(HELLO._replace(nonce=random.getrandbits(64)), 1_200) for _ in range(50)]
    pings = answered = drawn = 0
    for n in range(10_000):
        now, hello = n / 10_000, hellos[n % 50]
        source = (
            f"10.{random.randrange(256)}.{random.randrange(65_536)}",
            random.randrange(65_536),
        )
        net.listener.handle_datagrams(Batch(bytearray(hello), 1_200, 1_200, source), now)
        if n % 100 == 0:
            pings += 1
            ping = Batch(bytearray(hello), 1_200, 1_200, "other")
            net.listener.handle_datagrams(ping, now)
        if n % 16 == 0 or n == 9_999:  # a turn of the loop
            net.listener.handle_timeout(now)
            while addressed := net.listener.poll_transmit(now):
                drawn += len(addressed.transmit.data)
                answered += addressed.address == "other"
    assert answered == pings == 100
    assert drawn <= 10_100 * 1_200 / 20
    assert len(net.listener) == 0
    listener = net.listener
    assert len(listener._greeting_limit._buckets) <= MAX_ADDRESSES
    assert not listener._by_hello
    assert not listener._replies


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
