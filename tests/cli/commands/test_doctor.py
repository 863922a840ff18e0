"""``udpft doctor``: its output for people and for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.processes import run_udpft
from tests.loopback import closed_port
from tests.storage.conftest import unprivileged
from udpft.api import RunningServer
from udpft.cli.commands import doctor
from udpft.cli.main import run
from udpft.errors import ExitCode
from udpft.net.kernel import Kernel

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def usual_limits(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with the limits that Linux comes with."""
    core = here / "proc/sys/net/core"
    core.mkdir(parents=True)
    for name in ("rmem_max", "wmem_max"):
        (core / name).write_text("212992\n")
    monkeypatch.setattr(doctor, "SYSTEM", Kernel(Path("proc")))


@pytest.mark.usefixtures("usual_limits")
def test_it_names_the_limit_and_the_lines_that_mend_it(capsys: Capture) -> None:
    with unprivileged():
        assert run(["doctor"]) == ExitCode.DONE
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("receive buffer  could be better: 212,992 bytes (208 KiB):")
    assert "net.core.rmem_max allows no more" in " ".join(out.split())
    assert "    sysctl -w net.core.rmem_max=4194304" in lines
    assert "    echo net.core.rmem_max=4194304 >> /etc/sysctl.d/90-udpft.conf" in lines
    assert "    sysctl -w net.core.wmem_max=1048576" in lines
    assert max(map(len, lines)) <= 80
    assert re.fullmatch(r"\d+ of \d+ could be better\n", err)


@pytest.mark.usefixtures("usual_limits")
def test_for_programs(capsys: Capture) -> None:
    assert run(["doctor", "--json"]) == ExitCode.DONE
    out, err = capsys.readouterr()
    *findings, summary = map(json.loads, out.splitlines())
    assert err == ""
    assert summary == {"schema": 1, "event": "summary", "ok": True, "exit_code": 0}
    assert {(one["schema"], one["event"]) for one in findings} == {(1, "finding")}
    first = findings[0]
    assert (first["topic"], first["state"]) == ("receive buffer", "could be better")
    assert first["remedies"][0] == "sysctl -w net.core.rmem_max=4194304"
    assert (first["limit_bytes"], first["asked_bytes"]) == (212_992, 4_194_304)


def test_colour_is_for_those_who_want_it(capsys: Capture) -> None:
    run(["--color", "always", "doctor"])
    assert "\x1b[" in capsys.readouterr().out
    run(["doctor"])
    assert "\x1b[" not in capsys.readouterr().out


def test_a_server_is_looked_at_too(server: RunningServer, capsys: Capture) -> None:
    assert run(["-q", "doctor", "-s", server.address]) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert f"server          ok: {server.address} speaks udpft" in out
    assert "loss            ok: all of 20 pings were answered" in out
    assert err == ""


def test_a_server_that_is_not_there_is_an_error(capsys: Capture) -> None:
    assert run(["doctor", "-s", closed_port(), "--json"]) == ExitCode.PORT_CLOSED
    *_, error, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert (error["event"], error["exit_code"]) == ("error", 7)
    assert summary["ok"] is False


@pytest.mark.parametrize(("content", "code"), [(None, 26), ("no key", 2), ("5a" * 31 + "a5", 0)])
def test_the_key_is_tried(tmp_path: Path, capsys: Capture, content: str | None, code: int) -> None:
    path = tmp_path / "key"
    if content:
        path.write_text(content)
        path.chmod(0o644)
    assert run(["doctor", "--key-file", str(path)]) == code
    out = capsys.readouterr().out
    assert ("    chmod 600" in out) == (code == 0)


def test_as_a_process(server: RunningServer) -> None:
    done = run_udpft("doctor", variables={"UDPFT_SERVER": server.address})
    assert done.returncode == 0
    assert "round trip      ok: " in done.stdout
