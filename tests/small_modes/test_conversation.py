"""Conversation loop: a socket, perhaps lines of input, a deadline; the first event returns."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from math import inf

import pytest

from tests.ipv6 import needs_ipv6
from udpft.errors import HostNotFound, PortClosed, TimedOut, UsageError
from udpft.net.address import Address
from udpft.net.clock import clock
from udpft.small_modes.addition import Addition, Term
from udpft.small_modes.conversation import (
    MAX_LINE_BYTES,
    REFUSED_HINT,
    Conversation,
    Datagram,
    Line,
    Signal,
    ask,
)
from udpft.small_modes.messages import Delivery, Message, Word

LOOPBACK = Address("127.0.0.1", 0)
SOON_S = 10.0


@pytest.fixture
def server() -> Iterator[Conversation]:
    with Conversation.listen(LOOPBACK) as conversation:
        yield conversation


def closed_port() -> Address:
    """A port where nothing listens."""
    with Conversation.listen(LOOPBACK) as conversation:
        return conversation.address


def soon() -> float:
    """A deadline that only a failing test meets."""
    return clock() + SOON_S


def question(timeout_s: float = SOON_S) -> Addition:
    return Addition(Term(17, "Ada", "1"), now=clock(), timeout_s=timeout_s)


def test_a_datagram_arrives_with_its_source_and_is_answered(server: Conversation) -> None:
    with Conversation.connect(server.address) as client:
        client.send(b"hello")
        arrived = server.wait(soon())
        assert isinstance(arrived, Datagram)
        assert (arrived.data, Address.of(arrived.source)) == (b"hello", client.address)
        server.send(b"hi", arrived.source)
        assert client.wait(soon()) == Datagram(b"hi", ("127.0.0.1", server.address.port))


def test_a_deadline_that_is_over_returns_at_once(server: Conversation) -> None:
    assert server.wait(clock() - 1) is Signal.TIME_OUT


def test_a_closed_port_is_told() -> None:
    with Conversation.connect(closed_port()) as client:
        client.send(b"anybody?")
        assert client.wait(soon()) is Signal.PORT_CLOSED


def test_a_closed_port_is_told_where_the_next_send_is_the_one_to_hear_of_it() -> None:
    with Conversation.connect(closed_port()) as client:
        client.send(b"anybody?")
        client.send(b"anybody?")
        assert client.wait(soon()) is Signal.PORT_CLOSED


def test_a_client_hears_only_its_server(server: Conversation) -> None:
    with Conversation.connect(server.address) as client:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"plus 42 Eve", (client.address.host, client.address.port))
        server.send(b"plus 42 Bob", client.address)
        arrived = client.wait(soon())
        assert isinstance(arrived, Datagram)
        assert arrived.data == b"plus 42 Bob"


def test_an_answer_that_cannot_be_sent_harms_nobody(server: Conversation) -> None:
    server.send(b"to port 0, as a forged datagram may ask", ("127.0.0.1", 0))
    assert server.wait(clock()) is Signal.TIME_OUT


@needs_ipv6
def test_ipv6_does_as_well() -> None:
    with (
        Conversation.listen(Address("::1", 0)) as server,
        Conversation.connect(server.address) as client,
    ):
        client.send(b"hello")
        assert isinstance(server.wait(soon()), Datagram)
        assert str(server.address).startswith("[::1]:")


# ------------------------------------------------------------------------------- lines of input


def lines_of(written: bytes) -> list[Line | Datagram | Signal]:
    """What a conversation makes of a pipe with this in it, to the end."""
    reading, writing = os.pipe()
    os.write(writing, written)
    os.close(writing)
    happened: list[Line | Datagram | Signal] = []
    with Conversation.listen(LOOPBACK, reading) as conversation:
        while Signal.END_OF_INPUT not in happened:
            happened.append(conversation.wait(soon(), lines=True))
        assert conversation.wait(soon(), lines=True) is Signal.END_OF_INPUT, "and stays ended"
    os.close(reading)
    return happened[:-1]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"", []),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\n\n  two", ["one", "", "  two"]),
        ("é\n".encode(), ["é"]),
        (b"\xff\n", ["\udcff"]),
    ],
)
def test_a_pipe_is_read_line_by_line(written: bytes, expected: list[str]) -> None:
    assert lines_of(written) == [Line(text) for text in expected]


def test_a_line_without_end_is_cut() -> None:
    [first] = lines_of(b"x" * MAX_LINE_BYTES)
    assert first == Line("x" * MAX_LINE_BYTES)


def test_lines_and_datagrams_come_as_they_happen() -> None:
    reading, writing = os.pipe()
    with (
        Conversation.listen(LOOPBACK, reading) as server,
        Conversation.connect(server.address) as client,
    ):
        client.send(b"hello")
        assert isinstance(server.wait(soon(), lines=True), Datagram)
        os.write(writing, b"typed\n")
        assert server.wait(soon(), lines=True) == Line("typed")
        os.write(writing, b"not asked for\n")
        assert server.wait(clock() + 0.01) is Signal.TIME_OUT
    os.close(reading)
    os.close(writing)


def test_without_input_there_are_no_lines(server: Conversation) -> None:
    assert server.wait(inf, lines=True) is Signal.END_OF_INPUT


# --------------------------------------------------------------------------- asking, and failing


def test_nobody_there_is_a_closed_port_with_a_hint() -> None:
    address = closed_port()
    with (
        Conversation.connect(address) as client,
        pytest.raises(PortClosed, match=f"nothing listens on {address}") as closed,
    ):
        ask(client, question(), address, hint="start one")
    assert closed.value.hint == "start one"


def test_no_answer_is_a_timeout_that_says_how_often_it_asked(server: Conversation) -> None:
    with (
        Conversation.connect(server.address) as client,
        pytest.raises(TimedOut, match="asked 2 times"),
    ):
        ask(client, question(timeout_s=0.15), server.address, hint="")


def test_answers_that_are_none_are_named_in_the_hint(server: Conversation) -> None:
    with Conversation.connect(server.address) as client:
        server.send(b"HTTP/1.1 400 Bad Request", client.address)
        with pytest.raises(TimedOut) as silent:
            ask(client, question(timeout_s=0.05), server.address, hint="")
    assert "something else's port" in silent.value.hint


def test_an_answer_ends_the_asking(server: Conversation) -> None:
    addition = question()
    with Conversation.connect(server.address) as client:
        server.send(b"plus 42 Bob", client.address)
        ask(client, addition, server.address, hint="")
    assert addition.answered


def test_a_port_that_is_taken_is_refused_as_usage(server: Conversation) -> None:
    with pytest.raises(UsageError, match="cannot listen on"):
        Conversation.listen(server.address)


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1:9001"):
        Conversation.listen(Address("192.0.2.1", 9001))


def test_an_unknown_host_is_told() -> None:
    with pytest.raises(HostNotFound):
        Conversation.connect(Address("no-such-host.invalid", 9001))


def test_an_address_that_nobody_may_send_to_is_told() -> None:
    with pytest.raises(PortClosed, match=r"no way to 255\.255\.255\.255:9001: Permission denied"):
        Conversation.connect(Address("255.255.255.255", 9001))


# ---------------------------------------------------------------- forged words of the network


def test_once_a_server_has_replied_a_closed_port_is_no_more_than_a_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # RFC 5927: anybody can send an ICMP message that says so. Here the host says it.
    with ExitStack() as stack:
        server = stack.enter_context(Conversation.listen(LOOPBACK))
        client = stack.enter_context(Conversation.connect(server.address))
        address = server.address
        asking = Delivery(Message(Word.SAY, "hello", "Ada", id="1"), now=clock(), timeout_s=0.5)
        client.send(b"?")
        server.send(Message(Word.WAIT, id="1").encode(), client.address)
        refusals = []
        wait_as_ever = client.wait

        def wait(until: float) -> object:
            happened = wait_as_ever(until)
            if happened is Signal.PORT_CLOSED and not refusals:
                refusals.append(happened)
                again = stack.enter_context(Conversation.listen(address))
                again.send(Message(Word.ANSWER, "hi", id="1").encode(), client.address)
            return happened

        monkeypatch.setattr(client, "wait", wait)
        ask(client, asking, address, hint="", on_reply=server._sock.close)
        assert asking.answer is not None
        assert asking.answer.text == "hi"
        assert refusals == [Signal.PORT_CLOSED]


def test_a_server_that_is_gone_for_good_is_a_timeout_that_says_what_its_host_says() -> None:
    with Conversation.listen(LOOPBACK) as server, Conversation.connect(server.address) as client:
        asking = Delivery(Message(Word.SAY, "hello", "Ada", id="1"), now=clock(), timeout_s=0.1)
        client.send(b"?")
        server.send(Message(Word.WAIT, id="1").encode(), client.address)
        with pytest.raises(TimedOut) as silent:
            ask(client, asking, server.address, hint="", on_reply=server._sock.close)
        assert silent.value.hint == REFUSED_HINT
