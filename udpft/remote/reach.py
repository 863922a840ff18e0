"""Search for the far end's address: all that it may have are asked, the first to answer is it."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue
from threading import Thread

from udpft.client.client import Client
from udpft.errors import HostNotFound, TimedOut, UdpftError
from udpft.keys import Key
from udpft.net.address import Address, resolve_all
from udpft.net.stop import Stop

_APART_S = 0.15
"""Seconds by which the likelier addresses are asked before the others."""

_RESOLVING_S = 1.0
"""Seconds that the resolver has to name the shell's host: the shell has asked it just before."""

_LOOPBACK = "127.0.0.1"


def addresses_to_try(host: str, told: Sequence[str], port: int) -> list[Address]:
    """Addresses that a far end may be at, the likeliest first.

    Args:
        host: of the shell, as a resolver may know it; empty where it cannot.
        told: those that the far end has told.
        port: that it listens on.
    """
    found = [*_resolved(host, port), *told, _LOOPBACK]
    return [Address(one, port) for one in dict.fromkeys(found)]


def _resolved(host: str, port: int) -> list[str]:
    """Addresses of a host; none where no resolver knows it in time: ssh has names of its own."""
    if not host:
        return []
    answers: SimpleQueue[list[str]] = SimpleQueue()

    def resolve() -> None:
        try:
            answers.put([sockaddr[0] for _, sockaddr in resolve_all(Address(host, port))])
        except HostNotFound:
            answers.put([])

    thread = Thread(target=resolve, name="udpft-resolver", daemon=True)
    thread.start()
    thread.join(_RESOLVING_S)
    return [] if thread.is_alive() else answers.get()


def reach(addresses: Sequence[Address], key: Key, timeout_s: float) -> Address:
    """Find the address that answers first.

    Args:
        addresses: the likeliest first.
        key: of the session.
        timeout_s: seconds that all of them have.

    Raises:
        TimedOut: none answers.
    """
    over = Stop()
    answers: SimpleQueue[Address | None] = SimpleQueue()

    def ask(address: Address, later_s: float) -> None:
        try:
            over.sleep(later_s)
            left_s = timeout_s - later_s
            with Client(str(address), key_file=key, connect_timeout=left_s, stop=over) as client:
                client.ping()
            answers.put(address)
        except UdpftError:
            answers.put(None)

    for place, address in enumerate(addresses):
        later_s = min(_APART_S * place, timeout_s / 2)
        Thread(target=ask, args=(address, later_s), name="udpft-reach", daemon=True).start()
    try:
        for _ in addresses:
            if answer := answers.get():
                return answer
    finally:
        over.set()
    raise TimedOut("no datagram comes through")
