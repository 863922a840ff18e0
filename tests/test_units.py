"""Sizes, rates and durations, parsed and formatted."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.units import (
    MAX_BYTES,
    format_bytes,
    format_rate,
    format_seconds,
    parse_byte_range,
    parse_bytes,
)


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("10M", 10_000_000),
        ("10m", 10_000_000),
        ("1.5Gi", 3 << 29),
        ("64 KiB", 65_536),
        ("2kB/s", 2000),
        ("1T", 10**12),
        (" 7 B ", 7),
        ("9223372036854775807", MAX_BYTES),
    ],
)
def test_a_quantity_is_read(text: str, n_bytes: int) -> None:
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1,5M", "1e6", "ten", "0x10", "1 2", "10MM", "١٠", "9" * 5000]
)
def test_nonsense_is_told_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a size: write 4096, 10M, 1\.5G or 64Ki"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "9" * 30, "9" * 30 + "Ti"])
def test_more_than_any_file_holds_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="more than any file holds"):
        parse_bytes(text)


@given(st.text(max_size=12))
def test_no_text_raises_anything_else(text: str) -> None:
    n_bytes, told = 0, repr(text)
    try:
        n_bytes = parse_bytes(text)
    except ValueError as error:
        told = str(error)
    assert 0 <= n_bytes <= MAX_BYTES
    assert repr(text) in told


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1_048_576, "1.05 MB"),
        (99_960_000, "100 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1 GB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_a_size_has_three_digits(n_bytes: int, text: str) -> None:
    assert format_bytes(n_bytes) == text


@pytest.mark.parametrize(
    ("bytes_per_s", "text"),
    [
        (0, "0 B/s (0 kbit/s)"),
        (213, "213 B/s (1.7 kbit/s)"),
        (4_920, "4.92 kB/s (39.4 kbit/s)"),
        (213_000, "213 kB/s (1.7 Mbit/s)"),
        (999_600, "1 MB/s (8 Mbit/s)"),
        (118e6, "118 MB/s (944 Mbit/s)"),
        (124.9e6, "125 MB/s (999 Mbit/s)"),
        (125e6, "125 MB/s (1 Gbit/s)"),
        (2.2e9, "2200 MB/s (17.6 Gbit/s)"),
    ],
)
def test_a_rate_in_bytes_and_in_bits(bytes_per_s: float, text: str) -> None:
    assert format_rate(bytes_per_s) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 µs"),
        (0.00087, "870 µs"),
        (0.0009996, "1 ms"),
        (0.043, "43 ms"),
        (0.9996, "1 s"),
        (5.214, "5.21 s"),
        (99.9, "99.9 s"),
        (99.96, "1:40"),
        (125, "2:05"),
        (7_300, "2:01:40"),
    ],
)
def test_a_duration(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@given(st.floats(min_value=0.1, max_value=1e15))
def test_no_number_is_written_with_an_exponent(number: float) -> None:
    for text in (format_bytes(number), format_rate(number), format_seconds(number)):
        assert not re.search(r"\de[+-]", text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0-99", (0, 100)),
        ("7-7", (7, 8)),
        ("100-", (100, None)),
        ("0-", (0, None)),
        ("-5", (-5, None)),
        ("0-999999999999999999", (0, 10**18)),
    ],
)
def test_a_range_is_read_as_curl_reads_it(text: str, found: tuple[int, int | None]) -> None:
    assert parse_byte_range(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no range"),
        ("-", "is no range"),
        ("5", "is no range"),
        ("0-1,5-9", "is no range"),
        ("1Mi-2Mi", "is no range"),
        ("0x1-", "is no range"),
        ("٣-", "is no range"),
        (" 1-2", "is no range"),
        ("9-8", "is an empty range"),
        ("-0", "is an empty range"),
        (f"{10**19}-", "more than any file"),
        (f"-{'9' * 5_000}", "more than any file"),
    ],
)
def test_what_is_no_range_is_told(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_byte_range(text)
