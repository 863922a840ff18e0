"""Trace of a command, as --trace asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from udpft.cli.output.console import Console

if TYPE_CHECKING:
    from udpft.trace.trace import Trace


@contextmanager
def traced(
    console: Console, side: Literal["client", "server"], files: Sequence[str], limit: int
) -> Iterator[Trace]:
    """Trace what one end does meanwhile, and say which files have become of it.

    Raises:
        UsageError: a file's name says nothing of what it should be.
        LocalWriteFailed: a file cannot be written.
    """
    from udpft.trace.trace import Trace

    with Trace(files, side, limit, on_full=console.say) as trace:
        yield trace
    for file in files:
        console.say(f"trace: {file}", level=1)
