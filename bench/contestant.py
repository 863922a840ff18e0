"""A contestant: one program on one scenario's path, and what a fetch with it took."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bench.peers import Peer, Place
from bench.plan import size_of, timeout_s
from bench.result import Sample, Scenario
from bench.where.hosts import HostFailed, Joined, tcp_controller

READY_TIMEOUT_S = 15.0
_FILE_TIMEOUT_S = 5.0
_STALL_S = 3.0
STOOD_STILL = "the machine stood still"
"""Virtual machines are halted now and then; who looks every 50 ms sees it."""


class Contestant:
    """A peer on the path of a scenario, its daemon running."""

    def __init__(self, peer: Peer, scenario: Scenario, joined: Joined) -> None:
        self.peer, self.scenario = peer, scenario
        near, far = joined.client, joined.server
        self._client, self._server = near, far
        self._host, self._driver = (near, far) if peer.pushes else (far, near)
        self._name = f"{scenario.name} {peer.label}"
        work = far.work / self._name.replace(" ", "-").replace("%", "").replace("+", "and")
        port = self._host.call("free_port")
        self.place = Place(
            far.root, work, joined.server_address, joined.client_address, port, scenario.mtu
        )
        for host in (near, far):
            host.call("make_folder", path=str(work))
            for name, text in peer.files(self.place).items():
                host.call("write", path=str(work / name), text=text)
        self.failures = 0
        self._failed = ""
        if not peer.one_shot:
            self._failed = self._start("")

    def _start(self, name: str) -> str:
        command = self.peer.daemon(self.place, name)
        self._host.call("start", name=self._name, command=command, folder=str(self.place.work))
        return str(
            self._host.call(
                "await_listening",
                name=self._name,
                port=self.place.port,
                transport=self.peer.transport,
                timeout_s=READY_TIMEOUT_S,
            )
        )

    def close(self) -> None:
        """End the daemon."""
        self._host.call("stop", name=self._name)

    def fetch(self, number: int, seed: int, *, warm_up: bool) -> Sample:
        """Move the file once to each client, and check what arrived."""
        clients = self.scenario.clients
        size_bytes = size_of(self.scenario, self.peer, warm_up=warm_up)
        name = f"{size_bytes}.bin"
        path = str(self._server.root / name)
        digest = self._server.call("make_file", path=path, size_bytes=size_bytes, seed=seed)
        if self.peer.one_shot:
            self.close()
            self._failed = self._start(name)
        blank = Sample(
            self.scenario.name, self.peer.label, number, 0.0, size_bytes * clients, warm_up=warm_up
        )
        if self._failed:
            return replace(blank, error=self._failed)
        if not self.peer.tcp_controller:
            return self._timed(blank, name, digest)
        try:
            with tcp_controller(self._server, self.place.server, self.peer.tcp_controller):
                return self._timed(blank, name, digest)
        except HostFailed as error:
            return replace(blank, error=str(error))

    def _timed(self, blank: Sample, name: str, digest: str) -> Sample:
        work, ceiling = self.place.work, self.peer.kind == "ceiling"
        outputs = [work / f"fetched-{at}.bin" for at in range(self.scenario.clients)]
        before = self._usage()
        ended = self._driver.call(
            "run",
            commands=[self.peer.transfer(self.place, name, output) for output in outputs],
            timeout_s=timeout_s(self.scenario, self.peer),
            outputs=[] if self.peer.pushes or ceiling else list(map(str, outputs)),
        )
        seconds = max(one["seconds"] for one in ended)
        errors = [one["error"] for one in ended if one["error"]]
        if (stall_s := max(one["stall_s"] for one in ended)) > _STALL_S:
            errors.insert(0, f"{STOOD_STILL} for {stall_s:.0f} s")
        if self.peer.pushes and not errors:
            seconds += self._client.call(
                "await_file",
                path=str(outputs[0]),
                size_bytes=blank.size_bytes,
                timeout_s=_FILE_TIMEOUT_S,
            )
        after = self._usage()
        for output in [] if ceiling else outputs:
            if self._client.call("take_away", path=str(output)) != digest and not errors:
                errors.append("the file that arrived is not the source")
        sample = replace(
            blank,
            seconds=seconds,
            verified=not ceiling and not errors,
            error=errors[0] if errors else "",
            **_costs(before, after, ended, pushes=self.peer.pushes),
        )
        if not errors:
            said = self.peer.read(ended[0]["output"])
            sample = replace(sample, resent_share=said.resent_share)
            if said.size_bytes:
                sample = replace(sample, size_bytes=said.size_bytes, seconds=said.seconds)
        if self.scenario.clients > 1:
            times = [one["seconds"] for one in ended]
            sample = replace(sample, slowest_to_median=max(times) / statistics.median(times))
        return sample

    def _usage(self) -> dict[str, dict[str, float]]:
        daemon_end, driver_end = ("client", "server") if self.peer.pushes else ("server", "client")
        return {
            daemon_end: self._host.call("usage", name=self._name),
            driver_end: self._driver.call("usage"),
        }


def _costs(
    before: dict[str, dict[str, float]],
    after: dict[str, dict[str, float]],
    ended: Sequence[dict[str, Any]],
    *,
    pushes: bool,
) -> dict[str, Any]:
    """Processor, memory and drops of both ends, as fields of a sample.

    In containers, the driver's processor time is its control group's like the daemon's; elsewhere
    it is what the kernel told when the commands ended.
    """
    driver = "server" if pushes else "client"
    costs: dict[str, Any] = {}
    for end in ("client", "server"):
        cpu_s = after[end]["cpu_s"] - before[end]["cpu_s"]
        rss_bytes = after[end]["rss_bytes"]
        if end == driver:
            cpu_s = cpu_s or sum(one["cpu_s"] for one in ended)
            rss_bytes = max(one["rss_bytes"] for one in ended)
        costs[f"{end}_cpu_s"] = max(0.0, cpu_s)
        costs[f"{end}_rss_bytes"] = int(rss_bytes)
    drops = after["client"]["drops"] - before["client"]["drops"]
    return {**costs, "receive_drops": max(0, int(drops))}
