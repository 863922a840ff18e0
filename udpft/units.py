"""Sizes, rates and durations: parsed from text that people write, and formatted for them.

Sizes and rates take the suffixes K, M, G, T (powers of 1000) and Ki, Mi, Gi, Ti (powers of 1024),
as curl, iperf3 and dd's users expect. Rates print in bytes and in bits side by side, so
that nobody has to multiply by eight in their head: from 1 MB/s on as MB/s, from 1 Gbit/s on as
Gbit/s.
"""

from __future__ import annotations

import re

MAX_BYTES = 2**63 - 1
"""The largest quantity read: what a file's size may be."""

_QUANTITY = r"([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*([KMGT]i?)?B?(?:/s)?"  # compiled where used
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
        ValueError: the text is no quantity, with a message that shows what one looks like; or it
            is above `MAX_BYTES`.
    """
    match = re.fullmatch(_QUANTITY, text.strip(), re.IGNORECASE)
    if not match:
        raise ValueError(f"{text!r} is not a size: write 4096, 10M, 1.5G or 64Ki")
    multiplier = _MULTIPLIER[(match[2] or "").lower()]
    if match[1].isdigit():
        n_bytes = int(match[1]) * multiplier
    else:
        from fractions import Fraction  # exact, and slow to import

        n_bytes = round(Fraction(match[1]) * multiplier)
    if n_bytes > MAX_BYTES:
        raise ValueError(f"{text!r} is more than any file holds")
    return n_bytes


def parse_byte_range(text: str) -> tuple[int, int | None]:
    """Read a range of bytes as curl has it: ``"0-99"``, ``"100-"``, or ``"-5"`` for the last five.

    Returns:
        Start and stop, as slices have them: (0, 100), (100, None), (-5, None).

    Raises:
        ValueError: the text is no range, with a message that shows what one looks like; or it is
            empty, or above `MAX_BYTES`.
    """
    match = re.fullmatch(r"([0-9]*)-([0-9]*)", text)
    if not match or match[0] == "-":
        raise ValueError(f"{text!r} is no range: write 0-99, 100-, or -5 for the last five bytes")
    if max(map(len, match.groups())) >= len(str(MAX_BYTES)):
        raise ValueError(f"{text!r} is more than any file holds")
    first, last = (int(one) if one else None for one in match.groups())
    if first is None:
        first, last = -(last or 0), None
    if (last is not None and last < first) or (not match[1] and not first):
        raise ValueError(f"{text!r} is an empty range")
    return first, None if last is None else last + 1


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
    """Write a rate as ``"118 MB/s (944 Mbit/s)"``, ``"213 B/s (1.7 kbit/s)"``.

    From 1 Gbit/s on, as ``"1485 MB/s (11.9 Gbit/s)"``.
    """
    in_bytes = format_bytes(bytes_per_s)
    if bytes_per_s >= 999.5e3:
        in_bytes = f"{_three_digits(bytes_per_s / 1e6)} MB"
    in_bits, unit = bytes_per_s * 8 / 1e3, "kbit/s"
    for larger in ("Mbit/s", "Gbit/s"):
        if in_bits >= 999.5:
            in_bits, unit = in_bits / 1e3, larger
    return f"{in_bytes}/s ({_three_digits(in_bits)} {unit})"


def format_seconds(seconds: float) -> str:
    """Write a duration as ``"870 µs"``, ``"43 ms"``, ``"5.21 s"`` or ``"2:05"``."""
    if seconds < 0.000_999_5:
        return f"{_three_digits(seconds * 1e6)} µs"
    if seconds < 0.999_5:
        return f"{_three_digits(seconds * 1e3)} ms"
    if seconds < 99.95:
        return f"{_three_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
