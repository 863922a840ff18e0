"""Reliable file transfer over UDP.

`get`, `put`, `list_files`, `ping` and `serve` are the commands as functions, `Result` is what they
return, and `udpft.errors` has what they raise. See `udpft.api`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Result", "__version__", "connect", "get", "list_files", "ping", "put", "serve"]

if TYPE_CHECKING:
    from udpft.api import connect, get, list_files, ping, put, serve
    from udpft.result import Result


def __getattr__(name: str) -> Any:
    # Imported at first use: the command line starts without what it does not need.
    if name in __all__:
        from udpft import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
