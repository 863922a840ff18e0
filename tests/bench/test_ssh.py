"""Another host as a place to measure in: a real sshd at the end of a cable. Takes root."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.processes import PATIENCE_S, environment
from tests.remote.shells import script
from tests.remote.sshd import ssh_hosts

ROOT = Path(__file__).parents[2]


def test_two_hosts_are_measured_and_both_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    with ssh_hosts(tmp_path / "hosts") as hosts:
        output = tmp_path / "report"
        words = ["--where", "ssh", "--server", f"root@{hosts.there.address}", "--rsh", hosts.rsh]
        words += ["--size", "100k", "--modes", "udpft", "--modes", "udpft keyed"]
        words += ["--rounds", "1", "--warm-ups", "0", "--output", str(output)]
        script(hosts.folder / "bin" / "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        done = subprocess.run(
            hosts.here.command([sys.executable, "-m", "bench", "run", *words]),
            cwd=ROOT,
            capture_output=True,
            timeout=PATIENCE_S * 5,
            env=environment(),
        )
    assert done.returncode == 0, done.stderr
    run = json.loads((output / "run.json").read_text())
    assert run["where"] == "ssh"
    assert [sample for sample in run["samples"] if sample.get("error")] == []
    assert {sample["mode"] for sample in run["samples"]} == {"udpft", "udpft keyed"}
    facts = run["environment"]
    assert facts["server: kernel"] == facts["kernel"]
    assert "between this host and another one" in (output / "summary.md").read_text()
    assert "The server is another machine: " in (output / "summary.md").read_text()


def test_where_ssh_takes_a_server() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", "--where", "ssh"],
        cwd=ROOT,
        capture_output=True,
        timeout=PATIENCE_S * 2,
    )
    assert done.returncode == 1
    assert b"--server" in done.stderr


def test_a_host_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    words = ["--where", "ssh", "--server", "lab", "--rsh", "false", "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", *words],
        cwd=ROOT,
        capture_output=True,
        timeout=PATIENCE_S * 2,
    )
    assert done.returncode == 1
    assert b"no agent on lab" in done.stderr
