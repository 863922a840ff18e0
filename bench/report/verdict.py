"""Verdict of a run, in sentences and in one table: figures, and never an adjective without one."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.report import words
from bench.report.words import count, path, rate
from bench.result import Run, Sample, Scenario
from bench.stats import Estimate, apart_by, estimate, good, noise_floor, ratios

PLACES = {
    "containers": "two containers on a bridge",
    "netns": "two network namespaces joined by a veth pair",
    "loopback": "two processes on one host",
    "ssh": "this host and another one",
}
"""Where the two ends are, in words."""

_TINY_BYTES = 1 << 16
_BUSY_PROCESSORS = 0.1
_TOLD_IN_FULL = 4


@dataclass(frozen=True)
class Row:
    """One mode in one scenario.

    rate: its goodput in bytes per second. ratio: to the reference, round by round.
    note: why there is no figure, or what goes with it.
    """

    mode: str
    kind: str
    rate: Estimate | None
    ratio: Estimate | None
    cpu_s_per_gb: float
    rss_bytes: int
    resent_share: float
    receive_drops: int
    rounds: int
    note: str

    @property
    def ratio_text(self) -> str:
        """``0.81 (0.78 to 0.86)``."""
        if not self.ratio:
            return "–"
        return interval(self.ratio)

    @property
    def interval_text(self) -> str:
        """``480 to 530 MB/s``, or a dash."""
        if not self.rate:
            return "–"
        low, high = rate(self.rate.low), rate(self.rate.high)
        number, _, unit = low.partition(" ")
        return f"{number if high.endswith(unit) else low} to {high}"

    @property
    def rate_text(self) -> str:
        """``512 MB/s``, or a dash."""
        return rate(self.rate.median) if self.rate else "–"


@dataclass(frozen=True)
class Verdict:
    """How udpft compares with the reference in one scenario.

    subject, reference: bytes per second of each. ratio: of the two, round by round.
    """

    scenario: Scenario
    ratio: Estimate
    noise: float
    subject: Estimate
    reference: Estimate

    @property
    def is_win(self) -> bool:
        """Faster, beyond the interval and the noise floor."""
        return self.ratio.low > 1 and apart_by(self.ratio.median) > self.noise

    @property
    def is_loss(self) -> bool:
        """Slower, beyond the interval and the noise floor."""
        return self.ratio.high < 1 and apart_by(self.ratio.median) > self.noise


def interval(found: Estimate) -> str:
    """A ratio with its interval: ``0.81 (0.78 to 0.86)``."""
    low, median, high = map(words.ratio, (found.low, found.median, found.high))
    return f"{median} ({low} to {high})"


def rows(run: Run, scenario: Scenario) -> list[Row]:
    """Every mode in a scenario, those that failed and those that are missing too."""
    table = []
    for mode in run.modes:
        if scenario.modes and mode.label not in scenario.modes:
            continue
        ran = [s for s in run.samples if (s.scenario, s.mode) == (scenario.name, mode.label)]
        mine = good(run.samples, scenario.name, mode.label)
        ratio = None
        if mode.label != run.reference:
            ratio = estimate(ratios(run.samples, scenario.name, mode.label, run.reference))
        table.append(
            Row(
                mode=mode.label,
                kind=mode.kind,
                rate=estimate([s.bytes_per_s for s in mine]),
                ratio=ratio,
                cpu_s_per_gb=_median([s.cpu_s_per_gb for s in mine]),
                rss_bytes=max(
                    (max(s.client_rss_bytes, s.server_rss_bytes) for s in mine), default=0
                ),
                resent_share=_median([s.resent_share for s in mine], -1.0),
                receive_drops=round(_median([s.receive_drops for s in mine])),
                rounds=len(mine),
                note=mode.missing or _note(run, scenario, ran),
            )
        )
    return table


def _note(run: Run, scenario: Scenario, ran: Sequence[Sample]) -> str:
    counted = [s for s in ran if not s.warm_up]
    failed = [s for s in counted if s.error] or ([] if counted else [s for s in ran if s.error])
    if failed:
        first = failed[0].error.splitlines()[0][:100]
        return f"failed {len(failed)} of {len(counted) or len(ran)}: {first}"
    if ran:
        return ""
    if scenario.name in run.skipped:
        return run.skipped[scenario.name]
    return "not run" if run.interrupted else "takes no part here"


def _median(values: Sequence[float], otherwise: float = 0.0) -> float:
    return statistics.median(values) if values else otherwise


def verdicts(run: Run) -> list[Verdict]:
    """Subject against reference, scenario by scenario, where both have figures."""
    noise = noise_floor(run.samples, run.subject, run.again)
    found = []
    for scenario in run.scenarios:
        ratio = estimate(ratios(run.samples, scenario.name, run.subject, run.reference))
        subject, reference = rates(run, scenario, run.subject, run.reference)
        if ratio and subject and reference:
            found.append(Verdict(scenario, ratio, noise, subject, reference))
    return found


def rates(run: Run, scenario: Scenario, *labels: str) -> list[Estimate | None]:
    """Bytes per second of some modes in a scenario."""
    return [
        estimate([s.bytes_per_s for s in good(run.samples, scenario.name, label)])
        for label in labels
    ]


def sentences(run: Run) -> list[str]:
    """The verdict: where udpft is slower first, because that is what a reader should know."""
    said = list(_said(run))
    if run.interrupted:
        said.insert(0, "The run was interrupted; this is what had been measured.")
    return said


def _said(run: Run) -> Iterator[str]:
    found = verdicts(run)
    if not found:
        yield f"Nothing to compare: {run.subject} and {run.reference} share no scenario."
        return
    losses = sorted((v for v in found if v.is_loss), key=lambda v: v.ratio.median)
    wins = sorted((v for v in found if v.is_win), key=lambda v: -v.ratio.median)
    even = [v for v in found if not (v.is_loss or v.is_win)]
    against = f"{run.subject} against {run.reference}, in {count(len(found), 'scenario')}"
    yield (
        f"{against}: slower in {len(losses)}, faster in {len(wins)}, "
        f"no difference beyond the noise in {len(even)}."
    )
    for word, some in (("loses", losses), ("wins", wins)):
        if some:
            yield f"It {word}: {_listed(some)}."
    if even:
        yield f"Nobody can tell: {_listed(even)}."
    yield from _siblings(run)
    yield from _start(run)
    yield from _cost(run)
    yield _noise(run, found[0].noise)
    failed = [s for s in run.samples if s.error and not s.warm_up]
    if failed:
        who = ", ".join(dict.fromkeys(f"{s.mode} ({s.scenario})" for s in failed))
        yield f"{count(len(failed), 'counted run')} failed, without a figure: {who}."


def _listed(found: Sequence[Verdict]) -> str:
    """The first few with all figures, the others with their ratios: the table has the rest."""
    told = "; ".join(map(_figures, found[:_TOLD_IN_FULL]))
    further = [f"{v.scenario.name} {words.ratio(v.ratio.median)}" for v in found[_TOLD_IN_FULL:]]
    return f"{told}; and {', '.join(further)}" if further else told


def siblings(run: Run) -> list[str]:
    """The reference in other settings, such as under another congestion controller."""
    return [mode.label for mode in run.modes if mode.label.startswith(f"{run.reference}, ")]


def _siblings(run: Run) -> Iterator[str]:
    """How udpft compares with these where the path is impaired; elsewhere they hardly differ."""
    for label in siblings(run):
        told = []
        for scenario in run.scenarios:
            ratio = estimate(ratios(run.samples, scenario.name, run.subject, label))
            if ratio and scenario.is_impaired:
                told.append(f"{words.ratio(ratio.median)} × in {scenario.name}")
        if told:
            yield f"Against {label}: {', '.join(told)}."


def _noise(run: Run, floor: float) -> str:
    """Whether the same mode, measured twice, agrees with itself."""
    pairs = [rates(run, scenario, run.subject, run.again) for scenario in run.scenarios]
    found = [(one, two) for one, two in pairs if one and two]
    if not found:
        return "No mode was measured twice, so there is no noise floor."
    agree = sum(one.low <= two.high and two.low <= one.high for one, two in found)
    return (
        f"{run.subject} was measured twice in every round: the intervals of the two medians "
        f"overlap in {agree} of {count(len(found), 'scenario')}, and in nine of ten they are no "
        f"more than {floor:.0%} apart, which is the noise floor."
    )


def _figures(verdict: Verdict) -> str:
    rates = f"{rate(verdict.subject.median)} against {rate(verdict.reference.median)}"
    low, median, high = map(
        words.ratio, (verdict.ratio.low, verdict.ratio.median, verdict.ratio.high)
    )
    return f"{verdict.scenario.name} at {median} × ({low} to {high}), {rates}"


def _start(run: Run) -> Iterator[str]:
    """What the smallest file took: the time to begin, and hardly any to transfer."""
    sizes = [s for s in run.scenarios if s.group == "size" and s.size_bytes < _TINY_BYTES]
    for scenario in sizes[:1]:
        took = [
            _median([s.seconds for s in good(run.samples, scenario.name, label)])
            for label in (run.subject, run.reference)
        ]
        if all(took):
            yield (
                f"A file of {words.size(scenario.size_bytes)} took {words.times(took[0])} with "
                f"{run.subject}, {words.times(took[1])} with {run.reference}: that is what it "
                "takes to start, and it is in every figure."
            )


def _cost(run: Run) -> Iterator[str]:
    """Processor time in the first scenario that has both."""
    for scenario in run.scenarios:
        costs = [
            _median([s.cpu_s_per_gb for s in good(run.samples, scenario.name, label)])
            for label in (run.subject, run.reference)
        ]
        if all(costs):
            yield (
                f"In {scenario.name} ({path(scenario)}), a GB took {costs[0]:.2f} s of processor "
                f"for {run.subject}, both ends together, and {costs[1]:.2f} s for {run.reference}."
            )
            return


def setting(run: Run) -> str:
    """Where and how it was measured, in one paragraph."""
    facts = run.environment
    tcp = facts.get("net.ipv4.tcp_congestion_control", "the kernel's controller")
    means = sorted({p.means for p in run.proofs if p.means != "none"})
    shaped = f" Impairment by {' and '.join(means)}." if means else " No path was impaired."
    return (
        f"Measured {words.when(run.stamp)}, between {PLACES[run.where]}: "
        f"{facts.get('processor', 'unknown processor')}, Linux {facts.get('kernel', '?')}, "
        f"Python {facts.get('python', '?')}, TCP with {tcp} unless said otherwise, "
        f"commit {facts.get('commit') or '?'}. {_busy(run)}"
        f"{_sharing(run)} {_rounds(run)} after "
        f"{count(run.warm_ups, 'warm-up')}, in shuffled order (seed {run.seed}).{shaped} "
        "The clock runs from the start of the client's process to the complete, synced file in "
        "memory; every file is compared with its source by SHA-256 afterwards."
    )


def _sharing(run: Run) -> str:
    """Which processors are at work: those of one machine, or of two."""
    facts = run.environment
    if run.where != "ssh":
        return "Both ends share these processors."
    return (
        f"The server is another machine: {facts.get('server: processor', 'unknown processor')}, "
        f"Linux {facts.get('server: kernel', '?')}, Python {facts.get('server: python', '?')}."
    )


def _rounds(run: Run) -> str:
    """How many rounds there were: fewer for those who take long."""
    turns = Counter((s.scenario, s.mode) for s in run.samples if not s.warm_up)
    fewest = min(turns.values(), default=run.rounds)
    most = max(turns.values(), default=run.rounds)
    return count(most, "round") if fewest == most else f"{fewest} to {most} rounds"


def _busy(run: Run) -> str:
    """What else was going on, seen before each scenario."""
    busy = _median([proof.busy_processors for proof in run.proofs])
    if busy < _BUSY_PROCESSORS:
        return ""
    return f"The machine was busy with other things: they took {busy:.1f} processors. "


def proof_text(run: Run, scenario: Scenario) -> str:
    """What the path did to datagrams of our own, against what was asked."""
    for proof in run.proofs:
        if proof.scenario == scenario.name:
            if not scenario.is_impaired:
                return f"round trip {proof.rtt_s * 1e3:.2f} ms; not impaired"
            word = "as asked" if proof.holds_for(scenario) else "NOT AS ASKED"
            loss = f"{proof.loss:.2%} of {proof.n_datagrams:,} datagrams lost"
            loss += f" ({proof.loss_run:.2f} in a row), " if proof.loss_run else ", "
            return (
                f"{proof.means}: {loss if proof.n_datagrams else ''}"
                f"round trip {proof.rtt_s * 1e3:.1f} ms: {word}"
            )
    return run.skipped.get(scenario.name, "not measured")
