"""Origin of a file that did not come whole from one server: a part of it, or shares of several."""

from __future__ import annotations

from typing import NamedTuple

from udpft.protocol.wire.accept import Part


class ServerShare(NamedTuple):
    """Share of a file that one of several servers has sent: its address, and the bytes."""

    address: str
    bytes: int


class Origin(NamedTuple):
    """Origin of a file.

    ``part``: of a range, where in its file it lies, and of which version that is. ``servers``: of
    a file from several servers, which of them has sent how much.
    """

    part: Part | None = None
    servers: tuple[ServerShare, ...] = ()
