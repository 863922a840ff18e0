"""Progress: a tqdm bar on a terminal, a line now and then elsewhere, objects for programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from udpft.cli.output.console import escape, on_terminal, print_aside, print_json
from udpft.units import format_bytes, format_rate, format_seconds

if TYPE_CHECKING:
    from udpft.client.client import Client

ProgressStyle = Literal["auto", "bar", "line", "json", "none"]

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}B, {remaining} left{postfix}"
_BAR_WITHOUT_TOTAL = "{desc}: {n_fmt}B, {elapsed}{postfix}"
_NAME_WIDTH = 20

_WAITING_AFTER_S = 2.0
"""Seconds without a byte after which it is said that the transfer waits."""

_INTERVAL_S = {"line": 10.0, "json": 1.0}


class Meter:
    """Shows how far one transfer is. Made for `update` to be the client's ``progress``.

    Args:
        name: of the file.
        style: ``auto`` is ``bar`` on a terminal, ``line`` elsewhere.
        resent_share: tells which share of the packets so far was sent again.
        file_counts: tells the files that are done and the files in all, of a tree; None else.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        style: ProgressStyle,
        resent_share: Callable[[], float] = lambda: 0.0,
        file_counts: Callable[[], tuple[int, int] | None] = lambda: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if style == "auto":
            style = "bar" if on_terminal() else "line"
        self._name = name
        self._style = style
        self._resent_share = resent_share
        self._file_counts = file_counts
        self._clock = clock
        self._bar: Any = None
        self._shown_at = clock()
        self._shown_bytes = 0
        self._moved_at = clock()
        """Seconds on the clock: when a byte came last."""
        self._last_bytes = -1
        """Bytes done at that time."""

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
        if done_bytes != self._last_bytes:
            self._last_bytes, self._moved_at = done_bytes, self._clock()
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
        counts = self._file_counts()
        if self._style == "json":
            files, total_files = counts or (None, None)
            print_json(
                "progress",
                name=self._name,
                bytes=done_bytes,
                total_bytes=total_bytes if total_bytes >= 0 else None,
                files=files,
                total_files=total_files,
                rate_bytes_per_s=round(rate_bytes_per_s),
                resent_share=round(self._resent_share(), 6),
                waiting=self._waits,
            )
            return
        share = left = ""
        if total_bytes > 0:
            share = f" of {format_bytes(total_bytes)}, {100 * done_bytes // total_bytes} %"
            if rate_bytes_per_s > 0:
                left_s = (total_bytes - done_bytes) / rate_bytes_per_s
                left = f", {format_seconds(left_s)} left"
        amount = f"{format_bytes(done_bytes)}{share}{self._files()}"
        told = f"{amount}, {self._pace(rate_bytes_per_s)}{left}"
        print_aside(f"{escape(self._name)}: {told}{self._resent()}")

    def _files(self) -> str:
        """How many files of a tree are done, in words."""
        counts = self._file_counts()
        return f", {counts[0]} of {counts[1]} files" if counts else ""

    @property
    def _waits(self) -> bool:
        """Whether nothing has come for a while."""
        return self._clock() - self._moved_at >= _WAITING_AFTER_S

    def _pace(self, rate_bytes_per_s: float) -> str:
        """The rate, or that nothing comes."""
        if not self._waits:
            return format_rate(rate_bytes_per_s)
        return f"waiting for the other end, {format_seconds(self._clock() - self._moved_at)}"

    def _resent(self) -> str:
        """The share of packets sent again, where there were any."""
        share = self._resent_share()
        return f", {100 * share:.1f} % resent" if share >= 0.0005 else ""

    def _move_bar(self, done_bytes: int, total_bytes: int) -> None:
        if self._bar is None:
            if done_bytes == total_bytes:
                return  # it is over before there was anything to show
            from tqdm import tqdm  # only where there is a bar: its import is half of a short get

            known = total_bytes >= 0
            self._bar = tqdm(
                total=total_bytes if known else None,
                initial=done_bytes,
                desc=_shortened(escape(self._name)),
                unit="B",
                unit_scale=True,
                leave=False,
                dynamic_ncols=True,
                bar_format=_BAR if known else _BAR_WITHOUT_TOTAL,
            )
        figures = self._bar.format_dict
        rate = figures["rate"]  # a moving average, once there are enough figures for one
        if rate is None and figures["elapsed"] > 0:
            rate = (done_bytes - figures["initial"]) / figures["elapsed"]
        postfix = f"{self._pace(rate or 0)}{self._files()}{self._resent()}"
        self._bar.set_postfix_str(postfix, refresh=False)
        self._bar.update(done_bytes - self._bar.n)


def metered(client: Client, name: str, style: ProgressStyle) -> Meter:
    """A meter of a client's next transfer."""
    return Meter(name, style, lambda: client.resent_share, lambda: client.file_counts)


def _shortened(name: str) -> str:
    """A name that leaves room for the bar, its end kept: most names differ there."""
    return name if len(name) <= _NAME_WIDTH else "…" + name[1 - _NAME_WIDTH :]
