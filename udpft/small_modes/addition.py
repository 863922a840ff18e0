r"""Add-numbers: two programs, two names, two integers, one sum.

The client sends its name and an integer, the server answers with its own, and both know the sum::

    client                                server
      │  add 17 Client of Ada\nid 5f2c91aa\n │
      ├──────────────────────────────────────►  17 + 42 = 59
      │  plus 42 Server of Bob\nid 5f2c91aa\n│
      ◄──────────────────────────────────────┤
    17 + 42 = 59

An integer outside 1 to 100 draws no answer: it makes the server close its socket and stop.

`Adder` is the server, `Addition` one request of a client. Neither knows of sockets or clocks.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Hashable
from typing import Any, Final, NamedTuple

from udpft.errors import UsageError
from udpft.small_modes.exchange import (
    AddressedDatagram,
    Answers,
    Asking,
    Lines,
    NotUnderstood,
    id_untrusted,
    lines_untrusted,
    name_untrusted,
)

DEFAULT_PORT: Final = 9001

LOWEST: Final = 1
HIGHEST: Final = 100
"""The integers that can be added; any other one stops the server."""

MAX_DIGITS: Final = 100
"""Digits of an integer, at most: enough to be out of range in style."""

_INTEGER = re.compile(rf"[+-]?[0-9]{{1,{MAX_DIGITS}}}")


def in_range(number: int) -> bool:
    """Whether the server will add this integer. Any other one stops it."""
    return LOWEST <= number <= HIGHEST


class Term(NamedTuple):
    """Integer and its owner's name: the content of every datagram."""

    number: int
    name: str
    id: str = ""

    def encode(self, word: str) -> bytes:
        """Write the datagram: ``add`` from a client, ``plus`` from a server."""
        return Lines(word, f"{self.number} {self.name}".rstrip(), {"id": self.id}).encode()


def term_untrusted(datagram: bytes, word: str) -> Term:
    """Read ``WORD INTEGER NAME``, and the id that may follow it.

    Raises:
        NotUnderstood: it is something else.
    """
    lines = lines_untrusted(datagram)
    digits, _, name = lines.rest.strip().partition(" ")
    if lines.word != word or not _INTEGER.fullmatch(digits):
        raise NotUnderstood(f"not {word!r} and an integer")
    return Term(int(digits), name_untrusted(name), id_untrusted(lines.fields))


class Sum(NamedTuple):
    """Sum of two terms, as both sides print it. A client that gave no name has an empty one."""

    client: Term
    server: Term

    @property
    def total(self) -> int:
        """Sum of the two integers."""
        return self.client.number + self.server.number

    def __str__(self) -> str:
        (a, client, _), (b, server, _) = self
        return f"{a} ({client}) + {b} ({server}) = {self.total}"


class Added(NamedTuple):
    """Event: a new sum that the server has made, and the address that asked for it."""

    sum: Sum
    source: Any


class Adder:
    """Server of add-numbers: adds its own integer to any client's.

    A driver calls `handle_datagram` with what arrives; then `poll_event` until it returns None,
    printing each; then `poll_transmit` until it returns None, sending each. Once ``stopped_by``
    is set it closes the socket.

    Args:
        name: the server's.
        number: the server's integer, from `LOWEST` to `HIGHEST`.

    Attributes:
        stopped_by: the term out of range that stops the server; None until it comes.
        ignored: datagrams so far that were no request.
    """

    def __init__(self, name: str, number: int) -> None:
        self._own = Term(number, name)
        self._answers = Answers()
        self._events: deque[Added] = deque()
        self._outgoing: deque[AddressedDatagram] = deque()
        self.stopped_by: Term | None = None
        self.ignored = 0

    def handle_datagram(self, datagram: bytes, source: Hashable) -> None:
        """Take in a datagram from an address. One that is no request is counted in ``ignored``."""
        try:
            asked = term_untrusted(datagram, "add")
        except NotUnderstood:
            self.ignored += 1
            return
        if not in_range(asked.number):
            self.stopped_by = asked
            return
        answer = self._answers.given(source, asked.id)
        if answer is None:
            answer = self._own._replace(id=asked.id).encode("plus")
            self._answers.keep(source, asked.id, answer)
            self._events.append(Added(Sum(asked, self._own), source))
        self._outgoing.append(AddressedDatagram(answer, source))

    def poll_event(self) -> Added | None:
        """Return the next new sum. A request that came again makes none."""
        return self._events.popleft() if self._events else None

    def poll_transmit(self) -> AddressedDatagram | None:
        """Return the next answer to be sent."""
        return self._outgoing.popleft() if self._outgoing else None


class Addition(Asking):
    """Client of add-numbers: a request, repeated until the server's integer has come.

    Attributes:
        sum: the result; None until the answer has come.

    Raises:
        UsageError: an integer of more than `MAX_DIGITS` digits.
    """

    def __init__(self, own: Term, *, now: float, timeout_s: float) -> None:
        if abs(own.number) >= 10**MAX_DIGITS:
            raise UsageError(f"the integer has more than {MAX_DIGITS} digits")
        super().__init__(own.encode("add"), now=now, timeout_s=timeout_s)
        self._own = own
        self.sum: Sum | None = None

    @property
    def answered(self) -> bool:
        return self.sum is not None

    def _read_untrusted(self, datagram: bytes) -> None:
        server = term_untrusted(datagram, "plus")
        if not in_range(server.number) or server.id not in ("", self._own.id):
            raise NotUnderstood("an integer out of range, or an answer to something else")
        self.sum = Sum(self._own, server)
