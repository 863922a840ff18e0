"""Sizes, rates and durations, read from and written for people.

Sizes and rates take the suffixes K, M, G, T (powers of 1000) and Ki, Mi, Gi, Ti (powers of 1024),
as curl, iperf3 and dd's users expect. Rates print in MB/s and Gbit/s side by side, so that nobody
has to multiply by eight in their head.
"""

from __future__ import annotations

import re

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?(?:/s)?", re.IGNORECASE)
_MULTIPLIER = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


def parse_bytes(text: str) -> int:
    """Read ``"10M"``, ``"1.5Gi"`` or ``"4096"`` as a number of bytes (or bytes per second).

    Raises:
        ValueError: the text is no quantity, with a message that shows what one looks like.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a size: write 4096, 10M, 1.5G or 64Ki")
    return round(float(match[1]) * _MULTIPLIER[(match[2] or "").lower()])


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"


def format_bytes(n_bytes: float) -> str:
    """Write a size with three digits: ``"512 B"``, ``"1.05 MB"``."""
    size = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{_three_digits(size)} {unit}"
        size /= 1000
    return f"{_three_digits(size)} TB"


def format_rate(bytes_per_s: float) -> str:
    """Write a rate as ``"118 MB/s (0.944 Gbit/s)"``."""
    megabytes, gigabits = bytes_per_s / 1e6, bytes_per_s * 8 / 1e9
    return f"{_three_digits(megabytes)} MB/s ({_three_digits(gigabits)} Gbit/s)"


def format_seconds(seconds: float) -> str:
    """Write a duration as ``"870 µs"``, ``"43 ms"``, ``"5.21 s"`` or ``"2:05"``."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
