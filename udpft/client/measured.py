"""A client's transfer, with what it took at this end and what limited it."""

from __future__ import annotations

from collections.abc import Callable

from udpft.client.client import Client
from udpft.outcome.bottleneck import Evidence, Usage, judge
from udpft.outcome.result import Result


def _usage(client: Client) -> Usage:
    return Usage.now(client.waited_s, drops=client.receive_queue()[1])


def measured(client: Client, transfer: Callable[[], Result], *, receives: bool = True) -> Result:
    """Run a transfer of a client's; return its result, completed by what it took.

    Args:
        client: who runs it.
        transfer: runs it.
        receives: whether the file comes here, and so into this end's receive buffer.

    Raises:
        UdpftError: what the transfer does.
    """
    before = _usage(client)
    result = transfer()
    used = _usage(client).since(before)
    drops = used.drops if receives else result.dropped_packets
    new_bytes = result.bytes - result.resumed_bytes
    verdict = judge(
        Evidence(
            used,
            new_bytes,
            packets=new_bytes // max(1, result.chunk_size),
            resent=result.resent_packets,
            rate_limit=client.limit_rate,
            drops=drops,
            receives=receives,
        )
    )
    result = result._replace(cpu_seconds=used.cpu_s, dropped_packets=drops)
    if verdict is None or not new_bytes or result.mode == "plain":
        return result
    return result._replace(limited_by=verdict.limit, limit=verdict.words, slow=verdict.slow)
