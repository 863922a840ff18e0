"""Command-line words for links: ``--rate 100M --delay 50ms --queue 1bdp --loss 1%``."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import replace

from bench.links.emulator import COALESCE_S
from bench.links.shape import LinkShape
from udpft.units import parse_bytes

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|µs|ms|s)?")
_UNIT_S = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, None: 1.0}


def link_arguments() -> argparse.ArgumentParser:
    """A parent parser with the arguments of a symmetric link."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("link", "the same in both directions")
    group.add_argument("--rate", type=parse_bytes, help="bits per second: 100M (default: no limit)")
    group.add_argument("--delay", type=parse_seconds, default=0.0, help="one way: 50ms")
    group.add_argument("--queue", default="1bdp", help="room before the bottleneck: 64K, 0.5bdp")
    for word, what in (
        ("loss", "lost"),
        ("reorder", "held back"),
        ("duplicate", "doubled"),
        ("corrupt", "damaged"),
    ):
        text = f"share of packets {what}: 1%% or 0.01"
        group.add_argument(f"--{word}", type=parse_share, default=0.0, help=text)
    group.add_argument("--seed", type=int, default=1, help="of the random draws")
    coalesced = "how long the receiving ends gather packets: 200us (the default); 0: not at all"
    group.add_argument("--coalesce", type=parse_seconds, default=COALESCE_S, help=coalesced)
    group.add_argument("--mtu", type=int, default=1500, help="bytes of an IP packet")
    return parser


def link_shapes(args: argparse.Namespace) -> tuple[LinkShape, LinkShape]:
    """The two directions that parsed ``link_arguments`` ask for: alike but for their draws.

    Raises:
        ValueError: the queue's text is no size.
    """
    rate_bit_per_s = float(args.rate or math.inf)
    forth = LinkShape(
        rate_bit_per_s=rate_bit_per_s,
        delay_s=args.delay,
        queue_bytes=parse_queue(args.queue, rate_bit_per_s, rtt_s=2 * args.delay, mtu=args.mtu),
        loss=args.loss,
        reorder=args.reorder,
        duplicate=args.duplicate,
        corrupt=args.corrupt,
        seed=args.seed,
    )
    return forth, replace(forth, seed=args.seed + 1)


def parse_seconds(text: str) -> float:
    """Read ``"50ms"``, ``"300us"`` or ``"0.05"`` as seconds; raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a duration: write 50ms, 300us or 0.05")
    return float(match[1]) * _UNIT_S[match[2]]


def parse_share(text: str) -> float:
    """Read ``"1%"`` or ``"0.01"`` as a share; raises ValueError."""
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def parse_queue(text: str, rate_bit_per_s: float, *, rtt_s: float, mtu: int) -> float:
    """Read ``"64K"`` or ``"1bdp"`` (rate × round trip) as bytes, at least two full packets."""
    if text.endswith("bdp"):
        n_bytes = float(text[:-3]) * rate_bit_per_s / 8 * rtt_s if rtt_s else math.inf
    else:
        n_bytes = parse_bytes(text)
    return max(n_bytes, 2.0 * mtu)
