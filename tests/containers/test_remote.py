"""``udpft get docker://CONTAINER/path``, and ``HOST:PATH`` of a container with an sshd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import environment
from tests.containers.project import BUILD_PATIENCE_S, PATIENCE_S, Project, docker, wait_until
from tests.samples import LARGE, sample

pytestmark = [pytest.mark.container, pytest.mark.timeout(1_000)]

WITH_SSHD = """\
FROM {image}
USER root
RUN apt-get update && apt-get install -y --no-install-recommends openssh-server \\
 && mkdir -p /run/sshd && mkdir -m 700 /home/udpft/.ssh
COPY key.pub /home/udpft/.ssh/authorized_keys
RUN chown -R udpft /home/udpft/.ssh && usermod -p '*' udpft
HEALTHCHECK NONE
ENTRYPOINT ["/usr/sbin/sshd", "-D", "-e"]
CMD []
"""

NAMES = ["x y", "it's", "$HOME", "new\nline", "-dash"]


@pytest.fixture(scope="module")
def image(project: Project) -> str:
    """The project's image."""
    built = project.compose("build", "server")
    assert built.returncode == 0, built.stdout + built.stderr
    return project.images[0]


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[str]:
    """A container that serves nothing."""
    name = docker("run", "-d", "--entrypoint", "sleep", image, "infinity")[:12]
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A folder here, with files of odd names in a tree."""
    (tmp_path / "t" / "in").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (tmp_path / "t" / "in" / name).write_bytes(sample(2049 + number))
    (tmp_path / "f").write_bytes(sample(LARGE))
    return tmp_path


def udpft(folder: Path, command: str, *arguments: str) -> list[dict[str, Any]]:
    """Run udpft here, which ends well; what it says of its files."""
    done = subprocess.run(
        [sys.executable, "-m", "udpft", command, "--json", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
        env=environment(),
    )
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["ok"], (done.stdout, done.stderr)
    files: list[dict[str, Any]] = summary["files"]
    return files


def there_and_back(folder: Path, place: str, *options: str) -> None:
    """Put a file and a tree, get both again, and compare."""
    udpft(folder, "put", *options, "f", f"{place}/f")
    udpft(folder, "put", *options, "-r", "t", f"{place}/")
    udpft(folder, "get", *options, "-r", f"{place}/f", f"{place}/t", "-o", "back")
    assert (folder / "back" / "f").read_bytes() == sample(LARGE)
    for number, name in enumerate(NAMES):
        assert (folder / "back" / "t" / "in" / name).read_bytes() == sample(2049 + number)
    [file] = udpft(folder, "get", *options, f"{place}/f", "-o", "again")
    assert file["verified"]
    assert (folder / "again").read_bytes() == sample(LARGE)


def test_a_file_comes_out_of_a_container_and_goes_in(container: str, local: Path) -> None:
    there_and_back(local, f"docker://{container}/home/udpft/url")
    told = docker("exec", container, "sh", "-c", "sha256sum < /home/udpft/url/f")
    here = subprocess.run(["sha256sum"], input=sample(LARGE), capture_output=True).stdout
    assert told == here.decode().strip()


def test_docker_exec_is_a_remote_shell_as_others_are(container: str, local: Path) -> None:
    there_and_back(local, f"{container}:words", "-e", "docker exec -i")
    assert docker("exec", container, "ls", "-A", "/home/udpft/words") == "f\nt"


@pytest.mark.usefixtures("image")
def test_a_container_that_is_not_there_is_told_in_dockers_words(local: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "udpft", "get", "docker://no-such-container/etc/hostname"],
        cwd=local,
        capture_output=True,
        timeout=PATIENCE_S,
        env=environment(),
    )
    assert done.returncode == 79
    assert b"No such container: no-such-container" in done.stderr


def test_a_container_without_udpft_is_told_how_to_get_it(container: str, local: Path) -> None:
    words = ["get", f"docker://{container}/etc/hostname", "--remote-udpft", "no-such-udpft"]
    done = subprocess.run(
        [sys.executable, "-m", "udpft", *words],
        cwd=local,
        capture_output=True,
        timeout=PATIENCE_S,
        env=environment(),
    )
    assert done.returncode == 79
    assert b"there is no udpft on" in done.stderr
    assert b"pip install" in done.stderr


@pytest.fixture
def sshd(project: Project, image: str, tmp_path: Path) -> Iterator[list[str]]:
    """A container with an sshd, by its address; and the options of ssh to it."""
    if os.geteuid() != 0:
        pytest.skip("the address of a container is for the engine's host, and its root")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (tmp_path / "Dockerfile").write_text(WITH_SSHD.format(image=image))
    tag = f"{project.images[0]}-sshd"
    built = subprocess.run(
        ["docker", "build", "-t", tag, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=BUILD_PATIENCE_S,
    )
    if built.returncode != 0:
        pytest.skip(f"no sshd can be installed: {built.stderr[-200:]}")
    name = docker("run", "-d", tag)
    try:
        wait_until(lambda: "listening" in docker("logs", name), "an sshd that listens")
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = docker("inspect", "--format", form, name)
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        yield [f"udpft@{address}", "-e", f"ssh -F none -i {key} {options}"]
    finally:
        docker("rm", "--force", "--volumes", name)
        docker("rmi", tag)


def test_a_container_with_an_sshd_is_a_host_as_others_are(sshd: list[str], local: Path) -> None:
    place, *options = sshd
    there_and_back(local, f"{place}:new", *options)
