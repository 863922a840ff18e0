"""A host seen from the runner, and two of them joined by a path."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.links.namespaces import OFFLOADS
from bench.result import Scenario

_CLOSE_TIMEOUT_S = 10.0


class HostFailed(RuntimeError):
    """A host's agent is gone, or could not do what it was asked."""


class Unavailable(RuntimeError):
    """A scenario cannot be had here; the message is the reason, for the report."""


class Host:
    """One end: an agent (see `bench.agent`) reached through the pipes of a command.

    ``root`` is where files to be served lie, ``work`` where everything else goes. ``preamble`` is
    written to the command before anything else.
    """

    def __init__(self, command: Sequence[str], folder: Path, preamble: str = "") -> None:
        self.root = folder / "served"
        self.work = folder / "work"
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            start_new_session=True,  # Ctrl-C is for the runner, which hangs up
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(preamble)
        for path in (self.root, self.work):
            self.call("make_folder", path=str(path))

    def call(self, action: str, **arguments: Any) -> Any:
        """Have the agent do something; raises HostFailed."""
        try:
            self._requests.write(json.dumps({"do": action, **arguments}) + "\n")
            self._requests.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise HostFailed(f"the agent ended while it was asked to {action}")
        answer = json.loads(line)
        if "error" in answer:
            raise HostFailed(f"{action}: {answer['error']}")
        return answer["is"]

    def run(self, *command: str, timeout_s: float = 60.0) -> str:
        """Run a command there to its end and return its output; raises HostFailed."""
        [finished] = self.call("run", commands=[list(command)], timeout_s=timeout_s)
        if finished["error"]:
            raise HostFailed(f"{' '.join(command)}: {finished['error']}")
        return str(finished["output"])

    def close(self) -> None:
        """Hang up: the agent ends what it started."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        try:
            self._process.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Joined:
    """A client, a server, and the path between them, shaped as a scenario asks.

    means: how it was impaired, see `bench.result.Proof`.
    """

    client: Host
    server: Host
    client_address: str
    server_address: str
    means: str = "none"


class Ground(Protocol):
    """A place to measure in."""

    name: str

    def join(self, scenario: Scenario) -> AbstractContextManager[Joined]:
        """The ends, on the path of a scenario, for as long as the context lasts.

        Raises:
            Unavailable: such a path cannot be had here.
        """
        ...


@contextlib.contextmanager
def tcp_controller(host: Host, address: str, name: str) -> Iterator[None]:
    """Give TCP connections from an address of a host another congestion controller.

    It becomes an attribute of the route: the setting in /proc is read-only in a container.

    Raises:
        HostFailed: the kernel has no such controller, or the address is on no network.
    """
    route: list[str] = []
    for line in host.run("ip", "route", "show").splitlines():
        if f"src {address}" in line and "scope link" in line:
            route = line.partition(" congctl ")[0].split()
    if not route:
        raise HostFailed(f"no route from {address} to give {name} to")
    host.run("ip", "route", "change", *route, "congctl", name)
    try:
        yield
    finally:
        host.run("ip", "route", "change", *route)


@contextlib.contextmanager
def lossy_firewall(ends: Sequence[tuple[Host, str]], share: float) -> Iterator[None]:
    """Drop a share of the packets that arrive at these ends (host, device), each on its own."""
    rule = ["INPUT", "-m", "statistic", "--mode", "random", "--probability", f"{share:.6f}"]
    with contextlib.ExitStack() as stack:
        for host, device in ends:
            stack.enter_context(single_packets(host, device))
            try:
                host.run("iptables", "-I", *rule, "-i", device, "-j", "DROP")
            except HostFailed as error:
                raise Unavailable(f"no firewall that drops by chance: {error}") from error
            stack.callback(host.run, "iptables", "-D", *rule, "-i", device, "-j", "DROP")
        yield


@contextlib.contextmanager
def single_packets(host: Host, device: str) -> Iterator[None]:
    """Have every packet pass on its own.

    A firewall's rule on a veth pair would drop a batch of 44 as one, and 1 % would not be 1 %.
    """

    def switch(state: str) -> None:
        host.run("ethtool", "-K", device, *(word for name in OFFLOADS for word in (name, state)))

    try:
        switch("off")
    except HostFailed as error:
        raise Unavailable(f"offloads cannot be switched off: {error}") from error
    try:
        yield
    finally:
        switch("on")
