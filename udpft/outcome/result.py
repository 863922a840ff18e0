"""What there is to tell of a transfer that went well."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from udpft.outcome.bottleneck import per_gigabyte
from udpft.protocol.params import CHUNK_SIZE


class Result(NamedTuple):
    """One file, fetched or brought.

    ``bytes``: the file's size. ``seconds``: from the request to the file under its name.
    ``resent_packets``: packets that were needed beyond one for each chunk. ``resumed_bytes``:
    those that were here already. ``verified``: the sender's digest agrees; in plain, the SHA-256
    that was asked for. ``complete``: False where plain kept what came without the end.
    ``up_to_date``: the file was here before, byte for byte. ``files``: how many, of a tree;
    ``path`` is then their folder. ``cpu_seconds``: of this process meanwhile. ``dropped_packets``:
    by the receiver's full buffer. ``limited_by``: what limited a transfer of half a second or more,
    in a word or two, and ``limit``, in a sentence; ``slow``: whether it is worth telling: see
    `effort`.
    """

    name: str
    path: Path
    bytes: int
    seconds: float
    digest: str
    resent_packets: int
    mode: Literal["reliable", "plain"]
    verified: bool
    resumed_bytes: int = 0
    chunk_size: int = CHUNK_SIZE
    complete: bool = True
    up_to_date: bool = False
    files: int = 1
    cpu_seconds: float = 0.0
    dropped_packets: int = 0
    limited_by: str = ""
    limit: str = ""
    slow: bool = False

    @property
    def cpu_seconds_per_gb(self) -> float | None:
        """For each GB that came over the network; None where too little did to tell."""
        return per_gigabyte(self.cpu_seconds, self.bytes - self.resumed_bytes)

    @property
    def rate_bytes_per_s(self) -> float:
        """Bytes of the file that came over the network, per second."""
        return (self.bytes - self.resumed_bytes) / self.seconds if self.seconds > 0 else 0.0
