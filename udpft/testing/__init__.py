"""Fixtures for pytest: a real server, and a bad network between it and the code under test.

In your ``conftest.py``::

    pytest_plugins = ["udpft.testing"]

and in a test::

    def test_it_survives_loss(udpft_server, lossy_link, tmp_path):
        (udpft_server.folder / "hello.txt").write_text("hello")
        link = lossy_link(udpft_server, loss=0.1, seed=1)
        udpft.get("hello.txt", server=link.address, output=tmp_path)

All traffic stays on loopback, on ports that were free. `LossyLink` can be used without fixtures.
Needs pytest: ``pip install pytest``, or in a clone ``pip install '.[testing]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from udpft import api
from udpft.outcome.served import Served
from udpft.testing.link import LossyLink, Seen

__all__ = [
    "LossyLink",
    "Seen",
    "ServedFolder",
    "lossy_link",
    "udpft_server",
    "udpft_server_options",
]


class ServedFolder:
    """Served folder, empty at first, and its real server, in a thread of its own.

    Attributes:
        folder: put files into it, whenever you like.
        address: of the server, ``HOST:PORT``; ``host`` and ``port`` are its parts.
        served: records of the transfers that are over, so far. The server hears of an end a moment
            after its client: ``stop(drain=5)`` waits for them all.
    """

    def __init__(self, folder: Path, options: api.ServerOptions) -> None:
        self.folder = folder
        self.served: list[Served] = []
        options = {"port": 0, **options}
        self._running = api.serve(folder, on_served=self.served.append, **options)
        self.host = self._running.host
        self.port = self._running.port
        self.address = self._running.address

    def stop(self, drain: float = 0.0) -> None:
        """End the server, as the end of the test does: transfers at work have ``drain`` seconds."""
        self._running.stop(drain)


@pytest.fixture
def udpft_server_options() -> api.ServerOptions:
    """Keywords of `udpft.serve` for `udpft_server`: override the fixture where you need others."""
    return {}


@pytest.fixture
def udpft_server(
    tmp_path_factory: pytest.TempPathFactory, udpft_server_options: api.ServerOptions
) -> Iterator[ServedFolder]:
    """Serve an empty folder on a free port of loopback: a `ServedFolder`."""
    server = ServedFolder(tmp_path_factory.mktemp("served"), udpft_server_options)
    yield server
    server.stop()


@pytest.fixture
def lossy_link() -> Iterator[Callable[..., LossyLink]]:
    """Make `LossyLink`s of the arguments, which work until the end of the test."""
    with ExitStack() as links:
        yield lambda *args, **shape: links.enter_context(LossyLink(*args, **shape))
