"""Conclusion of a measurement, from rows of every kind."""

from __future__ import annotations

import re

import pytest

from udpft.diagnosis.conclusion import conclusion
from udpft.diagnosis.speed import Row
from udpft.outcome.result import Result


def row(what: str, rate: float, *, resent: int = 0, size: int = 1_000_000) -> Row:
    result = Result("", "", size, size / rate, "", resent, "reliable", verified=True)
    return Row(what, "down", "reliable", (result,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row("memory", 1e6, resent=20)], r"3\.9 % of a row's were sent again"),
        ([row("memory", 1e6), row("file", 1e6, resent=1, size=3)], "too small"),
        ([row("memory", 1e6)], "Next to nothing was lost"),
        ([row("memory", 1e6), row("file", 5e5)], r"comes at 0\.50 of the rate"),
        ([row("memory", 1e6), row("file", 9.9e5)], "disks keep up"),
        ([row("memory", 1e6), row("file", 1e5, size=1000)], "too small"),
        ([], "Nothing could be measured"),
    ],
)
def test_the_conclusion(rows: list[Row], words: str) -> None:
    assert re.search(words, conclusion(rows))
