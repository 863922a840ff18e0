"""The services: their health, what they may do, how they end, and the image of the checks."""

from __future__ import annotations

import json

import pytest

from tests.containers.project import Project, docker, wait_until

pytestmark = [pytest.mark.container, pytest.mark.timeout(1_000)]

SERVERS = ["server", "adder", "messenger"]


@pytest.mark.parametrize("service", SERVERS)
def test_each_server_becomes_healthy(project: Project, service: str) -> None:
    project.up(service)
    health = "{{.State.Health.Status}}"
    wait_until(lambda: project.inspect(service, health) == "healthy", f"{service} is healthy")


def test_the_images_own_health_check_tells_a_file_server(project: Project) -> None:
    project.up("server", "messenger")
    image, *_ = project.images
    kind, check = json.loads(
        docker("inspect", "--format", "{{json .Config.Healthcheck.Test}}", image)
    )
    assert kind == "CMD-SHELL"
    wait_until(lambda: any("serving" in line for line in project.logs("server")), "it serves")
    project.execute("server", "sh", "-c", check)
    assert project.execute("messenger", "sh", "-c", f"({check}); echo $?").splitlines()[-1] == "1"


@pytest.mark.parametrize("service", SERVERS)
def test_a_server_has_no_power_in_its_container(project: Project, service: str) -> None:
    project.up(service)
    status = dict(
        line.split(":\t", 1)
        for line in project.execute(service, "cat", "/proc/1/status").splitlines()
        if ":\t" in line
    )
    assert "0" not in status["Uid"].split()
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    touched = project.execute(service, "sh", "-c", "touch /tmp/x 2>&1; echo $?")
    assert touched.endswith("Read-only file system\n1")


@pytest.mark.parametrize(
    ("service", "exit_code"), [("server", 0), ("adder", 143), ("messenger", 143)]
)
def test_sigterm_ends_a_server_that_is_process_1(
    project: Project, service: str, exit_code: int
) -> None:
    project.up(service)
    wait_until(lambda: bool(project.logs(service)), f"{service} has started")
    # After ten seconds it would be killed, which is 137.
    docker("stop", "--time", "10", project.container(service))
    assert project.inspect(service, "{{.State.ExitCode}}") == str(exit_code)


def test_the_checks_run_in_their_image(project: Project) -> None:
    """Without the simulated networks, which are the same everywhere, and the benchmark."""
    elsewhere = ["tests/protocol", "tests/stories", "tests/sim", "tests/fuzz", "tests/bench"]
    project.run("test", ".ci/check", *(f"--ignore={folder}" for folder in elsewhere))
