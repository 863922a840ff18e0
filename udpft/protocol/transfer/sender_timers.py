"""Timers of a sender: what it has to do when, and how patient it is."""

from __future__ import annotations

from math import inf
from typing import Final

from udpft.protocol.params import FIN_PATIENCE_S, GRANULARITY_S, QUIET_S
from udpft.protocol.transfer.work_budget import BURSTS_A_TURN, WorkShare

HASHING_PATIENCE_S: Final = 5.0
"""Seconds for which a server hashes what a client holds that says nothing: one that hears nothing
asks each second. So two datagrams buy no more than these."""

_DISK_PATIENCE: Final = 0.75
"""Part of the idle timeout after which a disk that brings nothing has failed."""

assert HASHING_PATIENCE_S > 3 * QUIET_S


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
        fin_patience_s: seconds without a word after which a peer that was sent everything has left.
        hash_at: when chunks that the peer holds are hashed on; inf where it has been silent for
            `HASHING_PATIENCE_S`.
    """

    __slots__ = (
        "data_first",
        "fin_patience_s",
        "hash_at",
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
        self.fin_patience_s = min(FIN_PATIENCE_S, idle_timeout_s)
        self.source_at = 0.0
        self.hash_at = now

    def note_peer(self, now: float) -> None:
        """Note that the peer has said something."""
        self.spoken_at = now
        self.hash_at = min(self.hash_at, now)

    def bursts_to_hash(self, work: WorkShare | None, now: float) -> int:
        """Take what may be hashed now of what the peer holds; in bursts.

        A server hashes for a peer that shows that it is there, as long as its turn allows.
        """
        if work is None:
            return BURSTS_A_TURN
        if now >= self.spoken_at + HASHING_PATIENCE_S:
            self.hash_at = inf
        if now < self.hash_at:
            return 0
        bursts = work.take()
        self.hash_at = now + GRANULARITY_S if bursts else now
        return bursts

    def waits_for_itself(self, *, hashes: bool) -> bool:
        """Whether this end waits for its disk, or has something to hash and does so."""
        return self.source_at > 0 or (hashes and self.hash_at < inf)

    @property
    def patience_ends_at(self) -> float:
        """When a transfer without progress has failed."""
        return self.progress_at + self.idle_timeout_s

    @property
    def disk_patience_ends_at(self) -> float:
        """When one has failed whose disk brings nothing: before the peer blames the path."""
        return self.progress_at + self.idle_timeout_s * _DISK_PATIENCE
