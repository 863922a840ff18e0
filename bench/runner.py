"""Runner of the rounds: every mode of a scenario in each, in an order shuffled by the seed.

A machine that is slow for a while is so for all of a round, and ratios are taken within rounds.
Warm-up rounds come first, touch the memory and fill the caches, and count for nothing. Whatever
fails is a sample too, without a number. The run is written down after every sample.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tqdm import tqdm

from bench.contestant import READY_TIMEOUT_S, STOOD_STILL, Contestant
from bench.peers import Peer
from bench.plan import SLOW_ROUNDS, Plan, expected_s, planned_s, takers, takes_part
from bench.report import words
from bench.result import ModeInfo, Proof, Run, Scenario
from bench.where.hosts import Ground, Host, HostFailed, Joined, Unavailable

_LOOK_FOR_OTHERS_S = 0.5
_PROBES_PER_S = 8_000
_MIN_PROBES = 2_000
_WANTED_LOSSES = 400  # the standard deviation of their count is 5 %
_MAX_PROBES = 60_000
_GIVE_UP_AFTER = 3
"""Failures of a mode in a scenario: those that come are not waited for."""

_FREE_SHARE = 0.4
"""Of the memory that a file may take: it is there twice, and each client has its own."""

Keep = Callable[[Run], None]


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


def modes_of(peers: Sequence[Peer], host: Host, where: str) -> tuple[ModeInfo, ...]:
    """Each peer as a mode, with what is missing for it on a host."""
    modes = []
    for peer in peers:
        missing = host.call("missing", programs=list(peer.programs))
        names = ", ".join(one.removeprefix("python:") for one in missing)
        why = f"not installed: {names}" if names else ""
        if not why and peer.probe():
            [probed] = host.call("run", commands=[peer.probe()], timeout_s=READY_TIMEOUT_S)
            why = "not there yet" if probed["error"] else ""
        if not why and peer.tcp_controller and where in ("loopback", "ssh"):
            why = "not here: the route is every program's"
        modes.append(ModeInfo(peer.label, peer.kind, peer.what, why))
    return tuple(modes)


def modes_of_both(peers: Sequence[Peer], joined: Joined, where: str) -> tuple[ModeInfo, ...]:
    """Each peer as a mode, with what is missing for it on either of two hosts."""
    both = zip(
        modes_of(peers, joined.client, where), modes_of(peers, joined.server, where), strict=True
    )
    return tuple(
        here
        if here.missing or not there.missing
        else replace(here, missing=f"there {there.missing}")
        for here, there in both
    )


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
            if late and number >= run.warm_ups + SLOW_ROUNDS:
                progress.tell(f"{scenario.name}: {number - run.warm_ups} rounds took all its time")
                break
            for contestant in draw.sample(contestants, len(contestants)):
                if not takes_part(run, scenario, contestant.peer, number):
                    continue
                progress.about(scenario, contestant.peer.label)
                if contestant.failures >= _GIVE_UP_AFTER:
                    progress.ran(scenario, contestant.peer, warm_up=warm_up)
                    continue
                round_ = number if warm_up else number - run.warm_ups
                sample = contestant.fetch(round_, run.seed, warm_up=warm_up)
                if sample.error.startswith(STOOD_STILL):  # which says nothing of the mode
                    progress.tell(f"{scenario.name}: {sample.mode}: {sample.error}; once more")
                    run = run.with_samples(sample)
                    sample = contestant.fetch(round_, run.seed, warm_up=warm_up)
                progress.ran(scenario, contestant.peer, warm_up=warm_up)
                if sample.error:
                    contestant.failures += 1
                    progress.tell(f"{scenario.name}: {sample.mode}: {sample.error[:200]}")
                run = run.with_samples(sample)
                yield run


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
            timeout_s=READY_TIMEOUT_S,
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
