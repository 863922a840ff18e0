"""Measurements on the page."""

from __future__ import annotations

import pytest

from tests.web.visitor import Visitor, error_of, text_of
from udpft.errors import UsageError
from udpft.web.measuring import seconds


def test_a_measurement_becomes_a_table_and_a_sentence(visitor: Visitor) -> None:
    assert visitor.send("/bench", time="0.1", rounds="1").status_code == 303
    assert "Stop" in visitor.see("/bench")
    visitor.wait_for("/bench", "it would stay there")
    page = visitor.see("/bench")
    while "Measuring" in page:
        page = visitor.see("/bench")
    rows = [text_of(row) for row in page.split('<tr role="row">')[1:]]
    assert [row.split()[:3] for row in rows] == [
        ["memory", "down", "reliable"],
        ["memory", "down", "plain"],
        ["memory", "up", "reliable"],
        ["file", "down", "reliable"],
        ["file", "down", "plain"],
        ["file", "up", "reliable"],
    ]
    assert "bit/s)" in rows[0]
    assert "plain knows nothing but files" in rows[1]
    assert "The file is too small" in text_of(page)
    assert "memory down reliable" in text_of(visitor.see("/reports"))


def test_one_that_runs_is_stopped_and_a_second_one_does_not_begin(visitor: Visitor) -> None:
    visitor.send("/bench", time="30", rounds="1")
    answer = visitor.send("/bench", time="1", rounds="1")
    assert answer.status_code == 422
    assert "a second one would spoil both" in error_of(answer.text, "time")
    assert visitor.send("/bench/stop").status_code == 303
    visitor.wait_for("/bench", "Stopped before its end")


@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("time", "x", "Write a number of seconds from 0.1 to 30."),
        ("rounds", "0", "0 is not from 1 to 9."),
    ],
)
def test_what_is_wrong_is_told_beside_its_field(
    visitor: Visitor, field: str, typed: str, words: str
) -> None:
    answer = visitor.send("/bench", **{"time": "0.1", "rounds": "1", field: typed})
    assert answer.status_code == 422
    assert error_of(answer.text, field) == words


def test_a_server_that_is_not_there_is_told() -> None:
    with Visitor(server="127.0.0.1:1") as visitor:
        visitor.open()
        visitor.send("/bench", time="0.1", rounds="1")
        visitor.wait_for("/bench", "Nothing listens on 127.0.0.1:1")


@pytest.mark.parametrize("text", ["nan", "inf", "0", "31", "-1", ""])
def test_seconds_within_limits(text: str) -> None:
    with pytest.raises(UsageError):
        seconds(text)
    assert seconds("0.5") == 0.5
