"""Event loop of a client: one endpoint, one connected socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from udpft.net.clock import clock
from udpft.net.udp import UdpSocket, wait
from udpft.protocol.contract import Endpoint, Event, Transmit
from udpft.protocol.handshake.initiator import Initiator

if TYPE_CHECKING:
    from udpft.net.sealed import SealedSocket
    from udpft.net.stop import Stop


def drive(
    endpoint: Endpoint,
    sock: UdpSocket | SealedSocket,
    on_event: Callable[[Event], bool],
    on_turn: Callable[[float], None] | None = None,
    stop: Stop | None = None,
    on_wait: Callable[[float], None] = lambda _: None,
) -> None:
    """Run an endpoint until ``on_event`` returns True for one of its events.

    Args:
        endpoint: one end of a transfer.
        sock: connected to the other end.
        on_event: called with each event; True ends the loop, after what is left was sent.
        on_turn: called once a turn with the time, for progress.
        stop: ends the loop from another thread.
        on_wait: called after each wait for the network with the seconds that it took.

    Raises:
        ConnectionRefusedError: nothing listens at the other end.
        Stopped: ``stop`` was set.
        UdpftError: from the endpoint's file.
    """
    awaited = [sock] if stop is None else [sock, stop]
    while True:
        now = clock()
        flush(endpoint, sock, now, on_wait)
        while event := endpoint.poll_event():
            if on_event(event):
                flush(endpoint, sock, now, on_wait)
                return
            flush(endpoint, sock, now, on_wait)
        if on_turn:
            on_turn(now)
        if stop:
            stop.check()
        rest_until = endpoint.rest_until
        received = sock.receive() if now >= rest_until else None
        if received is None:
            deadline, before = endpoint.next_timeout(), clock()
            if before < rest_until:
                until = rest_until if deadline is None else min(rest_until, deadline)
                wait(awaited[1:], [], until - before)
            else:
                wait(awaited, [], None if deadline is None else deadline - before)
            on_wait(clock() - before)
            received = sock.receive()
        now = clock()
        if received is not None:
            endpoint.handle_datagrams(received, now)
        endpoint.handle_timeout(now)


def run_handshake(
    initiator: Initiator, sock: UdpSocket | SealedSocket, stop: Stop | None = None
) -> None:
    """Run a handshake that nothing follows to its end. Raises as `drive`."""
    awaited = [sock] if stop is None else [sock, stop]
    while not initiator.done:
        if stop:
            stop.check()
        while datagram := initiator.poll(clock()):
            sock.send(Transmit(memoryview(datagram), len(datagram)))
        wait(awaited, [], initiator.next_timeout - clock())
        if received := sock.receive():
            for answer in received.datagrams():
                initiator.handle(answer, clock())
        initiator.handle_timeout(clock())


def flush(
    endpoint: Endpoint,
    sock: UdpSocket | SealedSocket,
    now: float,
    on_wait: Callable[[float], None] = lambda _: None,
) -> None:
    """Send all that an endpoint has to send now. ``on_wait`` as in `drive`: waits for room."""
    while transmit := endpoint.poll_transmit(now):
        while transmit := sock.send(transmit):
            before = clock()
            wait([], [sock], None)
            on_wait(clock() - before)
