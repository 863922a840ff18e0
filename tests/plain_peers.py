"""Client and server of the plain protocol in twenty lines each, written from its description.

They follow its one paragraph in docs/protocol.md and import nothing of udpft.
"""

from __future__ import annotations

import os
import select
import socket
from typing import Any

from tests.samples import PATIENCE_S


def ask(sock: socket.socket, server: Any, name: str) -> list[bytes]:
    """The client: ask for a file; return the datagrams that came, up to the short one."""
    sock.settimeout(PATIENCE_S)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.sendto(name.encode(), server)
    datagrams = [sock.recv(65_536)]
    while len(datagrams[-1]) == 2048:
        datagrams.append(sock.recv(65_536))
    return datagrams


def answer(sock: socket.socket, folder: str | os.PathLike[str]) -> str:
    """The server: answer one request; return the name that was asked for."""
    request, client = sock.recvfrom(65_536)
    name = request.decode().rstrip("\n")
    with open(os.path.join(folder, name), "rb") as file:
        number, chunk = 0, file.read(2048)
        while len(chunk) == 2048:
            sock.sendto(chunk, client)
            number, chunk = number + 1, file.read(2048)
            if number % 8 == 0:
                select.select([], [], [], 0.001)  # the client's buffer is small
        sock.sendto(chunk, client)
    return name
