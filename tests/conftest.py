"""What all tests share: property tests that replay alike, a folder of samples, a server of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import udpft
from tests.samples import SIZES, sample
from udpft.api import RunningServer

# Derandomized, so that a run fails or passes by the code alone; without a deadline, so that a
# busy machine fails nothing.
settings.register_profile("udpft", derandomize=True, deadline=None)
settings.load_profile("udpft")


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each size, named by it."""
    folder = tmp_path_factory.mktemp("samples")
    folder.chmod(0o755)
    for size in SIZES:
        (folder / str(size)).write_bytes(sample(size))
    return folder


@pytest.fixture
def server(samples: Path) -> Iterator[RunningServer]:
    """A server of the samples, in a thread."""
    with udpft.serve(samples, port=0) as running:
        yield running
