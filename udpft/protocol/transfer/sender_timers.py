"""Timers of a sender: what it has to do when, and how patient it is."""

from __future__ import annotations

from math import inf
from typing import Final

_DISK_PATIENCE: Final = 0.75
"""Part of the idle timeout after which a disk that brings nothing has failed."""


class SenderTimers:
    """Times of a sender, in seconds on the driver's clock.

    Attributes:
        idle_timeout_s: seconds without progress after which the transfer has failed.
        sent_at: when a packet left last.
        progress_at: when something new was acknowledged last, or chunks were passed over.
        heard_at: when an ACK came last.
        spoken_at: when any packet of this transfer came last that shows that the peer knows it.
        loss_at: when the next packet is overdue, and so lost; inf while none is.
        ptos: probe timeouts since something new was acknowledged (RFC 9002, 6.2).
        probes: packets that may leave beyond the windows, as a probe.
        source_at: when the file is asked again, for it was not ready; 0 while it is.
        data_first: whether the next probe is led by DATA, and not by ACCEPT.
    """

    __slots__ = (
        "data_first",
        "heard_at",
        "idle_timeout_s",
        "loss_at",
        "probes",
        "progress_at",
        "ptos",
        "sent_at",
        "source_at",
        "spoken_at",
    )

    def __init__(self, now: float, idle_timeout_s: float) -> None:
        self.idle_timeout_s = idle_timeout_s
        self.sent_at = now
        self.progress_at = now
        self.heard_at = now
        self.spoken_at = now
        self.loss_at = inf
        self.ptos = 0
        self.probes = 0
        self.data_first = False
        self.source_at = 0.0

    @property
    def patience_ends_at(self) -> float:
        """When a transfer without progress has failed."""
        return self.progress_at + self.idle_timeout_s

    @property
    def disk_patience_ends_at(self) -> float:
        """When one has failed whose disk brings nothing: before the peer blames the path."""
        return self.progress_at + self.idle_timeout_s * _DISK_PATIENCE
