"""Output of a command, for people and for programs: lines, logs, JSON.

Data goes to standard output; everything else to standard error. Whatever came from a network or
a file system is escaped before a terminal sees it.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TextIO

from udpft.errors import LocalWriteFailed, UdpftError

JSON_SCHEMA = 1
"""Version of the ``--json`` lines, in each of them."""


MAX_LINE = 1_000
"""Characters of a line for people: a path may have four thousand, and its reason stands behind."""


def escape(text: str) -> str:
    r"""Make text safe to print: control, bidi and other unprintable characters as ``\x1b``.

    What ``str.isprintable`` accepts stays as it is: all scripts, and of the spaces the plain one.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def shown(text: str) -> str:
    """Make a line safe to print, and one of an endless name shorter: what is amid it gives way."""
    if len(text) > MAX_LINE:
        kept = MAX_LINE // 2 - 5
        text = f"{text[:kept]} [...] {text[-kept:]}"
    return escape(text)


def on_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class Console(NamedTuple):
    """Settings of a command's output. ``verbosity``: -1 quiet, 0 normal, 1 ``-v``, 2 ``-vv``."""

    verbosity: int = 0
    log_format: str = "text"
    color: str = "auto"

    def colors(self, stream: TextIO | None) -> bool:
        """Whether a stream takes colour: ``--color``, then NO_COLOR, then whether it is a terminal.

        As no-color.org has it: an empty NO_COLOR is none.
        """
        if self.color != "auto":
            return self.color == "always"
        return not os.environ.get("NO_COLOR") and stream is not None and stream.isatty()

    def say(self, text: str, *, level: int = 0) -> None:
        """Write one line for people to standard error, if they asked for this level."""
        if self.verbosity >= level:
            print_aside(shown(text))

    def log(self, text: str, *, level: int = 0, **fields: Any) -> None:
        """Write one log line with the local time to standard error, as text or as JSON."""
        if self.verbosity >= level:
            self.write_log(text, fields)

    def write_log(self, text: str, fields: dict[str, Any]) -> None:
        """Write one log line, as `log` does, whatever the level; for errors."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        if self.log_format == "json":
            print_aside(_json_line({"time": stamp, "message": text, **fields}))
        else:
            print_aside(f"{stamp} {shown(text)}")

    def report(self, error: UdpftError) -> None:
        """Write an error in one line and, where there is one, its hint in another."""
        name, hint = "udpft:", "hint:"
        if self.colors(sys.stderr):
            from click import style  # see `cli.fast_path`

            name, hint = style(name, fg="red", bold=True), style(hint, bold=True)
        print_aside(f"{name} {shown(str(error))}")
        if error.hint:
            print_aside(f"{hint} {shown(error.hint)}")


def print_aside(line: str) -> None:
    """Write one line to standard error. Where that is closed or full, only the line is lost."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)


def print_line(line: str) -> None:
    """Write one line of data to standard output, at once.

    Raises:
        LocalWriteFailed: it cannot be written.
        BrokenPipeError: its reader has left.
    """
    with printing():
        print(line, flush=True)


def say_now(line: str) -> None:
    """Write one line to standard output, unbuffered, so that a container's log has it at once.

    What the terminal's encoding lacks is written as an escape. Raises as `print_line` does.
    """
    from click import echo  # see `cli.fast_path`

    with printing():
        encoding = sys.stdout.encoding or "utf-8"
        echo(escape(line).encode(encoding, "backslashreplace").decode(encoding))


@contextmanager
def printing() -> Iterator[None]:
    """Say in words that standard output takes nothing; closed, it takes nothing either.

    Raises:
        LocalWriteFailed: it does not.
        BrokenPipeError: its reader has left.
    """
    if sys.stdout is None:
        raise LocalWriteFailed("cannot write to standard output: it is closed")
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LocalWriteFailed(f"cannot write to standard output: {error.strerror}") from error


def print_json(event: str, **fields: Any) -> None:
    """Write one ``--json`` line to standard output. Raises as `print_line` does."""
    print_line(_json_line({"schema": JSON_SCHEMA, "event": event, **fields}))


def _json_line(fields: dict[str, Any]) -> str:
    import json  # a tenth of a short command's start, and seldom asked for

    return json.dumps(fields)
