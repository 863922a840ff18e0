"""``udpft ping``, in this process and as one of its own."""

from __future__ import annotations

import json
import socket

import pytest

from tests.cli.processes import run_udpft
from tests.loopback import address_of, closed_port
from udpft.api import RunningServer
from udpft.cli.main import run
from udpft.errors import ExitCode


def test_an_answer_is_a_line_on_standard_output(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ping", "-s", server.address, "-n", "3"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert len(out.splitlines()) == 3
    assert all(line.startswith(f"{server.address} answered in ") for line in out.splitlines())


def test_quiet_says_it_by_the_exit_code_alone(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-q", "ping", "-s", server.address]) == 0
    assert capsys.readouterr() == ("", "")


def test_for_programs(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ping", "-s", server.address, "-n", "2", "--json"]) == 0
    *answers, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert summary == {"schema": 1, "event": "summary", "ok": True, "exit_code": 0}
    assert [(one["event"], one["server"]) for one in answers] == [("done", server.address)] * 2
    assert all(one["rtt_s"] > 0 for one in answers)


def test_the_server_comes_from_the_environment(
    server: RunningServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UDPFT_SERVER", server.address)
    assert run(["ping"]) == 0
    assert server.address in capsys.readouterr().out


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    address = closed_port()
    assert run(["ping", "-s", address, "--json"]) == ExitCode.PORT_CLOSED
    out, err = capsys.readouterr()
    error, summary = map(json.loads, out.splitlines())
    assert (error["event"], error["exit_code"]) == ("error", 7)
    assert error["message"] == f"nothing listens on {address}"
    assert (summary["ok"], summary["exit_code"]) == (False, 7)
    assert err.splitlines() == [f"udpft: {error['message']}", f"hint: {error['hint']}"]


def test_somebody_who_does_not_answer(
    stranger: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["ping", "-s", address_of(stranger), "--connect-timeout", "0.1"]
    assert run(arguments) == ExitCode.TIMED_OUT
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"udpft: no answer from {address_of(stranger)} within 0.1 s"
    assert hint.startswith("hint: ")


def test_as_a_process(server: RunningServer) -> None:
    done = run_udpft(
        "ping", variables={"UDPFT_SERVER": server.address, "PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{server.address} answered in ")


def test_the_server_may_be_an_argument(
    server: RunningServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UDPFT_SERVER", "no.invalid")
    assert run(["ping", server.address]) == 0
    assert capsys.readouterr().out.startswith(f"{server.address} answered in ")
