"""Timed messages, shown once each, whatever the network does to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import UsageError
from udpft.small_modes.exchange import MAX_DATAGRAM_BYTES, NotUnderstood
from udpft.small_modes.messages import (
    MAX_TEXT_BYTES,
    MAX_WAITING,
    TYPING_S,
    Delivery,
    Message,
    Replier,
    Word,
    check_text,
    message_untrusted,
)

NOON = datetime(2026, 10, 5, 12, 0, 0, 123_000, timezone(timedelta(hours=2)))
HELLO = Message(Word.SAY, "hello server", "Client of Ada", NOON, "5f2c91aa")


def hear(replier: Replier, datagram: bytes, source: str = "ada", now: float = 0.0) -> list[Message]:
    """What a server sends back to one datagram."""
    replier.handle_datagram(datagram, source, now=now, at=NOON)
    return replies(replier)


def replies(replier: Replier) -> list[Message]:
    sent = []
    while outgoing := replier.poll_transmit():
        sent.append(message_untrusted(outgoing.datagram))
    return sent


def shown(replier: Replier) -> list[str]:
    lines = []
    while spoken := replier.poll_event():
        lines.append(f"{'>' if spoken.sent else '<'} {spoken.peer_name}: {spoken.message.text}")
    return lines


def answer(text: str = "", id: str = "5f2c91aa") -> Message:
    return Message(Word.ANSWER, text, "Server of Bob", NOON, id)


# -------------------------------------------------------------------------- automatic answers


def test_a_fixed_reply_answers_and_both_texts_are_shown() -> None:
    replier = Replier("Server of Bob", reply="hello client")
    assert hear(replier, HELLO.encode()) == [answer("hello client")]
    assert shown(replier) == ["< Client of Ada: hello server", "> Client of Ada: hello client"]


def test_without_a_reply_it_acknowledges_with_its_own_time() -> None:
    replier = Replier("Server of Bob")
    assert hear(replier, HELLO.encode()) == [answer("")]


def test_a_repeat_is_answered_alike_and_shown_once() -> None:
    replier = Replier("Server of Bob", reply="hello client")
    assert hear(replier, HELLO.encode()) == hear(replier, HELLO.encode())
    assert len(shown(replier)) == 2


def test_the_same_id_from_another_client_is_another_message() -> None:
    replier = Replier("Server of Bob")
    hear(replier, HELLO.encode(), "ada")
    hear(replier, HELLO.encode(), "eve")
    assert len(shown(replier)) == 4


def test_a_hand_written_message_needs_only_its_text() -> None:
    replier = Replier("Server of Bob", reply="hi")
    assert hear(replier, b"say hello\n") == [answer("hi", id="")]
    assert shown(replier) == ["< : hello", "> : hi"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"say",
        b"say  \n",
        b"hello",
        b"SAY hello",
        b"\xff\xfe",
        b"say " + b"x" * (MAX_TEXT_BYTES + 1),
        b"say hi\nfrom " + b"n" * 101,
        b"say hi\nid two words",
        b"x" * 5000,
    ],
)
def test_garbage_is_counted_and_draws_nothing(garbage: bytes) -> None:
    replier = Replier("Server of Bob")
    assert hear(replier, garbage) == []
    assert (replier.ignored, shown(replier)) == (1, [])


@pytest.mark.parametrize("typed", [False, True])
def test_two_servers_set_on_each_other_fall_silent(typed: bool) -> None:
    bob, eve = Replier("Server of Bob", reply="hi", typed=typed), Replier("Server of Eve")
    [reply] = hear(bob, b"say forged in Eve's name\n", "eve")
    assert hear(eve, reply.encode(), "bob") == []
    assert eve.ignored == 1


# ------------------------------------------------------------------------------ typed answers


def test_a_typed_answer_is_waited_for_and_a_repeat_of_the_message_fetches_it() -> None:
    replier = Replier("Server of Bob", typed=True)
    assert [m.word for m in hear(replier, HELLO.encode())] == [Word.WAIT]
    assert [m.word for m in hear(replier, HELLO.encode())] == [Word.WAIT]
    assert replier.waiting == (HELLO, "ada")
    replier.type_answer("hello client", NOON)
    assert replies(replier) == [answer("hello client")]
    assert hear(replier, HELLO.encode()) == [answer("hello client")]
    assert shown(replier) == ["< Client of Ada: hello server", "> Client of Ada: hello client"]


def test_typed_lines_answer_those_who_wait_in_their_order() -> None:
    replier = Replier("Server of Bob", typed=True)
    for who in ("ada", "eve"):
        hear(replier, f"say I am {who}\nfrom {who}\nid 1\n".encode(), who)
    replier.type_answer("first", NOON)
    replier.type_answer("second", NOON)
    assert shown(replier)[2:] == ["> ada: first", "> eve: second"]
    assert replier.waiting is None


def test_an_empty_line_acknowledges() -> None:
    replier = Replier("Server of Bob", typed=True)
    hear(replier, HELLO.encode())
    replier.type_answer(" ", NOON)
    assert replies(replier) == [answer("")]


def test_an_answer_too_long_is_refused_and_the_message_goes_on_waiting() -> None:
    replier = Replier("Server of Bob", typed=True)
    hear(replier, HELLO.encode())
    with pytest.raises(UsageError, match="1,024"):
        replier.type_answer("x" * 2000, NOON)
    assert replier.waiting


def test_who_waits_a_minute_for_nobody_is_acknowledged() -> None:
    replier = Replier("Server of Bob", typed=True)
    hear(replier, HELLO.encode(), now=10.0)
    assert replier.next_timeout() == 10.0 + TYPING_S
    replier.handle_timeout(10.0 + TYPING_S - 0.1, NOON)
    assert replies(replier) == []
    replier.handle_timeout(10.0 + TYPING_S, NOON)
    assert replies(replier) == [answer("")]
    assert replier.next_timeout() == float("inf")


def test_when_nobody_types_any_more_all_are_acknowledged_now_and_later() -> None:
    replier = Replier("Server of Bob", typed=True)
    hear(replier, HELLO.encode())
    replier.stop_typing(NOON)
    assert replies(replier) == [answer("")]
    assert hear(replier, b"say more\nid 2\n") == [answer("", id="2")]


def test_beyond_so_many_who_wait_the_next_one_is_acknowledged_at_once() -> None:
    replier = Replier("Server of Bob", typed=True)
    words = [hear(replier, f"say hi\nid {n}\n".encode())[0].word for n in range(MAX_WAITING + 1)]
    assert words == [Word.WAIT] * MAX_WAITING + [Word.ANSWER]


# --------------------------------------------------------------------------------- the client


def deliver(replier: Replier, message: Message, random: Random, loss: float) -> Delivery:
    """Let both talk until the client is done. Some arrives twice, and late, as on real paths."""
    delivery, now, late = Delivery(message, now=0.0, timeout_s=5.0), 0.0, b""
    while not (delivery.answered or delivery.expired(now)):
        question = delivery.poll_transmit(now)
        for copy in (question, late) if question else ():
            if copy and random.random() >= loss:
                replier.handle_datagram(copy, "ada", now=now, at=NOON)
            late = question or b""
        while outgoing := replier.poll_transmit():
            if random.random() >= loss:
                delivery.handle_datagram(outgoing.datagram, now + 0.01)
        now = delivery.next_timeout()
    return delivery


def test_at_heavy_loss_each_message_arrives_and_is_shown_once_in_order() -> None:
    replier, random = Replier("Server of Bob", reply="ok"), Random(6)
    for n in range(300):
        message = Message(Word.SAY, f"line {n}", "Ada", NOON, str(n))
        assert deliver(replier, message, random, loss=0.3).answer == answer("ok", id=str(n))
    received = [line for line in shown(replier) if line.startswith("<")]
    assert received == [f"< Ada: line {n}" for n in range(300)]


def test_nobody_there_is_found_out_in_time() -> None:
    delivery = deliver(Replier("Server of Bob"), HELLO, Random(6), loss=1.0)
    assert (delivery.answered, delivery.asked) == (False, 12)


def test_a_person_may_take_longer_than_the_timeout() -> None:
    delivery = Delivery(HELLO, now=0.0, timeout_s=5.0)
    delivery.poll_transmit(0.0)
    for now in range(1, 40, 4):
        delivery.handle_datagram(b"wait\nfrom Bob\n", float(now))
        assert not delivery.expired(now + 4.0)
    delivery.handle_datagram(b"answer at last\n", 41.0)
    assert delivery.answer == Message(Word.ANSWER, "at last")
    assert delivery.waiting_for == "Bob"
    assert delivery.round_trip_s == 1.0


@pytest.mark.parametrize(
    "reply", [b"say hello\n", b"answer late\nid another\n", b"wait\nid another\n", b"\xff", b""]
)
def test_what_is_no_answer_to_this_message_is_counted(reply: bytes) -> None:
    delivery = Delivery(HELLO, now=0.0, timeout_s=5.0)
    delivery.poll_transmit(0.0)
    delivery.handle_datagram(reply, 0.1)
    assert (delivery.ignored, delivery.answered, delivery.waiting_for) == (1, False, None)


def test_a_second_answer_does_not_replace_the_first() -> None:
    delivery = Delivery(HELLO, now=0.0, timeout_s=5.0)
    delivery.handle_datagram(b"answer one\n", 0.1)
    delivery.handle_datagram(b"answer two\n", 0.2)
    assert delivery.answer is not None
    assert delivery.answer.text == "one"


# --------------------------------------------------------------------------------- the format


def test_a_message_is_lines_of_text() -> None:
    assert HELLO.encode() == (
        b"say hello server\nfrom Client of Ada\nat 2026-10-05T12:00:00.123+02:00\nid 5f2c91aa\n"
    )


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-10-05T12:00:00.123+02:00", NOON),
        ("2026-10-05T10:00Z", datetime(2026, 10, 5, 10, tzinfo=UTC)),
        ("2026-10-05 10:00", datetime(2026, 10, 5, 10)),
        ("Mon Oct  5 12:00:00 2026", None),
        ("tea time", None),
        ("", None),
    ],
)
def test_a_time_is_read_where_it_is_iso_8601(at: str, expected: datetime | None) -> None:
    assert message_untrusted(f"say hi\nat {at}\n".encode()).at == expected


LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), max_size=60)


@given(st.sampled_from(Word), LINES, LINES, st.datetimes())
def test_what_is_written_is_read(word: Word, text: str, name: str, at: datetime) -> None:
    at = at.replace(microsecond=123_000, tzinfo=UTC)
    message = Message(word, "x" + text, name.strip()[:20].strip(), at, "id-1")
    assert message_untrusted(message.encode()) == message


@given(st.binary(max_size=200) | st.text().map(lambda text: f"say hi\nat {text}\n".encode()))
def test_any_bytes_are_a_message_or_not_understood(datagram: bytes) -> None:
    try:
        message = message_untrusted(datagram)
    except NotUnderstood:
        return
    assert message.word in Word


def test_the_longest_message_fits_in_a_datagram() -> None:
    longest = Message(Word.ANSWER, "é" * (MAX_TEXT_BYTES // 2), "é" * 50, NOON, "i" * 32)
    check_text(longest.text)
    assert len(longest.encode()) <= MAX_DATAGRAM_BYTES
    assert message_untrusted(longest.encode()) == longest


@pytest.mark.parametrize("text", ["", " ", "two\nlines", "é" * 513, "\udcff"])
def test_a_text_that_no_message_can_carry_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the text"):
        check_text(text)
