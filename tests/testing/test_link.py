"""Lossy link on loopback: each of its faults, alone."""

from __future__ import annotations

import socket
import threading

from tests.loopback import address_of
from tests.samples import PATIENCE_S
from udpft.net.clock import clock
from udpft.testing import LossyLink, Seen

COUNT = 150
"""Datagrams: a receive buffer holds so many small ones."""


class Talk:
    """Numbered datagrams, sent through a link to a stranger in one go."""

    def __init__(self, stranger: socket.socket, count: int = COUNT, **shape: float) -> None:
        self.seen: list[Seen] = []
        self.sent_at = 0.0
        all_seen = threading.Event()

        def watch(seen: Seen) -> None:
            self.seen.append(seen)
            if len(self.seen) == count:
                all_seen.set()

        link = LossyLink(address_of(stranger), watch=watch, **shape)  # type: ignore[arg-type]
        host, port = link.address.split(":")
        with link, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            self.sent_at = clock()
            for number in range(count):
                sock.sendto(b"%d" % number, (host, int(port)))
            assert all_seen.wait(PATIENCE_S)
            coming = count - link.lost + link.duplicated
            self.arrived = [int(stranger.recv(100)) for _ in range(coming)]
            self.arrived_at = clock()
        self.link = link


def test_without_faults_all_arrives_in_order(stranger: socket.socket) -> None:
    talk = Talk(stranger)
    assert talk.arrived == list(range(COUNT))
    assert (talk.link.carried, talk.link.lost, talk.link.reordered) == (COUNT, 0, 0)
    assert {one.from_client for one in talk.seen} == {True}


def test_the_same_seed_loses_the_same_datagrams(stranger: socket.socket) -> None:
    talks = [Talk(stranger, loss=0.2, seed=seed) for seed in (1, 1, 2)]
    assert talks[0].arrived == talks[1].arrived
    assert talks[0].arrived != talks[2].arrived
    for talk in talks:
        assert 0.1 < talk.link.lost / COUNT < 0.3
        assert talk.arrived == [int(one.datagram) for one in talk.seen if not one.lost]


def test_who_is_held_back_is_overtaken(stranger: socket.socket) -> None:
    talk = Talk(stranger, reorder=0.2, seed=1)
    assert sorted(talk.arrived) == list(range(COUNT))
    assert talk.arrived != sorted(talk.arrived)
    assert 0.1 < talk.link.reordered / COUNT < 0.3


def test_what_is_doubled_arrives_twice(stranger: socket.socket) -> None:
    talk = Talk(stranger, duplicate=0.2, seed=1)
    assert sorted(set(talk.arrived)) == list(range(COUNT))
    assert 0.1 < talk.link.duplicated / COUNT < 0.3
    assert len(talk.arrived) == COUNT + talk.link.duplicated


def test_a_delay_is_kept(stranger: socket.socket) -> None:
    talk = Talk(stranger, 1, delay_s=0.05)
    assert talk.arrived_at - talk.sent_at >= 0.05
