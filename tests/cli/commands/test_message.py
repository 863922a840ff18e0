"""``udpft message`` as people run it: one-shot, piped, on a terminal, by hand."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.processes import PATIENCE_S, Server, environment, run_udpft
from udpft.cli.commands.message import command
from udpft.cli.output.console import Console
from udpft.errors import ExitCode, PortClosed, TimedOut, UsageError
from udpft.net.address import Address
from udpft.small_modes.messages import Word, message_untrusted

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"


@pytest.fixture
def hand() -> Iterator[socket.socket]:
    """A socket on loopback, for a client or a server written by hand."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE_S)
        yield sock


@pytest.fixture(scope="module")
def bob() -> Iterator[Server]:
    """A server that answers "hello client"; each test reads the lines that it causes."""
    with Server("message", "serve", "--name", "Bob", "--reply", "hello client") as server:
        yield server


def send(*arguments: str) -> None:
    """``udpft message send`` in this process."""
    command.main(["send", *arguments], "udpft message", standalone_mode=False, obj=Console())


def address(sock: socket.socket) -> str:
    return str(Address.of(sock.getsockname()))


def texts(server: Server, count: int) -> list[str]:
    """The texts of the next lines that a server prints."""
    return [server.line().rpartition(": ")[2] for _ in range(count)]


# --------------------------------------------------------------------------------- both sides


def test_both_sides_print_both_texts_with_their_times(bob: Server) -> None:
    client = run_udpft("message", "send", "hello", "server", "--name", "Ada", "-s", bob.address)
    assert client.returncode == 0
    said, answered = client.stdout.splitlines()
    assert re.fullmatch(rf"{TIME} sent to {bob.address}: hello server", said)
    assert re.fullmatch(
        rf"{TIME} received from Bob \({bob.address}\), sent {TIME}, round trip [\d.]+ .?s: "
        "hello client",
        answered,
    )
    ada = r"Ada \(127\.0\.0\.1:\d+\)"
    assert re.fullmatch(rf"{TIME} received from {ada}, sent {TIME}: hello server", bob.line())
    assert re.fullmatch(rf"{TIME} sent to {ada}: hello client", bob.line())


def test_the_lines_of_a_pipe_are_sent_one_by_one(bob: Server) -> None:
    client = run_udpft("message", "send", "-s", bob.address, stdin=b"one\n\ntwo\r\nthree")
    assert client.returncode == 0
    assert len(client.stdout.splitlines()) == 6
    assert texts(bob, 6)[::2] == ["one", "two", "three"]


def test_an_escape_in_a_text_is_shown_escaped_on_both_sides(bob: Server) -> None:
    client = run_udpft("message", "send", "red \x1b[31m", "-s", bob.address)
    assert r"red \x1b[31m" in client.stdout
    assert "\x1b" not in client.stdout
    assert texts(bob, 2)[0] == r"red \x1b[31m"


def test_a_text_is_repeated_in_time_with_an_id_of_its_own_each(
    bob: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    send("tick", "-s", bob.address, "--every", "0.01", "--count", "3", "--log", str(log))
    assert texts(bob, 6)[::2] == ["tick"] * 3
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["event"] for entry in entries] == ["sent", "received"] * 3
    assert len({entry["id"] for entry in entries}) == 3
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_the_lines_of_one_text_are_messages_of_their_own(bob: Server) -> None:
    send("first\nsecond", "-s", bob.address)
    assert texts(bob, 4)[::2] == ["first", "second"]


def test_the_classic_look(bob: Server, capsys: pytest.CaptureFixture[str]) -> None:
    send("hi", "-s", bob.address, "--time-format", "asctime")
    bob.line(), bob.line()
    assert re.match(
        r"[A-Z]\w\w [A-Z]\w\w [ \d]\d \d\d:\d\d:\d\d \d{4} sent to", capsys.readouterr().out
    )


def test_without_a_reply_the_server_acknowledges_and_logs_as_json(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Server("message", "serve", "--name", "Bob", "--log", str(log)) as server:
        client = run_udpft("message", "send", "hello", "--name", "Ada", "-s", server.address)
        assert f"acknowledged by Bob ({server.address}), sent " in client.stdout
        server.line()
        assert "acknowledged to Ada (" in server.line()
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        assert [(e["event"], e["word"], e["text"], e["name"]) for e in entries] == [
            ("received", "say", "hello", "Ada"),
            ("sent", "answer", "", "Ada"),
        ]
        assert server.stop() == ExitCode.TERMINATED
        assert server.rest_of_log() == "udpft: terminated\n"


# --------------------------------------------------------------------------------- on terminals


class Terminal:
    """A ``udpft`` process on a terminal of its own, as with ``docker run -it``."""

    def __init__(self, *arguments: str) -> None:
        self.fd, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "udpft", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(),
            start_new_session=True,
        )
        os.close(theirs)
        self._unread = b""

    def type(self, line: str) -> None:
        os.write(self.fd, line.encode())

    def until(self, end: str) -> str:
        """What is shown up to this."""
        while end.encode() not in self._unread:
            assert select.select([self.fd], [], [], PATIENCE_S)[0], f"only {self._unread!r}"
            self._unread += os.read(self.fd, 4096)
        seen, _, self._unread = self._unread.partition(end.encode())
        return seen.decode()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


def test_two_people_on_terminals_talk_in_turn() -> None:
    with Terminal("message", "serve", "--name", "Bob", "-p", "0") as server:
        where = re.search(r"127\.0\.0\.1:\d+", server.until("acknowledges it"))
        assert where
        with Terminal("message", "send", "--name", "Ada", "-s", where[0]) as client:
            client.until("> ")
            client.type("hello server\n")
            client.until("waiting for Bob to type an answer")
            assert ": hello server" in server.until("answer Ada: ")
            server.type("hello client\n")
            assert ": hello client" in client.until("> ")
            client.type("x" * 1500 + "\n")
            client.until("1,500 bytes; at most 1,024")
            client.until("> ")
            client.type("\x04")
            assert client.process.wait(PATIENCE_S) == 0


# -------------------------------------------------------------------------------------- by hand


def test_a_client_by_hand_needs_one_line(hand: socket.socket, bob: Server) -> None:
    hand.sendto(b"say hello\n", ("127.0.0.1", bob.port))
    answer = message_untrusted(hand.recv(2048))
    assert (answer.word, answer.text, answer.name) == (Word.ANSWER, "hello client", "Bob")
    assert f"received from {address(hand)}: hello" in bob.line()
    assert bob.line().endswith("hello client")


def test_a_server_by_hand_needs_one_line(hand: socket.socket) -> None:
    client = subprocess.Popen(
        [sys.executable, "-m", "udpft", "message", "send", "hello", "-s", address(hand)],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    said, source = hand.recvfrom(2048)
    assert message_untrusted(said).text == "hello"
    hand.sendto(b"wait\n", source)
    hand.sendto(b"answer hi\n", source)
    printed, _ = client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 0
    assert re.search(
        rf"received from {address(hand)}, round trip [\d.]+ .?s: hi\n", printed.decode()
    )


# --------------------------------------------------------------------------- what can go wrong


def test_no_text_and_no_terminal_is_one_clear_line() -> None:
    client = run_udpft("message", "send", stdin=b" \n")
    assert (client.returncode, client.stdout) == (ExitCode.USAGE, "")
    error, hint = client.stderr.splitlines()
    assert "nothing to send" in error
    assert "TEXT" in hint
    assert "-it" in hint


def test_a_line_too_long_stops_the_pipe_with_its_number(bob: Server) -> None:
    client = run_udpft("message", "send", "-s", bob.address, stdin=b"ok\n" + b"x" * 1025)
    assert client.returncode == ExitCode.USAGE
    assert "line 2 of standard input has 1,025 bytes; at most 1,024 fit" in client.stderr
    assert texts(bob, 2)[0] == "ok"


def test_nobody_there_is_a_closed_port(hand: socket.socket) -> None:
    where = address(hand)
    hand.close()
    with pytest.raises(PortClosed, match=f"nothing listens on {where}") as closed:
        send("hello", "-s", where)
    assert "udpft message serve" in closed.value.hint


def test_a_silent_server_is_a_timeout(hand: socket.socket) -> None:
    with pytest.raises(TimedOut, match="asked 2 times"):
        send("hello", "-s", address(hand), "--timeout", "0.15")


@pytest.mark.parametrize(
    "arguments",
    [
        ["x" * 1025],
        ["ok\n\nnot an empty line"],
        ["\udcff"],
        ["--every", "1"],
        ["--count", "2"],
        ["hello", "-s", "two words"],
        ["hello", "--name", "n" * 101],
    ],
)
def test_nonsense_is_a_usage_error_before_anything_is_sent(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError):
        send(*arguments)
    assert capsys.readouterr().out == ""


def test_a_reply_too_long_is_refused_at_the_start() -> None:
    with pytest.raises(UsageError, match="the reply has 2,000 bytes"):
        command.main(
            ["serve", "--reply", "x" * 2000], "message", standalone_mode=False, obj=Console()
        )
