"""The client's loop: one endpoint, one connected socket, the one clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from udpft.net.sealed import SealedSocket
from udpft.net.udp import UdpSocket, wait
from udpft.protocol.endpoint import Endpoint, Event

clock = time.monotonic
"""The clock of all protocols: seconds, never set back."""


def drive(
    endpoint: Endpoint,
    sock: UdpSocket | SealedSocket,
    on_event: Callable[[Event], bool],
    on_turn: Callable[[float], None] | None = None,
) -> float:
    """Run an endpoint until ``on_event`` returns True for one of its events.

    Args:
        endpoint: one end of a transfer.
        sock: connected to the other end.
        on_event: called with each event; True ends the loop, after what is left was sent.
        on_turn: called once a turn with the time, for progress.

    Returns:
        The seconds that it waited for the network.

    Raises:
        ConnectionRefusedError: nothing listens at the other end.
        UdpftError: from the endpoint's file.
    """
    buffer = sock.buffer
    waited_s = 0.0
    while True:
        now = clock()
        waited_s += flush(endpoint, sock, now)
        while event := endpoint.poll_event():
            if on_event(event):
                return waited_s + flush(endpoint, sock, now)
            waited_s += flush(endpoint, sock, now)
        if on_turn:
            on_turn(now)
        received = sock.receive()
        if received is None:
            deadline, before = endpoint.next_timeout(), clock()
            wait([sock], [], None if deadline is None else deadline - before)
            waited_s += clock() - before
            received = sock.receive()
        now = clock()
        if received is not None:
            endpoint.handle_datagrams(buffer, received.length, received.segment_size, now)
        endpoint.handle_timeout(now)


def flush(endpoint: Endpoint, sock: UdpSocket | SealedSocket, now: float) -> float:
    """Send all that an endpoint has to send now; return the seconds that it waited for room."""
    waited_s = 0.0
    while transmit := endpoint.poll_transmit(now):
        while transmit := sock.send(transmit):
            before = clock()
            wait([], [sock], None)
            waited_s += clock() - before
    return waited_s
