"""What a command writes for people and for programs: lines, logs, JSON.

Data goes to standard output; everything else to standard error. Whatever came from a network or
a file system is escaped before a terminal sees it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

JSON_SCHEMA = 1
"""Version of the ``--json`` lines, in each of them."""


def escape(text: str) -> str:
    r"""Make text safe to print: control, bidi and other unprintable characters as ``\x1b``.

    What ``str.isprintable`` accepts stays as it is, spaces and all scripts included.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


@dataclass(frozen=True)
class Console:
    """How much a command says, and how. ``verbosity``: -1 quiet, 0 normal, 1 ``-v``, 2 ``-vv``."""

    verbosity: int = 0
    log_format: str = "text"
    color: str = "auto"

    @property
    def colored(self) -> bool:
        """Whether standard error takes colour: ``--color``, then NO_COLOR, then the terminal."""
        if self.color != "auto":
            return self.color == "always"
        return "NO_COLOR" not in os.environ and sys.stderr.isatty()

    def say(self, text: str, *, level: int = 0) -> None:
        """Write one line for people to standard error, if they asked for this level."""
        if self.verbosity >= level:
            print(escape(text), file=sys.stderr, flush=True)

    def log(self, text: str, *, level: int = 0, **fields: Any) -> None:
        """Write one log line with the local time to standard error, as text or as JSON."""
        if self.verbosity < level:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        if self.log_format == "json":
            print(
                json.dumps({"time": stamp, "message": text, **fields}), file=sys.stderr, flush=True
            )
        else:
            print(f"{stamp} {escape(text)}", file=sys.stderr, flush=True)


def print_json(event: str, **fields: Any) -> None:
    """Write one ``--json`` line to standard output."""
    print(json.dumps({"schema": JSON_SCHEMA, "event": event, **fields}), flush=True)
