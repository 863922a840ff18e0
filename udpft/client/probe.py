"""Questions to a server that transfer nothing: whether it is there, and what the path is like."""

from __future__ import annotations

from udpft.client.connection import Connection
from udpft.errors import TimedOut
from udpft.net.clock import clock
from udpft.protocol.contract import Event, Failed
from udpft.protocol.handshake.initiator import HandshakeOptions, Initiator, probe_sizes
from udpft.protocol.handshake.path_probe import PathProbe


def ping(connection: Connection) -> float:
    """Ask the server whether it is there; return the round trip in seconds: see `Client.ping`."""
    return connection.reaching(lambda: _ping(connection))


def _ping(connection: Connection) -> float:
    initiator = Initiator(
        connection.hello(""),
        now=clock(),
        options=HandshakeOptions(
            keyed=connection.keyed,
            connect_timeout_s=connection.connect_timeout_s,
            sizes=probe_sizes(0),
        ),
        ping=True,
    )
    connection.shake_hands(initiator)
    if isinstance(initiator.error, TimedOut):
        raise connection.no_answer(initiator.error.hint)
    if initiator.error:
        raise initiator.error
    assert initiator.rtt_s is not None
    return initiator.rtt_s


def probe_path(connection: Connection) -> PathProbe:
    """Probe the path to the server: see `Client.probe_path`."""
    return connection.reaching(lambda: _probe_path(connection))


def _probe_path(connection: Connection) -> PathProbe:
    probe = PathProbe(
        connection.hello(""),
        now=clock(),
        keyed=connection.keyed,
        connect_timeout_s=connection.connect_timeout_s,
    )

    def on_event(event: Event) -> bool:
        if isinstance(event, Failed):
            if isinstance(event.error, TimedOut):
                raise connection.no_answer(event.error.hint)
            raise event.error
        return True

    with connection.explained():
        connection.drive(probe, on_event)
    return probe
