"""Report on a finished reliable transfer: its `Served` record, made of its `Outcome`."""

from __future__ import annotations

from operator import itemgetter

from udpft.net.address import Address
from udpft.outcome.bottleneck import Evidence, judge
from udpft.outcome.served import Served
from udpft.outcome.usage import Usage, per_gigabyte
from udpft.protocol.server.outcome import Outcome


def report(outcome: Outcome, usage: Usage, *, max_rate: int) -> Served:
    """Make the record of a finished transfer, with the bottleneck if it ended well.

    Args:
        outcome: of the transfer; its ``usage`` is the server's when it began.
        usage: the server's, now.
        max_rate: bytes per second that the server allows a transfer; 0 for no limit.
    """
    # An upload's last words linger; what happens meanwhile is no part of it.
    used = usage.since(outcome.usage)._replace(at=outcome.seconds)
    traffic = outcome.traffic
    limits = [(max_rate, "--max-rate"), (traffic.client_rate, "the client's --limit-rate")]
    rate_limit, limiter = min(filter(itemgetter(0), limits), default=(0, ""))
    received = traffic.bytes_received
    drops = traffic.receiver_drops if received is None else used.drops
    n_bytes = min(outcome.size, traffic.bytes_sent) if received is None else received
    evidence = Evidence(
        used,
        n_bytes,
        packets=n_bytes // max(1, traffic.chunk_size),
        resent=traffic.packets_resent,
        rate_limit=rate_limit,
        limiter=limiter,
        drops=drops,
        receives=received is not None,
    )
    verdict = None if outcome.error else judge(evidence)
    return Served(
        name=outcome.name,
        peer=str(Address.of(outcome.address)),
        mode="reliable",
        bytes=outcome.size,
        bytes_sent=traffic.bytes_sent,
        seconds=outcome.seconds,
        resent_packets=traffic.packets_resent,
        verified=outcome.confirmed,
        error=outcome.error,
        bytes_received=received,
        cpu_seconds=used.cpu_s,
        cpu_seconds_per_gb=per_gigabyte(used.cpu_s, used.moved),
        dropped_packets=drops,
        limited_by=verdict.limit if verdict else "",
        limit=verdict.words if verdict else "",
        slow=verdict is not None and verdict.slow,
        sent_singly=traffic.sent_singly,
    )
