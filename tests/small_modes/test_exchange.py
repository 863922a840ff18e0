"""Repeated questions, and equal answers to the same question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import UsageError
from udpft.small_modes.exchange import (
    MAX_DATAGRAM_BYTES,
    MAX_ID_LENGTH,
    MAX_REMEMBERED,
    MAX_SPEAKER_BYTES,
    PATIENT_REPEAT_S,
    Answers,
    Asking,
    Lines,
    NotUnderstood,
    check_line,
    check_name,
    id_untrusted,
    lines_untrusted,
    name_untrusted,
    worth_a_line,
)


class Knock(Asking):
    """The smallest question: b"yes" answers it, b"wait" asks for patience."""

    answered = False

    def _read_untrusted(self, datagram: bytes) -> None:
        if datagram not in (b"yes", b"wait"):
            raise NotUnderstood
        self.answered = datagram == b"yes"


def knock(timeout_s: float = 5.0) -> Knock:
    return Knock(b"knock", now=100.0, timeout_s=timeout_s)


def times_asked(asking: Asking, now: float) -> list[float]:
    """When it asks from now on, as seconds after 100, if nothing is ever heard."""
    times = []
    while not asking.expired(now):
        if asking.poll_transmit(now):
            times.append(round(now - 100, 6))
        assert asking.next_timeout() > now
        now = asking.next_timeout()
    return times


# ------------------------------------------------------------------------------------ asking


def test_it_asks_again_after_a_tenth_two_tenths_four_and_then_every_half_second() -> None:
    asked = times_asked(knock(), 100.0)
    assert asked == [0, 0.1, 0.3, 0.7, 1.2, 1.7, 2.2, 2.7, 3.2, 3.7, 4.2, 4.7]


def test_it_gives_up_when_its_time_is_over() -> None:
    asking = knock(timeout_s=0.25)
    assert times_asked(asking, 100.0) == [0, 0.1]
    assert asking.expired(100.25)
    assert asking.poll_transmit(100.3) is None


def test_between_its_times_it_asks_nothing() -> None:
    asking = knock()
    assert asking.poll_transmit(100.0) == b"knock"
    assert asking.poll_transmit(100.05) is None
    assert asking.next_timeout() == pytest.approx(100.1)


def test_once_answered_it_is_silent() -> None:
    asking = knock()
    asking.poll_transmit(100.0)
    asking.handle_datagram(b"yes", 100.02)
    assert asking.poll_transmit(100.1) is None
    assert asking.elapsed_s == pytest.approx(0.02)


def test_the_round_trip_is_known_where_it_asked_once() -> None:
    asking = knock()
    asking.poll_transmit(100.0)
    asking.handle_datagram(b"yes", 100.02)
    assert asking.round_trip_s == pytest.approx(0.02)


def test_the_round_trip_is_unknown_where_it_asked_twice() -> None:
    asking = knock()
    asking.poll_transmit(100.0)
    asking.poll_transmit(100.1)
    asking.handle_datagram(b"yes", 100.11)
    assert asking.round_trip_s is None
    assert asking.elapsed_s == pytest.approx(0.11)


def test_garbage_is_counted_and_changes_nothing() -> None:
    asking = knock()
    asking.poll_transmit(100.0)
    before = asking.next_timeout()
    asking.handle_datagram(b"\xff garbage", 100.01)
    assert (asking.ignored, asking.answered, asking.heard) == (1, False, False)
    assert asking.next_timeout() == before


def test_patience_begins_the_time_anew_and_asks_less_often() -> None:
    asking = knock()
    asking.poll_transmit(100.0)
    asking.handle_datagram(b"wait", 104.9)
    assert asking.heard
    assert not asking.expired(109.8)
    assert asking.expired(109.9)
    assert asking.next_timeout() == pytest.approx(104.9 + PATIENT_REPEAT_S)


def test_patience_still_asks_before_a_short_time_is_over() -> None:
    asking = knock(timeout_s=1.0)
    asking.poll_transmit(100.0)
    asking.handle_datagram(b"wait", 100.0)
    assert times_asked(asking, 100.0) == [0.5, 0.7]


# ----------------------------------------------------------------------------------- answers


def test_an_answer_is_found_by_who_asked_and_the_id() -> None:
    answers = Answers()
    answers.keep("ada", "1", b"one")
    assert answers.given("ada", "1") == b"one"
    assert answers.given("ada", "2") is None
    assert answers.given("eve", "1") is None


def test_a_question_without_an_id_is_always_new() -> None:
    answers = Answers()
    answers.keep("ada", "", b"one")
    assert answers.given("ada", "") is None


def test_the_oldest_answers_make_room() -> None:
    answers = Answers()
    for n in range(MAX_REMEMBERED + 10):
        answers.keep("ada", str(n), b"")
    assert len(answers) == MAX_REMEMBERED
    assert answers.given("ada", "9") is None
    assert answers.given("ada", "10") == b""


# ------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (b"say hello", Lines("say", "hello", {})),
        (b"say hello\n", Lines("say", "hello", {"": ""})),
        (b"say hello\r\nid 1\r\n", Lines("say", "hello", {"id": "1", "": ""})),
        (b"say  two  spaces\nid 1", Lines("say", " two  spaces", {"id": "1"})),
        (b"say \nid 1\nid 2\nnew thing", Lines("say", "", {"id": "1", "new": "thing"})),
        ("say a\u2028b\x0bc\x85d".encode(), Lines("say", "a\u2028b\x0bc\x85d", {})),
        (b"", Lines("", "", {})),
    ],
)
def test_lines_are_read_as_people_write_them(datagram: bytes, expected: Lines) -> None:
    assert lines_untrusted(datagram) == expected


def test_lines_are_written_with_newlines_and_without_empty_fields() -> None:
    lines = Lines("say", "hello", {"from": "Ada", "at": "", "id": "1"})
    assert lines.encode() == b"say hello\nfrom Ada\nid 1\n"
    assert Lines("answer", "", {}).encode() == b"answer\n"


@pytest.mark.parametrize(
    "datagram", [b"\xff", b"say \xc3", b"\xed\xa0\x80", b"x" * (MAX_DATAGRAM_BYTES + 1)]
)
def test_what_is_no_text_is_not_understood(datagram: bytes) -> None:
    with pytest.raises(NotUnderstood):
        lines_untrusted(datagram)


@given(st.binary(max_size=MAX_DATAGRAM_BYTES + 8))
def test_any_bytes_are_lines_or_not_understood(datagram: bytes) -> None:
    try:
        lines = lines_untrusted(datagram)
        name_untrusted(lines.rest)
        id_untrusted(lines.fields)
    except NotUnderstood:
        return
    assert "\n" not in lines.rest


def test_a_name_too_long_and_an_id_of_anything_else_are_not_understood() -> None:
    assert name_untrusted(" " + "n" * MAX_SPEAKER_BYTES + " ") == "n" * MAX_SPEAKER_BYTES
    with pytest.raises(NotUnderstood):
        name_untrusted("n" * (MAX_SPEAKER_BYTES + 1))
    assert id_untrusted({"id": "i" * MAX_ID_LENGTH}) == "i" * MAX_ID_LENGTH
    for nonsense in ("i" * (MAX_ID_LENGTH + 1), "two words", "é", "\x1b"):
        with pytest.raises(NotUnderstood):
            id_untrusted({"id": nonsense})


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "n" * 101, "é" * 51, "\udc80"])
def test_a_name_that_no_datagram_can_carry_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="the name"):
        check_name(name)


def test_a_line_too_long_is_refused_with_the_limit() -> None:
    with pytest.raises(UsageError, match=r"the text has 2,000 bytes; at most 1,024 "):
        check_line("x" * 2000, "the text", 1024)


def test_a_hundred_thousand_ignored_datagrams_are_worth_six_lines() -> None:
    counts = [count for count in range(100_001) if worth_a_line(count)]
    assert counts == [1, 10, 100, 1_000, 10_000, 100_000]
