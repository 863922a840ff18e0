"""HTTP server of the page: a socket, the URL with the token, and a loop that a signal ends."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import uvicorn

from udpft.errors import HostNotFound, UsageError
from udpft.net.address import Address
from udpft.web.access import Access
from udpft.web.application import application
from udpft.web.settings import Settings

MAX_CONNECTIONS = 100
"""Connections at once; more are told to come back."""

_GRACE_S = 2
"""Seconds that requests at work have, when the server ends."""


def listen(host: str, port: int) -> socket.socket:
    """Open the socket.

    Raises:
        HostNotFound: the host does not resolve.
        UsageError: the port is taken, or the address is not this machine's.
    """
    try:
        family, kind, number, _, sockaddr = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise HostNotFound(f"cannot resolve {host}: {error.strerror}") from None
    sock = socket.socket(family, kind, number)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(sockaddr)
        sock.listen(MAX_CONNECTIONS)
    except OSError as error:
        sock.close()
        raise UsageError(
            f"cannot listen on TCP {Address(host, port)}: {error.strerror}",
            hint="choose another --host or --port; does one run there already?",
        ) from None
    return sock


def url_of(host: str, port: int, token: str) -> str:
    """URL for a browser on this machine."""
    shown = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{Address(shown, port)}/?token={token}"


def run(settings: Settings, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Show the page until a signal ends it, which is then as if it came after.

    Args:
        settings: of the page.
        host: the address to listen on.
        port: its TCP port; 0 for any free one.
        on_ready: called with the URL, once it can be opened.

    Raises:
        HostNotFound: the host does not resolve.
        UsageError: the address cannot be listened on.
    """
    with listen(host, port) as sock:
        port = sock.getsockname()[1]
        access = Access(host, port)
        for name in ("uvicorn.error", "asyncio"):  # of connections that broke off: nobody's concern
            logging.getLogger(name).setLevel(logging.CRITICAL)
        server: uvicorn.Server | None = None

        def ending() -> bool:
            return server is not None and server.should_exit

        config = uvicorn.Config(
            application(settings, access, ending),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_S,
        )
        server = uvicorn.Server(config)
        on_ready(url_of(host, port, access.token))
        server.run(sockets=[sock])
