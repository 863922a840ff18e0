"""Trace of one reliable transfer while it runs: goodput, congestion window, losses over time.

Run as a program, it is the server: ``python -m bench.traced ROOT HOST PORT FILE`` serves as ``udpft
serve`` does, looks at the transfer every few milliseconds, and writes what it saw when it is ended.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import sys
import threading
import time
from pathlib import Path

from bench.result import Scenario, Trace
from bench.where.hosts import Ground, HostFailed

RATE_BYTES_PER_S = 12.5e6
DELAY_S = 0.020
LOSS = 0.001
CHUNK_SIZE = 1448
"""Of a path of MTU 1500."""

SIZE_BYTES = 30_000_000
STEP_S = 2 * DELAY_S
"""From one moment of a trace to the next: a round trip."""

PATH = "100 Mbit/s, 40 ms round trip, 0.1 % loss, a queue of one round trip"

_LOOK_EVERY_S = 0.005
_TIMEOUT_S = 60.0

Look = tuple[float, int, int, int]
"""A moment in seconds; packets acknowledged by then, the window in packets, packets sent again."""


def measured(ground: Ground, *, size_bytes: int = SIZE_BYTES, seed: int = 1) -> Trace:
    """Fetch a file over a path that loses packets now and then, and note what happens.

    Raises:
        Unavailable: such a path cannot be had here.
        HostFailed: the transfer failed.
    """
    scenario = Scenario(
        "trace",
        "custom",
        size_bytes,
        mtu=1500,
        loss=LOSS,
        rtt_s=2 * DELAY_S,
        rate_bit_per_s=8 * RATE_BYTES_PER_S,
    )
    with ground.join(scenario) as joined:
        client, server = joined.client, joined.server
        source, looks = server.root / "trace.bin", server.work / "looks.json"
        fetched = client.work / "trace.bin"
        server.call("make_file", path=str(source), size_bytes=size_bytes, seed=seed)
        port = server.call("free_port")
        where = [str(server.root), joined.server_address, str(port), str(looks)]
        command = ["python", "-m", __name__, *where]
        server.call("start", name="trace", command=command, folder=str(server.work))
        try:
            wrong = server.call(
                "await_listening", name="trace", port=port, transport="udp", timeout_s=_TIMEOUT_S
            )
            if wrong:
                raise HostFailed(f"no trace: {wrong}")
            get = ["python", "-m", "udpft", "get", source.name, "-o", str(fetched)]
            at = ["-s", f"{joined.server_address}:{port}"]
            client.run(*get, *at, timeout_s=_TIMEOUT_S)
        finally:
            server.call("stop", name="trace")
            client.call("take_away", path=str(fetched))
        return trace_of(json.loads(server.run("cat", str(looks))), joined.means)


def trace_of(looks: list[Look], means: str) -> Trace:
    """The looks at a transfer, a moment for each round trip."""
    moments = [looks[0]]
    for look in looks[1:]:
        if look[0] - moments[-1][0] >= STEP_S:
            moments.append(look)
    if looks[-1] is not moments[-1]:
        moments.append(looks[-1])
    pairs = list(itertools.pairwise(moments))
    began_s = looks[0][0]
    return Trace(
        what=f"measured, {means}: {PATH}",
        link_bytes_per_s=RATE_BYTES_PER_S,
        at_s=tuple(after[0] - began_s for _, after in pairs),
        goodput_bytes_per_s=tuple(
            (after[1] - before[1]) * CHUNK_SIZE / (after[0] - before[0]) for before, after in pairs
        ),
        window_bytes=tuple(float(after[2] * CHUNK_SIZE) for _, after in pairs),
        lost_at_s=tuple(after[0] - began_s for before, after in pairs if after[3] > before[3]),
    )


def serve(root: str, host: str, port: str, looks_file: str) -> None:
    """Serve until SIGTERM; then write the looks at the first transfer."""
    from udpft.server.server import Server

    looks: list[Look] = []
    with Server(root, host=host, port=int(port)) as server:
        listener = server._listener

        def look_on() -> None:
            while True:
                # The other thread may end a transfer meanwhile: the next look is soon.
                with contextlib.suppress(RuntimeError):
                    for sender in listener.senders():
                        window, resent = sender.congestion.window, sender.packets_resent
                        looks.append((time.monotonic(), sender.delivered, window, resent))
                time.sleep(_LOOK_EVERY_S)

        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        threading.Thread(target=look_on, daemon=True).start()
        server.run()
    Path(looks_file).write_text(json.dumps(looks))


if __name__ == "__main__":
    serve(*sys.argv[1:])
