"""Outcome of a transfer or a request, as the server saw it: for the log, and for whoever counts."""

from __future__ import annotations

from typing import Any, NamedTuple

from udpft.errors import UdpftError


class Traffic(NamedTuple):
    """Traffic of a transfer that is over.

    ``bytes_sent``: bytes of all packets that left for it. ``packets_resent``: packets beyond one a
    chunk. ``bytes_received``: bytes of an upload that were new; None of a download.
    ``receiver_drops``: datagrams that the client's full buffer dropped. ``chunk_size``: bytes.
    ``client_rate``: bytes per second that the client asked not to exceed, 0 for no limit.
    ``sent_singly``: whether packets left one by one, because the path drops bursts.
    """

    bytes_sent: int
    packets_resent: int
    bytes_received: int | None
    receiver_drops: int
    chunk_size: int
    client_rate: int
    sent_singly: bool


class Refused(NamedTuple):
    """Request that no transfer came of.

    ``address``: the client's, as the driver names it. ``upload``: whether it would have brought
    something. ``error``: what the client was told.
    """

    name: str
    address: Any
    upload: bool
    error: UdpftError


class Outcome(NamedTuple):
    """Outcome of a transfer.

    ``address``: the client's, as the driver names it. ``size``: bytes of the file. ``seconds``:
    from the HELLO on. ``error`` is None where it ended well; ``confirmed``: the peer has said so.
    ``usage``: what the driver answered when it began, see `Listener`.
    """

    name: str
    address: Any
    size: int
    seconds: float
    error: UdpftError | None
    confirmed: bool
    traffic: Traffic
    usage: Any = None
