"""Progress: a tqdm bar on a terminal, a line now and then elsewhere, objects for programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

from udpft.cli.console import escape, on_terminal, print_aside, print_json
from udpft.units import format_bytes, format_rate

ProgressStyle = Literal["auto", "bar", "line", "json", "none"]

_INTERVAL_S = {"line": 10.0, "json": 1.0}


class Meter:
    """Shows how far one transfer is. Made for `update` to be the client's ``progress``.

    Args:
        name: of the file.
        style: ``auto`` is ``bar`` on a terminal, ``line`` elsewhere.
        clock: seconds.
    """

    def __init__(
        self, name: str, style: ProgressStyle, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if style == "auto":
            style = "bar" if on_terminal() else "line"
        self._name = name
        self._style = style
        self._clock = clock
        self._bar: Any = None
        self._shown_at = clock()
        self._shown_bytes = 0

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

    def begin_at(self, done_bytes: int) -> None:
        """Count from here on: so many bytes are of an earlier attempt, and no part of the rate."""
        self._shown_bytes = done_bytes

    def update(self, done_bytes: int, total_bytes: int) -> None:
        """Show that so many bytes of so many are here; -1 where the total is not known."""
        if self._style == "bar":
            self._move_bar(done_bytes, total_bytes)
        elif self._style != "none":
            now = self._clock()
            elapsed_s = now - self._shown_at
            if elapsed_s < _INTERVAL_S[self._style]:
                return
            rate = (done_bytes - self._shown_bytes) / elapsed_s
            self._shown_at, self._shown_bytes = now, done_bytes
            self._say(done_bytes, total_bytes, rate)

    def _say(self, done_bytes: int, total_bytes: int, rate_bytes_per_s: float) -> None:
        if self._style == "json":
            print_json(
                "progress",
                name=self._name,
                bytes=done_bytes,
                total_bytes=total_bytes if total_bytes >= 0 else None,
                rate_bytes_per_s=round(rate_bytes_per_s),
            )
            return
        share = ""
        if total_bytes > 0:
            share = f" of {format_bytes(total_bytes)}, {100 * done_bytes // total_bytes} %"
        rate = format_rate(rate_bytes_per_s)
        print_aside(f"{escape(self._name)}: {format_bytes(done_bytes)}{share}, {rate}")

    def _move_bar(self, done_bytes: int, total_bytes: int) -> None:
        if self._bar is None:
            if done_bytes == total_bytes:
                return  # it is over before there was anything to show
            from tqdm import tqdm  # only where there is a bar: its import is half of a short get

            self._bar = tqdm(
                total=total_bytes if total_bytes >= 0 else None,
                initial=done_bytes,
                desc=escape(self._name),
                unit="B",
                unit_scale=True,
                leave=False,
            )
        self._bar.update(done_bytes - self._bar.n)
