"""Progress: a tqdm bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Literal

from udpft.cli.console import escape
from udpft.units import format_bytes

ProgressStyle = Literal["auto", "bar", "line", "none"]

_LINE_INTERVAL_S = 10.0


class Meter:
    """Shows how far one transfer is. Made for `update` to be the client's ``progress``."""

    def __init__(self, name: str, style: ProgressStyle) -> None:
        if style == "auto":
            style = "bar" if sys.stderr.isatty() else "line"
        self._name = escape(name)
        self._style = style
        self._bar: Any = None
        self._line_at = time.monotonic() + _LINE_INTERVAL_S

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done_bytes: int, total_bytes: int) -> None:
        """Show that so many bytes of so many are here; -1 where the total is not known."""
        if self._style == "bar":
            self._move_bar(done_bytes, total_bytes)
        elif self._style == "line" and time.monotonic() >= self._line_at:
            self._line_at += _LINE_INTERVAL_S
            share = f" of {format_bytes(total_bytes)}" if total_bytes >= 0 else ""
            print(f"{self._name}: {format_bytes(done_bytes)}{share}", file=sys.stderr, flush=True)

    def _move_bar(self, done_bytes: int, total_bytes: int) -> None:
        if self._bar is None:
            from tqdm import tqdm  # only where there is a bar: its import is half of a short get

            self._bar = tqdm(
                total=total_bytes if total_bytes >= 0 else None,
                desc=self._name,
                unit="B",
                unit_scale=True,
                leave=False,
                file=sys.stderr,
            )
        self._bar.update(done_bytes - self._bar.n)
