"""Trees of many files: their time, the memory of both ends, and how soon others are answered.

``python -m bench.trees [FILES]`` serves a tree of that many files of 1 KiB, 100,000 unless told
otherwise, fetches and stores it, twice each, and pings the server all the while. It prints a line
of JSON for each transfer. ``--shape deep`` is 200 folders one in another, ``long`` has names of 255
bytes, ``folder`` has all files in one folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import udpft
from udpft.errors import UdpftError

_FILE_BYTES = 1024
_FILES_A_FOLDER = 1_000
_LEVELS = 200
_NAME_BYTES = 255
_PAUSE_S = 0.05
_WAIT_S = 30.0

SHAPES = ("many", "folder", "deep", "long")


@dataclass(frozen=True)
class Figures:
    """What one transfer of a tree took, and what else the server answered meanwhile."""

    transfer: str
    files: int
    exit_code: int
    exact: bool
    seconds: float
    client_peak_mb: float
    server_peak_mb: float
    pings: int
    ping_median_ms: float
    ping_worst_ms: float
    pings_failed: int


def make_tree(folder: Path, shape: str, files: int) -> None:
    """Make a tree of so many files of 1 KiB."""
    content = bytearray(os.urandom(_FILE_BYTES))
    folder.mkdir(parents=True)
    for number in range(files):
        content[:8] = number.to_bytes(8, "little")
        path = folder / _path_of(shape, number, files)
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        path.write_bytes(content)


def _path_of(shape: str, number: int, files: int) -> str:
    if shape == "folder":
        return f"{number:06}"
    if shape == "deep":
        depth = 1 + number * _LEVELS // files
        return f"{'d/' * depth}{number:06}"
    last = f"{number:06}".ljust(_NAME_BYTES, "n") if shape == "long" else f"{number:06}"
    return f"{number // _FILES_A_FOLDER:03}/{last}"


def same(one: Path, other: Path) -> bool:
    """Whether two trees have the same files, with contents, times and permissions."""
    names = [sorted(str(path.relative_to(top)) for path in top.rglob("*")) for top in (one, other)]
    return names[0] == names[1] and all(
        _seen(one / name) == _seen(other / name) for name in names[0]
    )


def _seen(path: Path) -> tuple[int, int, bytes]:
    status = path.stat()
    return status.st_mode, status.st_mtime_ns, b"" if path.is_dir() else path.read_bytes()


def _udpft(*words: str) -> list[str]:
    return [sys.executable, "-m", "udpft", *words]


@contextmanager
def _server(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server of a folder in a process of its own; the process, and its address."""
    command = _udpft("serve", str(folder), "--port", "0", "--json", *words)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout
            started = json.loads(server.stdout.readline())
            drain = threading.Thread(target=server.stdout.read, daemon=True)
            drain.start()
            yield server, f"{started['host']}:{started['port']}"
        finally:
            server.terminate()
            server.wait(_WAIT_S)


def _peak_mb(process: subprocess.Popen[bytes]) -> float:
    """Largest resident set so far, in MB of 10^6 bytes; 0 once the process is gone."""
    try:
        with open(f"/proc/{process.pid}/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if "VmHWM" in line)
    except (OSError, StopIteration):
        return 0.0


class _Pings:
    """Pings to a server, one after another, until it is left."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ping)
        self.seconds: list[float] = []
        self.failed = 0

    def _ping(self) -> None:
        with udpft.connect(self._address) as client:
            while not self._over.wait(_PAUSE_S):
                began = time.monotonic()
                try:
                    client.ping()
                except UdpftError:
                    self.failed += 1
                self.seconds.append(time.monotonic() - began)

    def __enter__(self) -> _Pings:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _transfer(
    words: Sequence[str], server: tuple[subprocess.Popen[bytes], str], trees: tuple[Path, Path]
) -> Figures:
    """Run one transfer, from its command to its end."""
    process, address = server
    client_peak_mb = 0.0
    with _Pings(address) as pings:
        began = time.monotonic()
        command = _udpft(*words, "-s", address, "--progress", "none", "--connect-timeout", "60")
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as client:
            while client.poll() is None:
                client_peak_mb = max(client_peak_mb, _peak_mb(client))
                time.sleep(_PAUSE_S)
        seconds = time.monotonic() - began
    times_ms = [1000 * one for one in pings.seconds] or [0.0]
    return Figures(
        transfer=" ".join(words[:2]),
        files=sum(not path.is_dir() for path in trees[0].rglob("*")),
        exit_code=client.returncode,
        exact=same(*trees),
        seconds=round(seconds, 3),
        client_peak_mb=round(client_peak_mb, 1),
        server_peak_mb=round(_peak_mb(process), 1),
        pings=len(pings.seconds),
        ping_median_ms=round(statistics.median(times_ms), 3),
        ping_worst_ms=round(max(times_ms), 3),
        pings_failed=pings.failed,
    )


def measure(folder: Path, shape: str, files: int) -> Iterator[Figures]:
    """Fetch a tree twice and store it twice; iterate over what each took."""
    tree, fetched, stored = folder / "served/t", folder / "fetched", folder / "stored"
    make_tree(tree, shape, files)
    stored.mkdir()
    with _server(tree.parent) as server:
        for _ in range(2):
            yield _transfer(["get", "-r", "t", "-o", str(fetched)], server, (tree, fetched / "t"))
    with _server(stored, "--writable") as server:
        for _ in range(2):
            yield _transfer(["put", "-r", str(tree)], server, (tree, stored / "t"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the words say, in a temporary folder."""
    parser = argparse.ArgumentParser(prog="bench.trees", description="Measure trees of many files.")
    parser.add_argument("files", nargs="?", type=int, default=100_000)
    parser.add_argument("--shape", choices=SHAPES, default="many")
    parser.add_argument("--folder", help="where to put the trees; by default the temporary folder")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="udpft-trees-", dir=options.folder))
    try:
        for figures in measure(folder, options.shape, options.files):
            print(json.dumps(asdict(figures)), flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
