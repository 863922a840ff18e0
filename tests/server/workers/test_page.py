"""Metrics page of several processes, whose figures are sums."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import closing

from tests.samples import PATIENCE_S
from tests.server.test_metrics import fetch
from udpft.net.address import Address
from udpft.outcome.served import Served
from udpft.server.workers.ledger import Count, Ledger
from udpft.server.workers.messages import Channel, fields_of
from udpft.server.workers.page import show

SERVED = Served("a", "p", "reliable", 5, 7, 0.25, 1, True, None)


def test_it_counts_what_it_is_told_and_what_stands_in_the_ledger() -> None:
    ours, theirs = Channel.pair()
    with closing(ours), closing(theirs), closing(Ledger(2)) as ledger, socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        ledger.add(0, Count.RELIABLE, 2)
        ledger.add(1, Count.PLAIN, 1)
        ledger.note_process(0, os.getpid())
        ledger.note_process(1, os.getpid())
        sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
        thread = threading.Thread(
            target=show, args=(Address("127.0.0.1", 0), sockets, ledger, theirs)
        )
        thread.start()
        ready = ours.receive()
        assert ready
        for _ in range(3):
            ours.tell("served", **fields_of(SERVED))
        done = 'udpft_transfers_total{direction="download",mode="reliable",outcome="done"}'
        while (figures := fetch(ready["address"])).get(done) != 3:
            continue
        assert figures["udpft_sessions"] == 3
        assert figures["udpft_server_dropped_datagrams"] == 0
        mine = len(os.listdir("/proc/self/fd"))
        assert figures["process_open_fds"] > 1.5 * mine  # of this process twice, and its parent
        ours.end()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        for one in sockets:
            one.close()
