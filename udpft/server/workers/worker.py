"""Worker: one process of several that serve a port together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import partial
from socket import socket as Socket
from typing import Any, NamedTuple

from udpft.server.failures import LOGGER
from udpft.server.server import Server
from udpft.server.workers.ledger import Ledger
from udpft.server.workers.messages import Channel, cut, fields_of
from udpft.server.workers.sharing import Sharing
from udpft.storage.served_folder import ServedRoot


class Common(NamedTuple):
    """Things that all workers of a port have, as they inherit them.

    ``sockets``: bound to the port, one for each worker. ``secret``: of the cookies. ``options``: of
    `Server`.
    """

    root: ServedRoot
    sockets: Sequence[Socket]
    ledger: Ledger
    secret: bytes
    options: dict[str, Any]


class FailuresTold(logging.Handler):
    """Handler that tells the supervisor of exceptions that nobody expected."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(logging.ERROR)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of a record."""
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        self._channel.tell("failure", text=cut(record.getMessage()), trace=trace[-8_192:])


def serve(number: int, common: Common, channel: Channel) -> None:
    """Serve until the supervisor has no more to say, and transfers have had their time to end.

    Raises:
        UdpftError: it cannot begin.
    """
    LOGGER.handlers = [FailuresTold(channel)]  # and not the supervisor's
    LOGGER.propagate = False
    sharing = Sharing((common.ledger, number), common.sockets, common.secret, channel.tell)
    with Server(
        common.root,
        on_served=lambda served: channel.tell("served", **fields_of(served)),
        on_refused=lambda refused: channel.tell("refused", **fields_of(refused)),
        on_notice=lambda text: channel.tell("notice", text=cut(text)),
        sharing=sharing,
        **common.options,
    ) as server:
        silent = server.on_silence(lambda host: channel.tell("silence", host=host))
        threading.Thread(
            target=_obey, args=(channel, server), name="udpft-supervisor", daemon=True
        ).start()
        channel.tell("ready", silent=silent)
        server.run()


def _obey(channel: Channel, server: Server) -> None:
    """Do what the supervisor asks for, until it has no more to say. Runs in a thread."""
    while message := channel.receive():
        if message["kind"] == "want_room":
            server.call_soon(partial(server.make_way, message["host"]))
        else:
            server.call_soon(partial(server.end_abandoned, message["name"]))
    server.stop()
