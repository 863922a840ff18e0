"""One fetch, measured: its time, the processor time of both ends, and whether the file is right."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.links import LinkCounters

_LOOK_EVERY_S = 0.05
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """One fetch by one contender.

    seconds: from the start of the client's process to its end, its start-up included.
    client_cpu_s, server_cpu_s: user and system time; the server's in ticks of 10 ms, 0 without one.
    client_rss_bytes, server_rss_bytes: peak resident memory, the client's as looked at every 50 ms,
        the server's since its start.
    data_link, ack_link: what the link did meanwhile, towards the client and towards the server.
    error: why there is no result; a failed fetch has no rate.
    """

    contender: str
    round: int
    size_bytes: int
    seconds: float
    client_cpu_s: float
    server_cpu_s: float
    client_rss_bytes: int
    server_rss_bytes: int
    data_link: LinkCounters | None = None
    ack_link: LinkCounters | None = None
    error: str = ""

    @property
    def bytes_per_s(self) -> float:
        return 0.0 if self.error else self.size_bytes / self.seconds


@dataclass(frozen=True)
class Finished:
    """A command that has ended: wall-clock and processor seconds, peak memory, what went wrong."""

    seconds: float
    cpu_s: float
    rss_bytes: int
    error: str


def run_timed(command: Sequence[str], timeout_s: float) -> Finished:
    """Run a command to its end, or kill it after the timeout."""
    with tempfile.TemporaryFile() as complaints:
        started_s = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints
        )
        in_time, rss_bytes = _await_exit(process.pid, timeout_s)
        seconds = time.perf_counter() - started_s
        if not in_time:
            process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        complaints.seek(0)
        words = complaints.read().decode(errors="replace").strip()
    error = ""
    if not in_time:
        error = f"not done after {timeout_s:g} s"
    elif process.returncode:
        error = f"exit {process.returncode}: {words}"
    cpu_s = usage.ru_utime + usage.ru_stime
    return Finished(seconds, cpu_s, rss_bytes, error)


def _await_exit(pid: int, timeout_s: float) -> tuple[bool, int]:
    """Wait for a process to end, without the polling of ``Popen.wait`` with a timeout.

    Returns whether it ended in time, and its peak resident memory as last looked at in passing:
    ``ru_maxrss`` would not do, it begins with the memory of the process that forked.
    """
    rss_bytes, deadline_s = 0, time.monotonic() + timeout_s
    pidfd = os.pidfd_open(pid)
    try:
        while (left_s := deadline_s - time.monotonic()) > 0:
            if select.select([pidfd], [], [], min(left_s, _LOOK_EVERY_S))[0]:
                return True, rss_bytes
            rss_bytes = max(rss_bytes, peak_rss_bytes(pid))
        return False, rss_bytes
    finally:
        os.close(pidfd)


def process_tree(pid: int) -> list[int]:
    """A process and all its descendants that are alive."""
    tree = [pid]
    for parent in tree:  # which grows meanwhile
        for children in Path("/proc", str(parent), "task").glob("*/children"):
            with contextlib.suppress(OSError):
                tree += map(int, children.read_text().split())
    return tree


def cpu_seconds(pid: int) -> float:
    """User and system time that a process and its descendants have used, in ticks of 10 ms."""
    ticks = 0
    for member in process_tree(pid):
        with contextlib.suppress(OSError):
            # proc(5): behind the name, fields 14 to 17 are utime, stime, cutime, cstime
            after_name = Path("/proc", str(member), "stat").read_text().rpartition(")")[2]
            ticks += sum(map(int, after_name.split()[11:15]))
    return ticks / _TICKS_PER_S


def peak_rss_bytes(pid: int) -> int:
    """The largest peak of resident memory among a process and its descendants."""
    peaks = [0]
    for member in process_tree(pid):
        with contextlib.suppress(OSError):
            for line in Path("/proc", str(member), "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peaks.append(int(line.split()[1]) * 1024)
    return max(peaks)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hex; empty if there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
