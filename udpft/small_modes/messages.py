r"""Timed messages: texts that go back and forth, each with its sender's own time.

The client says something; the server answers, with a text or only to say that it has it::

    client                                      server
      │  say hello server\n                      │
      │  from Client of Ada\n                    │
      │  at 2026-10-05T14:03:07.123+02:00\n      │
      │  id 5f2c91aa\n                           │
      ├──────────────────────────────────────────►  shown once
      │  answer hello client\nfrom Server of Bob…│
      ◄──────────────────────────────────────────┤

Where a person types the answers, the server says ``wait`` until there is one, and the client goes
on asking, which is how it gets an answer whose datagram was lost.

`Replier` is the server, `Delivery` one message of a client. Neither knows of sockets or clocks.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import inf
from typing import Any, Final, NamedTuple

from udpft.small_modes.exchange import (
    MAX_DATAGRAM_BYTES,
    MAX_ID_LENGTH,
    MAX_SPEAKER_BYTES,
    AddressedDatagram,
    Answers,
    Asking,
    Lines,
    NotUnderstood,
    check_line,
    id_untrusted,
    lines_untrusted,
    name_untrusted,
)

DEFAULT_PORT: Final = 9002

MAX_TEXT_BYTES: Final = 1_024
"""Bytes of UTF-8 in a text, so that a message is one datagram."""

MAX_TIME_LENGTH: Final = 32
"""Characters in a time that we write: milliseconds, and a zone that has seconds."""

TYPING_S: Final = 60.0
"""Seconds that a client is asked to wait for a typed answer; then it hears that nobody typed."""

MAX_WAITING: Final = 64
"""Messages that wait for a typed answer, at most; later ones are acknowledged at once."""

_WORDS_BYTES = len("answer \nfrom \nat \nid \n")
assert (
    MAX_TEXT_BYTES + MAX_SPEAKER_BYTES + MAX_TIME_LENGTH + MAX_ID_LENGTH + _WORDS_BYTES
    <= MAX_DATAGRAM_BYTES
)


class Word(StrEnum):
    """Kind of a datagram: its first word."""

    SAY = "say"  # a client's message
    ANSWER = "answer"  # the server's; without a text it acknowledges
    WAIT = "wait"  # the server's: I have it, and a person is typing


@dataclass(frozen=True, slots=True)
class Message:
    """Content of one datagram. ``name``, ``at`` and ``id`` may be missing from a hand-written one.

    ``at`` is the sender's own clock, with its zone.
    """

    word: Word
    text: str = ""
    name: str = ""
    at: datetime | None = None
    id: str = ""

    def encode(self) -> bytes:
        """Write the datagram."""
        at = self.at.isoformat(timespec="milliseconds") if self.at else ""
        return Lines(self.word, self.text, {"from": self.name, "at": at, "id": self.id}).encode()


def message_untrusted(datagram: bytes) -> Message:
    """Read a datagram. A time that is not ISO 8601 counts as none.

    Raises:
        NotUnderstood: it is no message, or says nothing.
    """
    lines = lines_untrusted(datagram)
    try:
        word = Word(lines.word)
    except ValueError:
        raise NotUnderstood("another first word") from None
    if word is Word.SAY and not lines.rest.strip():
        raise NotUnderstood("a message without a text")
    if len(lines.rest.encode()) > MAX_TEXT_BYTES:
        raise NotUnderstood("a text too long")
    return Message(
        word,
        lines.rest,
        name_untrusted(lines.fields.get("from", "")),
        _time_untrusted(lines.fields.get("at", "")),
        id_untrusted(lines.fields),
    )


def _time_untrusted(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def check_text(text: str, what: str = "the text") -> str:
    """Check and return a text that one message can carry.

    Raises:
        UsageError: empty, of several lines, or longer than `MAX_TEXT_BYTES`.
    """
    return check_line(text, what, MAX_TEXT_BYTES)


class Spoken(NamedTuple):
    """Event: a message to be shown, and its peer: ``sent`` by this side, or else received."""

    message: Message
    sent: bool
    peer_name: str
    source: Any


class _Waiting(NamedTuple):
    """Message that waits for a typed answer, ``until`` seconds on the clock."""

    asked: Message
    source: Hashable
    until: float


class Replier:
    """Server of messages: takes in each one once, however often it comes, and answers it.

    A driver calls `handle_datagram` with what arrives, `type_answer` with what the operator types,
    and `handle_timeout` once `next_timeout` has come; after any of them `poll_event` until it
    returns None, showing each, and `poll_transmit` until it returns None, sending each.

    Args:
        name: the server's.
        reply: the text of every answer; empty to acknowledge only.
        typed: whether a person types the answers instead.

    Attributes:
        ignored: datagrams so far that were no message.
    """

    def __init__(self, name: str, *, reply: str = "", typed: bool = False) -> None:
        self._name = name
        self._reply = reply
        self._typed = typed
        """Whether a person types the answers; False after `stop_typing`."""
        self._answers = Answers()
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        """Messages that wait for a typed answer, oldest first, by their number."""
        self._count = 0
        """Messages that have ever waited, which numbers them."""
        self._events: deque[Spoken] = deque()
        self._outgoing: deque[AddressedDatagram] = deque()
        self.ignored = 0

    @property
    def waiting(self) -> tuple[Message, Any] | None:
        """Message that the next typed line answers, and its sender's address."""
        for asked, source, _ in self._waiting.values():
            return asked, source
        return None

    def handle_datagram(
        self, datagram: bytes, source: Hashable, *, now: float, at: datetime
    ) -> None:
        """Take in a datagram from an address. One that is no message is counted in ``ignored``.

        ``now`` is in seconds on a clock that only runs forward, ``at`` the wall clock, with zone.
        """
        try:
            asked = message_untrusted(datagram)
            if asked.word is not Word.SAY:
                raise NotUnderstood("an answer, which nothing answers")
        except NotUnderstood:
            self.ignored += 1
            return
        given = self._answers.given(source, asked.id)
        if given is not None:
            self._outgoing.append(AddressedDatagram(given, source))
            return
        self._events.append(Spoken(asked, False, asked.name, source))
        if self._typed and len(self._waiting) < MAX_WAITING:
            self._count += 1
            self._waiting[self._count] = _Waiting(asked, source, now + TYPING_S)
            self._send(Message(Word.WAIT, name=self._name, at=at, id=asked.id), source)
        else:
            self._answer(asked, source, self._reply, at)

    def type_answer(self, text: str, at: datetime) -> None:
        """Answer the message that waits longest. An empty text acknowledges it.

        Raises:
            UsageError: the text does not fit in a message; the message goes on waiting.
        """
        if text.strip():
            check_text(text, "the answer")
        _, (asked, source, _) = self._waiting.popitem(last=False)
        self._answer(asked, source, text.strip(), at)

    def stop_typing(self, at: datetime) -> None:
        """End the typing: acknowledge what waits, and from now on everything at once."""
        self._typed = False
        while self._waiting:
            self.type_answer("", at)

    def next_timeout(self) -> float:
        """Time at which to call `handle_timeout`; inf for never."""
        for _, _, until in self._waiting.values():
            return until
        return inf

    def handle_timeout(self, now: float, at: datetime) -> None:
        """Acknowledge what has waited too long for a person."""
        while self.next_timeout() <= now:
            self.type_answer("", at)

    def poll_event(self) -> Spoken | None:
        """Return the next message received for the first time, or answered."""
        return self._events.popleft() if self._events else None

    def poll_transmit(self) -> AddressedDatagram | None:
        """Return the next datagram to be sent."""
        return self._outgoing.popleft() if self._outgoing else None

    def _answer(self, asked: Message, source: Hashable, text: str, at: datetime) -> None:
        answer = Message(Word.ANSWER, text, self._name, at, asked.id)
        self._events.append(Spoken(answer, True, asked.name, source))
        self._send(answer, source)

    def _send(self, message: Message, source: Hashable) -> None:
        datagram = message.encode()
        self._answers.keep(source, message.id, datagram)
        self._outgoing.append(AddressedDatagram(datagram, source))


class Delivery(Asking):
    """Client's message, repeated until it is answered.

    As long as the server says ``wait``, time begins anew.

    Attributes:
        answer: the server's; None until it has come.
        waiting_for: the server's name, once it has said ``wait``; None until then.
    """

    def __init__(self, message: Message, *, now: float, timeout_s: float) -> None:
        super().__init__(message.encode(), now=now, timeout_s=timeout_s)
        self._message = message
        self.answer: Message | None = None
        self.waiting_for: str | None = None

    @property
    def answered(self) -> bool:
        return self.answer is not None

    def _read_untrusted(self, datagram: bytes) -> None:
        reply = message_untrusted(datagram)
        if reply.word is Word.SAY or reply.id not in ("", self._message.id):
            raise NotUnderstood("a message, or an answer to another one")
        if reply.word is Word.WAIT:
            self.waiting_for = reply.name
        elif self.answer is None:
            self.answer = reply
