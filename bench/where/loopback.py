"""Both ends on this host, over loopback: needs no root, and tells least."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.result import Scenario
from bench.where.hosts import Host, Joined, Unavailable

TMPFS = "/dev/shm"
"""Files lie in memory, so that it is not the disk that is measured."""

LOOPBACK_MTU = 65_536


class Loopback:
    """Two agents on this host."""

    name = "loopback"

    def __init__(self, client: Host, server: Host) -> None:
        self._client, self._server = client, server

    @contextlib.contextmanager
    def join(self, scenario: Scenario) -> Iterator[Joined]:
        """The ends, if nothing is asked of the path."""
        if scenario.is_impaired:
            raise Unavailable("loopback can be given neither loss nor delay nor a rate")
        if scenario.mtu < 9000:
            raise Unavailable("loopback's MTU is 65,536, and other programs' too")
        yield Joined(self._client, self._server, "127.0.0.1", "127.0.0.1")


@contextlib.contextmanager
def loopback() -> Iterator[Loopback]:
    """A place to measure in, with a folder in memory that goes away with it."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(memory_folder()))
        command = [sys.executable, "-m", "bench.agent"]
        client, server = (stack.enter_context(Host(command, folder)) for _ in range(2))
        yield Loopback(client, server)


def memory_folder(*, ignore_errors: bool = False) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder in memory, where there is such a thing.

    ``ignore_errors``: in its removal, where somebody else may remove it.
    """
    where = TMPFS if Path(TMPFS).is_dir() else None
    return tempfile.TemporaryDirectory(
        prefix="udpft-bench-", dir=where, ignore_cleanup_errors=ignore_errors
    )
