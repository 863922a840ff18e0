"""Servers for the page to talk to, and a visitor of it; nothing of this without the extra `web`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import udpft
from tests.cli.processes import Server
from udpft.api import RunningServer

if missing := [name for name in ("starlette", "uvicorn", "httpx2") if find_spec(name) is None]:
    collect_ignore_glob = ["test_*.py"]
else:
    from tests.web.visitor import Visitor


def pytest_report_header() -> list[str]:
    return [f"tests/web is left out: no {', '.join(missing)}"] if missing else []


@pytest.fixture(scope="session")
def adder() -> Iterator[Server]:
    """An add server whose number is 42."""
    with Server("add", "serve", "--number", "42", "--name", "Server of Bob") as running:
        yield running


@pytest.fixture(scope="session")
def messenger() -> Iterator[Server]:
    """A message server that answers."""
    with Server(
        "message", "serve", "--reply", "hello client", "--name", "Server of Bob"
    ) as running:
        yield running


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A folder that is served, with files and a folder in it."""
    folder = tmp_path / "served"
    (folder / "sub").mkdir(parents=True)
    (folder / "hello.txt").write_bytes(b"hello\n")
    (folder / "sub/deep.pdf").write_bytes(bytes(3_000))
    (folder / "<img src=x onerror=alert(1)>").write_bytes(b"a name\n")
    return folder


@pytest.fixture
def files(served: Path) -> Iterator[RunningServer]:
    """A server of that folder, which takes uploads."""
    with udpft.serve(served, port=0, writable=True) as running:
        yield running


@pytest.fixture
def fetched(tmp_path: Path) -> Path:
    """A folder for what the page fetches."""
    folder = tmp_path / "fetched"
    folder.mkdir()
    return folder


@pytest.fixture
def visitor(
    files: RunningServer, adder: Server, messenger: Server, fetched: Path
) -> Iterator[Visitor]:
    """Somebody who has opened the page by its URL."""
    with Visitor(
        server=files.address,
        add_server=adder.address,
        message_server=messenger.address,
        folder=fetched,
        max_upload=100_000,
        name="Client of Ada",
    ) as opened:
        opened.open()
        yield opened
