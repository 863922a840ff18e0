"""Batched receiving by recvmmsg(2), of datagrams that the network does not join."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import pytest

from tests.samples import PATIENCE_S
from udpft.net import udp as udp_module
from udpft.net.recvmmsg import BatchReceiver
from udpft.net.udp import UDP_GRO, UdpSocket, wait
from udpft.protocol.contract import Transmit
from udpft.protocol.params import MAX_BATCH_BYTES, MAX_BURST_PACKETS

SIZE = 1472
MANY = 40
"""Datagrams after which a socket takes them for single ones."""


class Pair(NamedTuple):
    """A socket as any program opens it, and one of ours that is connected to it."""

    foreign: socket.socket
    ours: UdpSocket

    def send(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self.foreign.send(datagram)

    def receive(self, count: int) -> list[bytes]:
        """The next datagrams, as many as asked for; more of them in a batch is a failure."""
        datagrams: list[bytes] = []
        while len(datagrams) < count:
            batch = self.ours.receive()
            if batch is None:
                assert wait([self.ours], [], PATIENCE_S)
            else:
                data, size = bytes(self.ours.buffer[: batch.length]), batch.segment_size
                datagrams += [data[at : at + size] for at in range(0, len(data), size)]
        assert len(datagrams) == count
        return datagrams

    @property
    def joins(self) -> bool:
        """Whether the kernel is asked to join what it receives."""
        return bool(self.ours._socket.getsockopt(socket.IPPROTO_UDP, UDP_GRO))

    def become_single(self) -> None:
        self.send(*[bytes(SIZE)] * MANY)
        self.receive(MANY)
        assert self.ours._batch_receiver


@pytest.fixture
def pair() -> Iterator[Pair]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as foreign,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        foreign.bind(("127.0.0.1", 0))
        sock.bind(("127.0.0.1", 0))
        sock.connect(foreign.getsockname())
        foreign.connect(sock.getsockname())
        yield Pair(foreign, UdpSocket(sock))


def numbered(count: int, size: int = SIZE) -> list[bytes]:
    return [Random(n).randbytes(size) for n in range(count)]


def test_many_are_one_batch_in_their_order(pair: Pair) -> None:
    pair.become_single()
    datagrams = numbered(60)
    pair.send(*datagrams)
    batch = pair.ours.receive()
    assert batch
    assert (batch.length, batch.segment_size) == (60 * SIZE, SIZE)
    assert pair.ours.buffer[: batch.length] == b"".join(datagrams)
    assert pair.ours.receive() is None


def test_shorter_ones_in_between_are_told_apart(pair: Pair) -> None:
    pair.become_single()
    datagrams = numbered(20)
    datagrams[3] = b"short"
    datagrams[4] = b""
    datagrams[9] = b"another"
    datagrams[19] = b"the last"
    pair.send(*datagrams)
    assert pair.receive(19) == [datagram for datagram in datagrams if datagram]


def test_what_came_meanwhile_writes_over_nothing(pair: Pair) -> None:
    pair.become_single()
    first = [b"1" * SIZE, b"short", b"other", b"3" * SIZE]
    pair.send(*first)
    batch = pair.ours.receive()
    assert batch
    assert batch.length == SIZE + len(b"short")
    later = numbered(20, size=5)
    pair.send(*later)
    assert pair.receive(2 + 20) == first[2:] + later


def test_few_of_them_are_received_one_by_one(pair: Pair) -> None:
    pair.send(*numbered(10))
    assert pair.receive(10) == numbered(10)
    assert pair.ours._batch_receiver is None


def test_what_the_kernel_joins_stays_joined(pair: Pair) -> None:
    if not pair.ours._can_join:
        pytest.skip("this kernel joins nothing")
    sender = UdpSocket(pair.foreign)
    sender.send(Transmit(memoryview(bytes(SIZE)), SIZE))  # as ACCEPT is, before the first DATA
    sender.send(Transmit(memoryview(bytes(SIZE * MANY)), SIZE))
    assert pair.receive(1 + MANY) == [bytes(SIZE)] * (1 + MANY)
    assert pair.ours._batch_receiver is None


def test_what_the_kernel_joins_in_twos_is_received_by_many_at_once_all_the_same(
    pair: Pair,
) -> None:
    if not pair.ours._can_join:
        pytest.skip("this kernel joins nothing")
    sender = UdpSocket(pair.foreign)
    for _ in range(MANY // 2):
        sender.send(Transmit(memoryview(bytes(2 * SIZE)), SIZE))
    assert pair.receive(MANY) == [bytes(SIZE)] * MANY
    assert pair.ours._batch_receiver
    assert not pair.joins


def test_a_larger_one_ends_it_and_is_lost(pair: Pair) -> None:
    pair.become_single()
    pair.send(bytes(2 * SIZE))
    assert pair.ours.receive() is None
    assert pair.joins == pair.ours._can_join
    pair.send(bytes(2 * SIZE))
    assert pair.receive(1) == [bytes(2 * SIZE)]


def test_after_a_while_the_kernel_is_asked_to_join_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp_module, "_BATCH_RECEIVES", 3)
    pair.become_single()
    assert not pair.joins
    for _ in range(3):
        pair.send(*numbered(2))
        assert pair.receive(2) == numbered(2)
    assert pair.joins == pair.ours._can_join
    pair.become_single()


def test_no_more_than_a_buffer_full_is_received_at_once(pair: Pair) -> None:
    buffer = bytearray(MAX_BATCH_BYTES)
    pair.send(*[b"x"] * 700)
    receiver = BatchReceiver(pair.ours.fileno(), buffer, 1)
    assert receiver.receive() == [(0, MAX_BURST_PACKETS)]
    (rest,) = receiver.receive() or ()
    assert rest[1] <= 700 - MAX_BURST_PACKETS


def test_nothing_is_none_and_a_closed_port_an_error(pair: Pair) -> None:
    pair.become_single()
    assert pair.ours.receive() is None
    pair.foreign.close()
    pair.ours.send(Transmit(memoryview(b"x"), 1))
    with pytest.raises(ConnectionRefusedError):
        pair.ours.receive()
