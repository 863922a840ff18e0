"""The page as people start it: a process of ``udpft web``, killed at the end if still there."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tests.cli.processes import PATIENCE_S, environment


class Page:
    """A process of ``udpft web`` on a free port.

    Args:
        arguments: the command line; ``--port 0`` is added.

    Attributes:
        url: what it has printed.
        base: the same without the token.
    """

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "udpft", "web", "--port", "0", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            # A shell starts what runs in its background without Ctrl-C, and so would we be.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", self.url), self.url
        self.base = self.url.partition("/?")[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.kill()
        self.process.communicate()

    def ended_by(self, number: signal.Signals) -> tuple[int, str]:
        """End it by a signal; return its exit code and what it has said beside."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said
