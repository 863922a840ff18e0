"""Sums on the page: with a server, and with the page's own."""

from __future__ import annotations

import threading

import pytest

from tests.cli.processes import Server
from tests.web.visitor import Visitor, error_of, text_of
from udpft.net.address import parse_server
from udpft.web.sums import add, add_here


def test_two_numbers_and_their_sum(visitor: Visitor) -> None:
    answer = visitor.send("/add", number="17", name="Ada")
    assert answer.status_code == 303
    text = text_of(visitor.see("/add"))
    assert "17 + 42 = 59" in text
    assert "Ada and Server of Bob, answered after" in text


def test_with_both_numbers_the_page_plays_the_server_too(visitor: Visitor) -> None:
    before = threading.active_count()
    assert visitor.send("/add", number="17", other="25", name="Ada").status_code == 303
    assert "17 + 25 = 42" in text_of(visitor.see("/add"))
    assert threading.active_count() == before or not [
        one for one in threading.enumerate() if one.name == "udpft-web-adder"
    ]


@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("number", "", "Write a whole number from 1 to 100."),
        ("number", "<b>", "Write a whole number from 1 to 100."),
        ("number", "500", "500 is not from 1 to 100: any other number stops a server"),
        ("other", "0", "0 is not from 1 to 100"),
        ("name", " ", "The name is empty."),
        ("name", "x" * 101, "The name has 101 bytes; at most 100 fit in a datagram."),
    ],
)
def test_what_is_wrong_is_told_beside_its_field_and_nothing_is_sent(
    visitor: Visitor, field: str, typed: str, words: str
) -> None:
    form = {"number": "17", "other": "", "name": "Ada", field: typed}
    answer = visitor.send("/add", **form)
    assert answer.status_code == 422
    assert error_of(answer.text, field).startswith(words)
    assert "<b>" not in answer.text
    assert f'value="{form["name"].replace("<", "&lt;")}"' in answer.text
    assert "There are none yet" in answer.text


def test_a_server_that_is_not_there_is_told_with_a_hint() -> None:
    with Visitor(add_server="127.0.0.1:1") as visitor:
        visitor.open()
        answer = visitor.send("/add", number="17", name="Ada")
        assert answer.status_code == 502
        assert "Nothing listens on 127.0.0.1:1" in text_of(answer.text)
        assert "udpft add serve" in text_of(answer.text)


def test_both_ways_without_the_page(adder: Server) -> None:
    assert add(17, "Ada", parse_server(adder.address, 1)).sum.total == 59
    made = add_here(1, "Ada", 100)
    assert (made.sum.total, made.sum.server.name) == (101, "Server of this page")
