"""The benchmark between two containers: a small file over a path that loses packets."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from bench import result
from tests.containers.project import BUILD_PATIENCE_S, Project, clone_into, reason_to_skip

pytestmark = [pytest.mark.container, pytest.mark.timeout(1_000)]

OPTIONS = ["--size", "1M", "--mtu", "1500", "--loss", "10%", "--rounds", "1", "--warm-ups", "1"]
MODES = ["udpft", "nginx + curl", "uftp"]


def test_two_containers_are_measured(tmp_path: Path) -> None:
    if reason := reason_to_skip():
        pytest.skip(reason)
    project = Project(tmp_path / "clone", f"udpft-{secrets.token_hex(4)}")
    clone_into(project.folder)
    modes = [word for mode in MODES for word in ("--modes", mode)]
    try:
        finished = subprocess.run(
            [sys.executable, "-m", "bench", "run", *OPTIONS, *modes, "--output", str(tmp_path)],
            cwd=project.folder,
            env=os.environ | {"UDPFT_TAG": project.name, "COMPOSE_PROJECT_NAME": project.name},
            capture_output=True,
            text=True,
            timeout=BUILD_PATIENCE_S,
        )
        assert finished.returncode == 0, finished.stderr
    finally:
        project.remove()
        subprocess.run(["docker", "rmi", f"udpft-bench:{project.name}"], capture_output=True)
    run = result.read(tmp_path)
    [proof] = run.proofs
    assert proof.means == "firewall"
    assert proof.holds_for(run.scenarios[0])
    assert [mode.missing for mode in run.modes] == [""] * 3
    arrived = {s.mode for s in run.samples if not s.error and s.client_cpu_s and s.server_cpu_s}
    assert {"udpft", "nginx + curl"} <= arrived
