"""Fates of bursts: paths that drop what leaves together, and let pass what leaves alone.

Two kinds are found. Some paths drop the kernel's segmented bursts whole, without an error: there,
bursts between two single packets that arrived are lost to the last packet, again and again. And a
policer whose bucket holds one packet lets pass the first packet of every burst, and no other. Loss
by chance, and a path that is cut for a while, look like neither: any burst of which another part
arrives ends the suspicion. A full queue that is sent twice what it carries has room for one packet
of two for a while, too; but it let whole bursts pass before it was full, which a policer does not.
"""

from __future__ import annotations

from math import inf
from typing import Final

VANISHED_BURSTS: Final = 3
VANISHED_PACKETS: Final = 12
"""Bursts, and packets in them, lost whole between single packets that arrived, after which bursts
are taken to vanish."""

BEHEADED_BURSTS: Final = 4
BEHEADED_PACKETS: Final = 8
"""Bursts in a row of which the first packet arrived alone, and packets lost behind it, after which
the path is taken to pass one at a time: by chance, at half of the packets lost, 1 in 4,000 runs."""

BEHEADED_AFTER_WHOLE: Final = 256
"""The same, where a burst has arrived whole before: the path has become another one."""


class BurstFates:
    """Fates of the bursts of one sender.

    Attributes:
        bursts_vanish: whether bursts are lost whole, and single packets are not. Never taken back.
        only_first_passes: whether the first packet of each burst arrives, and no other. Likewise.
    """

    __slots__ = (
        "_beheaded",
        "_beheaded_packets",
        "_first_single",
        "_lost_until",
        "_needed",
        "_vanished",
        "_vanished_packets",
        "_waiting_bursts",
        "_waiting_packets",
        "bursts_vanish",
        "only_first_passes",
    )

    def __init__(self) -> None:
        self._beheaded = 0
        self._beheaded_packets = 0
        self._needed = BEHEADED_BURSTS
        self.bursts_vanish = False
        self.only_first_passes = False
        self._forget()

    def _forget(self) -> None:
        """Forget what has vanished: a burst has arrived, in part at least."""
        self._first_single = inf
        """Number of the first single packet that arrived since then; inf before one has."""
        self._lost_until = -1
        """Number after the last burst that was lost whole since then."""
        self._waiting_bursts = 0
        """Bursts lost whole after a single packet arrived, and before the next one has."""
        self._waiting_packets = 0
        """Packets in them."""
        self._vanished = 0
        """Bursts lost whole between single packets that arrived."""
        self._vanished_packets = 0
        """Packets in them."""

    def note(self, first: int, count: int, lost: int) -> None:
        """Take in a burst of ``count`` packets from number ``first`` on, once all are known of.

        ``lost`` is the mask of those that are lost.
        """
        if count == 1:
            if not lost:
                self._note_single(first)
            else:  # it is not only bursts that are lost: a path that is cut, or crowded
                self._waiting_bursts = self._waiting_packets = 0
        elif not lost:
            self._needed = BEHEADED_AFTER_WHOLE
            if self._first_single < inf or self._beheaded:
                self._forget()
                self._beheaded = self._beheaded_packets = 0
        elif lost.bit_count() == count:
            if self._first_single < first:
                self._waiting_bursts += 1
                self._waiting_packets += count
                self._lost_until = max(self._lost_until, first + count)
        else:
            self._forget()
            self._note_part(count, lost)

    def _note_single(self, number: int) -> None:
        self._first_single = min(self._first_single, number)
        if self._waiting_bursts and number >= self._lost_until:
            self._vanished += self._waiting_bursts
            self._vanished_packets += self._waiting_packets
            self._waiting_bursts = self._waiting_packets = 0
            enough = self._vanished_packets >= VANISHED_PACKETS
            self.bursts_vanish |= enough and self._vanished >= VANISHED_BURSTS

    def _note_part(self, count: int, lost: int) -> None:
        if lost & 1 or lost.bit_count() != count - 1:
            self._beheaded = self._beheaded_packets = 0
            return
        self._beheaded += 1
        self._beheaded_packets += count - 1
        enough = self._beheaded_packets >= BEHEADED_PACKETS
        self.only_first_passes |= enough and self._beheaded >= self._needed
