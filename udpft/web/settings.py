"""Settings of the page: the servers that it talks to, and the folders here that it uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from udpft.client.client import Client


class Settings(NamedTuple):
    """Settings of one page, which never change.

    ``server``, ``add_server``, ``message_server``: ``HOST`` or ``HOST:PORT``. ``folder``: for files
    that are fetched. ``reports``: folders of reports. ``key_file``: of the file server; None for
    none. ``max_upload``: bytes of one request that brings files. ``name``: of this end, where
    nobody gives another one.
    """

    server: str
    add_server: str
    message_server: str
    folder: Path
    reports: tuple[Path, ...] = ()
    key_file: str | None = None
    max_upload: int = 1 << 30
    name: str = "Client"

    def client(self, **options: Any) -> Client:
        """Make a client of the file server. Raises UdpftError."""
        return Client(self.server, key_file=self.key_file, **options)
