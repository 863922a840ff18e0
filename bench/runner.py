"""The rounds: every mode of a scenario in each, in an order shuffled by the seed.

A machine that is slow for a while is so for all of a round, and ratios are taken within rounds.
Warm-up rounds come first, touch the memory and fill the caches, and count for nothing. Whatever
fails is a sample too, without a number. The run is written down after every sample.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tqdm import tqdm

from bench.peers import Peer, Place
from bench.report import words
from bench.result import ModeInfo, Proof, Run, Sample, Scenario
from bench.where.hosts import Ground, Host, HostFailed, Joined, Unavailable, tcp_controller

_READY_TIMEOUT_S = 15.0
_FILE_TIMEOUT_S = 5.0
_SLOW_BYTES_PER_S = 1e8
_SHORT_WARM_UP_BYTES = 1 << 18
"""Where the path or the program takes its time, memory is not what is slow at first."""

_FEWEST_ROUNDS = 5
"""The interval of a median of five holds the true one in 94 of 100 cases; of three, in 75."""

_SLOW_ROUNDS = 3
"""Of a program that one run keeps longer than the time that is there for all of its rounds."""

_STALL_S = 3.0
_STOOD_STILL = "the machine stood still"
"""Virtual machines are halted now and then; who looks every 50 ms sees it."""

_LOOK_FOR_OTHERS_S = 0.5
_PROBES_PER_S = 8_000
_MIN_PROBES = 2_000
_WANTED_LOSSES = 400  # the standard deviation of their count is 5 %
_MAX_PROBES = 60_000
_BETWEEN_S = 0.06
"""What a run takes that is in no clock: asking, the digest of a small file."""

_DIGEST_BYTES_PER_S = 1.5e9

_LEAST_TCP_TIMEOUT_S = 0.2

_START_TRIPS = 8
"""Round trips of handshake and slow start, about."""

_GIVE_UP_AFTER = 3
"""Failures of a mode in a scenario: those that come are not waited for."""

_FREE_SHARE = 0.4
"""Of the memory that a file may take: it is there twice, and each client has its own."""

Keep = Callable[[Run], None]
Plan = Sequence[tuple[Scenario, Sequence[Peer]]]


@dataclass
class Progress:
    """A bar over the expected seconds of all runs, so that the time left is worth reading."""

    bar: Any
    _end_s: float = 0.0

    @staticmethod
    def over(plan: Plan, run: Run) -> Progress:
        """A bar for all runs of a plan."""
        form = "{l_bar}{bar}| {elapsed} elapsed, {remaining} left{postfix}"
        total_s = planned_s(plan, run)
        return Progress(tqdm(total=total_s, bar_format=form, file=sys.stderr, mininterval=0.5))

    def begin(self, planned_s: float) -> None:
        """A scenario begins that takes about so long."""
        self._end_s = self.bar.n + planned_s

    def end(self) -> None:
        """It is over, or could not be had: what of it was not run is not waited for."""
        self.bar.update(max(0.0, min(self._end_s, self.bar.total) - self.bar.n))

    def about(self, scenario: Scenario, label: str) -> None:
        """Say what is being run."""
        self.bar.set_postfix_str(f"{scenario.name}: {label}")

    def ran(self, scenario: Scenario, peer: Peer, *, warm_up: bool) -> None:
        """One run is over."""
        took_s = expected_s(scenario, peer, warm_up=warm_up)
        self.bar.update(min(took_s, self.bar.total - self.bar.n))

    def tell(self, line: str) -> None:
        """Print a line without tearing the bar."""
        tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.set_postfix_str("")
        self.bar.close()


def rounds_of(run: Run, scenario: Scenario, peer: Peer) -> int:
    """The rounds that count which a peer takes part in: as many as fit in the time for it.

    The fast take part in all of them: a short run is a noisy one, and costs little to repeat. A
    program that takes ten seconds is told from the others by three of them.
    """
    fitting = int(run.seconds_each / expected_s(scenario, peer))
    fewest = _FEWEST_ROUNDS if fitting and peer.kind != "ceiling" else _SLOW_ROUNDS
    return min(run.rounds, max(fewest, fitting))


def takers(peers: Sequence[Peer], scenario: Scenario) -> list[Peer]:
    """Who takes part in a scenario."""
    wanted = [peer for peer in peers if not scenario.modes or peer.label in scenario.modes]
    return [peer for peer in wanted if not peer.unfit_for(scenario)]


def warm_ups_of(run: Run, peer: Peer) -> int:
    """The rounds before, that do not count: none for a ceiling, which warms nothing."""
    return 0 if peer.kind == "ceiling" else run.warm_ups


def planned_s(plan: Plan, run: Run) -> float:
    """About how long all runs of a plan take."""
    return sum(
        warm_ups_of(run, peer) * expected_s(scenario, peer, warm_up=True)
        + rounds_of(run, scenario, peer) * expected_s(scenario, peer)
        for scenario, peers in plan
        for peer in peers
    )


def size_of(scenario: Scenario, peer: Peer, *, warm_up: bool) -> int:
    """Bytes that each client fetches: less in a warm-up that has no memory to warm."""
    if warm_up and (scenario.is_shaped or peer.usual_rate < _SLOW_BYTES_PER_S):
        return min(scenario.size_bytes, _SHORT_WARM_UP_BYTES)
    return scenario.size_bytes


def expected_s(scenario: Scenario, peer: Peer, *, warm_up: bool = False) -> float:
    """About how long one run takes: for the rounds and the time left, not for any result."""
    if peer.kind == "ceiling":
        return 1.3
    total_bytes = size_of(scenario, peer, warm_up=warm_up) * scenario.clients
    took_s = peer.usual_start_s * max(1.0, scenario.clients / 2) + total_bytes / peer.usual_rate
    if scenario.is_shaped:
        rate = scenario.rate_bit_per_s / 8 or math.inf
        if peer.fears_loss and scenario.loss and scenario.rtt_s:
            rate = min(rate, _fearful_bytes_per_s(scenario))
        took_s += 1.2 * total_bytes / rate + _START_TRIPS * scenario.rtt_s
    return _BETWEEN_S + took_s + total_bytes / _DIGEST_BYTES_PER_S


def _fearful_bytes_per_s(scenario: Scenario) -> float:
    """What a window comes to that halves at each loss, and now and then waits for a time-out.

    Padhye et al. 1998, equation 30, with an acknowledgement for each packet.
    """
    p = scenario.loss
    halved_s = scenario.rtt_s * math.sqrt(2 * p / 3)
    waited_s = _LEAST_TCP_TIMEOUT_S * min(1.0, 3 * math.sqrt(3 * p / 8)) * p * (1 + 32 * p * p)
    return scenario.mtu / (halved_s + waited_s)


def modes_of(peers: Sequence[Peer], host: Host, where: str) -> tuple[ModeInfo, ...]:
    """Each peer as a mode, with what is missing for it on a host."""
    modes = []
    for peer in peers:
        missing = host.call("missing", programs=list(peer.programs))
        names = ", ".join(one.removeprefix("python:") for one in missing)
        why = f"not installed: {names}" if names else ""
        if not why and peer.probe():
            [probed] = host.call("run", commands=[peer.probe()], timeout_s=_READY_TIMEOUT_S)
            why = "not there yet" if probed["error"] else ""
        if not why and peer.tcp_controller and where == "loopback":
            why = "not here: loopback's route is every program's"
        modes.append(ModeInfo(peer.label, peer.kind, peer.what, why))
    return tuple(modes)


def measure(run: Run, peers: Sequence[Peer], ground: Ground, keep: Keep) -> Run:
    """Run all scenarios of a run; ``keep`` is called with the run as it grows.

    KeyboardInterrupt ends it early; what was measured is in the last run that was kept.
    """
    present = {mode.label for mode in run.modes if not mode.missing}
    there = [peer for peer in peers if peer.label in present]
    plan = [(scenario, takers(there, scenario)) for scenario in run.scenarios]
    progress = Progress.over(plan, run)
    minutes = math.ceil(progress.bar.total / 60)
    progress.tell(f"{len(plan)} scenarios: about {words.count(minutes, 'minute')}")
    draw = Random(run.seed)
    try:
        for scenario, fit in plan:
            progress.begin(planned_s([(scenario, fit)], run))
            try:
                with ground.join(scenario) as joined:
                    for further in _rounds(run, scenario, fit, joined, draw, progress):
                        run = further
                        keep(run)
            except (Unavailable, HostFailed) as error:
                progress.tell(f"{scenario.name}: not measured: {error}")
                run = replace(run, skipped={**run.skipped, scenario.name: str(error)})
                keep(run)
            progress.end()
    finally:
        progress.close()
    return run


def _rounds(
    run: Run,
    scenario: Scenario,
    peers: Sequence[Peer],
    joined: Joined,
    draw: Random,
    progress: Progress,
) -> Iterator[Run]:
    """The run as it grows by one scenario's proof and samples."""
    room_bytes = joined.server.call("room_bytes", path=str(joined.server.root))
    if scenario.size_bytes * (1 + scenario.clients) > 2 * _FREE_SHARE * room_bytes:
        raise Unavailable(f"no room for it in memory: {room_bytes / 1e9:.1f} GB are free")
    busy = joined.server.call("busy_processors", seconds=_LOOK_FOR_OTHERS_S)
    proof = replace(prove(scenario, joined), busy_processors=busy)
    run = replace(run, proofs=(*run.proofs, proof))
    yield run
    with contextlib.ExitStack() as stack:
        contestants = []
        for peer in peers:
            contestant = Contestant(peer, scenario, joined)
            stack.callback(contestant.close)
            contestants.append(contestant)
        planned = planned_s([(scenario, peers)], run)
        began_s = time.monotonic()
        for number in range(run.warm_ups + run.rounds):
            warm_up = number < run.warm_ups
            late = time.monotonic() - began_s > planned
            if late and number >= run.warm_ups + _SLOW_ROUNDS:
                progress.tell(f"{scenario.name}: {number - run.warm_ups} rounds took all its time")
                break
            for contestant in draw.sample(contestants, len(contestants)):
                if not _takes_part(run, scenario, contestant.peer, number):
                    continue
                progress.about(scenario, contestant.peer.label)
                if contestant.failures >= _GIVE_UP_AFTER:
                    progress.ran(scenario, contestant.peer, warm_up=warm_up)
                    continue
                round_ = number if warm_up else number - run.warm_ups
                sample = contestant.fetch(round_, run.seed, warm_up=warm_up)
                if sample.error.startswith(_STOOD_STILL):  # which says nothing of the mode
                    progress.tell(f"{scenario.name}: {sample.mode}: {sample.error}; once more")
                    run = run.with_samples(sample)
                    sample = contestant.fetch(round_, run.seed, warm_up=warm_up)
                progress.ran(scenario, contestant.peer, warm_up=warm_up)
                if sample.error:
                    contestant.failures += 1
                    progress.tell(f"{scenario.name}: {sample.mode}: {sample.error[:200]}")
                run = run.with_samples(sample)
                yield run


def _takes_part(run: Run, scenario: Scenario, peer: Peer, number: int) -> bool:
    """Whether a peer has a turn in a round, warm-ups counted first."""
    if number < run.warm_ups:
        return number < warm_ups_of(run, peer)
    return number - run.warm_ups < rounds_of(run, scenario, peer)


def timeout_s(scenario: Scenario, peer: Peer) -> float:
    """After how long a run has failed."""
    return 15.0 + 8 * expected_s(scenario, peer)


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
                timeout_s=_READY_TIMEOUT_S,
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
            errors.insert(0, f"{_STOOD_STILL} for {stall_s:.0f} s")
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


def prove(scenario: Scenario, joined: Joined) -> Proof:
    """Measure a path with datagrams of our own: what is lost towards the client, the round trip."""
    count = 0
    if scenario.loss:
        count = min(_MAX_PROBES, max(_MIN_PROBES, round(_WANTED_LOSSES / scenario.loss)))
    port = joined.server.call("free_port")
    name = f"probe {scenario.name}"
    command = ["python", "-m", "bench.probe", "serve", joined.server_address, str(port)]
    joined.server.call("start", name=name, command=command, folder=str(joined.server.work))
    try:
        wrong = joined.server.call(
            "await_listening",
            name=name,
            port=port,
            transport="udp",
            timeout_s=_READY_TIMEOUT_S,
        )
        if wrong:
            raise HostFailed(f"the path cannot be probed: {wrong}")
        where = [joined.server_address, str(port), str(count), str(_PROBES_PER_S)]
        seen = json.loads(
            joined.client.run("python", "-m", "bench.probe", "measure", *where, timeout_s=120.0)
        )
    finally:
        joined.server.call("stop", name=name)
    return Proof(scenario.name, joined.means, count, seen["loss"], seen["rtt_s"], seen["loss_run"])
