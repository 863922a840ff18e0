"""A conversation as lines for people and as objects for programs."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from udpft.cli.output.transcript import Transcript, TranscriptEntry, as_json, render
from udpft.errors import ExitCode, LocalWriteFailed
from udpft.net.address import Address
from udpft.small_modes.messages import Message, Word

HERE = datetime(2026, 10, 5, 14, 3, 7, 125_000, timezone(timedelta(hours=2)))
THERE = datetime(2026, 10, 5, 12, 3, 7, 123_456, timezone(timedelta(0)))
SERVER = Address("127.0.0.1", 9002)

SAID = TranscriptEntry(HERE, True, Message(Word.SAY, "hello server", "Ada", HERE, "1"), "", SERVER)
HEARD = TranscriptEntry(HERE, False, Message(Word.SAY, "hello", "Ada", THERE, "1"), "Ada", SERVER)
ANSWERED = TranscriptEntry(
    HERE, False, Message(Word.ANSWER, "hello client", "Bob", THERE, "1"), "Bob", SERVER, 0.001234567
)
GOT_IT = TranscriptEntry(
    HERE, False, Message(Word.ANSWER, "", "Bob", THERE, "1"), "Bob", SERVER, 0.00045
)
BY_HAND = TranscriptEntry(HERE, False, Message(Word.SAY, "hello"), "", SERVER)


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (SAID, "2026-10-05T14:03:07.125+02:00 sent to 127.0.0.1:9002: hello server"),
        (
            HEARD,
            "2026-10-05T14:03:07.125+02:00 received from Ada (127.0.0.1:9002), "
            "sent 2026-10-05T12:03:07.123+00:00: hello",
        ),
        (
            ANSWERED,
            "2026-10-05T14:03:07.125+02:00 received from Bob (127.0.0.1:9002), "
            "sent 2026-10-05T12:03:07.123+00:00, round trip 1.23 ms: hello client",
        ),
        (
            GOT_IT,
            "2026-10-05T14:03:07.125+02:00 acknowledged by Bob (127.0.0.1:9002), "
            "sent 2026-10-05T12:03:07.123+00:00, round trip 450 µs",
        ),
        (BY_HAND, "2026-10-05T14:03:07.125+02:00 received from 127.0.0.1:9002: hello"),
    ],
)
def test_each_line_has_its_time_and_the_senders(entry: TranscriptEntry, line: str) -> None:
    assert render(entry, "iso") == line


def test_the_classic_look_is_asctime() -> None:
    assert render(HEARD, "asctime") == (
        "Mon Oct  5 14:03:07 2026 received from Ada (127.0.0.1:9002), "
        "sent Mon Oct  5 12:03:07 2026: hello"
    )


def test_the_log_file_has_one_object_a_line_and_grows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.jsonl"
    for entry in (SAID, ANSWERED):
        with Transcript("iso", path) as transcript:
            transcript.show(entry)
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first, second) == (as_json(SAID), as_json(ANSWERED))
    assert second == {
        "schema": 1,
        "event": "received",
        "time": "2026-10-05T14:03:07.125+02:00",
        "word": "answer",
        "name": "Bob",
        "address": "127.0.0.1:9002",
        "text": "hello client",
        "sent_at": "2026-10-05T12:03:07.123+00:00",
        "id": "1",
        "round_trip_s": 0.001235,
    }
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_what_could_move_the_cursor_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    message = Message(Word.SAY, "\x1b[2Jred \u202egnp.exe", "Ada\r\x07", None)
    with Transcript("iso", None) as transcript:
        transcript.show(TranscriptEntry(HERE, False, message, message.name, SERVER))
    printed = capsys.readouterr().out
    assert r"Ada\r\x07 (127.0.0.1:9002): \x1b[2Jred \u202egnp.exe" in printed


def test_a_log_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalWriteFailed, match="cannot write the log") as failed:
        Transcript("iso", tmp_path / "missing" / "log.jsonl")
    assert failed.value.exit_code == ExitCode.WRITE_FAILED


def test_a_log_on_a_full_disk_is_told() -> None:
    with (
        pytest.raises(LocalWriteFailed, match="No space left"),
        Transcript("iso", Path("/dev/full")) as transcript,
    ):
        transcript.show(SAID)
