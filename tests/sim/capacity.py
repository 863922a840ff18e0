"""Share of a path's capacity that one transfer uses: a table, kept beside this file.

Goodput ÷ capacity, of a file that would take four seconds, from the first HELLO to the verified
end: handshake and start-up count. The ends are the real ones, on a simulated path of 100 Mbit/s
and MTU 1500; the capacity is what of the rate payload can be, less what the path loses.

The table is committed, so that a change of the controller shows as a difference in it. Everything
in it follows from the seed; no clock and no hash has a say. ``python -m tests.sim.capacity`` plays
all of it and writes it anew: ``make snapshot``. (After smoltcp's ``tests/netsim.rs``.)
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from udpft.testing.network import Inbox, Shape, SimNet, random_bytes

TABLE = Path(__file__).with_suffix(".txt")

LOSSES = (0.0, 0.001, 0.01, 0.05, 0.1)
QUEUES_BDP = (0.25, 1.0, 4.0)
RTTS_S = (0.001, 0.040, 0.100, 0.300)

RATE_BYTES_PER_S = 12.5e6
CHUNK_BYTES = 1448
PACKET_BYTES = 1500
FILE_BYTES = int(4 * RATE_BYTES_PER_S * CHUNK_BYTES / PACKET_BYTES)
MIN_QUEUE_BYTES = 2 * PACKET_BYTES
RECEIVE_BUFFER_BYTES = 4e6
SEED = 1


class Cell(NamedTuple):
    """A path: share of packets lost each way, queue in bandwidth-delay products, round trip."""

    loss: float
    queue_bdp: float
    rtt_s: float


CELLS = [Cell(loss, queue, rtt) for rtt in RTTS_S for queue in QUEUES_BDP for loss in LOSSES]

SELECTION = [
    Cell(0.0, 1.0, 0.040),
    Cell(0.01, 0.25, 0.040),
    Cell(0.05, 1.0, 0.100),
    Cell(0.1, 4.0, 0.300),
    Cell(0.0, 4.0, 0.001),
]
"""What the default run plays: each value of each axis at least once, but for the dearest."""


def share(cell: Cell) -> float:
    """Goodput ÷ capacity of one transfer."""
    shape = Shape(
        delay_s=cell.rtt_s / 2,
        rate_bytes_per_s=RATE_BYTES_PER_S,
        queue_bytes=max(MIN_QUEUE_BYTES, cell.queue_bdp * RATE_BYTES_PER_S * cell.rtt_s),
        mtu_payload=PACKET_BYTES - 28,
        loss=cell.loss,
    )
    content = random_bytes(FILE_BYTES)
    net = SimNet({"file": content}, seed=SEED, down=shape, up=shape)
    client = net.get("file", inbox=Inbox(RECEIVE_BUFFER_BYTES))
    net.run()
    assert client.content == content
    capacity = RATE_BYTES_PER_S * CHUNK_BYTES / PACKET_BYTES * (1 - cell.loss)
    return FILE_BYTES / client.ended_at / capacity


def render(shares: dict[Cell, str]) -> str:
    """The table as text: a line for each round trip and queue, a column for each loss."""
    lines = ["goodput / capacity     " + "".join(f"{f'loss {p:.1%}':>12}" for p in LOSSES)]
    for rtt_s in RTTS_S:
        lines.append("")
        for queue in QUEUES_BDP:
            cells = (shares[Cell(loss, queue, rtt_s)] for loss in LOSSES)
            head = f"{rtt_s * 1000:4.0f} ms, {queue:4.2f} BDP"
            lines.append(f"{head:23}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines) + "\n"


def read(text: str) -> dict[Cell, str]:
    """The cells of a table, as they stand there."""
    rows = [line.split("BDP")[1].split() for line in text.splitlines()[1:] if line]
    return dict(zip(CELLS, (cell for row in rows for cell in row), strict=True))


def play(cells: Iterable[Cell]) -> dict[Cell, str]:
    """Play paths, on all processors; shares to two digits."""
    cells = list(cells)
    with multiprocessing.get_context("fork").Pool() as pool:
        return {
            cell: f"{value:.2f}"
            for cell, value in zip(cells, pool.map(share, cells, chunksize=1), strict=True)
        }


def main() -> None:
    """Play all of it, write the table and print it."""
    text = render(play(CELLS))
    TABLE.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
