"""Fixtures of all tests: property tests that replay alike, sample files, a server of them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import udpft
from tests.samples import PATIENCE_S, SIZES, sample
from udpft.api import RunningServer, connect
from udpft.client.client import Client
from udpft.testing import lossy_link as lossy_link
from udpft.testing import udpft_server as udpft_server
from udpft.testing import udpft_server_options as udpft_server_options

# Derandomized, so that a run fails or passes by the code alone; without a deadline, so that a
# busy machine fails nothing.
settings.register_profile("udpft", derandomize=True, deadline=None)
settings.load_profile("udpft")

# The image sets some of them, and so may whoever runs the tests.
for _name in [name for name in os.environ if name.startswith("UDPFT_")]:
    del os.environ[_name]

# What nohup, or a script's background, ignores would be ignored by the commands under test too.
for _signal in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(_signal, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


MEASURED = [Path(__file__).with_name(name) for name in ("protocol", "storage")]
"""Tests that coverage is measured in, if it is: those of the measured folders themselves."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Pause coverage in all other tests: they take twice as long with it, and add a point to it."""
    if config.pluginmanager.hasplugin("_cov"):
        for item in items:
            if not any(item.path.is_relative_to(folder) for folder in MEASURED):
                item.add_marker(pytest.mark.no_cover)


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


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """An empty folder that a server puts uploads into."""
    folder = tmp_path / "stored"
    folder.mkdir()
    return folder


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with connect(server.address) as connected:
        yield connected


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """A socket on loopback that is no server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE_S)
        yield sock


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the working directory, that nobody may enter too: by relative paths."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path
