"""Messages between a supervisor and its processes: one JSON object a packet of a Unix socket.

Each has a ``kind``, and what it says:

``ready``
    a process serves, or shows the metrics at ``address``.
``failed``
    it cannot begin, with the ``message``, the ``hint`` and the ``exit_code``.
``served``, ``refused``
    a record of `udpft.outcome.served`.
``notice``, ``silence``, ``failure``
    lines for the log: the ``text``; the ``host``; the ``text`` and the ``trace``.
``want_room``, ``want_upload``
    passed on to the other workers: see `Sharing`.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Any, Final

from udpft.errors import ExitCode, UdpftError
from udpft.outcome.served import Refused, Served

_MAX_TEXT: Final = 8_192
"""Characters of a text; what is beyond is left out, so that a packet holds the message."""

_MAX_BYTES: Final = 1 << 18
"""Bytes of a message at most: a name of 4,096 bytes takes six times as many as JSON."""


class _ToldError(UdpftError):
    """Error of another process, as it told of it."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = ExitCode(exit_code)


class Channel:
    """End of a socket between the supervisor and one of its processes.

    Args:
        sock: of packets in order; this object closes it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _MAX_BYTES)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make both ends."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        """The socket's descriptor, for `select`."""
        return self._socket.fileno()

    def tell(self, kind: str, *, wait: bool = True, **fields: Any) -> None:
        """Send a message. Where the other end is gone, it is lost.

        ``wait``: for room, where the other end is behind; or else it is lost then, too.
        """
        data = json.dumps({"kind": kind, **fields}).encode()
        with suppress(OSError):
            self._socket.send(data, 0 if wait else socket.MSG_DONTWAIT)

    def receive(self) -> dict[str, Any] | None:
        """Receive the next message; None where the other end has closed."""
        try:
            data = self._socket.recv(_MAX_BYTES)
        except OSError:
            return None
        message: dict[str, Any] | None = json.loads(data) if data else None
        return message

    def end(self) -> None:
        """Tell the other end that no more messages come, and go on receiving."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def fields_of_error(error: UdpftError) -> dict[str, Any]:
    """Fields that tell of an error."""
    message, hint = str(error)[:_MAX_TEXT], error.hint[:_MAX_TEXT]
    return {"message": message, "hint": hint, "exit_code": int(error.exit_code)}


def fields_of(record: Served | Refused) -> dict[str, Any]:
    """Fields that tell of a transfer or a refusal."""
    error = record.error
    return {**record._asdict(), "error": fields_of_error(error) if error else None}


def error_of(fields: dict[str, Any]) -> UdpftError:
    """Error that fields tell of."""
    return _ToldError(fields["message"], fields["hint"], fields["exit_code"])


def served_of(message: dict[str, Any]) -> Served:
    """Record of a transfer that a message tells of."""
    told = message["error"]
    fields = {name: message[name] for name in Served._fields}
    return Served(**{**fields, "error": error_of(told) if told else None})


def refused_of(message: dict[str, Any]) -> Refused:
    """Record of a refusal that a message tells of."""
    fields = {name: message[name] for name in Refused._fields}
    return Refused(**{**fields, "error": error_of(message["error"])})


def cut(text: str) -> str:
    """The beginning of a text, as long as a message may hold it."""
    return text[:_MAX_TEXT]
