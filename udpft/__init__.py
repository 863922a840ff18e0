"""Reliable file transfer over UDP.

`get`, `read_bytes`, `put`, `list_files`, `ping` and `serve` are the commands as functions, `Result`
is what they return, and `udpft.errors` has what they raise. `udpft.aio` has them for asyncio, and
`udpft.testing` has fixtures for pytest. See `udpft.api`, and docs/library.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Client",
    "Entry",
    "Progress",
    "Refused",
    "Result",
    "RunningServer",
    "Served",
    "Stop",
    "Trace",
    "__version__",
    "aio",
    "connect",
    "errors",
    "get",
    "list_files",
    "ping",
    "put",
    "read_bytes",
    "serve",
]

if TYPE_CHECKING:
    from udpft import aio, errors
    from udpft.api import RunningServer, connect, get, list_files, ping, put, read_bytes, serve
    from udpft.client.client import Client
    from udpft.net.stop import Stop
    from udpft.outcome.progress import Progress
    from udpft.outcome.result import Result
    from udpft.outcome.served import Refused, Served
    from udpft.protocol.wire.listing import Entry
    from udpft.trace.trace import Trace

_ELSEWHERE = {
    "Client": "client.client",
    "Entry": "protocol.wire.listing",
    "Progress": "outcome.progress",
    "Refused": "outcome.served",
    "Result": "outcome.result",
    "Served": "outcome.served",
    "Stop": "net.stop",
    "Trace": "trace.trace",
}
"""Public names that are not `api`'s, and where they are defined."""


def __getattr__(name: str) -> Any:
    # Imported at first use: the command line starts without what it does not need.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name in ("aio", "errors"):
        return import_module(f"udpft.{name}")
    return getattr(import_module(f"udpft.{_ELSEWHERE.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
