"""Records of a server: of finished transfers, well or not, and of refused requests."""

from __future__ import annotations

from typing import Literal, NamedTuple

from udpft.errors import UdpftError


class Refused(NamedTuple):
    """Record of a request that a server has refused: no transfer came of it.

    ``peer``: the client's address. ``upload``: whether it would have brought something. ``error``:
    what the client was told; in plain, which has no errors, it was told nothing.
    """

    name: str
    peer: str
    mode: Literal["reliable", "plain"]
    upload: bool
    error: UdpftError


class Served(NamedTuple):
    """Record of a server's transfer, whether it went well or not.

    ``bytes``: the file's size; ``bytes_sent``: what left for it, headers and repeats included,
    and less than that where the client had some of it. ``error`` is None where it ended well.
    ``verified``: the client has said that it has the file and that the digests agree; never so
    in plain. ``bytes_received``: of an upload, those of the file that were new; else None.
    ``cpu_seconds``: of the whole server meanwhile, other transfers included; for each GB that it
    moved then, ``cpu_seconds_per_gb``. ``dropped_packets``, ``limited_by``, ``limit``, ``slow``
    and ``sent_singly``: see `Result`; by what this end knows of it.
    """

    name: str
    peer: str
    mode: Literal["reliable", "plain"]
    bytes: int
    bytes_sent: int
    seconds: float
    resent_packets: int
    verified: bool
    error: UdpftError | None
    bytes_received: int | None = None
    cpu_seconds: float = 0.0
    cpu_seconds_per_gb: float | None = None
    dropped_packets: int = 0
    limited_by: str = ""
    limit: str = ""
    slow: bool = False
    sent_singly: bool = False

    @property
    def new_bytes(self) -> int:
        """Bytes of the file that crossed the network."""
        sent = self.bytes_sent if self.bytes_received is None else self.bytes_received
        return min(self.bytes, sent)

    @property
    def rate_bytes_per_s(self) -> float:
        """Bytes of the file, as far as they were sent, per second."""
        return self.new_bytes / self.seconds if self.seconds > 0 else 0.0
