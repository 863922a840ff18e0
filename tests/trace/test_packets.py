"""Packets in words: the runs of bursts, and the fields of control packets."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.protocol.params import MAX_BURST_BYTES
from udpft.protocol.wire.accept import Accept, Part, encode_accept
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.data import BurstWriter, data_common
from udpft.protocol.wire.error import ErrorCode, Refusal, encode_error
from udpft.protocol.wire.fin import Fin, encode_fin
from udpft.protocol.wire.hello import Hello, Role, encode_hello
from udpft.protocol.wire.packet import MalformedPacket, PacketType
from udpft.protocol.wire.retry import Retry, encode_retry
from udpft.trace.packets import Run, headers_of, runs_of, told_untrusted

NONCE = 0x1122334455667788


def burst(first: int, chunks: list[int], chunk_size: int, last: int) -> memoryview:
    writer = BurstWriter(chunk_size, bytearray(MAX_BURST_BYTES), NONCE)
    slots = writer.slots(len(chunks), last)
    return writer.seal(data_common(7), data_common(7), first, chunks, slots)[0]


@given(
    first=st.integers(0, 2**32 - 100),
    chunks=st.lists(st.integers(0, 40), min_size=1, max_size=40, unique=True).map(sorted),
    chunk_size=st.sampled_from([64, 1176]),
    rest=st.integers(0, 64),
)
def test_runs_are_what_the_headers_say(
    first: int, chunks: list[int], chunk_size: int, rest: int
) -> None:
    data = burst(first, chunks, chunk_size, rest)
    headers = headers_of(data, chunk_size + 24)
    assert headers
    runs = runs_of(headers.numbers)
    each = [(run.packet + at, run.chunk + at) for run in runs for at in range(run.length)]
    assert each == list(zip(range(first, first + len(chunks)), chunks, strict=True))
    assert all(one.chunk + one.length != other.chunk for one, other in pairwise(runs))


def runs_in(data: memoryview, size: int) -> list[Run] | None:
    headers = headers_of(data, size)
    return runs_of(headers.numbers) if headers else None


def test_a_burst_in_step_is_one_run_and_the_last_numbers_are_no_trouble() -> None:
    assert runs_in(burst(5, list(range(9)), 64, 64), 88) == [Run(5, 0, 9)]
    assert runs_in(burst(2**32 - 4, [2**31 - 3, 2**31 - 2], 64, 64), 88) == [
        Run(2**32 - 4, 2**31 - 3, 2)
    ]


def test_datagrams_of_any_size_are_read() -> None:
    data = bytes(burst(3, [8], 64, 13))
    assert runs_in(memoryview(data), len(data)) == [Run(3, 8, 1)]
    assert runs_in(memoryview(b"\x84" * 10), 10) is None


def test_headers_count_who_asks_for_an_ack_and_are_of_data_alone() -> None:
    data = bytearray(burst(0, list(range(5)), 64, 64))
    headers = headers_of(memoryview(data), 88)
    assert headers
    assert headers.ack_requests == 0
    data[1] = data[88 * 4 + 1] = 1
    headers = headers_of(memoryview(data), 88)
    assert headers
    assert headers.ack_requests == 2
    data[88] = 0x85
    assert headers_of(memoryview(data), 88) is None


def told(datagram: bytes, nonce: int | None = NONCE) -> tuple[str, dict[str, object]]:
    made = told_untrusted(memoryview(datagram), nonce)
    return made.kind, made.fields


def test_each_kind_is_told_with_its_fields() -> None:
    hello = encode_hello(Hello(NONCE, 0xC0FFEE01, "ä".encode(), 2048, 9, have=((0, 5),)), 1200)
    kind, fields = told(hello, None)
    assert (kind, fields["name"], fields["role"]) == ("HELLO", "ä", "get")
    assert fields["have"] == [[0, 5]]
    assert told_untrusted(memoryview(hello), None)[2:4] == (NONCE, 0xC0FFEE01)

    wanted = Hello(NONCE, 1, b"a", 2048, 9, role=Role.RANGE, wanted=(-5, 9))
    kind, fields = told(encode_hello(wanted, 1200), None)
    assert (fields["role"], fields["range"]) == ("range", [-5, 9])

    kind, fields = told(encode_retry(Retry(NONCE, bytes(16), 1472, 1, 3), 7))
    assert (kind, fields["hello_size"], fields["attempt"]) == ("RETRY", 1472, 3)
    assert fields["connection_id"] == "00000007"

    accept = encode_accept(Accept(NONCE, 5, 1176, 99, 0, 1, 77, 0, ((0, 8),)), 7, 1200)
    kind, fields = told(accept)
    assert (kind, fields["size"], fields["receive_room"]) == ("ACCEPT", 99, 77)
    assert told_untrusted(memoryview(accept), None).chunk_size == 1176

    range_ = Accept(NONCE, 5, 1176, 99, 0, 1, part=Part(7, 1000, 0xAB))
    kind, fields = told(encode_accept(range_, 7, 1200))
    assert (fields["first"], fields["file_size"]) == (7, 1000)
    assert fields["file_identity"] == "00000000000000ab"

    ack = encode_ack(Ack(0.001, 5, 1, 2, [(3, 5), (0, 1)]), 7, NONCE)
    kind, fields = told(ack)
    assert (kind, fields["ack_delay_us"], fields["dropped"]) == ("ACK", 1000, 2)
    assert told_untrusted(memoryview(ack), NONCE).acked == ((3, 5), (0, 1))

    kind, fields = told(encode_fin(PacketType.FIN, Fin(9, bytes(16)), 7, NONCE, 4))
    assert (kind, fields["size"], fields["skipped"]) == ("FIN", 9, 4)
    kind, fields = told(encode_fin(PacketType.FIN_ACK, Fin(9, bytes(16)), 7, NONCE))
    assert (kind, "skipped" in fields) == ("FIN_ACK", False)

    kind, fields = told(encode_error(Refusal(NONCE, ErrorCode.BUSY, "later"), 7))
    assert (kind, fields["code"], fields["reason"]) == ("ERROR", "BUSY", "later")


def test_what_is_damaged_or_of_another_transfer_is_refused() -> None:
    ack = encode_ack(Ack(0, 5, 1, 2, [(0, 1)]), 7, NONCE)
    for nonce in (NONCE + 1, None):
        with pytest.raises(MalformedPacket):
            told(ack, nonce)
    with pytest.raises(MalformedPacket):
        told(ack[:-1] + b"\xff")


@given(seed=st.integers(0, 2**32), kind=st.integers(0x80, 0x94))
def test_noise_is_refused(seed: int, kind: int) -> None:
    random = Random(seed)
    with pytest.raises(MalformedPacket):
        told(bytes([kind]) + random.randbytes(random.randint(0, 200)))
