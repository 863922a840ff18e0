"""Datagrams of our own, to prove what a path does to them: loss and round trip.

``python -m bench.probe serve HOST PORT`` answers; ``… measure HOST PORT COUNT PER_S`` prints one
line of JSON. Single datagrams, each on its own, so that no offload can make one fate of many.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import struct
import sys
import time
from typing import Any

_PAYLOAD = bytes(100)
_ECHOES = 25
_PATIENCE_S = 2.0
_TICK_S = 0.002

# a request: kind u8 (0 echo, 1 send me many), count u32, rate in datagrams a second u32, serial u32
_REQUEST = struct.Struct("!BIII")


def serve(host: str, port: str) -> None:
    """Answer until killed: an echo with itself, a request for many with many."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((host, int(port)))
        served = -1
        while True:
            request, address = sock.recvfrom(2048)
            kind, count, per_s, serial = _REQUEST.unpack(request)
            if not kind:
                sock.sendto(request, address)
            elif serial != served:
                served = serial
                _send_many(sock, address, count, per_s)


def _send_many(sock: socket.socket, address: Any, count: int, per_s: int) -> None:
    began_s, sent = time.monotonic(), 0
    while sent < count:
        due = min(count, int((time.monotonic() - began_s) * per_s) + 1)
        for _ in range(sent, due):
            sock.sendto(_PAYLOAD, address)
        sent = due
        time.sleep(_TICK_S)


def measure(host: str, port: str, count: str, per_s: str) -> None:
    """Print ``{"rtt_s": …, "loss": …}``: echoes one after the other, then many towards us."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect((host, int(port)))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        trips_s = [trip for serial in range(_ECHOES) if (trip := _echo(sock, serial))]
        arrived = _receive_many(sock, int(count), int(per_s)) if int(count) else 0
    loss = 1 - arrived / int(count) if int(count) else 0.0
    rtt_s = statistics.median(trips_s) if trips_s else 0.0
    print(json.dumps({"rtt_s": rtt_s, "loss": loss}))


def _echo(sock: socket.socket, serial: int) -> float:
    request = _REQUEST.pack(0, 0, 0, serial)
    sock.settimeout(_PATIENCE_S)
    began_s = time.perf_counter()
    sock.send(request)
    with contextlib.suppress(TimeoutError):
        while sock.recv(2048) != request:
            pass
        return time.perf_counter() - began_s
    return 0.0


def _receive_many(sock: socket.socket, count: int, per_s: int) -> int:
    request = _REQUEST.pack(1, count, per_s, time.monotonic_ns() & 0xFFFFFFFF)
    arrived = 0
    for _ in range(20):  # a request may be lost; the same serial is served once
        sock.send(request)
        sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                arrived += sock.recv(2048) == _PAYLOAD
        if arrived:
            break
    return arrived


if __name__ == "__main__":
    action: Any = {"serve": serve, "measure": measure}[sys.argv[1]]
    action(*sys.argv[2:])
