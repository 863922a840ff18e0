"""Conclusion from the rows of a measurement: what they say together, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from udpft.diagnosis.speed import Row

_LOSSY, _MANY = 0.01, 200
"""Share of packets sent again that is worth a word, and packets of which it is one."""

_SLOWER = 0.85
"""What part of memory's rate a file must reach, not to be called slower: the noise is as large."""

_TOO_SMALL = 0.25
"""What share of a round's bytes a file must have, to tell of disks."""


def conclusion(rows: Sequence[Row]) -> str:
    """Conclusion from all rows, in a sentence."""
    measured = {
        (row.what, row.direction): row for row in rows if row.results and row.mode == "reliable"
    }
    lossy = max((row.resent_share for row in rows if row.packets >= _MANY), default=0.0)
    if lossy >= _LOSSY:
        return f"The path loses packets: {100 * lossy:.2g} % of a row's were sent again."
    memory, file = (measured.get((what, "down")) for what in ("memory", "file"))
    if not measured:
        return "Nothing could be measured."
    if not memory or not file:
        return "Next to nothing was lost on the way."
    part = file.rate_bytes_per_s / memory.rate_bytes_per_s
    if file.results[0].bytes < _TOO_SMALL * memory.results[0].bytes:
        return "The file is too small to tell of the disks: beginning and ending is most of it."
    if part < _SLOWER:
        return f"A file comes at {part:.2f} of the rate out of memory: the rest is what disks cost."
    return "A file comes as fast as what is in memory: the disks keep up."
