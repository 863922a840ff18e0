"""Comparison of two runs: changes beyond the noise. ``python -m bench compare OLD NEW``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.result import Run
from bench.stats import Estimate, apart_by, good, noise_floor, ratio_of_medians, ratios


@dataclass(frozen=True)
class Change:
    """One mode in one scenario: what it does in the new run ÷ what it did in the old one.

    figure: what is compared: ``ratio`` to the reference, taken within rounds, in which a machine
        that is slower today does not show; or ``rate``, of the reference itself.
    noise: how far apart the same mode lay from itself in either run.
    broken: it fetched the file in the old run, and failed in the new one.
    """

    scenario: str
    mode: str
    figure: str
    ratio: Estimate
    noise: float
    broken: bool = False

    @property
    def is_real(self) -> bool:
        """Whether it is more than noise: outside both the interval and the A/A floor."""
        return self.broken or (
            self.ratio.excludes(1.0) and apart_by(self.ratio.median) > self.noise
        )


def changes(old: Run, new: Run) -> list[Change]:
    """All that both runs have measured, in the new one's order."""
    noise = max(noise_floor(run.samples, run.subject, run.again) for run in (old, new))
    found = []
    for scenario in new.scenarios:
        if scenario not in old.scenarios:
            continue
        for mode in new.modes:
            figure, before, after = _figures(old, new, scenario.name, mode.label)
            ran = any((s.scenario, s.mode) == (scenario.name, mode.label) for s in new.samples)
            if before and after:
                ratio = ratio_of_medians(after, before)
                found.append(Change(scenario.name, mode.label, figure, ratio, noise))
            elif before and ran:
                none = Estimate(0.0, 0.0, 0.0, 0)
                found.append(Change(scenario.name, mode.label, figure, none, noise, broken=True))
    return found


def _figures(
    old: Run, new: Run, scenario: str, mode: str
) -> tuple[str, Sequence[float], Sequence[float]]:
    """What is compared, in the old run and in the new one."""
    if mode != new.reference:
        before, after = (ratios(r.samples, scenario, mode, r.reference) for r in (old, new))
        if before and after:
            return "ratio", before, after
    rates = [[s.bytes_per_s for s in good(r.samples, scenario, mode)] for r in (old, new)]
    return "rate", rates[0], rates[1]


def table(found: list[Change]) -> str:
    """The changes as Markdown; those that are real say so."""
    if not found:
        return "The two runs have no scenario and mode in common."
    lines = [
        "The new run's figure ÷ the old one's: of the ratio to the reference, or of the rate. "
        f"The noise floor is ± {found[0].noise:.0%}.",
        "",
        "| scenario | mode | of the | new ÷ old | 95 % interval | |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        ratio = one.ratio
        word = ""
        if one.is_real:
            word = "**broken**" if one.broken else ("**slower**", "**faster**")[ratio.median > 1]
        interval = f"{ratio.low:.2f} to {ratio.high:.2f}"
        cells = [one.scenario, one.mode, one.figure, f"{ratio.median:.2f}", interval, word]
        lines.append(f"| {' | '.join(cells)} |")
    n_real = sum(one.is_real for one in found)
    lines += ["", f"{n_real} of {len(found)} changed by more than the noise."]
    return "\n".join(lines)


def verdict(found: list[Change], fail_above: float | None) -> int:
    """The exit status: 1 if udpft became slower, beyond the noise, by more than a share."""
    if fail_above is None:
        return 0
    ours = [one for one in found if one.mode.startswith("udpft")]
    return int(any(one.is_real and one.ratio.median < 1 - fail_above for one in ours))
