"""Measurement of concurrent commands: their seconds, their processor time, their memory."""

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
from typing import IO

_LOOK_EVERY_S = 0.05
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_KEPT_WORDS = 20_000
_ERROR_WORDS = 300


@dataclass(frozen=True)
class Finished:
    """A command that has ended.

    seconds: from the start of the first of those started together to the end of this one, its
        output file synced.
    rss_bytes: peak resident memory, as looked at every 50 ms.
    stall_s: the longest time between two of these looks: seconds, where the machine stood still.
    output: what it wrote on standard output. error: why it failed; empty if it did not.
    """

    seconds: float
    cpu_s: float
    rss_bytes: int
    output: str
    error: str
    stall_s: float


def run_together(
    commands: Sequence[Sequence[str]], timeout_s: float, outputs: Sequence[Path] = ()
) -> list[Finished]:
    """Run commands side by side to their ends, or kill those that are left after the timeout.

    ``outputs`` are the files that they make, in the same order; each is synced when its command has
    ended, and that counts, because some programs sync by themselves and others do not.
    """
    with contextlib.ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands]
        complaints = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands]
        started_s = time.perf_counter()
        processes = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            for command, out, err in zip(commands, said, complaints, strict=True)
        ]
        ended_s, peaks, stall_s = _await_exits(processes, started_s, timeout_s, outputs)
        finished = []
        for at, process in enumerate(processes):
            if at not in ended_s:
                process.kill()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            error = ""
            if at not in ended_s:
                error = f"not done after {timeout_s:g} s"
            elif process.returncode:
                words = _words(complaints[at]) or _words(said[at])
                error = f"exit {process.returncode}: {words[-_ERROR_WORDS:]}".strip(": ")
            finished.append(
                Finished(
                    ended_s.get(at, timeout_s),
                    usage.ru_utime + usage.ru_stime,
                    peaks.get(at, 0),
                    _words(said[at]),
                    error,
                    stall_s,
                )
            )
    return finished


def _words(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_KEPT_WORDS).decode(errors="replace").strip()


def _await_exits(
    processes: Sequence[subprocess.Popen[bytes]],
    started_s: float,
    timeout_s: float,
    outputs: Sequence[Path],
) -> tuple[dict[int, float], dict[int, int], float]:
    """When each process ended, with its file synced; its peak memory, as last looked at; the stall.

    ``ru_maxrss`` would not do: it begins with the memory of the process that forked.
    """
    waiting = {os.pidfd_open(process.pid): at for at, process in enumerate(processes)}
    ended_s: dict[int, float] = {}
    peaks: dict[int, int] = {}
    looked_s, stall_s = started_s, 0.0
    try:
        while waiting and (left_s := started_s + timeout_s - time.perf_counter()) > 0:
            for pidfd in select.select(list(waiting), [], [], min(left_s, _LOOK_EVERY_S))[0]:
                at = waiting.pop(pidfd)
                os.close(pidfd)
                if outputs:
                    sync(outputs[at])
                ended_s[at] = time.perf_counter() - started_s
            for at in waiting.values():
                peaks[at] = max(peaks.get(at, 0), peak_rss_bytes(processes[at].pid))
            now_s = time.perf_counter()
            looked_s, stall_s = now_s, max(stall_s, now_s - looked_s)
    finally:
        for pidfd in waiting:
            os.close(pidfd)
    return ended_s, peaks, stall_s


def sync(path: Path) -> None:
    """Have the kernel write a file to its disk, if there is one."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        os.fsync(file.fileno())


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


def busy_processors(seconds: float) -> float:
    """How many of this machine's processors were at work, whoever's, in so many seconds from now.

    In ticks of 10 ms of all processors, so a quarter of a second tells two of them to 0.04.
    """
    before = _busy_ticks()
    began_s = time.monotonic()
    time.sleep(seconds)
    return (_busy_ticks() - before) / _TICKS_PER_S / (time.monotonic() - began_s)


def _busy_ticks() -> int:
    # proc(5): the first line of /proc/stat; fields 4 and 5 are idle and iowait, 9 and 10 guests'
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return sum(fields[:3]) + sum(fields[5:8])


def container_cpu_seconds() -> float | None:
    """Processor time of everything in this container so far, from its control group (v2, or v1).

    None if the kernel does not tell. Outside of a container it is the whole machine's.
    """
    with contextlib.suppress(OSError):
        for line in Path("/sys/fs/cgroup/cpu.stat").read_text().splitlines():
            if line.startswith("usage_usec "):
                return int(line.split()[1]) / 1e6
    with contextlib.suppress(OSError):
        return int(Path("/sys/fs/cgroup/cpuacct/cpuacct.usage").read_text()) / 1e9
    return None


def peak_rss_bytes(pid: int) -> int:
    """The largest peak of resident memory among a process and its descendants."""
    peaks = [0]
    for member in process_tree(pid):
        with contextlib.suppress(OSError):
            for line in Path("/proc", str(member), "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peaks.append(int(line.split()[1]) * 1024)
    return max(peaks)


def receive_drops() -> int:
    """Datagrams that this network namespace dropped for want of room in a socket's buffer."""
    drops = 0
    with contextlib.suppress(OSError):
        udp = [line for line in Path("/proc/net/snmp").read_text().splitlines() if "Udp:" in line]
        for names, values in zip(udp[::2], udp[1::2], strict=False):
            counts = dict(zip(names.split(), values.split(), strict=True))
            drops += int(counts.get("RcvbufErrors", 0))
    return drops


def sha256(path: Path) -> str:
    """The file's SHA-256 in hex; empty if there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
