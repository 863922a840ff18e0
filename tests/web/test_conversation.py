"""Conversation on the page: texts, answers, and the times of both."""

from __future__ import annotations

import re
import socket

import pytest

from tests.loopback import address_of
from tests.web.visitor import Visitor, error_of, text_of
from udpft.small_modes.messages import Message, Word, message_untrusted
from udpft.web import conversation as module

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"


def test_a_text_and_its_answer_have_their_times(visitor: Visitor) -> None:
    answer = visitor.send("/message", text="hello <server>", name="Ada")
    assert answer.status_code == 303
    text = text_of(visitor.see("/message"))
    assert re.search(
        rf"Ada {TIME} hello <server> Server of Bob {TIME} hello client "
        rf"Sent {TIME} by its own clock; round trip [\d.]+ (µs|ms)\.",
        text,
    )


@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("text", "  ", "The text is empty."),
        ("text", "x" * 1_025, "The text has 1,025 bytes; at most 1,024 fit in a datagram."),
        ("name", "", "The name is empty."),
    ],
)
def test_what_is_wrong_is_told_beside_its_field(
    visitor: Visitor, field: str, typed: str, words: str
) -> None:
    answer = visitor.send("/message", **{"text": "hello", "name": "Ada", field: typed})
    assert answer.status_code == 422
    assert error_of(answer.text, field) == words
    assert "Nobody has said anything yet" in answer.text


def test_an_answer_that_is_typed_comes_when_it_comes(
    stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    with Visitor(message_server=address_of(stranger)) as visitor:
        visitor.open()
        visitor.send("/message", text="are you there?", name="Ada")
        said, client = stranger.recvfrom(2_000)
        asked = message_untrusted(said)
        page = visitor.see("/message")
        assert "No answer yet" in page
        assert '<noscript><meta http-equiv="refresh"' in page
        stranger.sendto(Message(Word.WAIT, name="Bob", id=asked.id).encode(), client)
        visitor.wait_for("/message", "Bob is typing an answer")
        stranger.sendto(Message(Word.ANSWER, "yes", "Bob", None, asked.id).encode(), client)
        text = visitor.wait_for("/message", "yes")
        assert "Without a time of its own" in text


def test_a_text_that_nobody_answers_is_told_so_where_it_stands() -> None:
    with Visitor(message_server="127.0.0.1:1") as visitor:
        visitor.open()
        visitor.send("/message", text="hello", name="Ada")
        text = visitor.wait_for("/message", "Nothing listens on 127.0.0.1:1")
        assert "udpft message serve" in text


def test_so_many_wait_for_an_answer_and_no_more(
    stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    with Visitor(message_server=address_of(stranger)) as visitor:
        visitor.open()
        assert visitor.send("/message", text="one", name="Ada").status_code == 303
        answer = visitor.send("/message", text="two", name="Ada")
        assert answer.status_code == 422
        assert "1 texts wait for an answer" in error_of(answer.text, "text")
