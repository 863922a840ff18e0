"""Replicas of the server, as Compose scales it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.containers.project import Project, docker, wait_until

pytestmark = [pytest.mark.container, pytest.mark.timeout(1_000)]

CONTENT = Random(22).randbytes(48 << 20)


@pytest.fixture
def replicas(project: Project) -> Iterator[list[str]]:
    """The containers of three servers with one large file."""
    path = project.folder / "data" / "replicated.bin"
    path.write_bytes(CONTENT)
    path.chmod(0o644)
    project.up("--scale", "server=3", "server", "adder", "messenger")
    try:
        yield project.containers("server")
    finally:
        project.up("--scale", "server=1", "server")
        path.unlink()


def fetched(project: Project) -> Path:
    return project.downloads / "replicated.bin"


def test_each_of_three_sends_a_part(project: Project, replicas: list[str]) -> None:
    assert len(replicas) == 3
    # The limit is of each transfer, so all three have the time to begin.
    file = project.fetch("client", "--replicas", "--limit-rate", "20M", "replicated.bin")
    assert fetched(project).read_bytes() == CONTENT
    assert len(file["servers"]) == 3
    assert min(server["bytes"] for server in file["servers"]) > 0
    for replica in replicas:
        assert any("replicated.bin" in line for line in docker("logs", replica).splitlines())
    fetched(project).unlink()


def test_one_that_is_killed_is_done_without(project: Project, replicas: list[str]) -> None:
    command = ["get", "--replicas", "--limit-rate", "3M", "replicated.bin"]
    client = project.begin("client", *command)
    try:
        # A server's log says nothing of a transfer at work, but the part of the file is there.
        wait_until(lambda: any(project.downloads.glob(".replicated.bin*")), "a part of the file")
        docker("kill", replicas[0])
        assert client.wait(60) == 0
    finally:
        client.kill()
        client.wait()
    assert fetched(project).read_bytes() == CONTENT
    fetched(project).unlink()
