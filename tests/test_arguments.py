"""Arguments as programs write them: taken as they look, or refused in words."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from udpft.arguments import is_stream, quantity_of, seconds_of, server_of, text_of
from udpft.errors import UsageError


@pytest.mark.parametrize("name", ["a/b", Path("a/b")])
def test_a_name_is_text_or_a_path(name: Any) -> None:
    assert text_of(name, "a name") == "a/b"


@pytest.mark.parametrize("name", [b"a/b", 7, None, ["a"], io.BytesIO(), SimpleNamespace()])
def test_what_is_no_name_is_told(name: Any) -> None:
    with pytest.raises(UsageError, match="a name is a string or a path, and not "):
        text_of(name, "a name")


def test_a_server_is_an_address_or_has_one() -> None:
    assert server_of("host:7") == "host:7"
    assert server_of(SimpleNamespace(address="host:7")) == "host:7"
    for nonsense in (None, 9000, ("host", 7), b"host", Path("host")):
        with pytest.raises(UsageError, match="a server is 'HOST'"):
            server_of(nonsense)


@pytest.mark.parametrize(
    ("value", "quantity"), [(0, 0), (2_000_000, 2_000_000), (2e6, 2_000_000), ("2M", 2_000_000)]
)
def test_a_quantity_is_a_number_or_written_as_on_the_command_line(
    value: Any, quantity: int
) -> None:
    assert quantity_of(value, "limit_rate") == quantity


@pytest.mark.parametrize(
    "value", ["fast", "", -1, "-1", float("nan"), float("inf"), None, True, b"2M", [2]]
)
def test_what_is_no_quantity_is_told(value: Any) -> None:
    with pytest.raises(UsageError, match="limit_rate"):
        quantity_of(value, "limit_rate")


def test_seconds_are_above_0() -> None:
    assert seconds_of(0.5, "timeout") == 0.5
    for nonsense in (0, -1, float("nan"), "5", None, True):
        with pytest.raises(UsageError, match="timeout is a number of seconds above 0"):
            seconds_of(nonsense, "timeout")


def test_a_stream_is_no_path() -> None:
    assert is_stream(io.BytesIO())
    assert not is_stream(Path("x"))
    assert not is_stream("x")
