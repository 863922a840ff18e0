"""TCP as the same language does it at its best: ``socket.sendfile``, and ``recv_into`` at the end.

Run as a program, it is both ends: ``python -m bench.peers.sendfile serve ROOT HOST PORT`` and
``… fetch HOST PORT NAME FILE``.
"""

from __future__ import annotations

import os
import socket
import socketserver
import struct
import sys
from pathlib import Path
from typing import Any

from bench.peers.base import Peer, Place

_BUFFER_BYTES = 1 << 20

# what the server says before the file: size u64, big-endian
_SIZE = struct.Struct("!Q")


class Sendfile(Peer):
    """Forty lines of Python over TCP."""

    label = "Python sendfile"
    kind = "tcp"
    what = "TCP from Python: sendfile() at one end, recv_into() and write() at the other"
    transport = "tcp"
    usual_rate = 4e8
    usual_start_s = 0.05

    def daemon(self, place: Place, name: str) -> list[str]:  # noqa: ARG002
        return ["python", "-m", __name__, "serve", str(place.root), place.server, str(place.port)]

    def transfer(self, place: Place, name: str, destination: Path) -> list[str]:
        where = [place.server, str(place.port), name, str(destination)]
        return ["python", "-m", __name__, "fetch", *where]


class _Handler(socketserver.StreamRequestHandler):
    """One request: a name and a newline; one answer: the size and the bytes."""

    def handle(self) -> None:
        root = self.server.root  # type: ignore[attr-defined]
        path = Path(root, os.path.basename(self.rfile.readline().decode().strip()))
        with path.open("rb") as file:
            self.request.sendall(_SIZE.pack(path.stat().st_size))
            self.request.sendfile(file)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def serve(root: str, host: str, port: str) -> None:
    """Serve the files of a folder until killed."""
    with _Server((host, int(port)), _Handler) as server:
        server.root = root  # type: ignore[attr-defined]
        server.serve_forever()


def fetch(host: str, port: str, name: str, destination: str) -> None:
    """Fetch one file; raises OSError."""
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with socket.create_connection((host, int(port))) as sock, open(destination, "wb") as file:
        sock.sendall(name.encode() + b"\n")
        [left_bytes] = _SIZE.unpack(sock.recv(_SIZE.size, socket.MSG_WAITALL))
        while left_bytes:
            count = sock.recv_into(buffer[: min(left_bytes, _BUFFER_BYTES)])
            if not count:
                raise ConnectionError("the server hung up")
            file.write(buffer[:count])
            left_bytes -= count


PEERS = [Sendfile()]

if __name__ == "__main__":
    action: Any = {"serve": serve, "fetch": fetch}[sys.argv[1]]
    action(*sys.argv[2:])
