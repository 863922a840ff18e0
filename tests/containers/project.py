"""A clone of this repository, and a compose project of its own on a real engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]

PATIENCE_S = 60.0
"""Seconds that only a failing test waits."""

BUILD_PATIENCE_S = 900.0
"""The same, where a command may build an image first, and download what is in it."""


def reason_to_skip() -> str:
    """Why there is nothing to test with; empty where there is an engine, and compose."""
    if not shutil.which("docker"):
        return "there is no docker command"
    answer = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True
    )
    if answer.returncode != 0:
        return f"no Docker engine answers: {answer.stderr.strip()}"
    if not compose_command():
        return "there is neither docker compose nor docker-compose"
    return ""


@cache
def compose_command() -> tuple[str, ...]:
    """``docker compose``, or its forerunner, or nothing."""
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]):
            found = subprocess.run([*command, "version"], capture_output=True)
            if found.returncode == 0:
                return command
    return ()


def docker(*arguments: str) -> str:
    """Run ``docker`` to its end; return what it printed on both streams."""
    finished = subprocess.run(
        ["docker", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout.strip()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Ask again until it holds; each question takes the engine a while."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, f"not within {PATIENCE_S} s: {what}"


def clone_into(folder: Path) -> None:
    """Copy what a clone would hold, changes that are not committed yet included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)


class Project:
    """The services of ``compose.yml`` in one clone.

    Args:
        folder: the clone.
        name: of the project, and the tag of its images; nobody else's.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self._environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("UDPFT_", "COMPOSE_"))
        } | {"UDPFT_TAG": name, "COMPOSE_PROJECT_NAME": name}

    @property
    def images(self) -> tuple[str, ...]:
        """The names of the images that this project may have built."""
        return tuple(f"{image}:{self.name}" for image in ("udpft", "udpft-web", "udpft-test"))

    @property
    def downloads(self) -> Path:
        """Where the clients put what they fetch."""
        return self.folder / "downloads"

    # ------------------------------------------------------------------------------- commands

    def compose(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run compose in the clone to its end."""
        return subprocess.run(
            [*compose_command(), *arguments],
            cwd=self.folder,
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=BUILD_PATIENCE_S,
        )

    def up(self, *services: str) -> None:
        """Start services, and build what they need where that is missing."""
        finished = self.compose("up", "-d", *services)
        assert finished.returncode == 0, finished.stdout + finished.stderr

    def run(self, service: str, *arguments: str, stdin: str = "") -> str:
        """Run a service once, as a person would, but without a terminal; return its output."""
        finished = self.compose("run", "--rm", "-T", service, *arguments, stdin=stdin)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    def begin(self, service: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin to run a service once."""
        return subprocess.Popen(
            [*compose_command(), "run", "--rm", "-T", service, *arguments],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
        )

    def fetch(self, service: str, *arguments: str) -> dict[str, Any]:
        """Run ``get`` in a client; return what it says of the one file."""
        said = self.run(service, "get", "--json", *arguments).splitlines()
        summary = json.loads(said[-1])
        assert summary["event"] == "summary"
        [file] = summary["files"]
        assert isinstance(file, dict)
        return file

    # ----------------------------------------------------------------------------- containers

    def container(self, service: str) -> str:
        """The id of a service's container, running or not."""
        [container] = docker("ps", "-aq", *self._labelled(service), *_NOT_RUN_ONCE).splitlines()
        return container

    def containers(self, service: str) -> list[str]:
        """The ids of all containers of a service, those not counted that were run once."""
        return docker("ps", "-q", *self._labelled(service), *_NOT_RUN_ONCE).splitlines()

    def inspect(self, service: str, template: str) -> str:
        """One fact about a service's container, as a Go template."""
        return docker("inspect", "--format", template, self.container(service))

    def execute(self, service: str, *command: str) -> str:
        """Run a command in a service's container."""
        return docker("exec", self.container(service), *command)

    def logs(self, service: str) -> list[str]:
        """What a service printed, line by line."""
        return docker("logs", self.container(service)).splitlines()

    # ---------------------------------------------------------------------------------- owners

    def give_to(self, uid: int) -> None:
        """Make it the clone of this user, as fresh as it was; takes root for another's."""
        if self.downloads.exists():
            shutil.rmtree(self.downloads)
        for path in self._everything():
            os.chown(path, uid, uid if uid != os.getuid() else -1)

    def owners(self) -> set[int]:
        """Whose the clone and all that is in it are."""
        return {path.lstat().st_uid for path in self._everything()}

    def _everything(self) -> list[Path]:
        return [self.folder, *self.folder.rglob("*")]

    # ------------------------------------------------------------------------------------- end

    def remove(self) -> None:
        """Remove all that the engine has of this project, whatever state it is in."""
        for container in docker("ps", "-aq", *self._labelled()).splitlines():
            docker("rm", "--force", "--volumes", container)
        for network in docker("network", "ls", "-q", *self._labelled()).splitlines():
            docker("network", "rm", network)
        for image in self.images:
            if docker("images", "-q", image):
                docker("rmi", image)

    def _labelled(self, service: str = "") -> list[str]:
        labels = ["--filter", f"label=com.docker.compose.project={self.name}"]
        if service:
            labels += ["--filter", f"label=com.docker.compose.service={service}"]
        return labels


_NOT_RUN_ONCE = ("--filter", "label=com.docker.compose.oneoff=False")
"""Leaves out what ``compose run`` made."""
