"""``udpft add`` as people run it: two processes, and one of them by hand."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cli.processes import PATIENCE_S, Server, environment, run_udpft
from udpft.cli.commands.add import command
from udpft.cli.output.console import Console
from udpft.errors import ExitCode, PortClosed, TimedOut, UsageError
from udpft.net.address import Address
from udpft.small_modes.conversation import Conversation

SUM = "17 (Client of Ada) + 42 (Server of Bob) = 59"


@pytest.fixture
def hand() -> Iterator[socket.socket]:
    """A socket on loopback, for a client or a server written by hand."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE_S)
        yield sock


def send(*arguments: str) -> None:
    """``udpft add send`` in this process."""
    command.main(["send", *arguments], "udpft add", standalone_mode=False, obj=Console())


def address(sock: socket.socket) -> str:
    return str(Address.of(sock.getsockname()))


def adder() -> Server:
    return Server("add", "serve", "--number", "42", "--name", "Server of Bob")


# -------------------------------------------------------------------------------- real processes


def test_both_sides_print_both_names_both_integers_and_the_sum() -> None:
    with adder() as server:
        client = run_udpft("add", "send", "17", "--name", "Client of Ada", "-s", server.address)
        assert (client.returncode, client.stdout, client.stderr) == (0, f"{SUM}\n", "")
        assert server.line() == SUM


def test_an_integer_out_of_range_stops_the_server_with_its_socket_closed() -> None:
    with adder() as server:
        client = run_udpft("add", "send", "500", "--name", "Ada", "-s", server.address)
        assert client.returncode == 0
        assert "500 (Ada) is outside 1 to 100: it stops the server" in client.stdout
        assert server.line() == "500 (Ada) is outside 1 to 100: Server of Bob stops"
        assert server.exit_code() == 0
        assert f"{server.address} is closed: the server has stopped" in client.stdout
        Conversation.listen(Address("127.0.0.1", server.port)).__exit__(None, None, None)


def test_a_hundred_thousand_datagrams_of_garbage_leave_it_serving(hand: socket.socket) -> None:
    with adder() as server:
        hand.connect(("127.0.0.1", server.port))
        for n in range(100_000):
            hand.send(b"\xff\x1b[31m garbage %d" % n)
            if n % 100 == 99:  # let it keep up, so that what is counted here was read there
                hand.send(b"add 17 Client of Ada\nid pace")
                assert hand.recv(2048) == b"plus 42 Server of Bob\nid pace\n"
        assert server.line() == SUM
        assert server.stop() == ExitCode.TERMINATED
        log = server.rest_of_log().splitlines()
        ignored = [line for line in log if "datagrams ignored so far" in line]
        assert len(ignored) == 6, "a line for each power of ten"
        assert "100,000" in ignored[-1]
        assert not any("\x1b" in line for line in log)


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGTERM, ExitCode.TERMINATED), (signal.SIGINT, ExitCode.INTERRUPTED)],
)
def test_a_signal_ends_the_server_without_a_traceback(signum: int, code: int) -> None:
    with adder() as server:
        assert server.stop(signum) == code
        assert server.rest_of_log().split() == ["udpft:", ExitCode(code).name.lower()]


def test_neither_number_nor_terminal_is_a_usage_error() -> None:
    client = run_udpft("add", "send", "-s", "127.0.0.1:9", stdin=b"17\n")
    assert client.returncode == ExitCode.USAGE
    assert "no number to send" in client.stderr
    assert "-it" in client.stderr


def test_nobody_there_exits_with_7_and_a_hint(hand: socket.socket) -> None:
    where = address(hand)
    hand.close()
    client = run_udpft("add", "send", "17", variables={"UDPFT_SERVER": where})
    assert (client.returncode, client.stdout) == (ExitCode.PORT_CLOSED, "")
    error, hint = client.stderr.splitlines()
    assert error == f"udpft: nothing listens on {where}"
    assert hint.startswith("hint: start one there")


def test_on_a_terminal_it_asks_again_after_nonsense() -> None:
    with adder() as server:
        ours, theirs = pty.openpty()
        client = subprocess.Popen(
            [sys.executable, "-m", "udpft", "add", "send", "--name", "Ada", "-s", server.address],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(),
            start_new_session=True,
        )
        os.close(theirs)
        seen = _read_until(ours, b"1 to 100: ")
        os.write(ours, b"seven\n")
        seen += _read_until(ours, b"1 to 100: ")
        os.write(ours, b"7\n")
        _read_until(ours, b"= 49")
        assert b"'seven' is not" in seen
        assert client.wait(PATIENCE_S) == 0
        os.close(ours)


def _read_until(fd: int, end: bytes) -> bytes:
    seen = b""
    while end not in seen:
        assert select.select([fd], [], [], PATIENCE_S)[0], f"only {seen!r}"
        seen += os.read(fd, 4096)
    return seen


# ------------------------------------------------------------------------------- by hand, in class


def test_a_client_by_hand_needs_one_line(hand: socket.socket) -> None:
    with adder() as server:
        hand.sendto(b"add 17\n", ("127.0.0.1", server.port))
        assert hand.recv(2048) == b"plus 42 Server of Bob\n"
        assert server.line() == f"17 ({address(hand)}) + 42 (Server of Bob) = 59"


def test_a_server_by_hand_needs_one_line(hand: socket.socket) -> None:
    client = subprocess.Popen(
        [sys.executable, "-m", "udpft", "add", "send", "17", "--name", "Ada", "-s", address(hand)],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    request, source = hand.recvfrom(2048)
    assert request.startswith(b"add 17 Ada\nid ")
    hand.sendto(b"plus 42\n", source)
    printed, _ = client.communicate(timeout=PATIENCE_S)
    assert (client.returncode, printed) == (0, f"17 (Ada) + 42 ({address(hand)}) = 59\n".encode())


# ------------------------------------------------------------------------------- in this process


def test_nobody_there_is_a_closed_port(hand: socket.socket) -> None:
    where = address(hand)
    hand.close()
    with pytest.raises(PortClosed, match=f"nothing listens on {where}") as closed:
        send("17", "-s", where)
    assert "udpft add serve" in closed.value.hint


def test_nobody_there_to_be_stopped_is_a_closed_port_too(hand: socket.socket) -> None:
    where = address(hand)
    hand.close()
    with pytest.raises(PortClosed):
        send("500", "-s", where)


def test_a_silent_server_is_a_timeout(hand: socket.socket) -> None:
    with pytest.raises(TimedOut, match="asked 2 times"):
        send("17", "-s", address(hand), "--timeout", "0.15")


def test_out_of_range_silence_is_as_it_should_be(
    hand: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    send("-5", "-s", address(hand), "--timeout", "0.15", "--name", "Ada")
    assert hand.recv(2048).startswith(b"add -5 Ada\n")
    assert "-5 (Ada) is outside 1 to 100: it stops the server" in capsys.readouterr().out


def test_the_environment_names_the_server(
    hand: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UDPFT_SERVER", "127.0.0.1:1")
    monkeypatch.setenv("UDPFT_ADD_SERVER", address(hand))
    with pytest.raises(TimedOut, match=address(hand)):
        send("17", "--timeout", "0.05")


@pytest.mark.parametrize(
    "arguments",
    [
        ["17", "-s", "two words"],
        ["17", "--name", "two\nlines"],
        ["17", "--name", ""],
        ["9" * 200],
    ],
)
def test_nonsense_is_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        send(*arguments)
