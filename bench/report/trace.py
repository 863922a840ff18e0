"""Trace of one reliable transfer on a simulated path, where none could be measured.

The clock is virtual and the draws are seeded, so that the picture is the same on any machine, and
changes only where the engine does. Both ends are the real ones; see ``tests/simnet.py``.
"""

from __future__ import annotations

from bench.result import Trace
from bench.traced import CHUNK_SIZE, DELAY_S, LOSS, PATH, RATE_BYTES_PER_S, SIZE_BYTES, STEP_S
from udpft.testing.network import Shape, SimNet, random_bytes


def simulated(size_bytes: int = SIZE_BYTES, *, seed: int = 1) -> Trace:
    """Fetch a file over 100 Mbit/s, 40 ms and 0.1 % loss in memory, and note what happens."""
    shape = Shape(
        delay_s=DELAY_S,
        rate_bytes_per_s=RATE_BYTES_PER_S,
        queue_bytes=RATE_BYTES_PER_S * 2 * DELAY_S,
        mtu_payload=1472,
        loss=LOSS,
    )
    net = SimNet({"file": random_bytes(size_bytes)}, seed=seed, down=shape, up=Shape(DELAY_S))
    client = net.get("file", chunk_size=CHUNK_SIZE)
    columns: dict[str, list[float]] = {"at": [], "goodput": [], "window": [], "lost": []}
    done = resent = 0
    moment = 0.0
    while client.outcome is None:
        moment += STEP_S
        net.run_to(moment)
        for sender in net.listener.senders():
            columns["lost"] += [moment] * (sender.packets_resent > resent)
            resent = sender.packets_resent
            written = client.sink.written if client.sink else 0
            columns["at"].append(moment)
            columns["goodput"].append((written - done) / STEP_S)
            columns["window"].append(float(sender.congestion.window * CHUNK_SIZE))
            done = written
    return Trace(
        what=f"simulated: {PATH}",
        link_bytes_per_s=RATE_BYTES_PER_S,
        at_s=tuple(columns["at"]),
        goodput_bytes_per_s=tuple(columns["goodput"]),
        window_bytes=tuple(columns["window"]),
        lost_at_s=tuple(columns["lost"]),
    )
