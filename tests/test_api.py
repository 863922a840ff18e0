"""udpft as a library: the promises to a program that imports it."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.loopback import HeldTransfer, meanwhile
from tests.samples import LARGE, PATIENCE_S, SIZES, sample
from udpft.api import RunningServer
from udpft.errors import PartialTransfer, ServerBusy, Stopped


def test_a_folder_served_and_a_file_fetched(samples: Path, tmp_path: Path) -> None:
    with udpft.serve(samples, port=0) as server:
        assert (server.host, server.address) == ("127.0.0.1", f"127.0.0.1:{server.port}")
        assert udpft.ping(server.address) > 0
        result = udpft.get("4096", server=server.address, output=tmp_path)
    assert isinstance(result, udpft.Result)
    assert result.path == tmp_path / "4096"
    assert result.path.read_bytes() == sample(4096)
    assert result.rate_bytes_per_s == 4096 / result.seconds


def test_a_result_cannot_be_changed(server: RunningServer, tmp_path: Path) -> None:
    result = udpft.get("1", server=server.address, output=tmp_path)
    with pytest.raises(AttributeError):
        result.verified = False  # type: ignore[misc]


def in_a_new_python(code: str) -> str:
    """What a program prints that imports udpft as its first."""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return finished.stdout.decode().strip()


def test_importing_it_imports_next_to_nothing() -> None:
    modules = in_a_new_python("import sys, udpft; print(*(m for m in sys.modules if 'udpft' in m))")
    assert modules == "udpft"
    assert in_a_new_python("import udpft; print(udpft.errors.NoSuchFile.exit_code)") == "78"
    assert in_a_new_python("import udpft; print(udpft.aio.get.__name__)") == "get"


def test_the_public_names_are_there() -> None:
    assert set(udpft.__all__) <= set(dir(udpft))
    for name in udpft.__all__:
        assert getattr(udpft, name)
    with pytest.raises(AttributeError):
        udpft.nothing_of_that_name  # noqa: B018


def test_a_server_stops_from_any_thread_and_twice(samples: Path) -> None:
    server = udpft.serve(samples, port=0)
    threads = [threading.Thread(target=server.stop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.stop()


def test_a_server_that_is_not_waited_for_ends_all_the_same(samples: Path) -> None:
    with udpft.serve(samples, port=0) as server:
        held = HeldTransfer(server, "1")
        server.stop(drain=1_000, wait=False)
        with pytest.raises(ServerBusy):  # no new transfers
            udpft.get("2048", server=server.address, connect_timeout=0.1)
        held.end()


def test_a_shorter_time_to_end_cuts_transfers_off(samples: Path) -> None:
    served: list[udpft.Served] = []
    server = udpft.serve(samples, port=0, on_served=served.append)
    HeldTransfer(server, "1")
    server.stop(drain=1_000, wait=False)
    server.stop(drain=0)
    assert isinstance(served[0].error, PartialTransfer)


def test_several_threads_fetch_at_once(server: RunningServer, tmp_path: Path) -> None:
    def fetch(number: int) -> udpft.Result:
        size = SIZES[number % len(SIZES)]
        return udpft.get(str(size), server=server.address, output=tmp_path / str(number))

    with ThreadPoolExecutor(16) as pool:
        for result in pool.map(fetch, range(64)):
            assert result.path.read_bytes() == sample(result.bytes)


def test_a_fetch_is_stopped_from_another_thread_and_gone_on_with(
    samples: Path, tmp_path: Path
) -> None:
    stop, halfway = udpft.Stop(), threading.Event()
    out = tmp_path / "out"

    def progress(done: int, total: int) -> None:
        if done > total / 3:
            halfway.set()

    def fetch() -> None:
        with pytest.raises(Stopped) as caught:
            udpft.get(str(LARGE), server=server.address, output=out, progress=progress, stop=stop)
        assert (caught.value.exit_code, caught.value.hint) == (
            130,
            "run the same command again to resume",
        )

    with udpft.serve(samples, port=0, max_rate=6_000_000) as server:
        with meanwhile(fetch):
            assert halfway.wait(PATIENCE_S)
            stop.set()
        with pytest.raises(Stopped):
            udpft.ping(server.address, stop=stop)
        assert udpft.get(str(LARGE), server=server.address, output=out).resumed_bytes > LARGE / 3
    assert out.read_bytes() == sample(LARGE)


def test_a_word_that_is_no_option_is_an_error_of_the_program(samples: Path) -> None:
    wrong: Any = {"chunksize": 1}
    with pytest.raises(TypeError):
        udpft.get("1", server="127.0.0.1", **wrong)
    with pytest.raises(TypeError):
        udpft.serve(samples, **wrong)
