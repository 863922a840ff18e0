"""Server log: its words, its objects, and the limit on what a flood may write."""

from __future__ import annotations

import errno
import json
import logging

import pytest

from udpft.cli.output.console import Console
from udpft.cli.output.server_log import FailureHandler, ServerLog
from udpft.errors import NoSuchFile, PartialTransfer
from udpft.outcome.served import Refused, Served

Capture = pytest.CaptureFixture[str]


def test_a_transfer_that_fails_is_an_error_event(capsys: Capture) -> None:
    teller = ServerLog(Console(), as_json=True)
    error = PartialTransfer("the client\x1b closed its port")
    served = Served("a\x1b", "[::1]:7", "plain", 10, 4, 0.5, 0, verified=False, error=error)
    teller.tell(served)
    out, err = capsys.readouterr()
    line = json.loads(out)
    assert (line["event"], line["exit_code"]) == ("error", 18)
    assert line["message"] == str(error)
    assert err.endswith("[::1]:7 plain 'a\\x1b': failed: the client\\x1b closed its port\n")


def test_a_client_that_left_without_a_word_is_not_confirmed(capsys: Capture) -> None:
    teller = ServerLog(Console(), as_json=False)
    teller.tell(Served("a", "[::1]:7", "reliable", 10, 60, 0.5, 0, verified=False, error=None))
    assert capsys.readouterr().err.endswith("not confirmed: the client left without a word\n")


def test_a_request_for_a_missing_file_has_a_line_and_an_event(capsys: Capture) -> None:
    teller = ServerLog(Console(), as_json=True)
    error = NoSuchFile("no such file on the server", hint="did you mean 'b'?")
    teller.tell_refused(Refused("a\x1b", "[::1]:7", "reliable", upload=False, error=error))
    out, err = capsys.readouterr()
    event = json.loads(out)
    assert (event["event"], event["name"], event["peer"]) == ("refused", "a\x1b", "[::1]:7")
    assert (event["upload"], event["exit_code"]) == (False, 78)
    assert err.endswith("[::1]:7 reliable 'a\\x1b': refused: no such file on the server\n")


def test_a_flood_of_requests_does_not_fill_the_log(capsys: Capture) -> None:
    teller = ServerLog(Console(), as_json=False, clock=lambda: 0.0)
    error = NoSuchFile("no such file on the server")
    for _ in range(3_000):
        teller.tell_refused(Refused("a", "[::1]:7", "plain", upload=False, error=error))
    assert len(capsys.readouterr().err.splitlines()) == 2_000
    teller.tell_untold()
    assert "1000 more transfers, too many to tell" in capsys.readouterr().err


def test_a_flood_of_transfers_does_not_fill_the_log(capsys: Capture) -> None:
    now = 0.0
    teller = ServerLog(Console(), as_json=True, clock=lambda: now)
    served = Served("a", "[::1]:7", "plain", 10, 10, 0.5, 0, verified=False, error=None)
    for _ in range(30_000):
        teller.tell(served)
        now += 0.001
    teller.tell_untold()
    out, err = capsys.readouterr()
    lines, events = err.splitlines(), [json.loads(line) for line in out.splitlines()]
    for n_lines in (len(lines), len(events)):
        assert 2_600 <= n_lines <= 3_200
    untold = sum(event.get("transfers", 0) for event in events)
    assert untold + sum(event["event"] == "done" for event in events) == 30_000
    assert sum("more transfers, too many to tell" in line for line in lines) > 500


def record_of_a_bug() -> logging.LogRecord:
    try:
        {}["\x1b"]
    except KeyError as error:
        trace = type(error), error, error.__traceback__
    return logging.LogRecord("x", logging.ERROR, "f", 1, "KeyError: %s", ("\x1b",), trace)


def test_a_failure_of_the_server_is_one_line_and_its_trace_with_v(capsys: Capture) -> None:
    FailureHandler(Console()).emit(record_of_a_bug())
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("error: KeyError: \\x1b")
    FailureHandler(Console(verbosity=1)).emit(record_of_a_bug())
    lines = capsys.readouterr().err.splitlines()
    assert "Traceback" in lines[1]
    assert "KeyError" in lines[-1]


def test_a_failure_of_the_server_is_told_to_programs_with_its_trace(capsys: Capture) -> None:
    FailureHandler(Console(verbosity=-1, log_format="json")).emit(record_of_a_bug())
    [line] = capsys.readouterr().err.splitlines()
    fields = json.loads(line)
    assert fields["level"] == "error"
    assert "Traceback" in fields["trace"]


@pytest.mark.parametrize(
    ("code", "reason"), [(errno.EACCES, "permission denied"), (errno.ENOENT, ""), (None, "")]
)
def test_the_operator_reads_why_a_file_is_not_served(
    capsys: Capture, code: int | None, reason: str
) -> None:
    error = NoSuchFile("no such file on the server")
    error.__cause__ = None if code is None else OSError(code, "what the system says")
    teller = ServerLog(Console(), as_json=True)
    teller.tell_refused(Refused("a", "[::1]:7", "reliable", upload=False, error=error))
    out, err = capsys.readouterr()
    told = "refused: no such file on the server" + (f" ({reason})" if reason else "")
    assert err.rstrip().endswith(told)
    assert json.loads(out).get("reason", "") == reason
