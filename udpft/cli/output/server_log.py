"""Log of a server: a line for each transfer and refusal, unless there are too many of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EACCES, EIO, EPERM
from typing import TYPE_CHECKING, Any

from udpft.cli.output.console import Console, escape, print_json
from udpft.cli.output.tally import rounded
from udpft.errors import LocalWriteFailed, UdpftError
from udpft.net.clock import clock
from udpft.outcome.served import Refused, Served
from udpft.units import format_bytes, format_rate, format_seconds

if TYPE_CHECKING:
    from udpft.server.workers.supervisor import Replaced

TO_ANSWER = "--key-file answers those with the key, --insecure-public everybody"
"""Words for who has a server that is silent to public addresses."""


class LineBudget:
    """Limit on the lines of a log: so many at once, and then so many a second.

    Whoever can reach the server can make it write a line, and should not fill its disk.

    Args:
        clock: seconds.
    """

    BURST = 2_000
    """Lines that may be written at once."""

    PER_S = 20.0
    """Lines that may be written per second after that."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = float(self.BURST)  # lines, at `_counted_at`; `take` keeps both up to date
        self._counted_at = clock()

    def take(self) -> bool:
        """Take one line from the budget; return whether there was one left."""
        now = self._clock()
        self._left = min(self.BURST, self._left + (now - self._counted_at) * self.PER_S)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class ServerLog:
    """Teller of transfers and refusals: a line each on the log and, with ``--json``, as an object.

    Attributes:
        also: called with every finished transfer, whether it has a line or not; does nothing until
            it is set.

    Args:
        console: where the log goes.
        as_json: write objects to standard output, too; no more once nobody takes them.
        clock: seconds.
    """

    def __init__(self, console: Console, as_json: bool, clock: Callable[[], float] = clock) -> None:
        self._console = console
        self._as_json = as_json
        self._budget = LineBudget(clock)
        self._untold = 0  # those without a line since the last one that had one
        self.also: Callable[[Served], None] = lambda _: None

    def tell(self, served: Served) -> None:
        """Write the line, or lines. A server whose output nobody takes goes on without."""
        self.also(served)
        if not self._budget.take():
            self._untold += 1
            return
        self.tell_untold()
        fields: dict[str, Any] = {
            "name": served.name,
            "peer": served.peer,
            "mode": served.mode,
            "bytes": served.bytes,
            "bytes_sent": served.bytes_sent,
            "seconds": round(served.seconds, 6),
            "resent_packets": served.resent_packets,
            "verified": served.verified,
            "upload": served.bytes_received is not None,
            "cpu_seconds": round(served.cpu_seconds, 6),
            "cpu_seconds_per_gb": rounded(served.cpu_seconds_per_gb),
            "dropped_packets": served.dropped_packets,
            "limited_by": served.limited_by or None,
            "slow": served.slow,
            "sent_singly": served.sent_singly,
        }
        if served.error:
            fields |= {"message": str(served.error), "exit_code": int(served.error.exit_code)}
        self._print_json("error" if served.error else "done", fields)
        self._console.log(self._in_words(served), **fields)

    def tell_refused(self, refused: Refused) -> None:
        """Write the line of a request that was refused, of the same budget as the others."""
        if not self._budget.take():
            self._untold += 1
            return
        self.tell_untold()
        fields: dict[str, Any] = {
            "name": refused.name,
            "peer": refused.peer,
            "mode": refused.mode,
            "upload": refused.upload,
            "message": str(refused.error),
            "exit_code": int(refused.error.exit_code),
        }
        reason = _true_reason(refused.error)
        if reason:
            fields["reason"] = reason
        self._print_json("refused", fields)
        direction = "upload of " if refused.upload else ""
        what = f"{refused.peer} {refused.mode} {direction}{refused.name!r}"
        told = f"{refused.error} ({reason})" if reason else str(refused.error)
        self._console.log(f"{what}: refused: {told}", **fields)

    def tell_notice(self, text: str) -> None:
        """Write a line."""
        self._console.log(text)

    def tell_silence(self, host: str) -> None:
        """Write that a public host asks and is not answered."""
        self._console.log(f"no answer to {escape(host)}: a public address ({TO_ANSWER})")

    def tell_failure(self, message: str, trace: str) -> None:
        """Write the lines of an exception that nobody expected."""
        write_failure(self._console, message, trace)

    def tell_replaced(self, replaced: Replaced) -> None:
        """Write that a process has died, and which one takes its place."""
        fields = replaced._asdict()
        self._print_json("replaced", fields)
        which = f"worker {replaced.worker}" if replaced.worker else "the metrics page"
        self._console.log(
            f"{which}, process {replaced.process_id}, {replaced.how};"
            f" process {replaced.successor} takes its place",
            **fields,
        )

    def _in_words(self, served: Served) -> str:
        """The line of the log; with ``-v``, what it cost too."""
        told, verbose = _in_words(served), self._console.verbosity > 0
        if verbose and served.cpu_seconds_per_gb is not None:
            told += f", {served.cpu_seconds_per_gb:.2f} s of processor for each GB"
        if served.sent_singly and verbose:
            told += ", packet by packet: the path drops the kernel's bursts"
        if served.limit and (served.slow or verbose):
            told += f"; limited by {served.limit}"
        return told

    def tell_untold(self) -> None:
        """Say how many transfers were over and not told of."""
        if self._untold:
            fields = {"transfers": self._untold}
            self._print_json("untold", fields)
            self._console.log(f"{self._untold} more transfers, too many to tell", **fields)
            self._untold = 0

    def _print_json(self, event: str, fields: dict[str, Any]) -> None:
        if self._as_json:
            try:
                print_json(event, **fields)
            except (LocalWriteFailed, BrokenPipeError):
                self._as_json = False


class FailureHandler(logging.Handler):
    """Handler of what a server says of exceptions that nobody expected.

    One line each; with ``-v`` their traces too, which ``--log-format json`` always has.

    Args:
        console: where the log goes.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(logging.ERROR)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Write the lines of a record."""
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        write_failure(self._console, record.getMessage(), trace)


@contextmanager
def failures_told(console: Console, logger: logging.Logger) -> Iterator[None]:
    """Write what a logger says of exceptions that nobody expected, and let nobody else do so."""
    handler = FailureHandler(console)
    logger.addHandler(handler)
    propagates, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagates
        logger.removeHandler(handler)


def write_failure(console: Console, message: str, trace: str) -> None:
    """Write the lines of an exception that nobody expected; its trace may be empty."""
    fields = {"level": "error", "trace": trace} if trace else {"level": "error"}
    console.write_log(f"error: {message}", fields)
    if console.log_format != "json":
        for line in trace.splitlines():
            console.log(f"error: {line}", level=1)


def _in_words(served: Served) -> str:
    direction = "" if served.bytes_received is None else "upload of "
    what = f"{served.peer} {served.mode} {direction}{served.name!r}"
    if served.error:
        return f"{what}: failed: {served.error}"
    size = format_bytes(served.bytes)
    if served.bytes_received is not None:
        if served.bytes_received < served.bytes:
            size += f", {format_bytes(served.bytes_received)} of it new,"
    elif served.bytes_sent < served.bytes:
        size += f", {format_bytes(served.bytes_sent)} of it sent,"
    taken = f"{size} in {format_seconds(served.seconds)}, {format_rate(served.rate_bytes_per_s)}"
    if served.mode == "plain":
        return f"{what}: {taken}, unverified"
    unconfirmed = "" if served.verified else ", not confirmed: the client left without a word"
    return f"{what}: {taken}, {served.resent_packets} packets resent{unconfirmed}"


def _true_reason(error: UdpftError) -> str:
    """Reason of a refusal that its client is not told: that a file is there, and not readable."""
    cause = error.__cause__
    if not isinstance(cause, OSError) or cause.errno not in (EACCES, EPERM, EIO):
        return ""
    return f"{os.strerror(cause.errno)[:1].lower()}{os.strerror(cause.errno)[1:]}"
