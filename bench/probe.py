"""Numbered datagrams of our own, which measure a path's loss and round trip.

``python -m bench.probe serve HOST PORT`` answers; ``… measure HOST PORT COUNT PER_S`` prints one
line of JSON. Datagrams are numbered, and leave in batches that the kernel cuts up (UDP_SEGMENT), as
a fast sender's do. A path that loses 1 % of batches instead of 1 % of datagrams would lose the same
share, but many in a row: so the mean length of a loss is measured too.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import statistics
import struct
import sys
import time
from typing import Any

_BATCH = 32
_ECHOES = 25
_PATIENCE_S = 2.0
_TICK_S = 0.002

# of <linux/udp.h>: how long the datagrams are into which the kernel cuts what is sent at once
_UDP_SEGMENT = 103

# a request: kind u8 (0 echo, 1 send me many), count u32, rate in datagrams a second u32, serial u32
_REQUEST = struct.Struct("!BIII")

# one of many: its number u32, and padding, so that no header is most of it
_NUMBERED = struct.Struct("!I96x")


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
    cut = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", _NUMBERED.size))]
    began_s, sent = time.monotonic(), 0
    while sent < count:
        due = min(count, int((time.monotonic() - began_s) * per_s) + _BATCH)
        while sent + _BATCH <= due or sent < due == count:
            batch = [_NUMBERED.pack(at) for at in range(sent, min(sent + _BATCH, due))]
            sock.sendmsg(batch, cut, 0, address)
            sent += len(batch)
        time.sleep(_TICK_S)


def measure(host: str, port: str, count: str, per_s: str) -> None:
    """Print ``{"rtt_s", "loss", "loss_run"}``: of echoes one by one, then of many towards us."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect((host, int(port)))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        trips_s = [trip for serial in range(_ECHOES) if (trip := _echo(sock, serial))]
        arrived = _receive_many(sock, int(count), int(per_s)) if int(count) else set[int]()
    rtt_s = statistics.median(trips_s) if trips_s else 0.0
    loss, loss_run = losses(arrived, int(count))
    print(json.dumps({"rtt_s": rtt_s, "loss": loss, "loss_run": loss_run}))


def losses(arrived: set[int], count: int) -> tuple[float, float]:
    """The share lost of the numbers below ``count``, and how many in a row, in the mean.

    Where each is lost on its own with probability p, the mean run is 1 / (1 − p).
    """
    lost = [number for number in range(count) if number not in arrived]
    if not lost:
        return 0.0, 0.0
    runs = 1 + sum(after != before + 1 for before, after in itertools.pairwise(lost))
    return len(lost) / count, len(lost) / runs


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


def _receive_many(sock: socket.socket, count: int, per_s: int) -> set[int]:
    request = _REQUEST.pack(1, count, per_s, time.monotonic_ns() & 0xFFFFFFFF)
    arrived: set[int] = set()
    for _ in range(20):  # a request may be lost; the same serial is served once
        sock.send(request)
        sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                datagram = sock.recv(2048)
                if len(datagram) == _NUMBERED.size:
                    arrived.add(_NUMBERED.unpack(datagram)[0])
        if arrived:
            break
    return arrived


if __name__ == "__main__":
    action: Any = {"serve": serve, "measure": measure}[sys.argv[1]]
    action(*sys.argv[2:])
