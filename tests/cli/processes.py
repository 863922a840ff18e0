"""Real ``udpft`` processes, read line by line while they run."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any, Self

PATIENCE_S = 20.0
"""Seconds that only a failing test waits."""


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, in which nothing is for udpft, and these variables."""
    return {**os.environ, **variables}


def run_udpft(
    *arguments: str, stdin: bytes = b"", variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, with this standard input and these variables set."""
    finished = subprocess.run(
        [sys.executable, "-m", "udpft", *arguments],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE_S,
        env=environment(**(variables or {})),
    )
    return subprocess.CompletedProcess(
        finished.args, finished.returncode, finished.stdout.decode(), finished.stderr.decode()
    )


class Server:
    """A ``udpft … serve`` on a free port of loopback, killed at the end if still there.

    Args:
        arguments: the command line; ``-p 0`` is added.
        stdin: as for `subprocess.Popen`; nothing by default.
    """

    def __init__(self, *arguments: str, stdin: Any = subprocess.DEVNULL) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "udpft", *arguments, "-p", "0"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            # A shell starts what runs in its background without Ctrl-C, and so would we be.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._out: IO[bytes] = self.process.stdout
        self._err: IO[bytes] = self.process.stderr
        self._unread: dict[IO[bytes], bytes] = {self._out: b"", self._err: b""}
        ready = re.search(r"127\.0\.0\.1:(\d+)", self.log_line())
        assert ready
        self.port = int(ready[1])

    @property
    def address(self) -> str:
        """Where it listens, for ``-s``."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._out.close()
        self._err.close()

    def line(self) -> str:
        """The next line of standard output, as soon as it is there."""
        return self._line(self._out)

    def log_line(self) -> str:
        """The next line of standard error."""
        return self._line(self._err)

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(signum)
        return self.exit_code()

    def exit_code(self) -> int:
        """Wait for its end."""
        return self.process.wait(PATIENCE_S)

    def rest_of_log(self) -> str:
        """What is left on standard error, once it has ended."""
        return (self._unread[self._err] + self._err.read()).decode()

    def _line(self, stream: IO[bytes]) -> str:
        until = time.monotonic() + PATIENCE_S
        while b"\n" not in self._unread[stream]:
            ready, _, _ = select.select([stream], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"no line in {PATIENCE_S} s, only {self._unread[stream]!r}"
            more = os.read(stream.fileno(), 65_536)
            assert more, f"ended with {self._unread[stream]!r}"
            self._unread[stream] += more
        line, _, self._unread[stream] = self._unread[stream].partition(b"\n")
        return line.decode()
