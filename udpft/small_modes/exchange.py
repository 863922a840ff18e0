"""Exchange of a question and its answer over a bad network: the base of both small modes.

The network may lose, repeat and reorder; `addition` and `messages` build upon this.

Theory of operation. A datagram may be lost on its way to the server or on its way back, and the
asker cannot tell which. So it asks again, a little later each time, until an answer comes
(`Asking`). Then the same question may arrive twice, and must have its effect once: each question
carries an id, and the server keeps the answers that it gave under their ids and gives them again
(`Answers`). Only questions are answered. An answer, or anything else, draws nothing, so that two
servers that a forged datagram sets on each other fall silent at once.

A datagram is a few lines of UTF-8 (`Lines`): a word and what belongs to it, then optional fields,
one a line. The trailing newline may be left out, so that one line typed into netcat will do::

    say hello server
    from Client of Ada
    id 5f2c91aa
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Final, NamedTuple

from udpft.errors import UsageError

MAX_DATAGRAM_BYTES: Final = 1_232
"""Bytes in a datagram: what every IPv6 path carries whole, 1280 less headers (RFC 8200, 5)."""

MAX_SPEAKER_BYTES: Final = 100
"""Bytes of UTF-8 in a name."""

MAX_ID_LENGTH: Final = 32
"""Characters in an id."""

REPEAT_AFTER_S: Final = (0.1, 0.2, 0.4, 0.5)
"""Seconds after which a question is asked again; the last one holds from then on. At 30 % loss
each way that is twelve attempts in five seconds, of which all fail once in 3,000 times."""

PATIENT_REPEAT_S: Final = 2.0
"""Seconds after which to ask again where the server has said that it is at work on an answer."""

MAX_REMEMBERED: Final = 1_024
"""Answers kept for questions that come again, at most: 1.3 MB where all are as long as can be."""

_ID = re.compile(rf"[!-~]{{1,{MAX_ID_LENGTH}}}")


class NotUnderstood(Exception):
    """Error: a datagram is not of this protocol. It is counted and draws no answer."""


class AddressedDatagram(NamedTuple):
    """Datagram to be sent, and its destination."""

    datagram: bytes
    address: Any


class Lines(NamedTuple):
    """Content of a datagram: ``word rest``, then one ``field value`` a line."""

    word: str
    rest: str
    fields: dict[str, str]

    def encode(self) -> bytes:
        """Write the datagram. Fields without a value are left out."""
        lines = [f"{self.word} {self.rest}" if self.rest else self.word]
        lines += [f"{field} {value}" for field, value in self.fields.items() if value]
        return "".join(f"{line}\n" for line in lines).encode()


def lines_untrusted(datagram: bytes) -> Lines:
    r"""Read a datagram. Lines end with ``\n`` or ``\r\n``, the last one with neither if it likes.

    Fields that are not known are kept and mean nothing; of a field given twice the first counts.

    Raises:
        NotUnderstood: too long, no UTF-8, or nothing in it.
    """
    if len(datagram) > MAX_DATAGRAM_BYTES:
        raise NotUnderstood("too long")
    try:
        first, *others = (line.removesuffix("\r") for line in datagram.decode().split("\n"))
    except UnicodeDecodeError:
        raise NotUnderstood("no UTF-8") from None
    word, _, rest = first.partition(" ")
    fields: dict[str, str] = {}
    for line in others:
        field, _, value = line.partition(" ")
        fields.setdefault(field, value)
    return Lines(word, rest, fields)


def name_untrusted(text: str) -> str:
    """Read a name as a datagram has it; empty where it has none. Not escaped.

    Raises:
        NotUnderstood: too long.
    """
    name = text.strip()
    if len(name.encode()) > MAX_SPEAKER_BYTES:
        raise NotUnderstood("a name too long")
    return name


def id_untrusted(fields: dict[str, str]) -> str:
    """Read the id; empty where there is none.

    Raises:
        NotUnderstood: too long, or with characters other than printable ASCII.
    """
    word = fields.get("id", "").strip()
    if word and not _ID.fullmatch(word):
        raise NotUnderstood("no id")
    return word


def check_line(text: str, what: str, max_bytes: int) -> str:
    """Check and return a text that one line of a datagram can carry.

    Raises:
        UsageError: longer than ``max_bytes`` of UTF-8, or more than one line, or no text.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise UsageError(f"{what} is no valid UTF-8") from None
    if size > max_bytes:
        raise UsageError(f"{what} has {size:,} bytes; at most {max_bytes:,} fit in a datagram")
    if "\n" in text:
        raise UsageError(f"{what} has more than one line")
    if not text.strip():
        raise UsageError(f"{what} is empty")
    return text


def check_name(name: str) -> str:
    """Check and return a name that a datagram can carry, without spaces around it.

    Raises:
        UsageError: empty, more than one line, or longer than `MAX_SPEAKER_BYTES`.
    """
    return check_line(name.strip(), "the name", MAX_SPEAKER_BYTES)


class Asking(ABC):
    """Question that is repeated until it is answered, or until its time is over.

    A driver calls, in this order and until `answered` or `expired`: `poll_transmit`, sending what
    it returns; `handle_datagram` for each datagram that arrives before `next_timeout`.

    Args:
        datagram: the question; every repeat is the same to the byte.
        now: seconds on any clock that only runs forward.
        timeout_s: seconds after which to give up.

    Attributes:
        asked: times that the question was sent.
        ignored: datagrams so far that were no reply to it.
        round_trip_s: seconds from the question to the first reply; None where it is not known.
    """

    def __init__(self, datagram: bytes, *, now: float, timeout_s: float) -> None:
        self.asked = 0
        self.ignored = 0
        self.round_trip_s: float | None = None
        self._datagram = datagram
        self._began = now
        self._timeout_s = timeout_s
        self._deadline = now + timeout_s
        """Seconds on the clock: when to give up. A reply that is no answer yet moves it on."""
        self._due = now
        """Seconds on the clock: when to ask again. Each question and such a reply move it on."""
        self._last_reply: float | None = None
        """Seconds on the clock of the latest reply; None until one has come."""

    @property
    @abstractmethod
    def answered(self) -> bool:
        """Whether the answer has come."""

    @property
    def heard(self) -> bool:
        """Whether there was a reply, be it only to ask for patience."""
        return self._last_reply is not None

    @property
    def elapsed_s(self) -> float:
        """Seconds from the first question to the latest reply; 0 where none came."""
        return 0.0 if self._last_reply is None else self._last_reply - self._began

    def expired(self, now: float) -> bool:
        """Whether the time to answer is over."""
        return now >= self._deadline

    def next_timeout(self) -> float:
        """Time at which to call `poll_transmit` again, or to look whether it has `expired`."""
        return min(self._due, self._deadline)

    def poll_transmit(self, now: float) -> bytes | None:
        """Return the question, if it is time to ask (again)."""
        if now < self._due or self.answered or self.expired(now):
            return None
        self._due = now + REPEAT_AFTER_S[min(self.asked, len(REPEAT_AFTER_S) - 1)]
        self.asked += 1
        return self._datagram

    def handle_datagram(self, datagram: bytes, now: float) -> None:
        """Take in a datagram. One that is no reply to this question is counted in ``ignored``."""
        try:
            self._read_untrusted(datagram)
        except NotUnderstood:
            self.ignored += 1
            return
        if not self.answered:
            # The server is at work on it: the time begins anew, and there is less of a hurry.
            self._deadline = now + self._timeout_s
            self._due = now + min(PATIENT_REPEAT_S, self._timeout_s / 2)
        if self._last_reply is None and self.asked == 1:
            # Asked twice, nobody knows which of the two was answered (Karn; RFC 6298, 3).
            self.round_trip_s = now - self._began
        self._last_reply = now

    @abstractmethod
    def _read_untrusted(self, datagram: bytes) -> None:
        """Keep the answer; return without one where the server asks for patience.

        Raises:
            NotUnderstood: it is no reply to this question.
        """


class Answers:
    """Latest answers, by asker and question's id: the oldest make room for new ones.

    A question without an id is never kept: nothing tells its repeat from a second question.
    """

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[Hashable, str], bytes] = OrderedDict()
        """Answers by (address, id), oldest first; `MAX_REMEMBERED` at most."""

    def __len__(self) -> int:
        return len(self._answers)

    def given(self, source: Hashable, id: str) -> bytes | None:
        """Return the answer that this question has had, or None if it is new."""
        return self._answers.get((source, id))

    def keep(self, source: Hashable, id: str, answer: bytes) -> None:
        """Remember an answer, in place of an earlier one to the same question."""
        if not id:
            return
        self._answers[source, id] = answer
        if len(self._answers) > MAX_REMEMBERED:
            self._answers.popitem(last=False)


def worth_a_line(count: int) -> bool:
    """Whether the count of ignored datagrams is to be logged: at 1, 10, 100 and so on.

    However many a flood sends, the log grows by a line for each power of ten.
    """
    return str(count).rstrip("0") == "1"
