"""Files from one container to another, and onto the host."""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from tests.containers.project import Project

pytestmark = [pytest.mark.container, pytest.mark.timeout(1_000)]

RANDOM_BYTES = (6 << 20) + 3
STRANGER = 12_345
"""A user whom no image and no host knows."""

OWNERS = [0, STRANGER] if os.getuid() == 0 else [os.getuid()]

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="giving a file away takes root")


@pytest.fixture(scope="module")
def random_file(project: Project) -> Path:
    """A file of several megabytes on the server."""
    path = project.folder / "data" / "random.bin"
    path.write_bytes(Random(2048).randbytes(RANDOM_BYTES))
    path.chmod(0o644)
    return path


def delete_as(uid: int, path: Path) -> None:
    """Delete a folder as this user, who may not enter the folders above."""
    become = {"user": uid, "group": uid, "extra_groups": []} if os.getuid() == 0 else {}
    subprocess.run(["rm", "-r", path.name], cwd=path.parent, check=True, **become)  # type: ignore[call-overload]


@pytest.mark.parametrize("owner", OWNERS)
def test_a_get_on_a_fresh_clone_is_the_owners_to_delete(project: Project, owner: int) -> None:
    project.give_to(owner)
    project.run("client", "get", "hello.txt")
    fetched = project.downloads / "hello.txt"
    assert fetched.read_bytes() == (project.folder / "data" / "hello.txt").read_bytes()
    assert project.owners() == {owner}
    delete_as(owner, project.downloads)
    assert not project.downloads.exists()


@needs_root
def test_a_folder_that_was_there_stays_whose_it_was(project: Project) -> None:
    project.give_to(0)
    project.downloads.mkdir()
    os.chown(project.downloads, STRANGER, STRANGER)
    project.run("client", "get", "hello.txt")
    assert project.downloads.stat().st_uid == STRANGER
    assert (project.downloads / "hello.txt").stat().st_uid == STRANGER


def test_the_second_get_of_a_file_has_nothing_to_do(project: Project) -> None:
    first = project.fetch("client", "hello.txt", "-o", "again.txt")
    second = project.fetch("client", "hello.txt", "-o", "again.txt")
    assert (first["up_to_date"], second["up_to_date"]) == (False, True)


@pytest.mark.parametrize(
    ("service", "mode", "chunk_size", "verified"),
    [
        ("client", "reliable", 2048, True),
        ("client-1500", "reliable", 1448, True),
        ("client", "plain", 2048, False),
        ("client-1500", "plain", 2048, False),
    ],
)
def test_megabytes_arrive_as_they_were(
    project: Project,
    random_file: Path,
    service: str,
    mode: str,
    chunk_size: int,
    verified: bool,
) -> None:
    name = f"{service}-{mode}.bin"
    said = project.fetch(service, random_file.name, "--mode", mode, "-o", name)
    assert said["bytes"] == RANDOM_BYTES
    assert (said["chunk_size"], said["verified"]) == (chunk_size, verified)
    fetched = sha256((project.downloads / name).read_bytes()).hexdigest()
    assert fetched == sha256(random_file.read_bytes()).hexdigest()


def test_what_is_reliable_is_never_fragmented(project: Project, random_file: Path) -> None:
    project.up("server")
    before = fragments_made(project)
    project.fetch("client-1500", random_file.name, "-o", "whole.bin")
    assert fragments_made(project) == before
    project.fetch("client-1500", random_file.name, "-o", "cut.bin", "--mode", "plain")
    assert fragments_made(project) > before  # so that the counter is known to count


def fragments_made(project: Project) -> int:
    """IP fragments that the server's container has made of larger datagrams."""
    names, values = (
        line.split()
        for line in project.execute("server", "cat", "/proc/net/snmp").splitlines()
        if line.startswith("Ip:")
    )
    return int(values[names.index("FragCreates")])


def test_a_file_can_go_to_standard_output(project: Project) -> None:
    project.up("server")  # builds, where nothing is built yet, and is noisy then
    assert project.run("client", "get", "hello.txt", "-o", "-") == "Hello over UDP.\n"
