"""Add-numbers over a network that loses one datagram in three: two names, two integers, a sum."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import UsageError
from udpft.small_modes.addition import MAX_DIGITS, Adder, Addition, Sum, Term, term_untrusted
from udpft.small_modes.exchange import NotUnderstood

ADA = Term(17, "Client of Ada", "5f2c91aa")
BOB = Term(42, "Server of Bob")


def ask(adder: Adder, datagram: bytes, source: str = "ada") -> list[bytes]:
    """What a server sends back to one datagram."""
    adder.handle_datagram(datagram, source)
    answers = []
    while outgoing := adder.poll_transmit():
        assert outgoing.address == source
        answers.append(outgoing.datagram)
    return answers


def sums(adder: Adder) -> list[Sum]:
    made = []
    while added := adder.poll_event():
        made.append(added.sum)
    return made


def run(addition: Addition, adder: Adder, is_lost: Callable[[], bool]) -> float:
    """Let both talk, 10 ms apart, until the client is done; return the virtual time."""
    now = 0.0
    while not (addition.answered or addition.expired(now)):
        question = addition.poll_transmit(now)
        if question and not is_lost():
            for answer in ask(adder, question):
                if not is_lost():
                    addition.handle_datagram(answer, now + 0.02)
        now = addition.next_timeout()
    return now


# ---------------------------------------------------------------------------------- the story


def test_both_sides_have_both_names_both_integers_and_the_sum() -> None:
    adder, addition = Adder("Server of Bob", 42), Addition(ADA, now=0.0, timeout_s=5.0)
    run(addition, adder, lambda: False)
    [at_server] = sums(adder)
    assert addition.sum is not None
    assert str(at_server) == str(addition.sum) == "17 (Client of Ada) + 42 (Server of Bob) = 59"
    assert addition.round_trip_s == pytest.approx(0.02)


def test_with_three_in_ten_lost_each_way_everyone_has_an_answer_within_five_seconds() -> None:
    adder, random = Adder("Server of Bob", 42), Random(6)
    attempts = []
    for n in range(300):
        addition = Addition(ADA._replace(id=str(n)), now=0.0, timeout_s=5.0)
        run(addition, adder, lambda: random.random() < 0.3)
        assert addition.answered
        attempts.append(addition.asked)
    assert max(attempts) > 5, "the loss must be real"
    assert len(sums(adder)) == 300, "however often it is asked, each sum is made once"


def test_a_dead_network_ends_in_time() -> None:
    addition = Addition(ADA, now=0.0, timeout_s=5.0)
    assert run(addition, Adder("Server of Bob", 42), lambda: True) == 5.0
    assert not addition.answered


def test_several_clients_are_answered_each() -> None:
    adder = Adder("Server of Bob", 42)
    for n, who in enumerate(["ada", "eve", "joe"], 1):
        assert ask(adder, f"add {n} {who}\n".encode(), who) == [b"plus 42 Server of Bob\n"]
    assert [(made.client.name, made.total) for made in sums(adder)] == [
        ("ada", 43),
        ("eve", 44),
        ("joe", 45),
    ]


# ----------------------------------------------------------------------------------- the server


def test_a_repeated_request_is_answered_alike_and_added_once() -> None:
    adder = Adder("Server of Bob", 42)
    request = ADA.encode("add")
    assert ask(adder, request) == ask(adder, request) == [b"plus 42 Server of Bob\nid 5f2c91aa\n"]
    assert len(sums(adder)) == 1


def test_without_an_id_each_request_is_a_new_one() -> None:
    adder = Adder("Server of Bob", 42)
    ask(adder, b"add 17")
    ask(adder, b"add 17")
    assert len(sums(adder)) == 2


@pytest.mark.parametrize("number", [0, 101, 500, -5, 10**MAX_DIGITS - 1])
def test_an_integer_out_of_range_is_not_answered_and_stops_the_server(number: int) -> None:
    adder = Adder("Server of Bob", 42)
    assert ask(adder, Term(number, "Ada").encode("add")) == []
    assert adder.stopped_by == Term(number, "Ada")


@pytest.mark.parametrize("number", [1, 100])
def test_the_limits_are_in_range(number: int) -> None:
    adder = Adder("Server of Bob", 42)
    assert ask(adder, Term(number, "Ada").encode("add"))
    assert adder.stopped_by is None


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\n",
        b"\xff\xfe",
        b"add",
        b"add seventeen",
        b"add 1_7 Ada",
        "add ٣".encode(),
        b"add 1.5 Ada",
        b"ADD 17 Ada",
        b"add17",
        b"hello",
        b"add " + b"9" * (MAX_DIGITS + 1),
        b"add 17 " + b"n" * 101,
        b"add 17 Ada\nid " + b"i" * 33,
        b"add 500 " + b"n" * 2000,
        b"\0" * 1000,
    ],
)
def test_garbage_is_counted_and_draws_nothing(garbage: bytes) -> None:
    adder = Adder("Server of Bob", 42)
    assert ask(adder, garbage) == []
    assert (adder.ignored, adder.stopped_by, sums(adder)) == (1, None, [])


def test_two_servers_set_on_each_other_fall_silent() -> None:
    bob, eve = Adder("Server of Bob", 42), Adder("Server of Eve", 1)
    [answer] = ask(bob, b"add 17 forged in Eve's name\n", "eve")
    assert ask(eve, answer, "bob") == []
    assert eve.ignored == 1


# ----------------------------------------------------------------------------------- the client


@pytest.mark.parametrize(
    "answer",
    [
        b"plus 42",
        b"plus 42 Server of Bob",
        b"plus +42 Server of Bob\r\n",
        b"plus 42 Server of Bob\nid 5f2c91aa\n",
    ],
)
def test_a_hand_written_answer_counts(answer: bytes) -> None:
    addition = Addition(ADA, now=0.0, timeout_s=5.0)
    addition.poll_transmit(0.0)
    addition.handle_datagram(answer, 0.1)
    assert addition.sum is not None
    assert addition.sum.total == 59


@pytest.mark.parametrize(
    "answer",
    [b"add 42 Eve", b"plus", b"plus 0 Eve", b"plus 101 Eve", b"plus 42 Bob\nid another", b"\xff"],
)
def test_what_is_no_answer_is_counted(answer: bytes) -> None:
    addition = Addition(ADA, now=0.0, timeout_s=5.0)
    addition.poll_transmit(0.0)
    addition.handle_datagram(answer, 0.1)
    assert (addition.ignored, addition.answered) == (1, False)


def test_an_integer_without_end_is_refused() -> None:
    with pytest.raises(UsageError, match="100 digits"):
        Addition(Term(10**MAX_DIGITS, "Ada"), now=0.0, timeout_s=5.0)


# ----------------------------------------------------------------------------------- the format


@given(st.integers(-(10**30), 10**30), st.sampled_from(["", "Ada", "7 of 9", "Åse  B\x1b[1m"]))
def test_what_is_written_is_read(number: int, name: str) -> None:
    term = Term(number, name, "5f2c91aa")
    assert term_untrusted(term.encode("add"), "add") == term


@given(st.binary(max_size=64) | st.text().map(lambda text: f"add {text}".encode()))
def test_any_bytes_are_a_term_or_not_understood(datagram: bytes) -> None:
    try:
        term = term_untrusted(datagram, "add")
    except NotUnderstood:
        return
    assert abs(term.number) < 10**MAX_DIGITS
