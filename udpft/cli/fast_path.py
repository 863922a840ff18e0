"""A get of few words, read without click.

click takes a third of a short get's time, most of it for its import. So what people and scripts
mostly type is read here, and everything else is left to click: other commands and options, words
of two options in one, and whatever makes no sense, for click knows how to say so.
`commands.get_options` is what an option means; the tests see that both read the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_FLAGS = {"-f": "force", "--force": "force", "-r": "recursive", "--json": "as_json"}

_WITH_VALUE = {
    "-s": "server",
    "--server": "server",
    "-o": "output",
    "--output": "output",
    "--chunk-size": "chunk_size",
    "--progress": "progress",
    "--range": "byte_range",
}

_VALUES = {"chunk_size": ("auto",), "progress": ("auto", "bar", "line", "none")}
"""Of an option that does not take any text: what is read here."""

_VARIABLES = (
    "UDPFT_MODE",
    "UDPFT_PROGRESS",
    "UDPFT_KEY_FILE",
    "UDPFT_LOG_FORMAT",
    "_UDPFT_COMPLETE",
)
"""What click would heed of the environment, and is not read here."""


def read_get(arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Read the arguments for `commands.get.fetch`; None for click to read them.

    Args:
        arguments: of the ``udpft`` command.
        environ: the environment.
    """
    if list(arguments[:1]) != ["get"] or any(environ.get(name) for name in _VARIABLES):
        return None
    names: list[str] = []
    words: dict[str, Any] = {"names": names}
    servers: list[str] = []
    rest = iter(arguments[1:])
    for word in rest:
        if not word.startswith("-"):
            names.append(word)
        elif word in _FLAGS:
            words[_FLAGS[word]] = True
        elif word in _WITH_VALUE:
            option, value = _WITH_VALUE[word], next(rest, None)
            if value is None or value not in _VALUES.get(option, (value,)):
                return None
            words[option] = value if option != "byte_range" else _byte_range(value)
            if words[option] is None:
                return None
            if option == "server":
                servers.append(value)
        else:
            return None
    servers = servers or environ.get("UDPFT_SERVER", "").split()
    if len(servers) > 1:
        return None
    if servers:
        words["server"] = servers[0]
    # A name with a colon before its first slash may be of another machine: see `remote.names`.
    if "server" not in words and any(":" in name.partition("/")[0] for name in names):
        return None
    return words if names else None


def _byte_range(text: str) -> tuple[int, int | None] | None:
    """Range of bytes; None where it makes no sense."""
    from udpft.units import parse_byte_range  # most want all of a file

    try:
        return parse_byte_range(text)
    except ValueError:
        return None
