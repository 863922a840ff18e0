"""Quantities and scenarios in words."""

from __future__ import annotations

from bench.result import Scenario

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def size(n_bytes: int) -> str:
    """``64 MiB``: sizes of files, which are powers of two."""
    for unit, name in _UNITS:
        if n_bytes >= unit:
            return f"{n_bytes / unit:.4g} {name}"
    return f"{n_bytes} B"


def rate(bytes_per_s: float) -> str:
    """``512 MB/s``: three digits and not more, because no figure here is better."""
    if bytes_per_s >= 1e9:
        return f"{bytes_per_s / 1e9:.2f} GB/s"
    if bytes_per_s < 1e6:
        return f"{three_digits(bytes_per_s / 1e3)} kB/s"
    return f"{three_digits(bytes_per_s / 1e6)} MB/s"


def three_digits(value: float) -> str:
    """``1,080`` or ``27.6``: a figure without its unit."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


def bits(bit_per_s: float) -> str:
    """``100 Mbit/s``."""
    return f"{bit_per_s / 1e9:g} Gbit/s" if bit_per_s >= 1e9 else f"{bit_per_s / 1e6:g} Mbit/s"


def ratio(value: float) -> str:
    """``0.81``; ``0.0042`` where two decimals would leave nothing."""
    return f"{value:.2f}" if value >= 0.095 else f"{value:#.2g}"


def times(seconds: float) -> str:
    """``20 ms``."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def when(stamp: str) -> str:
    """``2026-10-05, 14:00 UTC``, of a run's stamp."""
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}, {stamp[9:11]}:{stamp[11:13]} UTC"


def path(scenario: Scenario) -> str:
    """What is fetched over what, in words: ``64 MiB at MTU 1500, 1 % loss, 100 Mbit/s``."""
    words = [f"{size(scenario.size_bytes)} at MTU {scenario.mtu}"]
    if scenario.clients > 1:
        words[0] = f"{scenario.clients} × {words[0]}"
    if scenario.loss:
        words.append(f"{scenario.loss * 100:g} % loss")
    if scenario.rate_bit_per_s:
        words.append(bits(scenario.rate_bit_per_s))
    if scenario.rtt_s:
        words.append(f"{times(scenario.rtt_s)} round trip")
    return ", ".join(words)


def count(n: int, one: str, many: str = "") -> str:
    """``1 run``, ``2 runs``."""
    return f"{n} {one if n == 1 else many or one + 's'}"
