"""One project for all container tests: its images are built once, by the first command."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.project import Project, clone_into, reason_to_skip


@pytest.fixture(scope="session")
def project() -> Iterator[Project]:
    """A fresh clone's project; it goes away with all that it made."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="udpft-") as folder:
        clone = Path(folder, "clone")
        clone_into(clone)
        project = Project(clone, f"udpft-{secrets.token_hex(4)}")
        try:
            yield project
        finally:
            project.remove()
