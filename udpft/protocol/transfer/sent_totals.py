"""Totals of a sender: packets and bytes that have left."""


class SentTotals:
    """Totals of a sender.

    Attributes:
        packets: DATA packets that left, repeats included.
        resent: those that carried a chunk again.
        n_bytes: bytes of all packets.
    """

    __slots__ = ("n_bytes", "packets", "resent")

    def __init__(self) -> None:
        self.packets = 0
        self.resent = 0
        self.n_bytes = 0
