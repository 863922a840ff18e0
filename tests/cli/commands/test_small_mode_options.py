"""Options of the two small modes, and the terminal of those who type there."""

from __future__ import annotations

import os
import pty
import socket

import click
import pytest
from click.testing import CliRunner

from udpft.cli.commands import small_mode_options
from udpft.cli.commands.small_mode_options import (
    Prompt,
    client_options,
    log_ignored,
    new_id,
    server_options,
    terminal_fd,
)
from udpft.cli.output.console import Console
from udpft.small_modes.conversation import Datagram

Capture = pytest.CaptureFixture[str]


@click.command
@server_options(7001)
def serving(host: str, port: int, name: str) -> None:
    click.echo(f"{host} {port} {name}")


@click.command
@client_options(7001, "UDPFT_MINE")
def asking(server: str, name: str, timeout: float) -> None:
    click.echo(f"{server} {name} {timeout}")


def test_a_server_listens_on_loopback_and_is_called_after_its_host() -> None:
    run = CliRunner().invoke
    assert run(serving, []).output == f"127.0.0.1 7001 Server on {socket.gethostname()}\n"
    said = run(serving, ["-p", "0", "--name", "Bob"], env={"UDPFT_HOST": "0.0.0.0"}).output
    assert said == "0.0.0.0 0 Bob\n"


def test_a_clients_own_variable_comes_before_that_of_the_file_server() -> None:
    run = CliRunner().invoke
    both = {"UDPFT_MINE": "mine", "UDPFT_SERVER": "files"}
    assert run(asking, [], env=both).output.startswith("mine Client on ")
    assert run(asking, [], env={"UDPFT_SERVER": "files"}).output.startswith("files ")
    assert run(asking, ["-s", "other", "--timeout", "2"], env=both).output.startswith("other ")


def test_ids_differ_and_have_32_bits() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert {len(bytes.fromhex(one)) for one in ids} == {4}


def test_a_terminal_is_where_a_person_may_type(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    reader, writer = os.pipe()
    try:
        monkeypatch.setattr(small_mode_options, "input_fd", lambda: theirs)
        assert terminal_fd() == theirs  # a terminal that does not control this process
        monkeypatch.setattr(small_mode_options, "input_fd", lambda: reader)
        assert terminal_fd() is None
        monkeypatch.setattr(small_mode_options, "input_fd", lambda: None)
        assert terminal_fd() is None
    finally:
        for fd in (ours, theirs, reader, writer):
            os.close(fd)


def test_a_question_stands_once_and_is_left_before_other_lines(capsys: Capture) -> None:
    prompt = Prompt()
    prompt.show("number: ")
    prompt.show("number: ")
    assert capsys.readouterr().err == "number: "
    prompt.leave()
    prompt.leave()
    assert capsys.readouterr().err == "\n"
    prompt.show("n\x1b: ")
    prompt.entered()
    prompt.leave()
    assert capsys.readouterr().err == "n\\x1b: "


def test_garbage_is_logged_at_each_power_of_ten(capsys: Capture) -> None:
    last = Datagram(b"\x1b[31m" + bytes(100), ("192.0.2.1", 5))
    for count in range(1, 101):
        log_ignored(Console(), count, last)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "so far: 100; the latest, 105 bytes from 192.0.2.1:5: " in lines[-1]
    assert not any("\x1b" in line for line in lines)
