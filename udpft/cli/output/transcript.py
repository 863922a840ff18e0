"""Transcript of a conversation: one `TranscriptEntry` a message, as a line and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from udpft.cli.output.console import JSON_SCHEMA, say_now
from udpft.errors import LocalWriteFailed
from udpft.net.address import Address
from udpft.small_modes.messages import Message, Word
from udpft.units import format_seconds

TimeFormat = Literal["iso", "asctime"]


@dataclass(frozen=True)
class TranscriptEntry:
    """One line of the conversation. ``peer_name`` is empty where the peer gave none.

    ``time`` is when it was shown here; the message's ``at`` is its sender's clock.
    """

    time: datetime
    sent: bool
    message: Message
    peer_name: str
    address: Address
    round_trip_s: float | None = None


def format_time(time: datetime, style: TimeFormat) -> str:
    """A time with milliseconds and zone (ISO 8601), or as the C library's asctime writes it."""
    return time.isoformat(timespec="milliseconds") if style == "iso" else time.ctime()


def render(entry: TranscriptEntry, style: TimeFormat) -> str:
    """An entry as a line for people, not yet escaped. The text comes last: it may say anything."""
    message = entry.message
    peer = f"{entry.peer_name} ({entry.address})" if entry.peer_name else str(entry.address)
    acknowledgement = message.word is Word.ANSWER and not message.text
    verb = "acknowledged" if acknowledgement else "sent" if entry.sent else "received"
    direction = ("by", "to")[entry.sent] if acknowledgement else ("from", "to")[entry.sent]
    line = f"{format_time(entry.time, style)} {verb} {direction} {peer}"
    if message.at and not entry.sent:
        line += f", sent {format_time(message.at, style)}"
    if entry.round_trip_s is not None:
        line += f", round trip {format_seconds(entry.round_trip_s)}"
    return line if acknowledgement else f"{line}: {message.text}"


def as_json(entry: TranscriptEntry) -> dict[str, Any]:
    """An entry as an object of the log file."""
    message = entry.message
    return {
        "schema": JSON_SCHEMA,
        "event": "sent" if entry.sent else "received",
        "time": format_time(entry.time, "iso"),
        "word": str(message.word),
        "name": entry.peer_name,
        "address": str(entry.address),
        "text": message.text,
        "sent_at": format_time(message.at, "iso") if message.at else None,
        "id": message.id,
        "round_trip_s": entry.round_trip_s and round(entry.round_trip_s, 6),
    }


class Transcript:
    """Shows the conversation on standard output and, if asked, appends it to a file.

    Raises:
        LocalWriteFailed: the file cannot be written.
    """

    def __init__(self, style: TimeFormat, path: Path | None) -> None:
        self._style = style
        self._path = path
        self._file: IO[bytes] | None = None
        if path is not None:
            try:
                self._file = path.open("ab", buffering=0)
            except OSError as error:
                raise self._failed(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()

    def show(self, entry: TranscriptEntry) -> None:
        """Add one entry, at once."""
        say_now(render(entry, self._style))
        if self._file:
            try:
                self._file.write(f"{json.dumps(as_json(entry))}\n".encode())
            except OSError as error:
                raise self._failed(error) from None

    def _failed(self, error: OSError) -> LocalWriteFailed:
        return LocalWriteFailed(f"cannot write the log {self._path}: {error.strerror}")
