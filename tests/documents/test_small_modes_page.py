"""Pages on the small modes, checked: datagrams, commands, netcat."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.processes import PATIENCE_S, Server, environment, run_udpft
from udpft.small_modes.addition import Adder, term_untrusted
from udpft.small_modes.exchange import NotUnderstood
from udpft.small_modes.messages import message_untrusted

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "small-modes.md").read_text()
WIRE = (DOCS / "protocol.md").read_text()
WIRE = WIRE[WIRE.index("## Add-numbers") :]

ADD_SERVER = '$ udpft add serve --number 42 --name "Server of Bob"'
MESSAGE_SERVER = '$ udpft message serve --name "Server of Bob" --reply "hello client"'

needs_netcat = pytest.mark.skipif(
    not shutil.which("nc"), reason="needs netcat (Debian: netcat-openbsd)"
)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page that are in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def sessions() -> dict[str, str]:
    """Each command line of the page's consoles, with what it prints."""
    commands: dict[str, str] = {}
    for block in blocks(PAGE, "console"):
        for command in re.split(r"^(?=\$ )", block, flags=re.MULTILINE)[1:]:
            line, _, output = command.partition("\n")
            commands[line] = output
    return commands


def blurred(output: str) -> str:
    """Output without what differs from run to run: times, ports and durations."""
    output = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:?\d\d", "TIME", output)
    output = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", output)
    return re.sub(r"[\d.]+ (µs|ms|s)\b", "SHORT", output)


def run_as_shown(line: str, **variables: str) -> str:
    """Run a command of the page; return all that it prints."""
    finished = run_udpft(*shlex.split(line.removeprefix("$ udpft ")), variables=variables)
    return finished.stdout + finished.stderr


def start_as_shown(line: str) -> Server:
    return Server(*shlex.split(line.removeprefix("$ udpft ")))


def is_understood(datagram: bytes) -> bool:
    for read in (
        lambda: term_untrusted(datagram, "add"),
        lambda: term_untrusted(datagram, "plus"),
        lambda: message_untrusted(datagram),
    ):
        try:
            read()
        except NotUnderstood:
            continue
        return True
    return False


# ---------------------------------------------------------------------------------- the format


def test_every_datagram_shown_is_understood() -> None:
    datagrams = blocks(WIRE, "udp")
    assert len(datagrams) == 9
    assert [d for d in datagrams if not is_understood(d.encode())] == []


def test_the_request_shown_gets_the_answer_shown() -> None:
    request, answer = blocks(WIRE, "udp")[:2]
    adder = Adder("Server of Bob", 42)
    adder.handle_datagram(request.encode(), "ada")
    outgoing = adder.poll_transmit()
    assert outgoing is not None
    assert outgoing.datagram.decode() == answer


# -------------------------------------------------------------------------------- the commands


def test_add_numbers_is_as_shown() -> None:
    shown = sessions()
    with start_as_shown(ADD_SERVER) as server:
        clients = [line for line in shown if " add send " in line and " -v " not in line]
        assert len(clients) == 3
        for line in clients:
            printed = run_as_shown(line, UDPFT_ADD_SERVER=server.address)
            assert blurred(printed) == blurred(shown[line])
        server.line()
        assert server.line() in PAGE
        assert server.exit_code() == 0


def test_timed_messages_are_as_shown() -> None:
    shown = sessions()
    with start_as_shown(MESSAGE_SERVER) as server:
        [line] = [line for line in shown if " message send " in line]
        printed = run_as_shown(line, UDPFT_MESSAGE_SERVER=server.address)
        assert blurred(printed) == blurred(shown[line])
        said = [blurred(server.line()) for _ in range(2)]
        assert said == blurred(shown[MESSAGE_SERVER]).splitlines()[1:]


def test_lost_requests_are_as_shown() -> None:
    [line] = [line for line in sessions() if " -v " in line]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lossy:
        lossy.bind(("127.0.0.1", 0))
        lossy.settimeout(PATIENCE_S)
        client = subprocess.Popen(
            [sys.executable, "-m", *shlex.split(line.removeprefix("$ "))],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(UDPFT_ADD_SERVER=f"127.0.0.1:{lossy.getsockname()[1]}"),
        )
        lossy.recv(2048)
        lossy.recv(2048)
        _, source = lossy.recvfrom(2048)
        lossy.sendto(b"plus 42 Server of Bob\n", source)
        printed, _ = client.communicate(timeout=PATIENCE_S)
    assert blurred(printed.decode()) == blurred(sessions()[line])


# --------------------------------------------------------------------------------- with netcat


def netcat_lines(side: int) -> list[str]:
    """The page's netcat commands: of the clients, or of the servers."""
    return blocks(PAGE, "sh")[side].splitlines()


@needs_netcat
def test_netcat_is_a_client_as_shown() -> None:
    printed = ""
    for line, command in zip(netcat_lines(0), (ADD_SERVER, MESSAGE_SERVER), strict=True):
        with start_as_shown(command) as server:
            line = re.sub(r"\b900[12]\b", str(server.port), line)
            printed += subprocess.run(
                line, shell=True, capture_output=True, text=True, timeout=PATIENCE_S
            ).stdout
    assert blurred(printed) == blurred(blocks(PAGE, "text")[0])


@needs_netcat
@pytest.mark.parametrize(
    ("which", "client", "expected"),
    [
        (0, ("add", "send", "17", "--name", "Ada"), "17 (Ada) + 42 (Server of Bob) = 59"),
        (1, ("message", "send", "hello server"), ": hello client"),
    ],
)
def test_netcat_is_a_server_as_shown(which: int, client: tuple[str, ...], expected: str) -> None:
    port = free_port()
    line = re.sub(r"\b900[12]\b", str(port), netcat_lines(1)[which])
    # The shell gives way to netcat, so that killing the one leaves nothing behind.
    said, _, netcat = line.partition(" | ")
    with subprocess.Popen(
        shlex.split(netcat), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        server.stdin.write(f"{shlex.split(said)[1]}\n".encode())
        server.stdin.flush()
        try:
            wait_until_bound(port)
            finished = run_udpft(*client, "-s", f"127.0.0.1:{port}")
        finally:
            server.kill()
    assert finished.returncode == 0, finished.stderr
    assert expected in finished.stdout


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_until_bound(port: int) -> None:
    """Look into the kernel's table until somebody listens on this UDP port."""
    until = time.monotonic() + PATIENCE_S
    while f":{port:04X} " not in Path("/proc/net/udp").read_text():
        assert time.monotonic() < until, f"nobody listens on {port}"
