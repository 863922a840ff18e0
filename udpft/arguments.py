"""Arguments of the library's functions, taken as they look, or refused in words.

Programs are written by people: a rate is ``"2M"`` to them, a name a `pathlib.Path`, and a server
the object that `udpft.serve` returned. What is none of these is a `UsageError` that says so, and no
TypeError from deep inside.
"""

from __future__ import annotations

import os
from math import inf
from typing import IO, Protocol, TypeGuard

from udpft.errors import UsageError
from udpft.protocol.params import CHUNK_SIZE, MAX_CHUNK_SIZE, MIN_CHUNK_SIZE
from udpft.units import parse_bytes


class Addressed(Protocol):
    """What has the address of a server, such as a running one. ``address``: its ``HOST:PORT``."""

    @property
    def address(self) -> str:
        """``HOST:PORT``."""
        ...


Name = str | os.PathLike[str]
"""Name of a file, here or on the server."""

ServerName = str | Addressed
"""``HOST``, ``HOST:PORT``, or a running server."""

Output = str | os.PathLike[str] | IO[bytes]
"""Place of a fetched file: its path, or its folder's, or a binary file object."""


def text_of(name: object, what: str) -> str:
    """A name or a path as text.

    Raises:
        UsageError: it is neither; ``what`` is what it should be.
    """
    if isinstance(name, str):
        return name
    if isinstance(name, os.PathLike):
        path = os.fspath(name)
        if isinstance(path, str):
            return path
    raise UsageError(
        f"{what} is a string or a path, and not {_shown(name)}",
        hint="os.fsdecode makes a string of bytes" if isinstance(name, bytes) else "",
    )


def server_of(server: object) -> str:
    """A server's ``HOST`` or ``HOST:PORT``; a running one's own.

    Raises:
        UsageError: it is no server.
    """
    address = server if isinstance(server, str) else getattr(server, "address", None)
    if isinstance(address, str):
        return address
    raise UsageError(
        f"a server is 'HOST', 'HOST:PORT' or what udpft.serve returned, and not {_shown(server)}"
    )


def quantity_of(value: object, what: str) -> int:
    """A number of bytes, or bytes per second: a number, or ``"2M"``.

    Raises:
        UsageError: it is none, or below 0.
    """
    if isinstance(value, str):
        try:
            return parse_bytes(value)
        except ValueError as error:
            raise UsageError(f"{what}: {error}") from None
    if not isinstance(value, bool) and isinstance(value, (int, float)) and 0 <= value < inf:
        return int(value)
    raise UsageError(f"{what} is a number of bytes, such as 2_000_000 or '2M', not {value!r}")


def chunk_size_of(value: int | str | None, *, keyed: bool) -> int:
    """The bytes of a chunk to ask for: a size, ``"auto"`` for the largest, or None.

    None is `CHUNK_SIZE`; with a key, whose cost is for each packet more than for each byte, the
    largest.

    Raises:
        UsageError: it is no size, or none that is to be had.
    """
    if value is None:
        return MAX_CHUNK_SIZE if keyed else CHUNK_SIZE
    if value == "auto":
        return MAX_CHUNK_SIZE
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    size = value if is_whole else quantity_of(value, "chunk_size")
    if not MIN_CHUNK_SIZE <= int(size) <= MAX_CHUNK_SIZE:
        raise UsageError(
            f"a chunk of {size} bytes is not to be had",
            hint=f"from {MIN_CHUNK_SIZE} to {MAX_CHUNK_SIZE}, or auto for what the path carries",
        )
    return int(size)


def seconds_of(value: object, what: str) -> float:
    """A number of seconds.

    Raises:
        UsageError: it is none, or not above 0.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return value
    raise UsageError(f"{what} is a number of seconds above 0, and not {value!r}")


def one_of(value: str, choices: tuple[str, ...], what: str) -> str:
    """A word of a few that there are.

    Raises:
        UsageError: it is none of them.
    """
    if value in choices:
        return value
    raise UsageError(f"{what} is one of {', '.join(choices)}, and not {value!r:.100}")


def is_stream(output: object) -> TypeGuard[IO[bytes]]:
    """Whether an output is a file object, and no path."""
    return hasattr(output, "write") and not isinstance(output, os.PathLike)


def _shown(value: object) -> str:
    return f"{value!r:.100}" if value is None or isinstance(value, bytes) else type(value).__name__
