"""Part one of docs/lab.md, in containers; `tests/test_lab.py` is the other part."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.project import (
    BUILD_PATIENCE_S,
    Project,
    clone_into,
    compose_command,
    reason_to_skip,
)
from tests.documents.test_lab import blocks, blurred, commands, part, type_into_shell

pytestmark = [pytest.mark.container, pytest.mark.timeout(1_000)]

_COMPOSE_SAYS = re.compile(
    r"^ *(Attaching|Building|Container|Creating|Image|Network|Removing|Starting|Stopping)\b.*\n",
    re.MULTILINE,
)
"""What compose tells of its own work, in other words in each version."""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A clone in which nothing was done yet; the other tests share theirs."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    project = Project(tmp_path / "clone", f"udpft-{secrets.token_hex(4)}")
    clone_into(project.folder)
    try:
        yield project
    finally:
        project.remove()
        shutil.rmtree(project.downloads, ignore_errors=True)


def test_part_one_is_as_shown(project: Project) -> None:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("COMPOSE_")}
    variables |= {"UDPFT_TAG": project.name, "COMPOSE_PROJECT_NAME": project.name}

    def actual(line: str) -> str:
        line = line.replace("udpft:latest", f"udpft:{project.name}")
        # Nobody sits before this terminal, which docker-compose wants to be told.
        line = re.sub(r"^(docker compose (run|exec)) ", r"\1 -T ", line)
        # Whoever builds, starts and removes talks about it; what matters is that it went well.
        line = re.sub(
            r"^docker compose (build|up|down)\b.*", r"said=$(\g<0> 2>&1) || echo \"$said\"", line
        )
        return line.replace("docker compose", shlex.join(compose_command()))

    for text in part("Part one: in containers").values():
        for box in blocks(text, "console"):
            printed = type_into_shell(
                commands(box),
                project.folder,
                variables,
                actual=actual,
                patience_s=BUILD_PATIENCE_S,
            )
            printed = _COMPOSE_SAYS.sub("", printed.replace("\r\n", "\n"))
            assert blurred(printed) == blurred(box)
