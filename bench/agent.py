"""Agent of the runner on one host: ``python -m bench.agent`` in a namespace, or in a container.

It reads one JSON object a line, ``{"do": ACTION, ...}``, does it and answers with one. Clients are
started here and not through ``docker exec``, whose start takes longer than a small file's whole
transfer. Where its input ends, it ends all that it has started, and itself.
With ``--container``, processor time is that of the container's control group.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import measure

_BLOCK_BYTES = 1 << 24
_STOP_TIMEOUT_S = 5.0
_LOOK_EVERY_S = 0.01
_LISTENING = {"tcp": "0A", "udp": "07"}  # proc(5): the states of /proc/net/tcp and udp


class Agent:
    """What may be asked for: each public method is an action, its arguments the request's."""

    def __init__(self, *, in_container: bool = False) -> None:
        self._in_container = in_container
        self._daemons: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}

    def missing(self, programs: Sequence[str]) -> list[str]:
        """Which of these are not installed; ``python:NAME`` is a module."""
        return [name for name in programs if not _is_there(name)]

    def free_port(self) -> int:
        """A port that nobody uses here, of either protocol."""
        while True:
            with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
                tcp.bind(("", 0))
                with contextlib.suppress(OSError):
                    udp.bind(("", tcp.getsockname()[1]))
                    return int(udp.getsockname()[1])

    def make_folder(self, path: str) -> bool:
        """Make a folder and those above it; whether it is new."""
        new = not Path(path).exists()
        Path(path).mkdir(parents=True, exist_ok=True)
        return new

    def write(self, path: str, text: str) -> None:
        """Write a small file."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)

    def busy_processors(self, seconds: float) -> float:
        """How many processors of this machine are at work: see `measure.busy_processors`."""
        return measure.busy_processors(seconds)

    def room_bytes(self, path: str) -> int:
        """How much a folder's disk still takes."""
        return shutil.disk_usage(path).free

    def make_file(self, path: str, size_bytes: int, seed: int) -> str:
        """A file of seeded random bytes, made once; returns its SHA-256 in hex."""
        known = Path(path + ".sha256")
        if not known.exists():
            draw, digest, left_bytes = random.Random(seed), hashlib.sha256(), size_bytes
            with Path(path).open("wb") as file:
                while left_bytes:
                    block = draw.randbytes(min(_BLOCK_BYTES, left_bytes))
                    file.write(block)
                    digest.update(block)
                    left_bytes -= len(block)
            known.write_text(digest.hexdigest())
        return known.read_text()

    def start(self, name: str, command: list[str], folder: str) -> int:
        """Start a daemon in a folder; what it says goes to a file there. Returns its pid."""
        log = Path(folder, "daemon.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                _here(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder
            )
        self._daemons[name] = process, log
        return process.pid

    def await_listening(self, name: str, port: int, transport: str, timeout_s: float) -> str:
        """Wait until somebody listens on a port; return what went wrong, or nothing."""
        process, log = self._daemons[name]
        deadline_s = time.monotonic() + timeout_s
        while not _listens(port, transport):
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline_s:
                words = log.read_text(errors="replace").strip()[-500:]
                what = f"ended with {process.returncode}" if ended else "does not listen"
                return f"its server {what}: {words}"
            time.sleep(_LOOK_EVERY_S)
        return ""

    def stop(self, name: str) -> None:
        """End a daemon, if it runs."""
        process, _ = self._daemons.pop(name, (None, None))
        if process is None:
            return
        members = measure.process_tree(process.pid)
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in members[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def usage(self, name: str = "") -> dict[str, float]:
        """Processor seconds of this container, else of a daemon; its memory; drops here."""
        pid = self._daemons[name][0].pid if name in self._daemons else 0
        own_s = measure.container_cpu_seconds() if self._in_container else None
        if own_s is not None:
            cpu_s = own_s - time.process_time()
        else:
            cpu_s = measure.cpu_seconds(pid) if pid else 0.0
        rss_bytes = measure.peak_rss_bytes(pid) if pid else 0
        return {"cpu_s": cpu_s, "rss_bytes": rss_bytes, "drops": measure.receive_drops()}

    def run(
        self, commands: list[list[str]], timeout_s: float, outputs: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Run commands side by side: see `measure.run_together`."""
        here = [_here(command) for command in commands]
        finished = measure.run_together(here, timeout_s, list(map(Path, outputs)))
        return [asdict(one) for one in finished]

    def await_file(self, path: str, size_bytes: int, timeout_s: float) -> float:
        """Wait for a file to be there whole, and sync it; return the seconds that took."""
        began_s = time.perf_counter()
        while not (os.path.exists(path) and os.path.getsize(path) >= size_bytes):
            if time.perf_counter() - began_s > timeout_s:
                break
            time.sleep(_LOOK_EVERY_S / 10)
        measure.sync(Path(path))
        return time.perf_counter() - began_s

    def take_away(self, path: str) -> str:
        """A file's SHA-256 in hex, empty if there is none; the file is deleted."""
        digest = measure.sha256(Path(path))
        Path(path).unlink(missing_ok=True)
        return digest

    def describe(self) -> dict[str, str]:
        """What the figures depend on, as far as a program can tell."""
        from bench.environment import describe

        return describe()

    def close(self) -> None:
        """End everything."""
        for name in list(self._daemons):
            self.stop(name)


def _here(command: list[str]) -> list[str]:
    """A command in which ``python`` is this host's."""
    return [sys.executable, *command[1:]] if command[0] == "python" else command


def _is_there(name: str) -> bool:
    kind, _, module = name.partition(":")
    if kind == "python" and module:
        return importlib.util.find_spec(module) is not None
    return shutil.which(name) is not None


def _listens(port: int, transport: str) -> bool:
    state = _LISTENING[transport]
    for table in (transport, f"{transport}6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == state and int(fields[1].rpartition(":")[2], 16) == port:
                    return True
    return False


def main() -> None:
    """Serve requests until there are no more."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    agent = Agent(in_container="--container" in sys.argv)
    try:
        with contextlib.suppress(BrokenPipeError):  # the runner is gone
            for line in sys.stdin:
                print(json.dumps(_answer(agent, json.loads(line))), flush=True)
    finally:
        agent.close()


def _answer(agent: Agent, request: dict[str, Any]) -> dict[str, Any]:
    action = getattr(agent, request.pop("do"))
    try:
        return {"is": action(**request)}
    except (OSError, subprocess.SubprocessError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
