"""A contender's server while it runs, and a fetch from it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import Contender, Place
from bench.links import LinkCounters, Namespace
from bench.measure import Sample, cpu_seconds, peak_rss_bytes, run_timed, sha256

_PROBE = "probe.bin"
_READY_TIMEOUT_S = 15.0
_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Hosts:
    """Client and server, and the path between them.

    read_link: what the link did so far with acks and with data, if there is a link to read.
    tcp_controller: the congestion controller of contenders that name none; empty: the kernel's.
    """

    client: Namespace
    server: Namespace
    read_link: Callable[[], tuple[LinkCounters, LinkCounters]] | None = None
    tcp_controller: str = ""

    def choose_tcp_controller(self, name: str) -> None:
        """Give TCP connections from now on this controller, or the one that all have."""
        for host in (self.client, self.server):
            if host.name:
                host.choose_tcp_controller(name or self.tcp_controller)


@dataclass(frozen=True)
class Source:
    """The file to fetch."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Served:
    """A contender whose server runs; the pid is 0 where it needs none."""

    label: str
    contender: Contender
    place: Place
    hosts: Hosts
    pid: int

    def fetch(self, source: Source, destination: Path, *, number: int, timeout_s: float) -> Sample:
        """Fetch the file once, as round ``number``, and check it."""
        self.hosts.choose_tcp_controller(self.contender.tcp_controller)
        read_link = self.hosts.read_link
        link_before = read_link() if read_link else None
        server_cpu_s = cpu_seconds(self.pid) if self.pid else 0.0
        command = self.contender.fetch(self.place, source.path.name, destination)
        client = run_timed(self.hosts.client.command(command), timeout_s)
        server_cpu_s = cpu_seconds(self.pid) - server_cpu_s if self.pid else 0.0
        acks = data = None
        if read_link and link_before:
            acks, data = (
                now.since(then) for now, then in zip(read_link(), link_before, strict=True)
            )
        error = client.error
        if not error and sha256(destination) != source.sha256:
            error = "the file that arrived is not the source"
        destination.unlink(missing_ok=True)
        return Sample(
            contender=self.label,
            round=number,
            size_bytes=source.size_bytes,
            seconds=client.seconds,
            client_cpu_s=client.cpu_s,
            server_cpu_s=server_cpu_s,
            client_rss_bytes=client.rss_bytes,
            server_rss_bytes=peak_rss_bytes(self.pid) if self.pid else 0,
            data_link=data,
            ack_link=acks,
            error=error,
        )


@contextlib.contextmanager
def served(label: str, contender: Contender, place: Place, hosts: Hosts) -> Iterator[Served]:
    """Start a contender's server and wait until it answers; end it on leaving.

    Raises:
        RuntimeError: it ended or did not answer in time; the message holds what it wrote.
    """
    command = contender.serve(place)
    if not command:
        yield Served(label, contender, place, hosts, pid=0)
        return
    log = place.work / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            hosts.server.command(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        running = Served(label, contender, place, hosts, process.pid)
        _await_answer(running, process, log)
        yield running
    finally:
        _end(process)


def _await_answer(server: Served, process: subprocess.Popen[bytes], log: Path) -> None:
    """Fetch a small file again and again until that works."""
    place, client = server.place, server.hosts.client
    (place.root / _PROBE).write_bytes(b"ready")
    destination = place.work / _PROBE
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    command = client.command(server.contender.fetch(place, _PROBE, destination))
    while error := run_timed(command, _READY_TIMEOUT_S).error:
        if process.poll() is not None or time.monotonic() > deadline_s:
            words = log.read_text(errors="replace").strip()
            raise RuntimeError(f"{server.label} does not serve: {error}; its server wrote: {words}")
        time.sleep(0.1)
    destination.unlink()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
