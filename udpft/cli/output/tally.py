"""Tally of a command that handles many files: each is reported, and all in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from udpft.cli.output.console import Console, print_json
from udpft.cli.output.exit_status import BREAKS, Exit, exit_code_of, notes_of
from udpft.cli.output.progress import ProgressStyle
from udpft.errors import UdpftError
from udpft.outcome.result import Result
from udpft.units import format_bytes, format_rate, format_seconds


class Tally:
    """Record of what a command has done, file by file.

    Attributes:
        console: where people are told.
        as_json: whether programs are told, too, by objects on standard output.
        files: an object for each file that ended, well or not; grows with each.
        failures: the errors, in their order.
    """

    def __init__(self, console: Console, as_json: bool) -> None:
        self.console = console
        self.as_json = as_json
        self.files: list[dict[str, Any]] = []
        self.failures: list[UdpftError] = []

    def progress_style(self, asked: ProgressStyle) -> ProgressStyle:
        """Style of progress: as asked for, unless JSON lines or silence are."""
        if asked != "none" and self.as_json:
            return "json"
        return "none" if self.console.verbosity < 0 else asked

    def go_through(
        self,
        names: Iterable[str],
        do: Callable[[str], UdpftError | None],
        one_file_only: tuple[type[UdpftError], ...],
    ) -> None:
        """Do one file after the other, and go on after an error that concerns one file only."""
        for name in names:
            try:
                error = do(name)
            except tuple(BREAKS) as ending:
                self.files.append(failure(name, ending))
                raise
            if error and not isinstance(error, one_file_only):
                return

    def end(self) -> None:
        """End the command with the first failure's exit code, where there was one."""
        if self.failures:
            raise Exit(self.failures[0].exit_code)

    def fail(self, name: str, error: UdpftError) -> None:
        """Tell of a file that failed."""
        self.failures.append(error)
        self.files.append(failure(name, error))
        self.console.report(error)
        if self.as_json:
            print_json("error", **failure(name, error))

    def tell_partial(self, result: Result, where: str) -> None:
        """Tell of what has come of a tree that has not come whole."""
        self._tell_omissions(result)
        self._tell_figures(result, where)

    def _tell_omissions(self, result: Result) -> None:
        """Tell of each entry of a tree that did not come; of those left out to who asked."""
        if result.tree is None:
            return
        for name, kind, reason, number in result.tree.omissions:
            if self.as_json:
                counted = {"number": number} if number > 1 else {}
                print_json(kind, name=name, reason=reason, **counted)
            if kind == "left_out":
                what = f"{number} {reason}" if number > 1 else reason
                self.console.say(f"{name}: left out: {what}", level=1)
            elif kind == "failed":
                self.console.say(f"{name}: {reason}", level=-1)
            else:
                self.console.say(f"{name} {reason}", level=-1)
        for note in result.tree.notes:
            self.console.say(f"warning: {note}")
        for name, size in result.tree.listed:
            if self.as_json:
                print_json("would_come", name=name, bytes=size)
            self.console.say(f"{name}: {format_bytes(size)}")

    def tell(self, result: Result, where: str) -> None:
        """Tell of a file, or a tree, that is where it should be."""
        self._tell_omissions(result)
        if self.as_json and result.complete:
            print_json("done", **success(result))
        self._tell_figures(result, where)

    def _tell_figures(self, result: Result, where: str) -> None:
        """Tell how it went, and how much of a tree was left out."""
        left_out = _left_out(result)
        of_nothing = result.verified and not (result.files or result.bytes)
        if result.tree and result.chunk_size == 0 and not (result.up_to_date or of_nothing):
            self.console.say(f"{where}: nothing was sent{left_out}")
            return
        if result.up_to_date:
            by = "verified" if result.verified else "by size and time"
            self.console.say(f"{where}: up to date, {by}{left_out}")
            return
        size = format_bytes(result.bytes)
        if result.hole_bytes:
            size += f", {format_bytes(result.hole_bytes)} of it holes"
        if result.resumed_bytes:
            size += f", {format_bytes(result.new_bytes)} of it new"
        if result.hole_bytes or result.resumed_bytes:
            size += ","
        if result.part:
            size += f" of {format_bytes(result.part.file_size)}"
        verdict = "verified" if result.verified else "unverified: plain checks nothing"
        self.console.say(
            f"{where}: {size} in {format_seconds(result.seconds)}, "
            f"{format_rate(result.rate_bytes_per_s)}, {verdict}{left_out}"
        )
        if result.digest:
            self.console.say(
                f"  chunks of {result.chunk_size} bytes, {result.resent_packets} packets resent, "
                f"digest {result.digest} of {result.chunk_size}-byte chunks",
                level=1,
            )
        if result.servers:
            shares = (f"{format_bytes(one.bytes)} from {one.address}" for one in result.servers)
            self.console.say(f"  {', '.join(shares)}", level=1)
        if result.sent_singly:
            self.console.say("  packet by packet: the path drops the kernel's bursts", level=1)
        per_gb = result.cpu_seconds_per_gb
        costs = "" if per_gb is None else f", {per_gb:.2f} s for each GB"
        self.console.say(
            f"  processor at this end: {format_seconds(result.cpu_seconds)}{costs}", level=1
        )
        if result.limit:
            self.console.say(f"  limited by {result.limit}", level=0 if result.slow else 1)


def _left_out(result: Result) -> str:
    """Count of what was left out of a tree, in words that follow others; empty for none."""
    if not result.tree or not result.tree.omissions:
        return ""
    from udpft.outcome.tree import count_left_out  # a single file does without

    counts = count_left_out(result.tree.omissions)
    return f"; left out: {counts}" if counts else ""


def count_of_files(result: Result) -> str:
    """Number of files in a tree, in words; of a dry run, of those that would come."""
    if result.up_to_date and not result.files:
        return "nothing would come"
    return "1 file" if result.files == 1 else f"{result.files} files"


def success(result: Result) -> dict[str, Any]:
    """A file, or a tree, that is where it should be, as JSON has it."""
    return {
        "name": result.name,
        "ok": True,
        "path": result.local_path,
        "bytes": result.bytes,
        "seconds": round(result.seconds, 6),
        "rate_bytes_per_s": round(result.rate_bytes_per_s),
        "digest": result.digest,
        "chunk_size": result.chunk_size,
        "resent_packets": result.resent_packets,
        "resumed_bytes": result.resumed_bytes,
        "hole_bytes": result.hole_bytes,
        "mode": result.mode,
        "verified": result.verified,
        "up_to_date": result.up_to_date,
        "files": result.files,
        "cpu_seconds": round(result.cpu_seconds, 6),
        "cpu_seconds_per_gb": rounded(result.cpu_seconds_per_gb),
        "dropped_packets": result.dropped_packets,
        "limited_by": result.limited_by or None,
        "slow": result.slow,
        "sent_singly": result.sent_singly,
        **({"part": _part(result)} if result.part else {}),
        **({"servers": [one._asdict() for one in result.servers]} if result.servers else {}),
    }


def _part(result: Result) -> dict[str, Any]:
    """Where in its file a range lies, as JSON has it."""
    assert result.part
    first, size, identity = result.part
    last = first + result.bytes - 1
    return {"first": first, "last": last, "file_bytes": size, "identity": f"{identity:016x}"}


def rounded(number: float | None) -> float | None:
    """A figure with three digits behind the point, where there is one."""
    return None if number is None else round(number, 3)


def failure(name: str, ending: BaseException) -> dict[str, Any]:
    """One that failed, or was at work when the command was broken off, as JSON has it.

    Of a tree that has not come whole, it has what has come of it too, as `success` does.
    """
    came = ending.result if isinstance(ending, UdpftError) else None
    return {
        **(success(came) if isinstance(came, Result) else {}),
        "name": name,
        "ok": False,
        "message": BREAKS.get(type(ending), str(ending)),
        "hint": ending.hint if isinstance(ending, UdpftError) else " ".join(notes_of(ending)),
        "exit_code": int(exit_code_of(ending)),
    }
