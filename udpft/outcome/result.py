"""Record of a client's finished transfer, which went well."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from udpft.outcome.usage import TOLD_AFTER_S, Usage, per_gigabyte
from udpft.protocol.params import CHUNK_SIZE

if TYPE_CHECKING:
    from pathlib import Path

    from udpft.outcome.bottleneck import Verdict
    from udpft.outcome.origin import Origin, ServerShare
    from udpft.outcome.tree import TreeRecord
    from udpft.protocol.wire.accept import Part
else:
    TreeRecord = Origin = Verdict = Any  # most have none


class Result(NamedTuple):
    """Record of a client's transfer: of one file, or of a tree.

    ``bytes``: the file's size. ``seconds``: from the request to the file under its name.
    ``resent_packets``: packets that were needed beyond one for each chunk. ``resumed_bytes``:
    those that were held already. ``hole_bytes``: those in holes of a sparse file, which are not
    sent. ``verified``: the sender's digest agrees; in plain, the SHA-256
    that was asked for. ``complete``: False where plain kept what came without the end.
    ``up_to_date``: the file was held before, byte for byte. ``files``: how many, of a tree;
    ``path`` is then their folder; ``local_path`` is the same as text. ``cpu_seconds``: of this
    process meanwhile. ``dropped_packets``: by the receiver's full buffer. ``verdict``: what
    limited a transfer of half a second or more: see `bottleneck`. ``tree``: of a tree, what did
    not come. ``sent_singly``: whether what came or left did so packet by packet, because the path
    drops the kernel's bursts. ``origin``: of a range, whose ``bytes`` are then its own, and of
    a file from several servers: see ``part`` and ``servers``.
    """

    name: str
    local_path: str
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
    verdict: Verdict | None = None
    tree: TreeRecord | None = None
    sent_singly: bool = False
    hole_bytes: int = 0
    origin: Origin | None = None

    @property
    def part(self) -> "Part | None":
        """Place of a range in its file, and the file's version; None of what is no range."""
        return self.origin.part if self.origin else None

    @property
    def servers(self) -> "tuple[ServerShare, ...]":
        """Shares of the servers that have sent a file at once; empty where one has."""
        return self.origin.servers if self.origin else ()

    @property
    def new_bytes(self) -> int:
        """Bytes of the file that crossed the network."""
        return self.bytes - self.resumed_bytes - self.hole_bytes

    @property
    def limited_by(self) -> str:
        """What limited the transfer, in a word or two; empty where nothing is known of it."""
        return self.verdict.limit if self.verdict else ""

    @property
    def limit(self) -> str:
        """The same in a sentence."""
        return self.verdict.words if self.verdict else ""

    @property
    def slow(self) -> bool:
        """Whether the transfer was so slow that this is worth telling."""
        return self.verdict is not None and self.verdict.slow

    @property
    def path(self) -> "Path":
        """The file, or the tree's folder, on this machine."""
        from pathlib import Path  # the command line does without

        return Path(self.local_path)

    @property
    def cpu_seconds_per_gb(self) -> float | None:
        """CPU seconds for each GB that crossed the network; None where too little did to tell."""
        return per_gigabyte(self.cpu_seconds, self.new_bytes)

    @property
    def rate_bytes_per_s(self) -> float:
        """Bytes of the file that crossed the network, per second."""
        return self.new_bytes / self.seconds if self.seconds > 0 else 0.0

    def measured(self, used: Usage, *, rate_limit: float, receives: bool) -> "Result":
        """Complete the record by what the transfer took at this end, and what limited it.

        Args:
            used: by this end meanwhile.
            rate_limit: bytes per second that were not to be exceeded; 0 for no limit.
            receives: whether the bytes came to this end, and so into its receive buffer.
        """
        drops = used.drops if receives else self.dropped_packets
        new_bytes = self.new_bytes
        result = self._replace(cpu_seconds=used.cpu_s, dropped_packets=drops)
        if used.at < TOLD_AFTER_S or not new_bytes or self.mode == "plain":
            return result
        from udpft.outcome.bottleneck import Evidence, judge  # short transfers do without

        verdict = judge(
            Evidence(
                used,
                new_bytes,
                packets=new_bytes // max(1, self.chunk_size),
                resent=self.resent_packets,
                rate_limit=rate_limit,
                drops=drops,
                receives=receives,
            )
        )
        return result._replace(verdict=verdict)
