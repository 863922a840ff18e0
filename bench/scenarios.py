"""Scenarios to be measured: the full table and the quick one.

What takes longest comes last: a run that is broken off has the rest.

Each group varies one thing. ``lan`` is everybody on the bare network; the other groups take fewer
modes, because nobody waits a day for a benchmark. Names are what reports, ``--only`` and
comparisons go by.
"""

from __future__ import annotations

from bench.result import Scenario

KI, MI, GI = 1 << 10, 1 << 20, 1 << 30

SWEEP = ("udpft", "udpft again", "nginx + curl", "aioquic")
"""Who takes part where one thing is varied: the subject, twice; the reference; the nearest kin."""

FAST = ("udpft", "udpft again", "udpft auto", "nginx + curl", "Python sendfile")
"""Who takes part where files are large."""

PLAIN_SAILING = ("udpft", "udpft again", "nginx + curl")
"""Who takes part where it takes longest: nobody who would be there for the company."""

CUBIC = "nginx + curl, cubic"

FAR = ("udpft", "udpft again", "nginx + curl", CUBIC, "aioquic")
"""Who takes part where packets are lost or late: TCP under both of its usual controllers."""

FAR_TOO = (*FAR, "srt-file-transmit")
"""The same with one that needs patience."""

FARTHEST = ("udpft", "udpft again", "nginx + curl", CUBIC)
"""The same without those that need half a minute for each file."""

WAN_BIT_PER_S = 100e6
"""Of the shaped paths, where nothing else is said; the link emulator carries five times as much."""


def lan(size_bytes: int) -> list[Scenario]:
    """Everybody, on the bare network, at both MTUs."""
    return [
        Scenario("lan-9000", "lan", size_bytes, mtu=9000),
        Scenario("lan-1500", "lan", size_bytes, mtu=1500),
    ]


def sizes(*all_bytes: int) -> list[Scenario]:
    """Files of several sizes."""
    return [Scenario(f"size-{_size(n)}", "size", n, modes=_for_size(n)) for n in all_bytes]


def losses(
    size_bytes: int, rtt_s: float, *shares: float, modes: tuple[str, ...] = FAR_TOO
) -> list[Scenario]:
    """Loss on a path of 100 Mbit/s."""
    return [
        Scenario(
            f"loss-{share * 100:g}%",
            "loss",
            size_bytes,
            mtu=1500,
            loss=share,
            rtt_s=rtt_s,
            rate_bit_per_s=WAN_BIT_PER_S,
            modes=modes,
        )
        for share in shares
    ]


def round_trips(size_bytes: int, *all_s: float, modes: tuple[str, ...] = FAR_TOO) -> list[Scenario]:
    """Delay on a path of 100 Mbit/s that loses nothing by itself."""
    return [
        Scenario(
            f"rtt-{rtt_s * 1000:g}ms",
            "rtt",
            size_bytes,
            mtu=1500,
            rtt_s=rtt_s,
            rate_bit_per_s=WAN_BIT_PER_S,
            modes=modes,
        )
        for rtt_s in all_s
    ]


def rates(
    size_bytes: int, rtt_s: float, *all_bit_per_s: float, modes: tuple[str, ...] = FAR[:-1]
) -> list[Scenario]:
    """Links of several rates that lose nothing by themselves."""
    return [
        Scenario(
            f"rate-{bit_per_s / 1e6:g}M",
            "rate",
            size_bytes,
            mtu=1500,
            rtt_s=rtt_s,
            rate_bit_per_s=bit_per_s,
            modes=modes,
        )
        for bit_per_s in all_bit_per_s
    ]


def crowds(total_bytes: int, *counts: int) -> list[Scenario]:
    """Several clients at once, the same bytes in all."""
    return [
        Scenario(f"clients-{n}", "clients", total_bytes // n, clients=n, modes=PLAIN_SAILING)
        for n in counts
    ]


def _for_size(n_bytes: int) -> tuple[str, ...]:
    if n_bytes < 64 * MI:
        return SWEEP
    return FAST if n_bytes <= GI else PLAIN_SAILING


def _size(n_bytes: int) -> str:
    for unit, name in ((GI, "GiB"), (MI, "MiB"), (KI, "KiB")):
        if n_bytes >= unit:
            return f"{n_bytes // unit}{name}"
    return f"{n_bytes}B"


FULL = [
    *lan(128 * MI),
    Scenario("lan-1500-loss-1%", "lan", 64 * MI, mtu=1500, loss=0.01, modes=FAR_TOO),
    *sizes(1 * KI, 64 * KI, 1 * MI, 16 * MI, 128 * MI, 1 * GI),
    *losses(8 * MI, 0.020, 0.0, 0.01, 0.02),
    *losses(8 * MI, 0.020, 0.05, modes=FARTHEST),
    *losses(8 * MI, 0.020, 0.10, modes=PLAIN_SAILING),
    *round_trips(8 * MI, 0.002, 0.020, 0.100),
    *round_trips(8 * MI, 0.300, modes=FARTHEST),
    *rates(16 * MI, 0.020, 100e6, 200e6, 500e6),
    *crowds(64 * MI, 1, 4, 16, 64),
    *sizes(4 * GI),
]

QUICK = [
    *lan(32 * MI),
    *sizes(1 * KI, 1 * MI, 128 * MI),
    *losses(4 * MI, 0.020, 0.0, 0.01, modes=FAR[:-1]),
    *round_trips(4 * MI, 0.002, 0.050, modes=FAR[:-1]),
    *crowds(16 * MI, 1, 8),
]
