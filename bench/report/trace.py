"""One reliable transfer over time, on a simulated path: what the controller does with it.

The clock is virtual and the draws are seeded, so that the picture is the same on any machine, and
changes only where the engine does. Both ends are the real ones; see ``tests/simnet.py``.
"""

from __future__ import annotations

from bench.result import Trace
from tests.simnet import Shape, SimNet, random_bytes

RATE_BYTES_PER_S = 12.5e6
DELAY_S = 0.020
LOSS = 0.001
CHUNK_SIZE = 1448
_SIZE_BYTES = 30_000_000
_STEP_S = 2 * DELAY_S


def simulated(size_bytes: int = _SIZE_BYTES, *, seed: int = 1) -> Trace:
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
        moment += _STEP_S
        net.run_to(moment)
        for sender in net.listener.senders():
            columns["lost"] += [moment] * (sender.packets_resent > resent)
            resent = sender.packets_resent
            written = client.sink.written if client.sink else 0
            columns["at"].append(moment)
            columns["goodput"].append((written - done) / _STEP_S)
            columns["window"].append(float(sender.congestion.window * CHUNK_SIZE))
            done = written
    return Trace(
        what="simulated: 100 Mbit/s, 40 ms round trip, 0.1 % loss, a queue of one round trip",
        link_bytes_per_s=RATE_BYTES_PER_S,
        at_s=tuple(columns["at"]),
        goodput_bytes_per_s=tuple(columns["goodput"]),
        window_bytes=tuple(columns["window"]),
        lost_at_s=tuple(columns["lost"]),
    )
